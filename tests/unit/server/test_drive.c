// SPDX-License-Identifier: BSD-3-Clause
/* A model's drives under a keeper, with the real drives below. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <outboard/device.h>

#include "base/fd.h"
#include "base/keep.h"
#include "server/drive.h"
#include "server/server.h"

#define NAMES 64

static struct table {
	struct ob_keep ops;
	char names[NAMES][OB_KEEP_NAME_MAX + 1];
	int fds[NAMES];
	unsigned count;
} table;

static unsigned place(const char *name)
{
	unsigned i = 0;

	while (i < table.count && strcmp(table.names[i], name))
		i++;
	return i;
}

static int put(struct ob_keep *keep, const char *name, int fd)
{
	unsigned i = place(name);

	(void)keep;
	assert_true(i < NAMES);
	if (i == table.count) {
		strcpy(table.names[i], name);
		table.fds[table.count++] = -1;
	}
	ob_fd_close(&table.fds[i]);
	table.fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return 0;
}

static int get(struct ob_keep *keep, const char *name)
{
	unsigned i = place(name);

	(void)keep;
	return i < table.count && table.fds[i] >= 0 ?
	       fcntl(table.fds[i], F_DUPFD_CLOEXEC, 0) : -ENOENT;
}

static void drop(struct ob_keep *keep, const char *name)
{
	size_t len = strlen(name);

	(void)keep;
	for (unsigned i = 0; i < table.count; i++)
		if (!strncmp(table.names[i], name, len) &&
		    (name[len - 1] == '/' || !table.names[i][len]))
			ob_fd_close(&table.fds[i]);
}

static void each(struct ob_keep *keep, const char *prefix,
		 void (*fn)(void *arg, const char *name), void *arg)
{
	(void)keep;
	for (unsigned i = 0; i < table.count; i++)
		if (table.fds[i] >= 0 &&
		    !strncmp(table.names[i], prefix, strlen(prefix)))
			fn(arg, table.names[i]);
}

struct runtime {
	struct ob_drive *drives[2];
};

static char path[] = "/tmp/outboard-drive-XXXXXX";
static const char *second;	/* the drive */

static int init(struct ob_device *dev, struct ob_pci *pci, struct ob_err *err)
{
	struct runtime *rt = ob_dev_runtime(dev);
	int r = ob_dev_drive_open(dev, 0, "mem:64K", 0, &rt->drives[0], err);

	(void)pci;
	return r ? r : ob_dev_drive_open(dev, 1, second, 0, &rt->drives[1],
					 err);
}

static void finish(struct ob_device *dev)
{
	struct runtime *rt = ob_dev_runtime(dev);

	ob_drive_close(rt->drives[0]);
	ob_drive_close(rt->drives[1]);
}

static struct ob_drive *drive(struct ob_device *dev, unsigned i)
{
	struct runtime *rt = ob_dev_runtime(dev);

	return i < 2 ? rt->drives[i] : NULL;
}

static const struct ob_pci pci = {
	.vendor = 1, .device = 2, .bars = { { .size = 4096 } },
};

static const struct ob_device_class class = {
	.size = sizeof(struct ob_device_class), .abi = OB_DEVICE_ABI,
	.name = "disks", .pci = &pci, .runtime_size = sizeof(struct runtime),
	.init = init, .finish = finish, .drive = drive,
};

static struct ob_device *create(struct ob_loop *loop)
{
	const struct ob_option *const tables[] = {
		ob_device_common_options, NULL
	};
	struct ob_options *opts;
	struct ob_device *dev = NULL;
	struct ob_err err = { 0 };

	if (ob_options_parse("disks,socket=unused,id=d7", tables, &opts, &err) ||
	    ob_device_create(loop, &class, opts, &dev, &err))
		fail_msg("%s", err.msg);
	return dev;
}

static bool is_kept(const char *name)
{
	int fd = get(&table.ops, name);
	bool kept = fd >= 0;

	ob_fd_close(&fd);
	return kept;
}

/* Both are alive for a while, as in an upgrade; then the first one dies. */
static void drives_go_from_one_device_to_its_successor(void **state)
{
	struct ob_device *dev, *heir;
	struct ob_loop *loop;
	uint8_t *bytes;

	(void)state;
	second = "delay:0:mem:4K";
	table.ops = (struct ob_keep){
		.put = put, .get = get, .drop = drop, .each = each,
	};
	assert_int_equal(ob_loop_create(NULL, &loop, NULL), 0);
	ob_loop_set_keep(loop, &table.ops);
	dev = create(loop);
	assert_true(is_kept("d7/drive/0/memory"));
	assert_true(is_kept("d7/drive/1/memory"));
	bytes = ob_drive_info(drive(dev, 0))->memory;
	bytes[5] = 55;
	/* What only the device itself keeps is not this test's matter. */
	drop(&table.ops, "d7/state");

	heir = create(loop);
	assert_int_equal(ob_drive_release(drive(dev, 1), NULL), 0);
	assert_true(ob_drive_is_active(drive(heir, 1)));
	ob_device_destroy(dev);
	assert_int_equal(ob_device_recall_drives(heir, NULL), 0);
	bytes = ob_drive_info(drive(heir, 0))->memory;
	assert_int_equal(bytes[5], 55);
	assert_true(ob_drive_is_active(drive(heir, 0)));
	assert_false(ob_drive_is_active(drive(heir, 1)));

	ob_device_destroy(heir);
	assert_true(is_kept("d7/drive/0/memory"));
	drop(&table.ops, "d7/");
	assert_false(is_kept("d7/drive/0/memory"));
	ob_loop_destroy(loop);
}

/* As QEMU's programs lock an image; asks only, if op says so. */
static short lock(int fd, int op, short type)
{
	struct flock fl = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = 100, .l_len = 2,
	};

	assert_int_equal(fcntl(fd, op, &fl), 0);
	return fl.l_type;
}

/*
 * It dies when the record says that the image is another's, and the lock is still
 * there: who is to have the image finds it free as soon as somebody serves.
 */
static void a_hand_over_that_was_cut_short_is_finished(void **state)
{
	OB_CLEANUP_FD int fd = mkstemp(path);
	OB_CLEANUP_FD int image = -1;
	struct ob_device *dev, *heir;
	struct ob_loop *loop;
	char spec[64];

	(void)state;
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	snprintf(spec, sizeof(spec), "file:%s", path);
	second = spec;
	table.ops = (struct ob_keep){
		.put = put, .get = get, .drop = drop, .each = each,
	};
	assert_int_equal(ob_loop_create(NULL, &loop, NULL), 0);
	ob_loop_set_keep(loop, &table.ops);
	dev = create(loop);
	assert_int_equal(lock(fd, F_OFD_GETLK, F_WRLCK), F_RDLCK);
	assert_int_equal(ob_drive_release(drive(dev, 1), NULL), 0);
	assert_int_equal(lock(fd, F_OFD_GETLK, F_WRLCK), F_UNLCK);
	image = get(&table.ops, "d7/drive/1/image");
	lock(image, F_OFD_SETLK, F_RDLCK);
	ob_device_destroy(dev);

	heir = create(loop);
	assert_false(ob_drive_is_active(drive(heir, 1)));
	assert_int_equal(lock(fd, F_OFD_GETLK, F_WRLCK), F_UNLCK);
	ob_device_destroy(heir);
	drop(&table.ops, "d7/");
	ob_loop_destroy(loop);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drives_go_from_one_device_to_its_successor),
		cmocka_unit_test(a_hand_over_that_was_cut_short_is_finished),
	};

	return cmocka_run_group_tests_name("a device's drives", tests, NULL,
					   NULL);
}
