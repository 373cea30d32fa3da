// SPDX-License-Identifier: BSD-3-Clause
/* Sockets, options, and one client at a time. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const struct ob_pci plain_pci = { .vendor = 1, .device = 2 };

static const struct ob_device_class plain_class = {
	.size = sizeof(struct ob_device_class), .abi = OB_DEVICE_ABI,
	.name = "plain", .summary = "nothing at all", .pci = &plain_pci,
};

struct box {
	struct ob_loop *loop;
	struct ob_device *dev;
	struct ob_err err;
	char dir[64];
};

static void box_open(struct box *box)
{
	memset(box, 0, sizeof(*box));
	strcpy(box->dir, "/tmp/ob-listen-XXXXXX");
	assert_non_null(mkdtemp(box->dir));
	assert_int_equal(ob_loop_create(NULL, &box->loop, NULL), 0);
}

static void box_close(struct box *box)
{
	ob_device_destroy(box->dev);
	ob_loop_destroy(box->loop);
	assert_int_equal(rmdir(box->dir), 0);	/* nothing was left */
}

static int create(struct box *box, const struct ob_device_class *cls,
		  const char *text)
{
	const struct ob_option *const tables[] = {
		ob_device_common_options, NULL
	};
	struct ob_options *opts;

	memset(&box->err, 0, sizeof(box->err));
	if (ob_options_parse(text, tables, &opts, &box->err))
		fail_msg("%s", box->err.msg);
	return ob_device_create(box->loop, cls, opts, &box->dev, &box->err);
}

/* Creates, listens; what: what the message must say, NULL for success. */
static int serve(struct box *box, const char *text, const char *what)
{
	int r = create(box, &plain_class, text);

	if (r == 0)
		r = ob_device_listen(box->dev, &box->err);
	if (what && !strstr(box->err.msg, what))
		fail_msg("\"%s\" does not say \"%s\"", box->err.msg, what);
	if (r) {
		ob_device_destroy(box->dev);
		box->dev = NULL;
	}
	return r;
}

static const char *text_for(const struct box *box, const char *name)
{
	static char text[256];

	snprintf(text, sizeof(text), "plain,socket=%s/%s", box->dir, name);
	return text;
}

static char *path_of(const struct box *box, const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", box->dir, name);
	return path;
}

