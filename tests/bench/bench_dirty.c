// SPDX-License-Identifier: BSD-3-Clause
/*
 * bench_dirty: what the dirty log costs.
 *
 *   marks     a write of the device with the log off, with the page dirty
 *             already, and with the page clean, in nanoseconds
 *   reports   DMA_LOGGING_REPORT about 64 GiB over the socket, server and
 *             client in two processes, in microseconds; beside it a bare
 *             process that sends as many zeros when it is asked to
 *
 * The memory is a sparse file; for the reports pages are marked and not
 * written, so that "all of it" fits into a small machine.
 */
#include "rig.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE UINT64_C(4096)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define GUEST (64 * GIB)
#define MARKED (256 * MIB)	/* written again and again */
#define ROUNDS 101
#define WARM 5			/* and not counted */
#define HEAD 48u		/* header, feature, what was asked */
#define BITMAP_BYTES (GUEST / PAGE / 8)

enum { GET = 1 << 16, SET = 1 << 17, START = 6, STOP = 7, REPORT = 8 };

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Sorts; prints median, lowest, highest. */
static void print_row(const char *name, double *values, const char *unit)
{
	qsort(values, ROUNDS, sizeof(*values), by_value);
	printf("  %-44s %9.1f %s (%.1f to %.1f)\n", name, values[ROUNDS / 2],
	       unit, values[0], values[ROUNDS - 1]);
}

static int new_memory(uint64_t size)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)size)) {
		perror("bench_dirty: memfd");
		exit(1);
	}
	return fd;
}

/* --- marks ---------------------------------------------------------------- */

static void log_switch(struct rig *rig, uint32_t feature)
{
	struct { uint32_t argsz, flags; uint64_t page, ranges; } body = {
		sizeof(body), feature | SET, PAGE, 0
	};

	assert_int_equal(rig_call(rig, FEATURE, &body, sizeof(body)), 0);
}

/* Nanoseconds for one write of len bytes, one to a page, in mixed order. */
static double write_pages(struct rig *rig, uint32_t len)
{
	static const uint8_t bytes[4096];
	uint64_t pages = MARKED / PAGE;
	double start = now_us();

	for (uint64_t i = 0; i < pages; i++) {
		struct ob_seg seg = { i * 40503 % pages * PAGE, len };

		if (ob_dma_write(rig->dev, &seg, 1, bytes, NULL))
			abort();
	}
	return (now_us() - start) * 1e3 / (double)pages;
}

static double mark_pages(struct rig *rig)
{
	uint64_t pages = MARKED / PAGE;
	double start = now_us();

	for (uint64_t i = 0; i < pages; i++)
		ob_dma_wrote(rig->dev, i * 40503 % pages * PAGE, PAGE);
	return (now_us() - start) * 1e3 / (double)pages;
}

static void measure_marks(void)
{
	static double off[ROUNDS], clean[ROUNDS], dirty[ROUNDS];
	static double bare_off[ROUNDS], bare_clean[ROUNDS], bare_dirty[ROUNDS];
	struct rig *rig = rig_ready();
	int fd = new_memory(MARKED);

	rig_master(rig, true);
	assert_int_equal(rig_map(rig, 0, MARKED, 0, 3, fd), 0);
	write_pages(rig, 8);
	for (int i = 0; i < ROUNDS; i++) {
		off[i] = write_pages(rig, 64);
		bare_off[i] = mark_pages(rig);
		log_switch(rig, START);
		clean[i] = write_pages(rig, 64);
		dirty[i] = write_pages(rig, 64);
		bare_dirty[i] = mark_pages(rig);
		log_switch(rig, STOP);
		log_switch(rig, START);
		bare_clean[i] = mark_pages(rig);
		log_switch(rig, STOP);
	}
	puts("Marks: one for each page of 256 MiB, in mixed order\n");
	print_row("64 bytes written, log off", off, "ns");
	print_row("64 bytes written, page dirty already", dirty, "ns");
	print_row("64 bytes written, page clean", clean, "ns");
	print_row("the mark alone, log off", bare_off, "ns");
	print_row("the mark alone, page dirty already", bare_dirty, "ns");
	print_row("the mark alone, page clean", bare_clean, "ns");
	close(fd);
	rig_end(rig);
}

