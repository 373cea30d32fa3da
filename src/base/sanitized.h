/* SPDX-License-Identifier: BSD-3-Clause */
/* Is this a build with a sanitizer?  Compilers say so in two ways. */
#ifndef OB_BASE_SANITIZED_H
#define OB_BASE_SANITIZED_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OB_ADDRESS_SANITIZED 1
#endif
#if __has_feature(thread_sanitizer)
#define OB_THREAD_SANITIZED 1
#endif
#else
#if defined(__SANITIZE_ADDRESS__)
#define OB_ADDRESS_SANITIZED 1
#endif
#if defined(__SANITIZE_THREAD__)
#define OB_THREAD_SANITIZED 1
#endif
#endif

#ifndef OB_ADDRESS_SANITIZED
#define OB_ADDRESS_SANITIZED 0
#endif
#ifndef OB_THREAD_SANITIZED
#define OB_THREAD_SANITIZED 0
#endif

#endif
