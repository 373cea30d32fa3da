// SPDX-License-Identifier: BSD-3-Clause
#include <base/bitmap.h>

bool ob_bit_test(const uint64_t *map, size_t bit)
{
	return map[bit / 64] >> (bit % 64) & 1;
}

void ob_bit_set(uint64_t *map, size_t bit)
{
	map[bit / 64] |= UINT64_C(1) << (bit % 64);
}

void ob_bit_set_shared(uint64_t *map, size_t bit)
{
	__atomic_fetch_or(&map[bit / 64], UINT64_C(1) << bit % 64,
			  __ATOMIC_RELAXED);
}

void ob_bit_clear(uint64_t *map, size_t bit)
{
	map[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

/* The part of [bit, bit + count) that lies in bit's own word. */
static uint64_t word_mask(size_t bit, size_t count, size_t *covered)
{
	size_t room = 64 - bit % 64;
	size_t n = count < room ? count : room;

	*covered = n;
	return (n == 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << (bit % 64);
}

void ob_bits_set(uint64_t *map, size_t bit, size_t count)
{
	size_t n;

	for (; count; bit += n, count -= n)
		map[bit / 64] |= word_mask(bit, count, &n);
}

void ob_bits_clear(uint64_t *map, size_t bit, size_t count)
{
	size_t n;

	for (; count; bit += n, count -= n)
		map[bit / 64] &= ~word_mask(bit, count, &n);
}

/* First bit at or after `bit` whose value is `value`, or limit. */
static size_t next_bit(const uint64_t *map, size_t bit, size_t limit,
		       bool value)
{
	uint64_t flip = value ? 0 : ~UINT64_C(0);
	uint64_t word;

	while (bit < limit) {
		word = (map[bit / 64] ^ flip) >> (bit % 64);
		if (word) {
			bit += (size_t)__builtin_ctzll(word);
			return bit < limit ? bit : limit;
		}
		bit += 64 - bit % 64;
	}
	return limit;
}

size_t ob_bits_find_set(const uint64_t *map, size_t bit, size_t limit)
{
	return next_bit(map, bit, limit, true);
}

size_t ob_bits_find_clear(const uint64_t *map, size_t limit, size_t count)
{
	size_t start = 0, end;

	while (start < limit) {
		start = next_bit(map, start, limit, false);
		if (count > limit - start)
			break;
		end = next_bit(map, start, limit, true);
		if (end - start >= count)
			return start;
		start = end;
	}
	return limit;
}
