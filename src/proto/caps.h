/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VERSION message's JSON: {"capabilities": {...}}.  Hostile input (R12):
 * its size and depth are bounded before jansson sees it, unknown keys are
 * ignored, wrong types and out-of-range numbers are errors that name the key.
 */
#ifndef OB_PROTO_CAPS_H
#define OB_PROTO_CAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/error.h>

#define OB_CAPS_MAX_JSON 65536u
#define OB_CAPS_MAX_DEPTH 16u
#define OB_MAX_DATA_XFER (64u << 20)

struct ob_caps {
	uint32_t max_msg_fds;		/* default 1 */
	uint32_t max_data_xfer_size;	/* default 1 MiB */
	uint32_t max_dma_maps;		/* default 65535 */
	uint64_t pgsizes;		/* default 4096 */
	bool write_multiple;
	bool precopy_info, error_text;	/* ours: OB_FEATURE_... */
	bool twin_socket;		/* supported */
	int32_t twin_fd_index;		/* in a reply; -1: none */
};

/* The values of a peer that says nothing. */
void ob_caps_defaults(struct ob_caps *caps);
/* json may be NULL: defaults.  -EINVAL with a message. */
int ob_caps_parse(struct ob_caps *caps, const char *json, size_t len,
		  struct ob_err *err);
/* NUL-terminated text; returns its length with the NUL, or -ENOSPC. */
int ob_caps_format(const struct ob_caps *caps, char *buf, size_t size);

#endif
