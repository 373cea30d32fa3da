// SPDX-License-Identifier: BSD-3-Clause
#include "rig.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 20

static const struct ob_field rows[] = {
	OB_U32(1, struct test_state, regs, "0.1"),
	OB_U32(2, struct test_state, resets, "0.1"),
	OB_U32(3, struct test_state, kind, "0.1"),
	OB_U32(4, struct test_state, reserved_word, "0.1"),
	OB_RESERVED(struct test_state, reserved),
	OB_END
};

const struct ob_table test_state_table = {
	"test", sizeof(struct test_state), rows
};

static const struct ob_field hot_rows[] = {
	OB_U64(1, struct test_hot, cursor, "0.1"),
	OB_END
};

static const struct ob_table hot_table = {
	"test_hot", sizeof(struct test_hot), hot_rows
};

struct ob_drive *rig_drives[4];

const struct ob_pci test_pci = {
	.vendor = 0x1b36, .device = 0x1234, .subsystem_vendor = 0x1af4,
	.subsystem = 0x1100, .revision = 2, .class_code = 0x010802,
	.bars = {
		[0] = { .size = 0x4000, .flags = OB_BAR_64, .nr_areas = 1,
			.areas = { { 0x1000, 0x1000 } } },
		[2] = { .size = 0x8000 },
		[3] = { .size = 0x40, .flags = OB_BAR_IO },
	},
	.intx = true, .pm = true, .express = true,
	.msi_vectors = 8, .msix_vectors = 70,
	.msix_table_bar = 2, .msix_table_offset = 0x1000,
	.msix_pba_bar = 2, .msix_pba_offset = 0x2000,
	.serial_number = 0x1122334455667788,
	.nr_vendor_caps = 1, .vendor_caps = { { 5, { 1, 2, 3, 4, 5 } } },
};

static void model_read(struct ob_device *dev, unsigned bar, uint64_t offset,
		       void *buf, size_t len)
{
	struct test_seen *seen = ob_dev_runtime(dev);
	const uint8_t *regs = (const uint8_t *)
		((struct test_state *)ob_dev_state(dev))->regs;

	seen->reads++;
	seen->last_offset = offset;
	seen->last_len = len;
	memset(buf, 0, len);
	if (bar == 0 && offset + len <= 256)
		memcpy(buf, regs + offset, len);
	else if (bar == 2)
		memset(buf, 0xcc, len);
}

static void model_write(struct ob_device *dev, unsigned bar, uint64_t offset,
			const void *buf, size_t len)
{
	struct test_seen *seen = ob_dev_runtime(dev);
	uint8_t *regs = (uint8_t *)((struct test_state *)ob_dev_state(dev))->regs;

	seen->writes++;
	seen->last_offset = offset;
	seen->last_len = len;
	if (bar == 0 && offset + len <= 256)
		memcpy(regs + offset, buf, len);
	if (seen->on_write)
		seen->on_write(dev, offset);
}

static void model_reset(struct ob_device *dev, enum ob_reset kind)
{
	struct test_state *state = ob_dev_state(dev);

	memset(state->regs, 0, sizeof(state->regs));
	state->resets++;
	state->kind = kind;
	((struct test_seen *)ob_dev_runtime(dev))->resets++;
}

static void model_memory(struct ob_device *dev)
{
	((struct test_seen *)ob_dev_runtime(dev))->memory++;
}

static void model_gone(struct ob_device *dev)
{
	((struct test_seen *)ob_dev_runtime(dev))->gone++;
}

static void model_irqs(struct ob_device *dev)
{
	((struct test_seen *)ob_dev_runtime(dev))->irqs++;
}

static void model_master(struct ob_device *dev, bool on)
{
	struct test_seen *seen = ob_dev_runtime(dev);

	seen->masters++;
	seen->master_on = on;
}

