// SPDX-License-Identifier: BSD-3-Clause
/* The guest's way to the real server: messages over a socket, eventfds. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <outboard/option.h>

#define PATIENCE_NS 30000000000ull
#define IN_SIZE (4u << 20)

enum {
	VERSION = 1, DMA_MAP, DMA_UNMAP, SET_IRQS = 8, REGION_READ,
	REGION_WRITE, DMA_READ, DMA_WRITE, RESET
};

struct hdr {
	uint16_t id, cmd;
	uint32_t size, flags, error;
};

struct access {
	uint64_t offset;
	uint32_t region, count;
};

/* -- the wire ---------------------------------------------------------- */

static void send_all(struct guest *g, const void *buf, size_t len,
		     const int *fds, unsigned nr_fds)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * 64)];
	} control;
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nr_fds) {
		mh.msg_control = control.room;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
		CMSG_FIRSTHDR(&mh)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&mh)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&mh)->cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&mh)), fds,
		       sizeof(int) * nr_fds);
	}
	while (iov.iov_len) {
		ssize_t n = sendmsg(g->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			ob_loop_turn(g->loop, false);
			continue;
		}
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= n;
		mh.msg_control = NULL;
		mh.msg_controllen = 0;
	}
}

static void send_message(struct guest *g, uint16_t id, uint16_t cmd,
			 uint32_t flags, const void *body, size_t len,
			 const int *fds, unsigned nr_fds)
{
	struct hdr hdr = { id, cmd, sizeof(hdr) + len, flags, 0 };
	char *buf = malloc(sizeof(hdr) + len);

	assert_non_null(buf);
	memcpy(buf, &hdr, sizeof(hdr));
	if (len)
		memcpy(buf + sizeof(hdr), body, len);
	send_all(g, buf, sizeof(hdr) + len, fds, nr_fds);
	free(buf);
}

/* The server's own requests: guest memory by messages. */
static void serve_dma(struct guest *g, const struct hdr *hdr,
		      const uint8_t *body)
{
	uint64_t access[2];
	uint8_t *answer;
	uint8_t *mem;
	size_t len = 16;

	memcpy(access, body, sizeof(access));
	assert_true(access[0] >= GUEST_BASE &&
		    access[1] <= GUEST_SIZE &&
		    access[0] - GUEST_BASE <= GUEST_SIZE - access[1]);
	mem = g->mem + (access[0] - GUEST_BASE);
	answer = malloc(16 + access[1]);
	assert_non_null(answer);
	memcpy(answer, access, 16);
	if (hdr->cmd == DMA_READ) {
		memcpy(answer + 16, mem, access[1]);
		len += access[1];
	} else {
		assert_int_equal(hdr->cmd, DMA_WRITE);
		memcpy(mem, body + 16, access[1]);
	}
	g->nr_dma++;
	send_message(g, hdr->id, hdr->cmd, 1, answer, len, NULL, 0);
	free(answer);
}

static void receive(struct guest *g)
{
	ssize_t n;

	if (g->fd < 0)
		return;
	n = recv(g->fd, g->in + g->in_len, IN_SIZE - g->in_len, MSG_DONTWAIT);
	if (n > 0)
		g->in_len += n;
}

/* Is a reply whole at the front?  Serves requests that stand before it. */
static bool next_reply(struct guest *g, struct hdr *hdr)
{
	for (;;) {
		if (g->in_len < sizeof(*hdr))
			return false;
		memcpy(hdr, g->in, sizeof(*hdr));
		if (g->in_len < hdr->size)
			return false;
		if ((hdr->flags & 15) == 1)
			return true;
		if (g->hold_dma)
			return false;
		serve_dma(g, hdr, g->in + sizeof(*hdr));
		g->in_len -= hdr->size;
		memmove(g->in, g->in + hdr->size, g->in_len);
	}
}

