// SPDX-License-Identifier: BSD-3-Clause
/*
 * Guest memory in a migration: a bitmap for each range, of pages still to be
 * sent.  All of it at first; a page is unmarked when it has been copied, and
 * marked again by a report.  A report is asked for, and so cleared in the
 * device, before the copy, never after: what is written while a page is being
 * copied is in the next one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "client/client.h"
#include "client/migrate.h"

#define MAX_PAGE (UINT64_C(1) << 30)
#define PIECE_WORDS 256u	/* 64 MiB of 4-KiB pages in one callback */

static uint64_t pages_of(const struct ob_outgoing *out, unsigned range)
{
	return (out->run->params->ram[range].length - 1) / out->page + 1;
}

static size_t words_of(const struct ob_outgoing *out, unsigned range)
{
	return (size_t)OB_BITMAP_WORDS(pages_of(out, range));
}

static int check_range(const struct ob_outgoing *out, unsigned i,
		       struct ob_err *err)
{
	const struct ob_client_range *range = &out->run->params->ram[i];
	uint64_t last;

	if (range->length && !(range->iova % out->page) &&
	    !__builtin_add_overflow(range->iova, range->length - 1, &last))
		return 0;
	return ob_fail(err, EINVAL,
		       "range %u of guest memory, 0x%llx bytes at 0x%llx", i,
		       (unsigned long long)range->length,
		       (unsigned long long)range->iova);
}

int ram_create(struct ob_outgoing *out, struct ob_err *err)
{
	const struct ob_migrate_params *params = out->run->params;
	int r;

	out->page = params->page ? params->page : 4096;
	if (out->page & (out->page - 1) || out->page > MAX_PAGE)
		return ob_fail(err, EINVAL, "pages of 0x%llx bytes",
			       (unsigned long long)out->page);
	if (!params->nr_ram)
		return 0;
	if (!out->run->ops->ram_copy)
		return ob_fail(err, EINVAL, "guest memory without ram_copy");
	out->bitmaps = calloc(params->nr_ram, sizeof(*out->bitmaps));
	for (unsigned i = 0; out->bitmaps && i < params->nr_ram; i++) {
		r = check_range(out, i, err);
		if (r)
			return r;
		out->bitmaps[i] = calloc(words_of(out, i), sizeof(uint64_t));
		if (!out->bitmaps[i])
			return ob_fail(err, ENOMEM, "out of memory");
		ob_bits_set(out->bitmaps[i], 0, (size_t)pages_of(out, i));
	}
	return out->bitmaps ? 0 : ob_fail(err, ENOMEM, "out of memory");
}

void ram_destroy(struct ob_outgoing *out)
{
	for (unsigned i = 0; out->bitmaps && i < out->run->params->nr_ram; i++)
		free(out->bitmaps[i]);
	free(out->bitmaps);
}

static int ask_device(struct ob_outgoing *out, unsigned i,
		      enum ob_migrate_step step, struct ob_err *err)
{
	const struct ob_migrate_params *params = out->run->params;
	struct out_device *dev = &out->devices[i];
	int r;

	if (!dev->logging)
		return 0;
	r = migrate_step(out->run, step, i, err);
	for (unsigned n = 0; !r && n < params->nr_ram; n++)
		r = ob_client_log_report(dev->client, params->ram[n].iova,
					 params->ram[n].length, out->page,
					 out->bitmaps[n], err);
	return r;
}

/* The VMM may be careless with the bits behind the last page; we are not. */
static void trim(struct ob_outgoing *out, unsigned range)
{
	uint64_t last = pages_of(out, range) % 64;

	if (last)
		out->bitmaps[range][words_of(out, range) - 1] &=
			(UINT64_C(1) << last) - 1;
}

static int ask_vmm(struct ob_outgoing *out, struct ob_err *err)
{
	const struct migrate_run *run = out->run;

	for (unsigned n = 0; run->ops->ram_dirty && n < run->params->nr_ram;
	     n++) {
		int r = run->ops->ram_dirty(run->params->arg, n,
					    out->bitmaps[n], err);

		if (r)
			return migrate_callback_failed(r, "the guest's dirty "
						       "pages", err);
		trim(out, n);
	}
	return 0;
}

int ram_collect(struct ob_outgoing *out, enum ob_migrate_step step,
		struct ob_err *err)
{
	int r = 0;

	if (!out->run->params->nr_ram)
		return 0;
	for (unsigned i = 0; !r && i < out->count; i++)
		r = ask_device(out, i, step, err);
	return r ? r : ask_vmm(out, err);
}

static uint64_t count_bits(const uint64_t *words, size_t count)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < count; i++)
		bits += (uint64_t)__builtin_popcountll(words[i]);
	return bits;
}

uint64_t ram_left(const struct ob_outgoing *out)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < out->run->params->nr_ram; i++)
		bits += count_bits(out->bitmaps[i], words_of(out, i));
	return bits * out->page;
}

static void count_bytes(struct ob_outgoing *out, enum ob_migrate_step step,
			uint64_t bytes)
{
	struct ob_migrate_result *result = out->run->result;

	result->ram_bytes += bytes;
	if (step == OB_MIGRATE_LAST_RAM)
		result->last_ram_bytes += bytes;
	out->run->left -= bytes < out->run->left ? bytes : out->run->left;
}

/* Words from `at` of a range; those that went are unmarked. */
static int send_piece(struct ob_outgoing *out, enum ob_migrate_step step,
		      unsigned range, size_t at, size_t words,
		      struct ob_err *err)
{
	const struct ob_client_range *all = &out->run->params->ram[range];
	uint64_t *bitmap = out->bitmaps[range] + at;
	uint64_t bytes = count_bits(bitmap, words) * out->page;
	struct ob_migrate_pages pages = {
		.range = range, .page = out->page, .bitmap = bitmap,
		.iova = all->iova + at * 64 * out->page,
	};
	int r;

	if (!bytes)
		return 0;
	pages.length = all->iova + all->length - pages.iova;
	if (pages.length > words * 64 * out->page)
		pages.length = words * 64 * out->page;
	r = migrate_step(out->run, step, 0, err);
	if (r)
		return r;
	r = out->run->ops->ram_copy(out->run->params->arg, &pages, err);
	if (r)
		return migrate_callback_failed(r, "guest memory", err);
	memset(bitmap, 0, words * sizeof(*bitmap));
	count_bytes(out, step, bytes);
	return out_pace(out, bytes, err);
}

/* A limited link wants small pieces, or it would stand still for long. */
static size_t piece_words(const struct ob_outgoing *out)
{
	size_t words = out_piece(out, PIECE_WORDS * 64 * (size_t)out->page) /
		       (64 * (size_t)out->page);

	return words ? words : 1;
}

int ram_send(struct ob_outgoing *out, enum ob_migrate_step step,
	     struct ob_err *err)
{
	size_t most = piece_words(out);
	int r = 0;

	for (unsigned n = 0; !r && n < out->run->params->nr_ram; n++) {
		size_t words = words_of(out, n), piece;

		for (size_t at = 0; !r && at < words; at += piece) {
			piece = most < words - at ? most : words - at;
			r = send_piece(out, step, n, at, piece, err);
		}
	}
	return r;
}
