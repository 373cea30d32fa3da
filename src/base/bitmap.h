/* SPDX-License-Identifier: BSD-3-Clause */
/* Bitmaps of u64 words; bit n is bit n % 64 of word n / 64. */
#ifndef OB_BASE_BITMAP_H
#define OB_BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB_BITMAP_WORDS(bits) (((bits) + 63) / 64)

bool ob_bit_test(const uint64_t *map, size_t bit);
void ob_bit_set(uint64_t *map, size_t bit);
/* Others may set bits of the same word at the same time. */
void ob_bit_set_shared(uint64_t *map, size_t bit);
void ob_bit_clear(uint64_t *map, size_t bit);
void ob_bits_set(uint64_t *map, size_t bit, size_t count);
void ob_bits_clear(uint64_t *map, size_t bit, size_t count);
/* First set bit at or after `bit` and below limit, or limit. */
size_t ob_bits_find_set(const uint64_t *map, size_t bit, size_t limit);
/* First run of count clear bits below limit, or limit. */
size_t ob_bits_find_clear(const uint64_t *map, size_t limit, size_t count);

#endif