static int bound_socket(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

static void r33_socket_is_0660_and_goes_at_the_end(void **arg)
{
	mode_t old = umask(0);
	struct box box;
	struct stat st;

	(void)arg;
	box_open(&box);
	assert_int_equal(serve(&box, text_for(&box, "s"), NULL), 0);
	assert_int_equal(stat(path_of(&box, "s"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	assert_int_equal(strncmp(ob_device_address(box.dev), "unix:/tmp/", 10),
			 0);
	assert_int_equal(umask(old), 0);
	box_close(&box);
}

static void a_file_that_is_no_longer_ours_stays(void **arg)
{
	struct box box;
	int fd;

	(void)arg;
	box_open(&box);
	assert_int_equal(serve(&box, text_for(&box, "s"), NULL), 0);
	assert_int_equal(unlink(path_of(&box, "s")), 0);
	fd = bound_socket(path_of(&box, "s"));
	ob_device_destroy(box.dev);
	box.dev = NULL;
	assert_int_equal(unlink(path_of(&box, "s")), 0);
	close(fd);
	box_close(&box);
}

static void stale_is_replaced_live_is_refused(void **arg)
{
	struct box box, second;
	int fd;

	(void)arg;
	box_open(&box);
	close(bound_socket(path_of(&box, "s")));
	assert_int_equal(serve(&box, text_for(&box, "s"), NULL), 0);
	second = box;
	assert_int_equal(serve(&second, text_for(&box, "s"), "another program"),
			 -EADDRINUSE);
	ob_device_destroy(box.dev);
	box.dev = NULL;
	fd = open(path_of(&box, "s"), O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(serve(&box, text_for(&box, "s"), "is no socket"), -EEXIST);
	unlink(path_of(&box, "s"));
	box_close(&box);
}

/* A log daemon's socket, say: no stream, so connecting fails, yet alive. */
static void a_live_socket_of_another_kind_stays(void **arg)
{
	static const int types[] = { SOCK_DGRAM, SOCK_SEQPACKET };
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct box box;
	unsigned i;

	(void)arg;
	box_open(&box);
	strcpy(sun.sun_path, path_of(&box, "s"));
	for (i = 0; i < 2; i++) {
		int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC, 0);

		assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
		assert_int_equal(serve(&box, text_for(&box, "s"),
				       "another program"), -EADDRINUSE);
		close(fd);
		/* Once nobody has it, it is as stale as any. */
		assert_int_equal(serve(&box, text_for(&box, "s"), NULL), 0);
		ob_device_destroy(box.dev);
		box.dev = NULL;
	}
	box_close(&box);
}

static void bad_places_are_named(void **arg)
{
	char text[600];
	struct box box;

	(void)arg;
	box_open(&box);
	assert_int_equal(serve(&box, text_for(&box, "missing/s"),
			       "missing does not exist"), -ENOENT);
	snprintf(text, sizeof(text), "plain,socket=/tmp/%0150d", 0);
	assert_int_equal(serve(&box, text, "at most 107"), -ENAMETOOLONG);
	/* Longer than a message: the reason is not what is cut off. */
	snprintf(text, sizeof(text), "plain,socket=/tmp/%0500d", 0);
	assert_int_equal(serve(&box, text, "505 bytes long, at most 107"),
			 -ENAMETOOLONG);
	assert_int_equal(serve(&box, "plain", "socket=PATH and fd=N"), -EINVAL);
	assert_int_equal(serve(&box, "plain,fd=0,socket=/x", "exclude"), -EINVAL);
	box_close(&box);
}

static void an_inherited_socket_must_listen(void **arg)
{
	char text[64];
	struct box box;
	int fd, other = eventfd(0, EFD_CLOEXEC);

	(void)arg;
	box_open(&box);
	fd = bound_socket(path_of(&box, "s"));
	snprintf(text, sizeof(text), "plain,fd=%d", fd);
	assert_int_equal(serve(&box, text, "not a listening"), -EINVAL);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);	/* still open */
	snprintf(text, sizeof(text), "plain,fd=%d", other);
	assert_int_equal(serve(&box, text, "not a listening"), -EINVAL);
	snprintf(text, sizeof(text), "plain,fd=999999");
	assert_int_equal(serve(&box, text, "999999"), -EBADF);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(text, sizeof(text), "plain,fd=%d", fd);
	assert_int_equal(serve(&box, text, NULL), 0);
	assert_int_equal(strncmp(ob_device_address(box.dev), "fd:", 3), 0);
	unlink(path_of(&box, "s"));
	close(other);
	box_close(&box);
}

/* The parent has the same open file, and may have it block. */
static void r6_an_inherited_socket_that_blocks_stops_nobody(void **arg)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd, theirs, client, i;
	char text[64], byte;
	struct box box;

	(void)arg;
	box_open(&box);
	fd = bound_socket(path_of(&box, "s"));
	theirs = dup(fd);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(text, sizeof(text), "plain,fd=%d", fd);
	assert_int_equal(serve(&box, text, NULL), 0);
	assert_int_equal(fcntl(theirs, F_SETFL, 0), 0);
	strcpy(sun.sun_path, path_of(&box, "s"));
	client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&sun, sizeof(sun)),
			 0);
	alarm(20);
	for (i = 0; i < 20; i++)
		assert_int_equal(ob_loop_turn(box.loop, false), 0);
	alarm(0);
	assert_int_equal(recv(client, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);	/* it is a client */
	close(client);
	close(theirs);
	unlink(path_of(&box, "s"));
	box_close(&box);
}

static void a_model_that_contradicts_itself_is_refused(void **arg)
{
	struct ob_device_class cls = plain_class;
	struct ob_pci pci = plain_pci;
	struct box box;

	(void)arg;
	box_open(&box);
	cls.abi = 99;
	assert_int_equal(create(&box, &cls, text_for(&box, "s")), -EINVAL);
	cls.abi = OB_DEVICE_ABI;
	cls.pci = &pci;
	pci.bars[1].size = 0x3000;
	assert_int_equal(create(&box, &cls, text_for(&box, "s")), -EINVAL);
	assert_non_null(strstr(box.err.msg, "BAR1"));
	pci.bars[1] = (struct ob_bar){ .size = 0x1000 };
	pci.msix_vectors = 64;
	pci.msix_table_bar = pci.msix_pba_bar = 1;
	pci.msix_pba_offset = 0x3f8;
	assert_int_equal(create(&box, &cls, text_for(&box, "s")), -EINVAL);
	assert_non_null(strstr(box.err.msg, "overlap"));
	pci.msix_pba_offset = 0x1000;
	assert_int_equal(create(&box, &cls, text_for(&box, "s")), -EINVAL);
	assert_non_null(strstr(box.err.msg, "PBA"));
	pci.bars[1] = (struct ob_bar){
		.size = 0x4000, .nr_areas = 1, .areas = { { 0x1000, 0x1000 } },
	};
	assert_int_equal(create(&box, &cls, text_for(&box, "s")), -EINVAL);
	assert_non_null(strstr(box.err.msg, "PBA is in a mappable area"));
	box.dev = NULL;
	box_close(&box);
}

static void devices_have_names_and_numbers(void **arg)
{
	struct box box;
	char text[128], first[64];

	(void)arg;
	box_open(&box);
	assert_int_equal(create(&box, &plain_class, text_for(&box, "s")), 0);
	snprintf(first, sizeof(first), "%s", ob_dev_id(box.dev));
	assert_int_equal(strncmp(first, "plain", 5), 0);
	ob_device_destroy(box.dev);
	assert_int_equal(create(&box, &plain_class, text_for(&box, "s")), 0);
	assert_string_not_equal(ob_dev_id(box.dev), first);
	ob_device_destroy(box.dev);
	snprintf(text, sizeof(text), "plain,socket=%s/s,id=disk7", box.dir);
	assert_int_equal(create(&box, &plain_class, text), 0);
	assert_string_equal(ob_dev_id(box.dev), "disk7");
	box_close(&box);
}

/* QEMU may abort when its VERSION is answered by the end of the stream. */
static void r11_a_second_client_is_told_that_the_device_is_busy(void **arg)
{
	const uint32_t version[5] = { 0x00010007, 20, 0, 0, 0x00010000 };
	struct rig *rig = rig_ready();
	int second = rig_connect(rig);
	uint32_t reply[5];

	(void)arg;
	rig_settle(rig);
	assert_int_equal(send(second, version, 20, 0), 20);
	rig_settle(rig);
	assert_int_equal(recv(second, reply, 20, MSG_DONTWAIT), 20);
	assert_int_equal(reply[0], version[0]);		/* id and command */
	assert_int_equal(reply[1], 20);
	assert_int_equal(reply[2], 0x21);		/* reply, error */
	assert_int_equal(reply[3], EBUSY);
	assert_int_equal(recv(second, reply, 20, MSG_DONTWAIT), 0);
	close(second);
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	rig_end(rig);
}

/* However many there are that say nothing, whose first message is there is answered. */
static void r11_a_client_is_told_so_when_many_are_waited_for(void **arg)
{
	const uint32_t version[5] = { 0x00010007, 20, 0, 0, 0x00010000 };
	struct rig *rig = rig_ready();
	int silent[20], last;
	uint32_t reply[5];
	unsigned i;

	(void)arg;
	for (i = 0; i < 20; i++) {
		silent[i] = rig_connect(rig);
		rig_settle(rig);
	}
	last = rig_connect(rig);
	assert_int_equal(send(last, version, 20, 0), 20);
	rig_settle(rig);
	assert_int_equal(recv(last, reply, 20, MSG_DONTWAIT), 20);
	assert_int_equal(reply[0], version[0]);
	assert_int_equal(reply[3], EBUSY);
	assert_int_equal(recv(last, reply, 20, MSG_DONTWAIT), 0);
	for (i = 0; i < 20; i++)
		close(silent[i]);
	close(last);
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	rig_end(rig);
}

/* Hang-up and new connection wait together: the old one's end comes first. */
static void r11_a_client_may_come_back_at_once(void **arg)
{
	struct { uint64_t offset; uint32_t region, count, value; } write = {
		0, 0, 4, 0x99
	};
	struct rig *rig = rig_ready();
	unsigned i;

	(void)arg;
	for (i = 1; i <= 100; i++) {
		rig_send(rig, REGION_WRITE, NO_REPLY, &write, 20, NULL, 0);
		close(rig->fd);
		rig->fd = -1;
		rig_connect(rig);
		assert_int_equal(rig_version(rig, NULL), 0);
		assert_int_equal(rig_seen(rig)->gone, i);
		assert_int_equal(rig_seen(rig)->writes, i);
	}
	rig_end(rig);
}

/* In the backlog it would keep its VM waiting, and us awake. */
static void r11_without_fds_a_client_is_refused_at_once(void **arg)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct rig *rig = rig_start("", NULL);
	struct rlimit real, none;
	char byte;
	int fd[2], i;

	(void)arg;
	strcpy(sun.sun_path, rig->path);
	for (i = 0; i < 2; i++)
		fd[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &real), 0);
	none = real;
	none.rlim_cur = (rlim_t)fd[1] + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(dup(0), -1);
	for (i = 0; i < 2; i++)
		assert_int_equal(connect(fd[i], (struct sockaddr *)&sun,
					 sizeof(sun)), 0);
	rig_settle(rig);
	for (i = 0; i < 2; i++) {
		assert_int_equal(recv(fd[i], &byte, 1, MSG_DONTWAIT), 0);
		close(fd[i]);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &real), 0);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	rig_end(rig);
}