void guest_turn(struct guest *g)
{
	struct hdr hdr;

	assert_int_equal(ob_loop_turn(g->loop, false), 0);
	receive(g);
	next_reply(g, &hdr);
}

int guest_call(struct guest *g, uint16_t cmd, const void *body, size_t len,
	       const int *fds, unsigned nr_fds, void *reply, size_t room)
{
	uint64_t end = ob_loop_now(g->loop) + PATIENCE_NS;
	struct hdr hdr;
	size_t got;

	send_message(g, ++g->id, cmd, 0, body, len, fds, nr_fds);
	for (;;) {
		assert_int_equal(ob_loop_turn(g->loop, false), 0);
		receive(g);
		if (next_reply(g, &hdr))
			break;
		assert_true(ob_loop_now(g->loop) < end);
	}
	assert_int_equal(hdr.id, g->id);
	got = hdr.size - sizeof(hdr);
	if (room)
		memcpy(reply, g->in + sizeof(hdr), got < room ? got : room);
	g->in_len -= hdr.size;
	memmove(g->in, g->in + hdr.size, g->in_len);
	return hdr.flags & 0x20 ? (int)hdr.error : 0;
}

void guest_access(struct guest *g, bool write, unsigned region,
		  uint64_t offset, void *buf, uint32_t len)
{
	uint8_t msg[16 + 4096], reply[16 + 4096];
	struct access head = { offset, region, len };

	assert_true(len <= 4096);
	memcpy(msg, &head, sizeof(head));
	if (write)
		memcpy(msg + 16, buf, len);
	assert_int_equal(guest_call(g, write ? REGION_WRITE : REGION_READ, msg,
				    16 + (write ? len : 0), NULL, 0, reply,
				    sizeof(reply)), 0);
	if (!write)
		memcpy(buf, reply + 16, len);
}

void guest_config(struct guest *g, uint32_t offset, uint32_t value,
		  uint32_t len)
{
	guest_access(g, true, 7, offset, &value, len);
}

/* -- bring-up ---------------------------------------------------------- */

void guest_map(struct guest *g, uint64_t addr, uint64_t size,
	       uint64_t offset, uint32_t flags)
{
	struct {
		uint32_t argsz, flags;
		uint64_t offset, addr, size;
	} map = { sizeof(map), flags, offset, addr, size };

	assert_int_equal(guest_call(g, DMA_MAP, &map, sizeof(map), &g->memfd,
				    g->memory != GUEST_MESSAGES, NULL, 0), 0);
}

void guest_unmap_all(struct guest *g)
{
	struct {
		uint32_t argsz, flags;
		uint64_t addr, size;
	} unmap = { sizeof(unmap), 2, 0, 0 };

	assert_int_equal(guest_call(g, DMA_UNMAP, &unmap, sizeof(unmap), NULL,
				    0, NULL, 0), 0);
}

void guest_reset(struct guest *g)
{
	assert_int_equal(guest_call(g, RESET, NULL, 0, NULL, 0, NULL, 0), 0);
}

void guest_master(struct guest *g, bool on)
{
	guest_config(g, 4, on ? 6 : 2, 2);
}

void guest_connect(struct guest *g)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	uint16_t version[2] = { 0, 1 };

	g->in_len = 0;
	g->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(sun.sun_path, g->path);
	assert_int_equal(connect(g->fd, (struct sockaddr *)&sun, sizeof(sun)),
			 0);
	assert_int_equal(guest_call(g, VERSION, version, sizeof(version), NULL,
				    0, NULL, 0), 0);
	guest_map(g, GUEST_BASE, GUEST_SIZE, 0,
		  g->memory == GUEST_FILE_IO ? 3 | 8 : 3);
	guest_master(g, true);
}

void guest_hang_up(struct guest *g)
{
	close(g->fd);
	g->fd = -1;
	guest_settle(g);
}

struct ob_loop *guest_lane;

