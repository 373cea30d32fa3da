// SPDX-License-Identifier: BSD-3-Clause
/*
 * The load in a real guest: fio writes blocks that say where they belong and
 * when, and reads them back, a few seconds at a time; the guest's kernel is not
 * to say a word about its disk.  The account goes to where that of the built-in
 * guest is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "torture.h"

#define SLICE_S 5u
#define SPARE_S 300u			/* emulated, on a busy machine */

#define FIO "fio --name=t --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio" \
	" --size=16M --verify=crc32c --verify_interval=4k --verify_fatal=1" \
	" --output-format=json "
#define LAY FIO "--rw=write --bs=64k --do_verify=0"
#define MIX FIO "--rw=randrw --bssplit=4k/70:16k/20:64k/10 --iodepth=32" \
	" --time_based --runtime=%u"
#define LOOK FIO "--rw=read --bs=64k --verify_only --verify_header_seed=0"
#define SAID "dmesg | grep -i nvme | sed 's/^[^]]*] //'"

static void add(struct torture *t, json_t *job, const char *kind,
		uint64_t *count)
{
	json_t *part = json_object_get(job, kind);
	json_t *lat = json_object_get(part, "clat_ns");
	uint64_t ios = (uint64_t)json_integer_value(
		json_object_get(part, "total_ios"));
	uint64_t slowest = (uint64_t)json_integer_value(
		json_object_get(lat, "max"));

	*count += ios;
	t->guest->done += ios;
	if (slowest > t->slowest_ns)
		t->slowest_ns = slowest;
}

/* fio's own words for what it found come before the tree. */
static int fio(struct torture *t, const char *command, struct ob_err *err)
{
	struct guest *g = t->guest;
	char text[65536], *tree;
	json_t *root, *job, *error;
	int r = vm_run(&t->vm, command, SLICE_S + SPARE_S, text, sizeof(text),
		       err);

	tree = strchr(text, '{');
	root = json_loads(tree ? tree : "", JSON_DISABLE_EOF_CHECK, NULL);
	job = json_array_get(json_object_get(root, "jobs"), 0);
	error = json_object_get(job, "error");
	add(t, job, "read", &g->reads);
	add(t, job, "write", &g->writes);
	if (!r && !json_is_integer(error))
		r = ob_fail(err, EPROTO, "fio says: %.160s", text);
	if (json_integer_value(error) == EILSEQ)
		g->verify.damaged++;
	else if (json_integer_value(error))
		g->faults.errors++;
	if (json_integer_value(error)) {
		r = 0;			/* the account tells */
		ob_fail(&g->faults.first, EIO, "fio: %.200s", text);
	}
	json_decref(root);
	return r;
}

int torture_vm_start(struct torture *t, struct ob_err *err)
{
	char log[96], text[256];
	int r;

	snprintf(log, sizeof(log), "%s/console.log", t->folder);
	r = vm_boot(&t->vm, t->opt.vm, t->servers[0].path, log, err);
	if (!r)
		r = vm_run(&t->vm, SAID " >/tmp/said", 60, text, sizeof(text),
			   err);
	if (!r)
		r = fio(t, LAY, err);
	t->guest->done = t->guest->writes = t->slowest_ns = 0;
	return r;
}

int torture_vm_load(struct torture *t, uint64_t ns, struct ob_err *err)
{
	uint64_t end = now_ns() + ns;
	char command[512];
	int r = 0;

	while (!r && now_ns() < end && !torture_killer_ended(t)) {
		uint64_t left = (end - now_ns()) / 1000000000u + 1;

		snprintf(command, sizeof(command), MIX,
			 left < SLICE_S ? (unsigned)left : SLICE_S);
		r = fio(t, command, err);
		torture_line(t, false);
	}
	return r;
}

int torture_vm_end(struct torture *t, struct ob_err *err)
{
	char text[4096];
	int r = fio(t, LOOK, err);

	if (!r)
		r = vm_run(&t->vm, SAID " | diff /tmp/said -", 60, text,
			   sizeof(text), err);
	return r ? r : vm_off(&t->vm, err);
}