static bool model_poll(struct ob_device *dev)
{
	struct test_seen *seen = ob_dev_runtime(dev);

	seen->polls++;
	return seen->finds;
}

static unsigned model_in_flight(struct ob_device *dev)
{
	return ((struct test_seen *)ob_dev_runtime(dev))->in_flight;
}

static void note(struct ob_device *dev, char call)
{
	struct test_seen *seen = ob_dev_runtime(dev);
	size_t len = strlen(seen->calls);

	if (len < sizeof(seen->calls) - 1)
		seen->calls[len] = call;
}

static void model_run(struct ob_device *dev)
{
	assert_false(ob_dev_is_halted(dev));
	note(dev, 'r');
}

static void model_stop(struct ob_device *dev)
{
	struct test_seen *seen = ob_dev_runtime(dev);

	note(dev, 's');
	if (!seen->slow)
		ob_dev_stopped(dev);
}

static void model_halt(struct ob_device *dev)
{
	note(dev, 'h');
}

static int model_check(struct ob_device *dev, const void *plain,
		       const void *hot, struct ob_err *err)
{
	struct test_seen *seen = ob_dev_runtime(dev);

	note(dev, 'c');
	assert_non_null(plain);
	assert_non_null(hot);
	return seen->refuse ? ob_fail(err, seen->refuse, "regs: refused") : 0;
}

static void model_refresh(struct ob_device *dev)
{
	struct test_seen *seen = ob_dev_runtime(dev);

	if (seen->grown)
		seen->refuse = 0;
}

static void model_loaded(struct ob_device *dev)
{
	assert_true(ob_dev_is_halted(dev));
	note(dev, 'l');
}

static struct ob_drive *model_drive(struct ob_device *dev, unsigned i)
{
	(void)dev;
	return rig_drives[i];
}

static const struct ob_device_class test_class = {
	.size = sizeof(struct ob_device_class), .abi = OB_DEVICE_ABI,
	.name = "test", .summary = "a device for tests", .pci = &test_pci,
	.state = &test_state_table, .hot = &hot_table,
	.runtime_size = sizeof(struct test_seen),
	.region_read = model_read, .region_write = model_write,
	.reset = model_reset, .poll = model_poll,
	.memory_changed = model_memory, .disconnected = model_gone,
	.irq_changed = model_irqs, .bus_master = model_master,
	.in_flight = model_in_flight,
	.run = model_run, .stop = model_stop, .halt = model_halt,
	.check = model_check, .loaded = model_loaded, .drive = model_drive,
	.refresh = model_refresh,
};

static struct rig *prepare(bool busy, struct rig *host)
{
	struct ob_loop_params params = {
		.busy_poll = busy,
		.engine = getenv("OB_TEST_POOL") ? OB_LOOP_POOL : OB_LOOP_AUTO,
	};
	struct rig *rig = calloc(1, sizeof(*rig));
	struct ob_err err = { "" };

