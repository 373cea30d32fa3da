// SPDX-License-Identifier: BSD-3-Clause
/*
 * Capabilities.  The keys are a table: name, bounds, member.
 *
 * A parser that recurses is given nothing deep: brackets are counted before
 * jansson runs.  A key that appears twice is an error, because two readers
 * of such a text may disagree on what was agreed.  `migration` is a leftover
 * of an older text that QEMU and libvfio-user still send; like every other
 * unknown key it is not looked at.
 */
#include "proto/caps.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum kind { KIND_U32, KIND_U64, KIND_BOOL };

struct key {
	const char *name;
	enum kind kind;
	size_t offset;
	json_int_t min, max;
};

static const struct key keys[] = {
	{ "max_msg_fds", KIND_U32,
	  offsetof(struct ob_caps, max_msg_fds), 0, UINT32_MAX },
	{ "max_data_xfer_size", KIND_U32,
	  offsetof(struct ob_caps, max_data_xfer_size), 1, OB_MAX_DATA_XFER },
	{ "max_dma_maps", KIND_U32,
	  offsetof(struct ob_caps, max_dma_maps), 0, UINT32_MAX },
	{ "pgsizes", KIND_U64,
	  offsetof(struct ob_caps, pgsizes), 1, INT64_MAX },
	{ "write_multiple", KIND_BOOL,
	  offsetof(struct ob_caps, write_multiple), 0, 1 },
	{ "outboard_precopy_info", KIND_BOOL,
	  offsetof(struct ob_caps, precopy_info), 0, 1 },
	{ "outboard_error_text", KIND_BOOL,
	  offsetof(struct ob_caps, error_text), 0, 1 },
};

#define NR_KEYS (sizeof(keys) / sizeof(keys[0]))

void ob_caps_defaults(struct ob_caps *caps)
{
	*caps = (struct ob_caps){
		.max_msg_fds = 1,
		.max_data_xfer_size = 1 << 20,
		.max_dma_maps = 65535,
		.pgsizes = 4096,
		.twin_fd_index = -1,
	};
}

/* Brackets inside strings do not nest; a quote after a backslash is data. */
static unsigned nesting(const char *json, size_t len)
{
	unsigned depth = 0, deepest = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = json[i];

		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '{' || c == '['))
			depth++;
		else if (!in_string && (c == '}' || c == ']') && depth)
			depth--;
		if (depth > deepest)
			deepest = depth;
	}
	return deepest;
}

static int get_integer(const json_t *value, const char *name, json_int_t min,
		       json_int_t max, json_int_t *out, struct ob_err *err)
{
	if (!json_is_integer(value))
		return ob_fail(err, EINVAL, "%s is not an integer", name);
	*out = json_integer_value(value);
	if (*out < min || *out > max)
		return ob_fail(err, EINVAL, "%s is %" JSON_INTEGER_FORMAT
			       ", not %" JSON_INTEGER_FORMAT " to %"
			       JSON_INTEGER_FORMAT, name, *out, min, max);
	return 0;
}

static int get_bool(const json_t *value, const char *name, bool *out,
		    struct ob_err *err)
{
	if (!json_is_boolean(value))
		return ob_fail(err, EINVAL, "%s is not a boolean", name);
	*out = json_boolean_value(value);
	return 0;
}

static int get_key(struct ob_caps *caps, const struct key *key,
		   const json_t *value, struct ob_err *err)
{
	void *member = (char *)caps + key->offset;
	json_int_t number = 0;
	int r;

	if (key->kind == KIND_BOOL)
		return get_bool(value, key->name, member, err);
	r = get_integer(value, key->name, key->min, key->max, &number, err);
	if (r)
		return r;
	if (key->kind == KIND_U64)
		*(uint64_t *)member = number;
	else
		*(uint32_t *)member = number;
	return 0;
}

static int get_twin_socket(struct ob_caps *caps, const json_t *twin,
			   struct ob_err *err)
{
	const json_t *value;
	json_int_t index = 0;
	int r;

	if (!json_is_object(twin))
		return ob_fail(err, EINVAL, "twin_socket is not an object");
	value = json_object_get(twin, "supported");
	if (value && (r = get_bool(value, "twin_socket.supported",
				   &caps->twin_socket, err)))
		return r;
	value = json_object_get(twin, "fd_index");
	if (!value)
		return 0;
	r = get_integer(value, "twin_socket.fd_index", 0, INT32_MAX, &index,
			err);
	if (!r)
		caps->twin_fd_index = index;
	return r;
}

static int get_capabilities(struct ob_caps *caps, const json_t *object,
			    struct ob_err *err)
{
	const json_t *value;
	int r;

	if (!json_is_object(object))
		return ob_fail(err, EINVAL, "capabilities is not an object");
	for (size_t i = 0; i < NR_KEYS; i++) {
		value = json_object_get(object, keys[i].name);
		if (value && (r = get_key(caps, &keys[i], value, err)))
			return r;
	}
	value = json_object_get(object, "twin_socket");
	return value ? get_twin_socket(caps, value, err) : 0;
}

static int get_root(struct ob_caps *caps, const json_t *root,
		    struct ob_err *err)
{
	const json_t *object;

	if (!json_is_object(root))
		return ob_fail(err, EINVAL, "not a JSON object");
	object = json_object_get(root, "capabilities");
	return object ? get_capabilities(caps, object, err) : 0;
}

int ob_caps_parse(struct ob_caps *caps, const char *json, size_t len,
		  struct ob_err *err)
{
	json_error_t why;
	json_t *root;
	int r;

	ob_caps_defaults(caps);
	if (!json)
		return 0;
	if (len > OB_CAPS_MAX_JSON)
		return ob_fail(err, EINVAL, "%zu bytes of JSON, more than %u",
			       len, OB_CAPS_MAX_JSON);
	if (nesting(json, len) > OB_CAPS_MAX_DEPTH)
		return ob_fail(err, EINVAL, "JSON nested deeper than %u",
			       OB_CAPS_MAX_DEPTH);
	root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return ob_fail(err, EINVAL, "bad JSON at byte %d",
			       why.position);
	r = get_root(caps, root, err);
	json_decref(root);
	return r;
}

static int format_twin(const struct ob_caps *caps, char *buf, size_t size)
{
	if (!caps->twin_socket)
		return snprintf(buf, size, "%s", "");
	if (caps->twin_fd_index < 0)
		return snprintf(buf, size,
				",\"twin_socket\":{\"supported\":true}");
	return snprintf(buf, size,
			",\"twin_socket\":{\"supported\":true,\"fd_index\":%d}",
			caps->twin_fd_index);
}

int ob_caps_format(const struct ob_caps *caps, char *buf, size_t size)
{
	char twin[80];
	int len;

	format_twin(caps, twin, sizeof(twin));
	/* Unusual keys are mentioned when they are on. */
	len = snprintf(buf, size, "{\"capabilities\":{"
		       "\"max_msg_fds\":%" PRIu32
		       ",\"max_data_xfer_size\":%" PRIu32
		       ",\"max_dma_maps\":%" PRIu32 ",\"pgsizes\":%" PRIu64
		       ",\"write_multiple\":%s%s%s%s}}",
		       caps->max_msg_fds, caps->max_data_xfer_size,
		       caps->max_dma_maps, caps->pgsizes,
		       caps->write_multiple ? "true" : "false",
		       caps->precopy_info ? ",\"outboard_precopy_info\":true"
					  : "",
		       caps->error_text ? ",\"outboard_error_text\":true" : "",
		       twin);
	if (len < 0 || (size_t)len >= size)
		return -ENOSPC;
	return len + 1;
}