/* --- reports -------------------------------------------------------------- */

/* The model: a number written to its first register dirties so many pages. */
static void dirty_pages(struct ob_device *dev, uint64_t offset)
{
	uint32_t count = ((struct test_state *)ob_dev_state(dev))->regs[0];
	uint64_t step = count ? GUEST / count : 0;

	if (offset)
		return;
	if (count >= GUEST / PAGE)
		ob_dma_wrote(dev, 0, GUEST);
	else
		for (uint32_t i = 0; i < count; i++)
			ob_dma_wrote(dev, i * step, 1);
}

static void serve(int ready)
{
	struct rig *rig = rig_start("", NULL);

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	rig_seen(rig)->on_write = dirty_pages;
	if (write(ready, rig->path, sizeof(rig->path)) < 0)
		_exit(1);
	while (ob_loop_turn(rig->loop, true) == 0)
		;
	_exit(1);
}

/* As many zeros as asked, in one send, whenever four bytes come. */
static void send_zeros(int fd)
{
	char *zeros = mmap(NULL, 4 * MIB, PROT_READ,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t len, sent;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	while (recv(fd, &len, sizeof(len), MSG_WAITALL) == sizeof(len))
		for (sent = 0; sent < len;) {
			ssize_t n = send(fd, zeros, len - sent, MSG_NOSIGNAL);

			if (n < 0)
				_exit(1);
			sent += (uint32_t)n;
		}
	_exit(0);
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench_dirty: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void receive(int fd, void *buf, size_t len)
{
	must(!len || recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len, "recv");
}

static uint8_t *answer;		/* of the client's last call, header included */

static void call(int fd, uint16_t cmd, const void *body, size_t len, int pass)
{
	struct hdr hdr = { 1, cmd, (uint32_t)(sizeof(hdr) + len), 0, 0 };
	union { struct cmsghdr align; char room[CMSG_SPACE(4)]; } control;
	struct iovec iov[2] = {
		{ &hdr, sizeof(hdr) }, { (void *)(uintptr_t)body, len },
	};
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };

	if (pass >= 0) {
		mh.msg_control = control.room;
		mh.msg_controllen = sizeof(control.room);
		CMSG_FIRSTHDR(&mh)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&mh)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&mh)->cmsg_len = CMSG_LEN(4);
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&mh)), &pass, 4);
	}
	must(sendmsg(fd, &mh, 0) == (ssize_t)(sizeof(hdr) + len), "sendmsg");
	receive(fd, answer, sizeof(hdr));
	memcpy(&hdr, answer, sizeof(hdr));
	must(!(hdr.flags & ERROR), "the server refused");
	receive(fd, answer + sizeof(hdr), hdr.size - sizeof(hdr));
}

static void write_register(int fd, uint32_t region, uint64_t offset,
			   uint32_t value)
{
	struct { uint64_t offset; uint32_t region, count, value; } body = {
		offset, region, 4, value
	};

	call(fd, REGION_WRITE, &body, 20, -1);
}

static void set_up(int fd, int memory)
{
	struct { uint32_t argsz, flags; uint64_t offset, addr, size; } map = {
		32, 3, 0, 0, GUEST
	};
	struct { uint32_t argsz, flags; uint64_t page, ranges; } start = {
		24, START | SET, PAGE, 0
	};

	call(fd, VERSION, "\0\0\1\0", 4, -1);
	call(fd, DMA_MAP, &map, sizeof(map), memory);
	write_register(fd, CONFIG, 4, 4);
	call(fd, FEATURE, &start, sizeof(start), -1);
}

