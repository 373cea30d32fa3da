// SPDX-License-Identifier: BSD-3-Clause
#include <outboard/option.h>

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

static int suffix_shift(char c)
{
	switch (toupper((unsigned char)c)) {
	case 'K': return 10;
	case 'M': return 20;
	case 'G': return 30;
	case 'T': return 40;
	default: return -1;
	}
}

int ob_parse_size(const char *text, uint64_t *bytes, struct ob_err *err)
{
	uint64_t n = 0;
	const char *at = text;
	int shift = 0;

	if (!isdigit((unsigned char)*at))
		return ob_fail(err, EINVAL, "\"%s\" is no size", text);
	for (; isdigit((unsigned char)*at); at++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*at - '0'), &n))
			goto range;
	if (*at) {
		shift = suffix_shift(*at);
		if (shift < 0 || at[1])
			return ob_fail(err, EINVAL, "\"%s\" is no size "
				       "(a number, then K, M, G or T)", text);
	}
	if (n > (uint64_t)INT64_MAX >> shift)
		goto range;
	*bytes = n << shift;
	return 0;
range:
	return ob_fail(err, ERANGE, "size %s is over 2^63 - 1", text);
}
