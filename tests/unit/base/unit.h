/* SPDX-License-Identifier: BSD-3-Clause */
/* What cmocka wants included before it, in the order it wants. */
#ifndef OB_TESTS_UNIT_H
#define OB_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

#endif