static void r11_a_storm_of_connections_disturbs_nobody(void **arg)
{
	struct rig *rig = rig_ready();
	unsigned before = count_fds(), i, j;
	int fds[16];
	char byte;

	(void)arg;
	for (i = 0; i < 30; i++) {
		for (j = 0; j < 16; j++)
			fds[j] = rig_connect(rig);
		assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
		rig_settle(rig);
		/* The last came when all places for an answer were taken. */
		assert_int_equal(recv(fds[15], &byte, 1, MSG_DONTWAIT), 0);
		for (j = 0; j < 16; j++)
			close(fds[j]);
		rig_settle(rig);
	}
	assert_int_equal(count_fds(), before);
	rig_end(rig);
}

static void note_gone(void *arg)
{
	(*(unsigned *)arg)++;
}

static void shutdown_waits_for_operations_in_flight(void **arg)
{
	struct rig *rig = rig_ready();
	unsigned gone = 0;

	(void)arg;
	rig_seen(rig)->in_flight = 1;
	ob_device_shutdown(rig->dev, note_gone, &gone);
	assert_false(rig_receive(rig));
	rig_settle(rig);
	assert_int_equal(gone, 0);
	assert_int_equal(access(rig->path, F_OK), -1);
	rig_seen(rig)->in_flight = 0;
	while (!gone)
		assert_int_equal(ob_loop_turn(rig->loop, true), 0);
	assert_int_equal(gone, 1);
	rig_end(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(r33_socket_is_0660_and_goes_at_the_end),
		cmocka_unit_test(a_file_that_is_no_longer_ours_stays),
		cmocka_unit_test(stale_is_replaced_live_is_refused),
		cmocka_unit_test(a_live_socket_of_another_kind_stays),
		cmocka_unit_test(bad_places_are_named),
		cmocka_unit_test(an_inherited_socket_must_listen),
		cmocka_unit_test(r6_an_inherited_socket_that_blocks_stops_nobody),
		cmocka_unit_test(a_model_that_contradicts_itself_is_refused),
		cmocka_unit_test(devices_have_names_and_numbers),
		cmocka_unit_test(r11_a_second_client_is_told_that_the_device_is_busy),
		cmocka_unit_test(r11_a_client_is_told_so_when_many_are_waited_for),
		cmocka_unit_test(r11_a_client_may_come_back_at_once),
		cmocka_unit_test(r11_without_fds_a_client_is_refused_at_once),
		cmocka_unit_test(r11_a_storm_of_connections_disturbs_nobody),
		cmocka_unit_test(shutdown_waits_for_operations_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
