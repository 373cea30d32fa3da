// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bytes as a client would send them: cut into frames, each decoded as a
 * request, and what is said about it checked against the bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_accepted(const struct ob_request *req, const uint8_t *at,
			   size_t len)
{
	size_t reply = ob_reply_payload_size(req);

	if (req->data_len) {
		require(req->data >= at);
		require((size_t)(req->data - at) <= len);
		require(req->data_len <= len - (size_t)(req->data - at));
	}
	if (req->hdr.cmd == OB_CMD_REGION_READ)
		require(reply == (size_t)OB_REGION_ACCESS_SIZE +
			req->access.count);
	else
		require(reply <= 32);
	if (req->hdr.cmd == OB_CMD_REGION_WRITE)
		require(req->data_len == req->access.count);
	if (req->hdr.cmd == OB_CMD_VERSION && req->version.json)
		require(!req->version.json[req->version.json_len]);
}

static void check_entries(const struct ob_request *req)
{
	struct ob_write_entry entry;
	struct ob_reader rd;
	uint64_t count = 0;

	ob_reader_init(&rd, req->data, req->data_len);
	while (!ob_get_write_entry(&rd, &entry))
		count++;
	require(count == req->write_count && !ob_reader_left(&rd));
}

/* A copy of its own, so that no neighbour hides a read past the end. */
static void decode(const struct ob_hdr *hdr, const uint8_t *payload,
		   size_t len)
{
	struct ob_request req = { .hdr = *hdr };
	uint8_t *copy = malloc(len ? len : 1);

	require(copy);
	memcpy(copy, payload, len);
	if (!ob_request_get(&req, copy, len)) {
		check_accepted(&req, copy, len);
		if (hdr->cmd == OB_CMD_REGION_WRITE_MULTI && req.data_len)
			check_entries(&req);
	} else {
		require(!req.data && !req.data_len);
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct ob_reader rd;
	struct ob_hdr hdr;

	ob_reader_init(&rd, bytes, len);
	while (!ob_hdr_get(&rd, &hdr)) {
		const uint8_t *payload;

		if (hdr.size < OB_HDR_SIZE ||
		    ob_get_view(&rd, &payload, hdr.size - OB_HDR_SIZE))
			break;
		require(ob_cmd_name(hdr.cmd) != NULL);
		decode(&hdr, payload, hdr.size - OB_HDR_SIZE);
	}
	return 0;
}
