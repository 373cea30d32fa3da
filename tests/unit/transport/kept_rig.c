// SPDX-License-Identifier: BSD-3-Clause
#include "kept_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/sockios.h>

#include "base/fd.h"
#include "base/sure.h"

int rig_keep_fds(void *arg, size_t from, const int *fds, size_t nr)
{
	struct rig *rig = arg;

	if (rig->refuse)
		return rig->refuse;
	ob_fds_close(rig->lent + from, rig->nr_lent - from);
	for (size_t i = 0; i < nr; i++)
		rig->lent[from + i] = dup(fds[i]);
	rig->nr_lent = from + nr;
	return 0;
}

static size_t kept_fds(void *arg, int fds[OB_MAX_MSG_FDS])
{
	struct rig *rig = arg;

	for (size_t i = 0; i < rig->nr_lent; i++)
		fds[i] = dup(rig->lent[i]);
	return rig->nr_lent;
}

static void drop_fds(void *arg)
{
	struct rig *rig = arg;

	ob_fds_close(rig->lent, rig->nr_lent);
	rig->nr_lent = 0;
}

static int fd_of(void *arg, uint8_t name)
{
	struct rig *rig = arg;

	return name == 7 ? rig->name_fd : -1;
}

static uint8_t *box(size_t size)
{
	int fd = ob_memfd_create("box", size);
	uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   0);

	assert_ptr_not_equal(at, MAP_FAILED);
	close(fd);
	return at;
}

int rig_set_up(void **state)
{
	static const struct ob_loop_params params = { .engine = OB_LOOP_AUTO };
	struct rig *rig = calloc(1, sizeof(*rig));
	int pair[2];

	assert_int_equal(ob_loop_create(&params, &rig->loop, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				    pair), 0);
	rig->peer = pair[0];
	rig->own = pair[1];
	rig->name_fd = -1;
	rig->memory = (struct ob_conn_memory){
		.journal = &rig->journal,
		.inbox = box(INBOX), .inbox_size = INBOX,
		.outbox = box(OUTBOX), .outbox_size = OUTBOX,
		.sure = ob_loop_sure(rig->loop),
		.keep_fds = rig_keep_fds, .kept_fds = kept_fds,
		.drop_fds = drop_fds, .fd_of = fd_of, .arg = rig,
	};
	assert_int_equal(ob_conn_create_kept(dup(rig->own), MAX_MESSAGE,
					     &rig->memory, &rig->conn), 0);
	*state = rig;
	return 0;
}

int rig_tear_down(void **state)
{
	struct rig *rig = *state;

	ob_conn_destroy(rig->conn);
	drop_fds(rig);
	munmap(rig->memory.inbox, INBOX);
	munmap(rig->memory.outbox, OUTBOX);
	ob_fd_close(&rig->peer);
	ob_fd_close(&rig->own);
	ob_fd_close(&rig->name_fd);
	ob_loop_destroy(rig->loop);
	free(rig);
	return 0;
}

/* Everything private is gone; what is shared is what it was. */
void die(struct rig *rig)
{
	ob_conn_destroy(rig->conn);
	rig->conn = NULL;
}

void adopt(struct rig *rig)
{
	assert_int_equal(ob_conn_adopt(dup(rig->own), MAX_MESSAGE,
				       &rig->memory, NULL, &rig->conn, NULL),
			 0);
}

void die_and_adopt(struct rig *rig)
{
	die(rig);
	adopt(rig);
}

static uint8_t octet(unsigned id, size_t at)
{
	return id * 31 + at + at / 251;
}

/* A message of len payload bytes; malloced, its size in *size. */
uint8_t *message(unsigned id, size_t len, size_t *size)
{
	uint8_t *bytes = malloc(OB_HDR_SIZE + len);
	struct ob_hdr hdr = {
		.id = id, .cmd = 10, .size = OB_HDR_SIZE + len,
	};
	struct ob_writer wr;

	ob_writer_init(&wr, bytes, OB_HDR_SIZE);
	assert_int_equal(ob_hdr_put(&wr, &hdr), 0);
	for (size_t i = 0; i < len; i++)
		bytes[OB_HDR_SIZE + i] = octet(id, i);
	*size = OB_HDR_SIZE + len;
	return bytes;
}