	assert_non_null(rig);
	rig->fd = -1;
	rig->reply = malloc(REPLY_MAX);
	assert_non_null(rig->reply);
	strcpy(rig->dir, "/tmp/ob-server-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	snprintf(rig->path, sizeof(rig->path), "%s/s", rig->dir);
	rig->is_guest = host;
	if (host)
		rig->loop = host->loop;
	else
		assert_int_equal(ob_loop_create(&params, &rig->loop, &err), 0);
	return rig;
}

struct ob_loop *rig_lanes[OB_LANES_MAX];

int rig_begin(struct ob_device **dev, struct ob_loop *loop,
	      const struct ob_past *past, struct ob_err *err)
{
	struct ob_loop *loops[1 + OB_LANES_MAX] = { loop };
	unsigned n = 1;

	for (; n <= OB_LANES_MAX && rig_lanes[n - 1]; n++)
		loops[n] = rig_lanes[n - 1];
	ob_device_set_lanes(*dev, loops, n);
	return ob_device_begin(dev, loop, past, err);
}

/* The socket's path goes between words and options. */
static void serve(struct rig *rig, const struct ob_device_class *cls,
		  const char *words, const char *options)
{
	const struct ob_option *const tables[] = {
		ob_device_common_options, cls->options, NULL
	};
	struct ob_err err = { "" };
	struct ob_options *opts;
	char text[512];

	snprintf(text, sizeof(text), "%s,socket=%s%s", words, rig->path,
		 options);
	assert_int_equal(ob_options_parse(text, tables, &opts, &err), 0);
	if (ob_device_prepare(cls, opts, &rig->dev, &err) ||
	    rig_begin(&rig->dev, rig->loop, NULL, &err) ||
	    ob_device_listen(rig->dev, &err))
		fail_msg("%s", err.msg);
}

static struct rig *start(const char *options, const struct ob_pci *pci,
			 bool busy, struct rig *host)
{
	struct rig *rig = prepare(busy, host);

	rig->cls = test_class;
	if (pci)
		rig->cls.pci = pci;
	serve(rig, &rig->cls, "test", options);
	return rig;
}

struct rig *rig_start_model(const struct ob_device_class *cls,
			    const char *words)
{
	struct rig *rig = prepare(false, NULL);

	serve(rig, cls, words, "");
	return rig;
}

struct rig *rig_start(const char *options, const struct ob_pci *pci)
{
	return start(options, pci, false, NULL);
}

struct rig *rig_start_busy(const char *options)
{
	return start(options, NULL, true, NULL);
}

struct rig *rig_start_beside(struct rig *host)
{
	return start("", NULL, false, host);
}

struct rig *rig_ready(void)
{
	struct rig *rig = rig_start("", NULL);

	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	return rig;
}

static void drop_fds(struct rig *rig)
{
	while (rig->nr_fds)
		close(rig->fds[--rig->nr_fds]);
}

static void note_gone(void *arg)
{
	*(bool *)arg = true;
}

void rig_end(struct rig *rig)
{
	bool gone = false;

	rig_hang_up(rig);
	ob_device_shutdown(rig->dev, note_gone, &gone);
	while (!gone)
		assert_int_equal(ob_loop_turn(rig->loop, true), 0);
	ob_device_destroy(rig->dev);
	if (!rig->is_guest)
		ob_loop_destroy(rig->loop);
	unlink(rig->path);
	rmdir(rig->dir);
	free(rig->reply);
	free(rig);
}

struct test_state *rig_state(struct rig *rig)
{
	return ob_dev_state(rig->dev);
}

struct test_seen *rig_seen(struct rig *rig)
{
	return ob_dev_runtime(rig->dev);
}

int rig_connect(struct rig *rig)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, rig->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	if (rig->fd < 0)
		rig->fd = fd;
	return fd;
}

void rig_hang_up(struct rig *rig)
{
	drop_fds(rig);
	if (rig->fd >= 0)
		close(rig->fd);
	rig->fd = -1;
	rig_settle(rig);
}

/* Of a device elsewhere: it has its own loop. */
static void nap(void)
{
	poll(NULL, 0, 1);
}

void rig_settle(struct rig *rig)
{
	if (rig->is_alien) {
		nap();
		return;
	}
	for (int i = 0; i < 50; i++)
		assert_int_equal(ob_loop_turn(rig->loop, false), 0);
}

static void send_all(struct rig *rig, int fd, struct msghdr *mh, size_t len)
{
	size_t sent = 0;

	while (sent < len) {
		ssize_t n = sendmsg(fd, mh, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			rig_settle(rig);
			continue;
		}
		sent += (size_t)n;
		mh->msg_control = NULL;
		mh->msg_controllen = 0;
		while (mh->msg_iovlen && (size_t)n >= mh->msg_iov->iov_len) {
			n -= (ssize_t)mh->msg_iov->iov_len;
			mh->msg_iov++;
			mh->msg_iovlen--;
		}
		if (n) {
			mh->msg_iov->iov_base = (char *)mh->msg_iov->iov_base + n;
			mh->msg_iov->iov_len -= (size_t)n;
		}
	}
}

