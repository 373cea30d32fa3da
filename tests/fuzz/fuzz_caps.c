// SPDX-License-Identifier: BSD-3-Clause
/* The capabilities' JSON: what is accepted is in range and formats again. */
#include <stdlib.h>
#include <string.h>

#include "proto/caps.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_again(const struct ob_caps *caps)
{
	struct ob_caps again;
	char text[512];
	int len = ob_caps_format(caps, text, sizeof(text));

	require(len > 1 && !text[len - 1]);
	require(!ob_caps_parse(&again, text, len - 1, NULL));
	require(again.max_msg_fds == caps->max_msg_fds);
	require(again.max_data_xfer_size == caps->max_data_xfer_size);
	require(again.max_dma_maps == caps->max_dma_maps);
	require(again.pgsizes == caps->pgsizes);
	require(again.write_multiple == caps->write_multiple);
	require(again.twin_socket == caps->twin_socket);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct ob_err err = { 0 };
	struct ob_caps caps;

	if (ob_caps_parse(&caps, (const char *)bytes, len, &err)) {
		require(err.msg[0] && memchr(err.msg, 0, sizeof(err.msg)));
		return 0;
	}
	require(caps.max_data_xfer_size >= 1);
	require(caps.max_data_xfer_size <= OB_MAX_DATA_XFER);
	require(caps.pgsizes && caps.twin_fd_index >= -1);
	check_again(&caps);
	return 0;
}