/* How many were taken. */
ssize_t put(struct rig *rig, const void *bytes, size_t len, const int *fds,
	    size_t nr_fds)
{
	char control[CMSG_SPACE(OB_MAX_MSG_FDS * sizeof(int))] = { 0 };
	struct iovec iov = { (void *)bytes, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg = (struct cmsghdr *)control;

	if (nr_fds) {
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, nr_fds * sizeof(int));
		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
	}
	return sendmsg(rig->peer, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void put_message(struct rig *rig, unsigned id, size_t len, const int *fds,
		 size_t nr_fds)
{
	size_t size;
	uint8_t *bytes = message(id, len, &size);

	assert_int_equal(put(rig, bytes, size, fds, nr_fds), size);
	free(bytes);
}

/* Is anything in the socket that the server has not taken off? */
bool is_empty(const struct rig *rig)
{
	int left;

	assert_int_equal(ioctl(rig->own, SIOCINQ, &left), 0);
	return !left;
}

void expect(const struct ob_msg *msg, unsigned id, size_t len)
{
	assert_int_equal(msg->hdr.id, id);
	assert_int_equal(msg->len, len);
	for (size_t i = 0; i < len; i++)
		if (msg->payload[i] != octet(id, i))
			fail_msg("message %u differs at %zu", id, i);
}

void take(struct rig *rig, struct ob_msg *msg)
{
	bool drained;
	int r = ob_conn_next(rig->conn, msg);

	while (r == 0) {
		r = ob_conn_fill(rig->conn, &drained);
		assert_true(r > 0);
		r = ob_conn_next(rig->conn, msg);
	}
	assert_int_equal(r, 1);
}

void take_done(struct rig *rig, unsigned id, size_t len)
{
	struct ob_msg msg;

	take(rig, &msg);
	expect(&msg, id, len);
	ob_msg_finish(&msg);
	ob_conn_done(rig->conn);
}

int numbered(unsigned number)
{
	int fd = ob_memfd_create("numbered", 4096);

	assert_int_equal(pwrite(fd, &number, sizeof(number), 0),
			 sizeof(number));
	return fd;
}

unsigned number_of(int fd)
{
	unsigned number = 0;

	assert_int_equal(pread(fd, &number, sizeof(number), 0),
			 sizeof(number));
	return number;
}

void queue(struct rig *rig, unsigned id, size_t len, const uint8_t *name)
{
	size_t size;
	uint8_t *bytes = message(id, len, &size);
	struct iovec iov[2] = { { bytes, 10 }, { bytes + 10, size - 10 } };

	assert_int_equal(ob_conn_queue(rig->conn, iov, 2, name, !!name), 0);
	free(bytes);
}

/* Reads exactly len bytes; returns the fd that came, or -1. */
int get(struct rig *rig, uint8_t *bytes, size_t len)
{
	int fd = -1;

	for (size_t at = 0; at < len; ) {
		char control[CMSG_SPACE(sizeof(int))];
		struct iovec iov = { bytes + at, len - at };
		struct msghdr mh = {
			.msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		ssize_t n = recvmsg(rig->peer, &mh, MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN) {
			assert_int_equal(ob_conn_flush(rig->conn) & ~-EAGAIN,
					 0);
			continue;
		}
		assert_true(n > 0);
		at += n;
		if (mh.msg_controllen)
			memcpy(&fd, CMSG_DATA((struct cmsghdr *)control),
			       sizeof(fd));
	}
	return fd;
}

int get_message(struct rig *rig, unsigned id, size_t len)
{
	size_t size;
	uint8_t *want = message(id, len, &size);
	uint8_t *have = malloc(size);
	int fd = get(rig, have, size);

	assert_memory_equal(have, want, size);
	free(want);
	free(have);
	return fd;
}