void rig_send(struct rig *rig, unsigned cmd, uint32_t flags, const void *body,
	      size_t len, const int *fds, unsigned nr_fds)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * 253)];
	} control;
	struct hdr hdr = {
		++rig->id, (uint16_t)cmd, (uint32_t)(sizeof(hdr) + len), flags, 0
	};
	struct iovec iov[2] = {
		{ &hdr, sizeof(hdr) }, { (void *)(uintptr_t)body, len }
	};
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = len ? 2 : 1 };

	if (nr_fds) {
		mh.msg_control = control.room;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
		CMSG_FIRSTHDR(&mh)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&mh)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&mh)->cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&mh)), fds, sizeof(int) * nr_fds);
	}
	send_all(rig, rig->fd, &mh, sizeof(hdr) + len);
}

void rig_answer(struct rig *rig, int fd, const struct hdr *asked,
		uint32_t error, const void *body, size_t len)
{
	struct hdr hdr = {
		asked->id, asked->cmd, (uint32_t)(sizeof(hdr) + len),
		REPLY | (error ? ERROR : 0), error
	};
	struct iovec iov[2] = {
		{ &hdr, sizeof(hdr) }, { (void *)(uintptr_t)body, len }
	};
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = len ? 2 : 1 };

	send_all(rig, fd, &mh, sizeof(hdr) + len);
}

static void keep_fds(struct rig *rig, struct msghdr *mh)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(mh);
	size_t n;

	if (!c || c->cmsg_type != SCM_RIGHTS)
		return;
	n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	assert_true(n <= 8);
	memcpy(rig->fds, CMSG_DATA(c), n * sizeof(int));
	rig->nr_fds = (unsigned)n;
}

/* Exactly len bytes, the loop running meanwhile; false at the end. */
static bool take(struct rig *rig, void *buf, size_t len)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * 8)];
	} control;
	time_t limit = time(NULL) + PATIENCE_S;
	size_t at = 0;

	while (at < len) {
		struct iovec iov = { (char *)buf + at, len - at };
		struct msghdr mh = {
			.msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = control.room,
			.msg_controllen = sizeof(control.room),
		};
		ssize_t n = recvmsg(rig->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return false;
		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			assert_true(time(NULL) < limit);
			if (rig->is_alien)
				nap();
			else
				assert_int_equal(ob_loop_turn(rig->loop, false), 0);
			continue;
		}
		keep_fds(rig, &mh);
		at += (size_t)n;
	}
	return true;
}

bool rig_receive(struct rig *rig)
{
	drop_fds(rig);
	if (!take(rig, &rig->hdr, sizeof(rig->hdr)))
		return false;
	assert_true(rig->hdr.size >= sizeof(rig->hdr));
	rig->len = rig->hdr.size - sizeof(rig->hdr);
	assert_true(rig->len <= REPLY_MAX);
	return rig->len == 0 || take(rig, rig->reply, rig->len);
}

int rig_call_fds(struct rig *rig, unsigned cmd, const void *body, size_t len,
		 const int *fds, unsigned nr_fds)
{
	rig_send(rig, cmd, 0, body, len, fds, nr_fds);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.id, rig->id);
	assert_int_equal(rig->hdr.cmd, cmd);
	assert_int_equal(rig->hdr.flags & 0xf, REPLY);
	if (!(rig->hdr.flags & ERROR))
		return 0;
	assert_int_not_equal(rig->hdr.error, 0);
	return (int)rig->hdr.error;
}

int rig_call(struct rig *rig, unsigned cmd, const void *body, size_t len)
{
	return rig_call_fds(rig, cmd, body, len, NULL, 0);
}