static void report(int fd, uint64_t iova, uint64_t length)
{
	struct { uint32_t argsz, flags; uint64_t iova, length, page; } body = {
		16 * MIB, REPORT | GET, iova, length, PAGE
	};

	call(fd, FEATURE, &body, sizeof(body), -1);
}

static uint64_t bits_told(uint64_t length)
{
	uint64_t n = 0, word;

	for (uint64_t i = 0; i < length / PAGE / 64; i++) {
		memcpy(&word, answer + HEAD + i * 8, 8);
		n += (uint64_t)__builtin_popcountll(word);
	}
	return n;
}

static void measure_report(int fd, const char *name, uint32_t dirty,
			   uint64_t length)
{
	static double times[ROUNDS];

	for (int i = -WARM; i < ROUNDS; i++) {
		double spent = 0;
		uint64_t told = 0;

		write_register(fd, 0, 0, dirty);
		for (uint64_t at = 0; at < GUEST; at += length) {
			double start = now_us();

			report(fd, at, length);
			spent += now_us() - start;
			told += bits_told(length);
		}
		must(told == dirty, "wrong number of bits");
		if (i >= 0)
			times[i] = spent;
	}
	print_row(name, times, "us");
}

static void measure_zeros(int fd, const char *name, uint32_t len)
{
	static double times[ROUNDS];

	for (int i = -WARM; i < ROUNDS; i++) {
		double start = now_us();

		for (uint64_t got = 0; got < BITMAP_BYTES; got += len) {
			must(send(fd, &len, sizeof(len), 0) == sizeof(len),
			     "send");
			receive(fd, answer, len);
		}
		if (i >= 0)
			times[i] = now_us() - start;
	}
	print_row(name, times, "us");
}

static pid_t start_process(void (*run)(int fd), int fd, int others)
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (!pid) {
		close(others);
		run(fd);
	}
	close(fd);
	return pid;
}

static int connect_to(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(sun.sun_path, path, strlen(path));
	must(connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0, "connect");
	return fd;
}

static void measure_reports(void)
{
	char path[sizeof(((struct rig *)NULL)->path)] = "";
	int ends[2], pair[2], fd, memory = new_memory(GUEST);
	pid_t server, zeros;

	must(!pipe(ends) && !socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "pipe");
	server = start_process(serve, ends[1], ends[0]);
	zeros = start_process(send_zeros, pair[1], pair[0]);
	must(read(ends[0], path, sizeof(path)) == sizeof(path), "no server");
	fd = connect_to(path);
	set_up(fd, memory);
	puts("\nReports about 64 GiB of guest memory\n");
	measure_report(fd, "nothing dirty, one bitmap of 2 MiB", 0, GUEST);
	measure_report(fd, "1,000 pages dirty, one of 2 MiB", 1000, GUEST);
	measure_report(fd, "1,000 pages dirty, two of 1 MiB", 1000, GUEST / 2);
	measure_report(fd, "100,000 pages dirty, one of 2 MiB", 100000, GUEST);
	measure_report(fd, "all dirty, one of 2 MiB", GUEST / PAGE, GUEST);
	measure_report(fd, "all dirty, two of 1 MiB", GUEST / PAGE, GUEST / 2);
	measure_zeros(pair[0], "bare process, 2 MiB of zeros", 2 * MIB);
	measure_zeros(pair[0], "bare process, twice 1 MiB of zeros", MIB);
	kill(server, SIGTERM);
	kill(zeros, SIGTERM);
	waitpid(server, NULL, 0);
	waitpid(zeros, NULL, 0);
	unlink(path);
	*strrchr(path, '/') = 0;
	rmdir(path);
}

int main(void)
{
	answer = malloc(HEAD + BITMAP_BYTES);
	must(answer != NULL, "malloc");
	memset(answer, 1, HEAD + BITMAP_BYTES);
	setvbuf(stdout, NULL, _IOLBF, 0);
	measure_marks();
	measure_reports();
	free(answer);
	return 0;
}
