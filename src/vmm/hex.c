// SPDX-License-Identifier: BSD-3-Clause
#include "vmm/hex.h"

#include <errno.h>
#include <string.h>

static int digit(char c)
{
	const char *digits = "0123456789abcdef", *at = strchr(digits, c);

	return c && at ? (int)(at - digits) : -1;
}

int ob_hex_read(const char *text, uint8_t *buf, size_t len)
{
	if (strlen(text) != 2 * len)
		return -EPROTO;
	for (size_t i = 0; i < len; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EPROTO;
		buf[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}
