// SPDX-License-Identifier: BSD-3-Clause
/*
 * The guard against migrations that nobody conducts: a block node of a format that
 * QEMU does not migrate.  As long as it is there QEMU refuses to migrate and to
 * snapshot; we take it away for our own migration, and put it back if the VM stays.
 */
#include <errno.h>
#include <string.h>

#include "conduct.h"

#define NODE "outboard-guard"

static const json_t *find(const json_t *nodes)
{
	const json_t *node;
	size_t i;

	json_array_foreach(nodes, i, node) {
		const char *name = json_string_value(json_object_get(
			node, "node-name"));

		if (name && !strcmp(name, NODE))
			return node;
	}
	return NULL;
}

bool conduct_is_guard(const char *reason)
{
	return reason && strstr(reason, "'" NODE "'");
}

/* What it takes to make it again. */
static json_t *describe(const json_t *node)
{
	return json_pack("{s:O?, s:s, s:O?, s:{s:s, s:O?}}", "driver",
			 json_object_get(node, "drv"), "node-name", NODE,
			 "read-only", json_object_get(node, "ro"), "file",
			 "driver", "file", "filename",
			 json_object_get(node, "file"));
}

int conduct_lift_guard(struct conductor *c, struct ob_err *err)
{
	json_t *nodes = NULL;
	const json_t *node;
	int r = ob_qmp_call(c->qmp[CONDUCT_FROM], "query-named-block-nodes",
			    json_pack("{s:b}", "flat", true), &nodes, err);

	node = find(nodes);
	if (!r && node) {
		c->guard = describe(node);
		r = ob_qmp_call(c->qmp[CONDUCT_FROM], "blockdev-del",
				json_pack("{s:s}", "node-name", NODE), NULL,
				err);
	}
	json_decref(nodes);
	return r;
}

int conduct_put_guard(struct conductor *c, struct ob_err *err)
{
	json_t *guard = c->guard;

	c->guard = NULL;
	return guard ? ob_qmp_call(c->qmp[CONDUCT_FROM], "blockdev-add", guard,
				   NULL, err) : 0;
}