bool rig_silent(struct rig *rig)
{
	char byte;

	rig_settle(rig);
	return recv(rig->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
	       errno == EAGAIN;
}

int rig_version(struct rig *rig, const char *json)
{
	uint8_t body[4096] = { 0, 0, 1, 0 };
	size_t len = 4;

	if (json) {
		strcpy((char *)body + 4, json);
		len += strlen(json) + 1;
	}
	return rig_call(rig, VERSION, body, len);
}

struct access {
	uint64_t offset;
	uint32_t region, count;
};

int rig_read(struct rig *rig, unsigned region, uint64_t offset, void *buf,
	     uint32_t count)
{
	struct access a = { offset, region, count };
	int r = rig_call(rig, REGION_READ, &a, sizeof(a));

	if (r)
		return r;
	assert_int_equal(rig->len, sizeof(a) + count);
	assert_memory_equal(rig->reply, &a, sizeof(a));
	memcpy(buf, rig->reply + sizeof(a), count);
	return 0;
}

int rig_write(struct rig *rig, unsigned region, uint64_t offset,
	      const void *buf, uint32_t count)
{
	struct access a = { offset, region, count };
	uint8_t *body = malloc(sizeof(a) + count);
	int r;

	assert_non_null(body);
	memcpy(body, &a, sizeof(a));
	memcpy(body + sizeof(a), buf, count);
	r = rig_call(rig, REGION_WRITE, body, sizeof(a) + count);
	free(body);
	assert_int_equal(rig->len, sizeof(a));
	return r;
}

uint32_t rig_config(struct rig *rig, uint32_t offset, unsigned size)
{
	uint32_t v = 0;

	assert_int_equal(rig_read(rig, CONFIG, offset, &v, size), 0);
	return v;
}

void rig_set_config(struct rig *rig, uint32_t offset, uint32_t value,
		    unsigned size)
{
	assert_int_equal(rig_write(rig, CONFIG, offset, &value, size), 0);
}

uint32_t rig_find_cap(struct rig *rig, uint8_t id)
{
	uint32_t at = rig_config(rig, 0x34, 1), n;

	for (n = 0; at && n < 48; n++, at = rig_config(rig, at + 1, 1))
		if (rig_config(rig, at, 1) == id)
			return at;
	return 0;
}

uint64_t rig_count(struct rig *rig, int eventfd)
{
	struct pollfd p = { .fd = eventfd, .events = POLLIN };
	uint64_t n;

	rig_settle(rig);
	if (poll(&p, 1, 0) == 0)
		return 0;
	assert_int_equal(read(eventfd, &n, sizeof(n)), sizeof(n));
	return n;
}

int rig_set_irqs(struct rig *rig, uint32_t flags, uint32_t index,
		 uint32_t start, uint32_t count, const int *fds,
		 unsigned nr_fds)
{
	uint32_t body[5] = { sizeof(body), flags, index, start, count };

	return rig_call_fds(rig, SET_IRQS, body, sizeof(body), fds, nr_fds);
}

int rig_map(struct rig *rig, uint64_t addr, uint64_t size, uint64_t offset,
	    uint32_t flags, int fd)
{
	struct { uint32_t argsz, flags; uint64_t offset, addr, size; } body = {
		sizeof(body), flags, offset, addr, size
	};

	return rig_call_fds(rig, DMA_MAP, &body, sizeof(body), &fd, fd >= 0);
}

int rig_unmap(struct rig *rig, uint64_t addr, uint64_t size, uint32_t flags)
{
	struct { uint32_t argsz, flags; uint64_t addr, size; } body = {
		sizeof(body), flags, addr, size
	};
	int r = rig_call(rig, DMA_UNMAP, &body, sizeof(body));

	assert_int_equal(rig->len, sizeof(body));
	return r;
}

void rig_master(struct rig *rig, bool on)
{
	rig_set_config(rig, 4, on ? 4 : 0, 2);
}
