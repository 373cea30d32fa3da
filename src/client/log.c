// SPDX-License-Identifier: BSD-3-Clause
/*
 * The dirty log of one device [DMA_LOGGING_START, STOP, REPORT].  A report's
 * bitmap has to fit in a reply, so long ranges are asked for in turns of as
 * many whole words of pages as the agreed size of data allows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "client/client.h"

#define WORD_BITS 64u

static int put_start(struct ob_writer *wr, uint64_t page_hint,
		     const struct ob_client_range *ranges, uint32_t count)
{
	struct ob_log_start start = {
		.page_size = page_hint, .nr_ranges = count,
	};
	int r = ob_put_log_start(wr, &start);

	for (uint32_t i = 0; !r && i < count; i++) {
		struct ob_log_range range = {
			ranges[i].iova, ranges[i].length,
		};

		r = ob_put_log_range(wr, &range);
	}
	return r;
}

/* The answer may be an echo with the real page size, or nothing. */
static uint64_t page_of(const struct ob_msg *reply, uint64_t hint)
{
	struct ob_reader rd;
	uint64_t page;

	ob_reader_init(&rd, reply->payload, reply->len);
	if (ob_skip(&rd, OB_FEATURE_SIZE) || ob_get_u64(&rd, &page) || !page)
		return hint;
	return page;
}

int ob_client_log_start(struct ob_client *client, uint64_t page_hint,
			const struct ob_client_range *ranges, uint32_t count,
			uint64_t *page, struct ob_err *err)
{
	size_t len = OB_LOG_START_SIZE + (size_t)count * OB_LOG_RANGE_SIZE;
	OB_CLEANUP_FREE uint8_t *bytes = NULL;
	struct ob_writer wr;
	struct ob_msg reply;
	int r;

	if (len > client->version.max_data_xfer_size)
		return ob_fail(err, EINVAL, "%u ranges are too many for one "
			       "message", count);
	bytes = malloc(len);
	if (!bytes)
		return ob_fail(err, ENOMEM, "out of memory");
	ob_writer_init(&wr, bytes, len);
	r = put_start(&wr, page_hint, ranges, count);
	if (r)
		return ob_fail(err, -r, "cannot encode");
	r = client_feature(client, OB_FEATURE_LOG_START | OB_FEATURE_SET,
			   bytes, len, 0, 0, &reply, err);
	if (r)
		client_add_error_text(client, &reply, err);
	else if (page)
		*page = page_of(&reply, page_hint);
	if (reply.hdr.size)
		ob_msg_finish(&reply);
	if (r)
		ob_err_prefix(err, "cannot start the dirty log");
	return r;
}

int ob_client_log_stop(struct ob_client *client, struct ob_err *err)
{
	struct ob_msg reply;
	int r = client_feature(client, OB_FEATURE_LOG_STOP | OB_FEATURE_SET,
			       NULL, 0, 0, 0, &reply, err);

	if (r)
		client_add_error_text(client, &reply, err);
	if (reply.hdr.size)
		ob_msg_finish(&reply);
	if (r)
		ob_err_prefix(err, "cannot stop the dirty log");
	return r;
}

/* Bits behind the last page are not the caller's, whatever the server says. */
static void or_bits(uint64_t *bitmap, const uint8_t *bytes, uint64_t pages)
{
	for (uint64_t at = 0; at < pages; at += WORD_BITS) {
		uint64_t word, *into = &bitmap[at / WORD_BITS];

		memcpy(&word, bytes + at / 8, sizeof(word));
		if (pages - at < WORD_BITS)
			word &= (UINT64_C(1) << (pages - at)) - 1;
		if (word)
			*into |= word;
	}
}

static int report_some(struct ob_client *client, uint64_t iova,
		       uint64_t length, uint64_t page, uint64_t pages,
		       uint64_t *bitmap, struct ob_err *err)
{
	struct ob_log_report wire = { iova, length, page };
	size_t bits = (size_t)((pages + WORD_BITS - 1) / WORD_BITS * 8);
	uint8_t bytes[OB_LOG_REPORT_SIZE];
	struct ob_writer wr;
	struct ob_msg reply;
	int r;

	ob_writer_init(&wr, bytes, sizeof(bytes));
	r = ob_put_log_report(&wr, &wire);
	if (r)
		return ob_fail(err, -r, "cannot encode");
	r = client_feature(client, OB_FEATURE_LOG_REPORT | OB_FEATURE_GET,
			   bytes, sizeof(bytes), OB_LOG_REPORT_SIZE + bits,
			   OB_LOG_REPORT_SIZE + bits, &reply, err);
	if (!r)
		or_bits(bitmap, reply.payload + OB_FEATURE_SIZE +
			OB_LOG_REPORT_SIZE, pages);
	else
		client_add_error_text(client, &reply, err);
	if (reply.hdr.size)
		ob_msg_finish(&reply);
	return r;
}

/* Pages whose bits, with all that goes around them, are agreed to fit. */
static uint64_t pages_per_report(const struct ob_client *client)
{
	uint64_t max = client->version.max_data_xfer_size;
	uint64_t around = OB_FEATURE_SIZE + OB_LOG_REPORT_SIZE;
	uint64_t words = max > around ? (max - around) / 8 : 0;

	return (words ? words : 1) * WORD_BITS;
}

static int check_report(uint64_t iova, uint64_t length, uint64_t page,
			struct ob_err *err)
{
	uint64_t last;

	if (page && !(page & (page - 1)) && length &&
	    !__builtin_add_overflow(iova, length - 1, &last))
		return 0;
	return ob_fail(err, EINVAL,
		       "a report on 0x%llx bytes at 0x%llx in pages of 0x%llx",
		       (unsigned long long)length, (unsigned long long)iova,
		       (unsigned long long)page);
}

int ob_client_log_report(struct ob_client *client, uint64_t iova,
			 uint64_t length, uint64_t page, uint64_t *bitmap,
			 struct ob_err *err)
{
	uint64_t most = pages_per_report(client);
	int r = check_report(iova, length, page, err);

	while (!r && length) {
		uint64_t pages = (length - 1) / page + 1;
		uint64_t part = length;

		if (pages > most) {
			pages = most;
			part = most * page;
		}
		r = report_some(client, iova, part, page, pages, bitmap, err);
		bitmap += (pages + WORD_BITS - 1) / WORD_BITS;
		iova += part;
		length -= part;
	}
	if (r)
		ob_err_prefix(err, "no report of dirty pages");
	return r;
}