/* What ob_device_create does, with a second lane's loop. */
static int begin(struct guest *g, struct ob_options *opts, struct ob_err *err)
{
	struct ob_loop *loops[] = { g->loop, guest_lane };
	int rc = ob_device_prepare(&ob_nvme_class, opts, &g->dev, err);

	if (rc)
		return rc;
	ob_device_set_lanes(g->dev, loops, guest_lane ? 2 : 1);
	return ob_device_begin(&g->dev, g->loop, NULL, err);
}

static void serve(struct guest *g, const char *options)
{
	const struct ob_option *const tables[] = {
		ob_device_common_options, ob_nvme_class.options, NULL
	};
	struct ob_err err = { "" };
	struct ob_options *opts;
	char text[1024];

	strcpy(g->dir, "/tmp/ob-nvme-XXXXXX");
	assert_non_null(mkdtemp(g->dir));
	snprintf(g->path, sizeof(g->path), "%s/s", g->dir);
	snprintf(text, sizeof(text), "nvme,socket=%s,%s", g->path, options);
	if (ob_loop_create(NULL, &g->loop, &err) ||
	    ob_options_parse(text, tables, &opts, &err) ||
	    begin(g, opts, &err) ||
	    ob_device_listen(g->dev, &err))
		fail_msg("%s", err.msg);
}

struct guest *guest_start_as(const char *options, enum guest_memory memory)
{
	struct guest *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->memory = memory;
	g->in = malloc(IN_SIZE);
	assert_non_null(g->in);
	g->memfd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(g->memfd, GUEST_SIZE), 0);
	g->mem = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		      g->memfd, 0);
	assert_ptr_not_equal(g->mem, MAP_FAILED);
	g->next = GUEST_BASE;
	for (unsigned i = 0; i <= GUEST_QUEUES; i++)
		g->irqs[i] = -1;
	serve(g, options);
	guest_connect(g);
	return g;
}

static void note_gone(void *arg)
{
	*(bool *)arg = true;
}

void guest_end(struct guest *g)
{
	bool gone = false;

	if (g->fd >= 0)
		guest_hang_up(g);
	ob_device_shutdown(g->dev, note_gone, &gone);
	while (!gone)
		assert_int_equal(ob_loop_turn(g->loop, true), 0);
	ob_device_destroy(g->dev);
	ob_loop_destroy(g->loop);
	for (unsigned i = 0; i <= GUEST_QUEUES; i++)
		if (g->irqs[i] >= 0)
			close(g->irqs[i]);
	munmap(g->mem, GUEST_SIZE);
	close(g->memfd);
	unlink(g->path);
	rmdir(g->dir);
	free(g->in);
	free(g);
}

void guest_msix(struct guest *g)
{
	struct {
		uint32_t argsz, flags, index, start, count;
	} set = { sizeof(set), 0x24, 2, 0, GUEST_QUEUES + 1 };
	uint32_t entry[4] = { 0xfee00000, 0, 0, 0 };
	uint32_t cap = 0;

	for (unsigned i = 0; i <= GUEST_QUEUES; i++)
		g->irqs[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(guest_call(g, SET_IRQS, &set, sizeof(set), g->irqs,
				    GUEST_QUEUES + 1, NULL, 0), 0);
	for (unsigned i = 0; i <= GUEST_QUEUES; i++)
		guest_access(g, true, 0, NVME_MSIX_OFFSET + 16 * i, entry, 16);
	guest_access(g, false, 7, 0x34, &cap, 1);
	for (uint32_t at = cap; at; ) {
		uint16_t head;

		guest_access(g, false, 7, at, &head, 2);
		if ((head & 0xff) == 0x11)
			guest_config(g, at + 2, 0x8000, 2);
		at = head >> 8;
	}
}

uint64_t guest_irqs(struct guest *g, unsigned vector)
{
	uint64_t count = 0;

	guest_settle(g);
	if (read(g->irqs[vector], &count, sizeof(count)) < 0)
		return 0;
	return count;
}
