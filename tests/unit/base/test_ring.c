// SPDX-License-Identifier: BSD-3-Clause
/*
 * Rings of the dead.  Each test forks a worker on rings that this process
 * made, has it killed, and succeeds it.
 */
#include "loop_fixture.h"
#include "../open_fds.h"

#include <base/fd.h>
#include <base/linger.h>
#include <base/ring.h>
#include <base/sure.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define GENERATION	5
#define BLOCKS		32
#define BLOCK		4096
#define CHUNK		16
#define FILLED		16384	/* bytes that wait for the worker */

/* What a worker leaves behind, written in order. */
struct will {
	uint64_t begun[BLOCKS];		/* stamp of the last write */
	struct { uint64_t sent, taken, send_tag, take_tag; } calls[2];
	uint64_t turn;			/* calls[turn % 2] counts */
};

struct life {
	struct ob_rings rings;
	int file, sock[2], polled[2];
	struct will *will;
	char (*blocks)[BLOCK];
};

static int overs;

static void on_over(void *arg)
{
	(void)arg;
	overs++;
}

static int make_file(void)
{
	char path[] = "/tmp/outboard-test-XXXXXX";
	int fd = mkostemp(path, O_DIRECT), plain;

	if (fd < 0) {
		char again[] = "/tmp/outboard-test-XXXXXX";

		plain = mkstemp(again);
		unlink(again);
		return plain;
	}
	unlink(path);
	return fd;
}

static void *shared(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

static void life_begin(struct life *life)
{
	static const char zeros[FILLED];
	int r = ob_rings_create(GENERATION, &life->rings);

	if (r == -ENOSYS || r == -EPERM)
		skip();
	assert_int_equal(r, 0);
	life->file = make_file();
	assert_true(life->file >= 0);
	assert_int_equal(ftruncate(life->file, BLOCKS * BLOCK), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, life->sock), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, life->polled), 0);
	assert_int_equal(write(life->sock[0], zeros, FILLED), FILLED);
	life->will = shared(sizeof(*life->will));
	life->blocks = shared(BLOCKS * BLOCK);
}

static void life_end(struct life *life)
{
	ob_rings_close(&life->rings);
	ob_fd_close(&life->file);
	ob_fds_close(life->sock, 2);
	ob_fds_close(life->polled, 2);
	munmap(life->will, sizeof(*life->will));
	munmap(life->blocks, BLOCKS * BLOCK);
}

/* The worker's side. */

struct write {
	struct ob_op op;
	struct worker *worker;
	struct iovec iov;
	unsigned block;
};

struct worker {
	struct life *life;
	struct ob_loop *loop;
	struct ob_watch watch;
	struct write writes[BLOCKS];
	bool die_in_done;
	int done;
};

static void die(void)
{
	kill(getpid(), SIGKILL);
}

static void write_more(struct write *write)
{
	struct life *life = write->worker->life;
	uint64_t stamp = life->will->begun[write->block] + 1;

	for (size_t i = 0; i < BLOCK / sizeof(stamp); i++)
		((uint64_t *)write->iov.iov_base)[i] = stamp;
	life->will->begun[write->block] = stamp;
	ob_op_writev(write->worker->loop, &write->op, life->file, &write->iov,
		     1, (off_t)write->block * BLOCK, 0);
}

static void on_done(struct ob_op *op, int res)
{
	struct write *write = (struct write *)op;

	if (write->worker->die_in_done)
		die();
	write->worker->done++;
	if (res == BLOCK)
		write_more(write);
}

static void on_ready(struct ob_watch *watch, uint32_t events)
{
	(void)watch;
	(void)events;
}

static void worker_init(struct worker *worker, struct life *life)
{
	struct ob_err err = { 0 };

	*worker = (struct worker){ .life = life };
	if (ob_loop_create_on(NULL, &life->rings, &worker->loop, &err)) {
		fprintf(stderr, "worker: %s\n", err.msg);
		exit(1);
	}
	/* Its pages go on to be the kernel's when the worker is dead. */
	ob_loop_lend(worker->loop, life->blocks, BLOCKS * BLOCK);
	worker->watch = (struct ob_watch){
		.ready = on_ready, .fd = life->polled[1], .events = POLLIN,
	};
	ob_watch_add(worker->loop, &worker->watch);
	for (unsigned i = 0; i < BLOCKS; i++)
		worker->writes[i] = (struct write){
			.op.done = on_done, .worker = worker, .block = i,
			.iov = { life->blocks[i], BLOCK },
		};
}

/* One send and one take; the will first, then the calls, then their sums. */
static void talk(struct worker *worker)
{
	static char out[CHUNK], in[CHUNK];
	struct iovec iov = { out, CHUNK };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct ob_sure *sure = ob_loop_sure(worker->loop);
	struct ob_sure_call send = { .tag = ob_sure_tag(sure) };
	struct ob_sure_call take = { .tag = ob_sure_tag(sure) };
	struct will *will = worker->life->will;
	uint64_t turn = will->turn;
	int fd = worker->life->sock[1];

	/* will->calls[turn % 2] has the sums so far. */
	will->calls[turn % 2].send_tag = send.tag;
	will->calls[turn % 2].take_tag = take.tag;
	ob_sure_sendmsg(sure, &send, fd, &msg);
	ob_sure_recv(sure, &take, fd, in, CHUNK);
	ob_sure_go(sure);
	will->calls[!(turn % 2)] = (typeof(will->calls[0])){
		.sent = will->calls[turn % 2].sent +
			(send.res > 0 ? (unsigned)send.res : 0),
		.taken = will->calls[turn % 2].taken +
			(take.res > 0 ? (unsigned)take.res : 0),
	};
	__atomic_store_n(&will->turn, turn + 1, __ATOMIC_RELEASE);
}

static void work_for_ever(struct worker *worker)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		write_more(&worker->writes[i]);
	for (;;) {
		talk(worker);
		ob_loop_turn(worker->loop, true);
	}
}

static pid_t start(struct life *life, void (*work)(struct worker *worker))
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		struct worker worker;

		worker_init(&worker, life);
		work(&worker);
		exit(1);
	}
	return pid;
}

static void bury(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

/* The successor's side. */

static struct ob_old_rings *succeed(struct ob_loop *loop, struct life *life)
{
	struct ob_old_rings *old = NULL;
	struct ob_err err = { 0 };

	overs = 0;
	if (ob_old_rings_open(loop, &life->rings, on_over, NULL, &old, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(overs, 0);	/* never from inside */
	turn_until(loop, &overs, 1);
	assert_int_equal(ob_old_rings_left(old), 0);
	assert_true(ob_old_rings_over(old));
	return old;
}

static size_t bytes_in(int fd)
{
	char buf[4096];
	size_t sum = 0;
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		sum += (size_t)n;
	return sum;
}

static uint64_t happened(const struct ob_old_rings *old, uint64_t tag)
{
	int res = ob_old_rings_sure(old, tag);

	return res > 0 ? (uint64_t)res : 0;
}

static void check_talk(struct life *life, const struct ob_old_rings *old)
{
	uint64_t turn = life->will->turn;
	uint64_t sent = life->will->calls[turn % 2].sent;
	uint64_t taken = life->will->calls[turn % 2].taken;

	sent += happened(old, life->will->calls[turn % 2].send_tag);
	taken += happened(old, life->will->calls[turn % 2].take_tag);
	assert_int_equal(bytes_in(life->sock[0]), sent);
	assert_int_equal(bytes_in(life->sock[1]), FILLED - taken);
}

/*
 * Nothing was lost: each block holds its last stamp or the one before.  And
 * nothing comes late: our own word stays the last.
 */
static void check_blocks(struct life *life)
{
	static uint64_t block[BLOCK / 8] __attribute__((aligned(BLOCK)));

	for (unsigned i = 0; i < BLOCKS; i++) {
		uint64_t begun = life->will->begun[i];

		assert_int_equal(pread(life->file, block, BLOCK,
				       (off_t)i * BLOCK), BLOCK);
		assert_true(block[0] == begun || block[0] + 1 == begun);
		memset(block, 0xee, BLOCK);
		assert_int_equal(pwrite(life->file, block, BLOCK,
					(off_t)i * BLOCK), BLOCK);
	}
}

static void check_last_word(struct life *life)
{
	static uint64_t block[BLOCK / 8] __attribute__((aligned(BLOCK)));

	for (unsigned i = 0; i < BLOCKS; i++) {
		assert_int_equal(pread(life->file, block, BLOCK,
				       (off_t)i * BLOCK), BLOCK);
		assert_int_equal(block[0], UINT64_C(0xeeeeeeeeeeeeeeee));
		assert_int_equal(block[BLOCK / 8 - 1], block[0]);
	}
}

/* A poll of the dead would hold our end open after we have closed it. */
static void check_hang_up(struct life *life)
{
	struct pollfd pfd = { .fd = life->polled[0], .events = POLLIN };
	char c;

	ob_fd_close(&life->polled[1]);
	assert_int_equal(poll(&pfd, 1, 20000), 1);
	assert_int_equal(read(life->polled[0], &c, 1), 0);
}

static struct ob_loop *new_loop(void)
{
	struct ob_loop *loop;

	assert_int_equal(ob_loop_create(NULL, &loop, NULL), 0);
	return loop;
}

static void kill_once(struct ob_loop *loop, unsigned after_us)
{
	struct life life;
	struct ob_old_rings *old;
	pid_t pid;

	life_begin(&life);
	pid = start(&life, work_for_ever);
	usleep(after_us);
	assert_int_equal(kill(pid, SIGKILL), 0);
	bury(pid);
	old = succeed(loop, &life);
	check_talk(&life, old);
	check_blocks(&life);
	check_hang_up(&life);
	check_last_word(&life);
	ob_old_rings_close(old);
	life_end(&life);
}

static unsigned count_lines(const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned n = 0;
	int c;

	assert_non_null(file);
	while ((c = getc(file)) != EOF)
		n += c == '\n';
	fclose(file);
	return n;
}

static void test_nothing_is_lost_whenever_the_worker_dies(void **state)
{
	struct ob_loop *loop = new_loop();
	unsigned fds = 0, maps = 0;

	(void)state;
	srand(4);
	for (int i = 0; i < 120; i++) {
		kill_once(loop, (unsigned)rand() % 6000);
		/* The first few may grow this process's own heap. */
		if (i != 20)
			continue;
		fds = count_fds();
		maps = count_lines("/proc/self/maps");
	}
	assert_int_equal(count_fds(), fds);
	assert_in_range(count_lines("/proc/self/maps"), maps - 2, maps + 2);
	ob_loop_destroy(loop);
}

static void test_the_pool_succeeds_a_ring(void **state)
{
	struct ob_loop_params params = { .engine = OB_LOOP_POOL };
	struct ob_loop *loop;

	(void)state;
	assert_int_equal(ob_loop_create(&params, &loop, NULL), 0);
	for (int i = 0; i < 10; i++)
		kill_once(loop, (unsigned)rand() % 4000);
	ob_loop_destroy(loop);
}

/* Several threads, each on its own; they die together. */

#define THREADS 4u

static void *work_on(void *arg)
{
	struct worker worker;

	worker_init(&worker, arg);
	work_for_ever(&worker);
	return NULL;
}

static pid_t start_all(struct life lives[THREADS])
{
	pid_t pid = fork();
	pthread_t id;

	assert_true(pid >= 0);
	if (pid)
		return pid;
	ob_linger();
	for (unsigned i = 1; i < THREADS; i++)
		if (pthread_create(&id, NULL, work_on, &lives[i]))
			exit(1);
	work_on(&lives[0]);
	exit(1);
}

/* With the two that every folder has. */
static unsigned count_threads_of(pid_t pid)
{
	unsigned n = 0;
	char path[40];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

/* As the keeper waits: the last of them has gone then. */
static void bury_all(pid_t pid)
{
	OB_CLEANUP_FD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

	assert_true(pidfd >= 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(poll(&pfd, 1, 20000), 1);
	assert_int_equal(count_threads_of(pid), 1);
	bury(pid);
}

/* A tag is in the rings of its thread, if anywhere. */
static void check_others(const struct life *life, unsigned thread,
			 struct ob_old_rings *const old[THREADS])
{
	const uint64_t turn = life->will->turn;

	for (unsigned i = 0; i < THREADS; i++) {
		if (i == thread)
			continue;
		assert_int_equal(ob_old_rings_sure(old[i],
			life->will->calls[turn % 2].send_tag), -ENOENT);
		assert_int_equal(ob_old_rings_sure(old[i],
			life->will->calls[turn % 2].take_tag), -ENOENT);
	}
}

static void kill_all_once(struct ob_loop *loop, unsigned after_us)
{
	struct ob_old_rings *old[THREADS];
	struct life lives[THREADS];
	pid_t pid;

	for (unsigned i = 0; i < THREADS; i++) {
		life_begin(&lives[i]);
		lives[i].rings.thread = i;
	}
	pid = start_all(lives);
	usleep(after_us);
	bury_all(pid);
	for (unsigned i = 0; i < THREADS; i++)
		old[i] = succeed(loop, &lives[i]);
	for (unsigned i = 0; i < THREADS; i++) {
		check_talk(&lives[i], old[i]);
		check_others(&lives[i], i, old);
		check_blocks(&lives[i]);
		check_hang_up(&lives[i]);
		check_last_word(&lives[i]);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		ob_old_rings_close(old[i]);
		life_end(&lives[i]);
	}
}

static void test_nothing_is_lost_when_several_threads_die(void **state)
{
	struct ob_loop *loop = new_loop();
	unsigned fds = 0;

	(void)state;
	for (int i = 0; i < 25; i++) {
		kill_all_once(loop, (unsigned)rand() % 9000);
		if (i == 5)
			fds = count_fds();
	}
	assert_int_equal(count_fds(), fds);
	ob_loop_destroy(loop);
}

/* Chosen instants. */

static void prepare_and_die(struct worker *worker)
{
	write_more(&worker->writes[0]);	/* too little to leave at once */
	die();
}

static void test_what_was_not_submitted_never_happens(void **state)
{
	struct ob_loop *loop = new_loop();
	struct life life;
	uint64_t block[BLOCK / 8] __attribute__((aligned(BLOCK)));

	(void)state;
	life_begin(&life);
	bury(start(&life, prepare_and_die));
	ob_old_rings_close(succeed(loop, &life));
	assert_int_equal(pread(life.file, block, BLOCK, 0), BLOCK);
	assert_int_equal(block[0], 0);
	life_end(&life);
	ob_loop_destroy(loop);
}

static void take_and_die(struct worker *worker)
{
	worker->die_in_done = true;
	for (unsigned i = 0; i < BLOCKS; i++)
		write_more(&worker->writes[i]);
	for (;;)
		ob_loop_turn(worker->loop, true);
}

static void test_a_completion_that_was_taken_is_over(void **state)
{
	struct ob_loop *loop = new_loop();
	struct life life;

	(void)state;
	life_begin(&life);
	bury(start(&life, take_and_die));
	ob_old_rings_close(succeed(loop, &life));
	check_blocks(&life);
	check_last_word(&life);
	life_end(&life);
	ob_loop_destroy(loop);
}

static void queue_and_die(struct worker *worker)
{
	struct ob_sure *sure = ob_loop_sure(worker->loop);
	static struct ob_sure_call call;
	static char c;

	talk(worker);
	call.tag = ob_sure_tag(sure);
	worker->life->will->turn = 0;
	worker->life->will->calls[0].take_tag = call.tag;
	ob_sure_recv(sure, &call, worker->life->sock[1], &c, 1);
	die();
}

static void test_a_sure_call_is_known_or_never_happened(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_old_rings *old;
	struct life life;

	(void)state;
	life_begin(&life);
	bury(start(&life, queue_and_die));
	old = succeed(loop, &life);
	assert_int_equal(ob_old_rings_sure(old, 0), -ENOENT);
	assert_int_equal(ob_old_rings_sure(old,
			 life.will->calls[0].send_tag), CHUNK);
	assert_int_equal(ob_old_rings_sure(old,
			 life.will->calls[0].take_tag), -ENOENT);
	assert_int_equal(bytes_in(life.sock[1]), FILLED - CHUNK);
	ob_old_rings_close(old);
	life_end(&life);
	ob_loop_destroy(loop);
}

/* Two takes along with other calls: the first left, the second has not. */
static void go_along_and_die(struct worker *worker)
{
	struct ob_sure *sure = ob_loop_sure(worker->loop);
	struct will *will = worker->life->will;
	static struct ob_sure_call calls[2];
	static char in[CHUNK];

	for (int i = 0; i < 2; i++)
		calls[i].tag = ob_sure_tag(sure);
	will->calls[0].take_tag = calls[0].tag;
	will->calls[1].take_tag = calls[1].tag;
	ob_sure_recv_along(sure, &calls[0], worker->life->sock[1], in, CHUNK);
	/* The second turn reads what the first one handed over. */
	ob_loop_turn(worker->loop, false);
	ob_loop_turn(worker->loop, false);
	ob_sure_recv_along(sure, &calls[1], worker->life->sock[1], in, CHUNK);
	die();
}

static void test_one_that_goes_along_is_known_too(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_old_rings *old;
	struct life life;

	(void)state;
	life_begin(&life);
	bury(start(&life, go_along_and_die));
	old = succeed(loop, &life);
	assert_int_equal(ob_old_rings_sure(old,
			 life.will->calls[0].take_tag), CHUNK);
	assert_int_equal(ob_old_rings_sure(old,
			 life.will->calls[1].take_tag), -ENOENT);
	assert_int_equal(bytes_in(life.sock[1]), FILLED - CHUNK);
	ob_old_rings_close(old);
	life_end(&life);
	ob_loop_destroy(loop);
}

static void die_at_once(struct worker *worker)
{
	write_more(&worker->writes[0]);
	ob_loop_turn(worker->loop, false);
	die();
}

/* What the next one finds if a successor dies on its way. */
static void test_a_successor_may_be_succeeded(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_old_rings *first, *second;
	struct life life;

	(void)state;
	life_begin(&life);
	bury(start(&life, die_at_once));
	assert_int_equal(ob_old_rings_open(loop, &life.rings, on_over, NULL,
					   &first, NULL), 0);
	second = succeed(loop, &life);
	ob_old_rings_close(second);
	ob_old_rings_close(first);
	check_blocks(&life);
	life_end(&life);
	ob_loop_destroy(loop);
}

static void post_completion(const struct life *life,
			    struct ob_ring_journal *journal, uint64_t op);

/* An entry that the kernel is said to have keeps the successor waiting. */
static void test_what_is_in_the_kernel_is_waited_for(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_ring_journal *journal;
	struct ob_old_rings *old;
	struct life life;

	(void)state;
	life_begin(&life);
	bury(start(&life, die_at_once));
	ob_old_rings_close(succeed(loop, &life));
	journal = ob_ring_journal_map(life.rings.journal);
	journal->ops[77] = (struct ob_ring_op){ .op = 4242, .sq = 0 };
	overs = 0;
	assert_int_equal(ob_old_rings_open(loop, &life.rings, on_over, NULL,
					   &old, NULL), 0);
	turn_some(loop);
	assert_int_equal(overs, 0);
	assert_int_equal(ob_old_rings_left(old), 1);
	assert_false(ob_old_rings_over(old));
	post_completion(&life, journal, 4242);
	turn_until(loop, &overs, 1);
	assert_int_equal(ob_old_rings_left(old), 0);
	ob_old_rings_close(old);
	ob_ring_journal_unmap(journal);
	life_end(&life);
	ob_loop_destroy(loop);
}

static void post_completion(const struct life *life,
			    struct ob_ring_journal *journal, uint64_t op)
{
	const struct io_uring_params *p = &journal->loop;
	size_t size = p->sq_off.array + p->sq_entries * 4;
	size_t sqes_size = p->sq_entries * sizeof(struct io_uring_sqe);
	char *ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			  life->rings.loop, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqes = mmap(NULL, sqes_size,
					 PROT_READ | PROT_WRITE, MAP_SHARED,
					 life->rings.loop, IORING_OFF_SQES);
	uint32_t *tail = (uint32_t *)(ring + p->sq_off.tail);

	sqes[*tail % p->sq_entries] = (struct io_uring_sqe){
		.opcode = IORING_OP_NOP, .user_data = op,
	};
	(*tail)++;
	assert_int_equal(syscall(SYS_io_uring_enter, life->rings.loop, 1, 0, 0,
				 NULL, 0), 1);
	munmap(ring, size);
	munmap(sqes, sqes_size);
}

static void test_a_worker_without_rings_is_over(void **state)
{
	struct ob_loop *loop = new_loop();
	struct life life = { .rings = { -1, -1, -1, GENERATION, 0 } };
	struct ob_old_rings *old = succeed(loop, &life);

	(void)state;
	assert_int_equal(ob_old_rings_sure(old, 1), -ENXIO);
	ob_old_rings_close(old);
	ob_loop_destroy(loop);
}

/* The journal is memory of a process that may have died of a wild store. */
static void test_a_spoilt_journal_is_refused_or_harmless(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_ring_journal *journal, saved;
	struct ob_old_rings *old;
	struct life life;
	struct ob_err err;

	(void)state;
	life_begin(&life);
	bury(start(&life, die_at_once));
	journal = ob_ring_journal_map(life.rings.journal);
	saved = *journal;
	for (int i = 0; i < 3000; i++) {
		size_t at = (size_t)rand() % (i % 2 ? sizeof(saved) :
			offsetof(struct ob_ring_journal, ops));

		err.msg[0] = '\0';
		*journal = saved;
		for (int k = 0; k <= i % 3; k++)
			((uint8_t *)journal)[at] ^= (uint8_t)(1 << rand() % 8);
		if (ob_old_rings_open(loop, &life.rings, on_over, NULL, &old,
				      &err)) {
			assert_non_null(strstr(err.msg, "generation 5"));
			continue;
		}
		ob_old_rings_sure(old, 1);
		ob_old_rings_close(old);
	}
	journal->magic = 0;
	assert_int_equal(ob_old_rings_open(loop, &life.rings, on_over, NULL,
					   &old, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "bad magic"));
	ob_ring_journal_unmap(journal);
	life_end(&life);
	ob_loop_destroy(loop);
}

static void test_a_loop_on_given_rings_gives_nothing_back(void **state)
{
	static const enum ob_loop_engine engines[] = {
		OB_LOOP_AUTO, OB_LOOP_URING, OB_LOOP_POOL,
	};
	unsigned fds = count_fds();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(engines); i++) {
		struct ob_loop_params params = { engines[i], false, 100000 };
		struct ob_rings rings;
		struct ob_loop *loop;
		int r = ob_rings_create(i, &rings);

		if (r == -ENOSYS || r == -EPERM)
			skip();
		assert_int_equal(ob_loop_create_on(&params, &rings, &loop,
						   NULL), 0);
		assert_int_equal(rings.loop, -1);
		assert_int_equal(ob_loop_is_uring(loop),
				 engines[i] != OB_LOOP_POOL);
		ob_loop_destroy(loop);
	}
	assert_int_equal(count_fds(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_lost_whenever_the_worker_dies),
		cmocka_unit_test(test_nothing_is_lost_when_several_threads_die),
		cmocka_unit_test(test_the_pool_succeeds_a_ring),
		cmocka_unit_test(test_what_was_not_submitted_never_happens),
		cmocka_unit_test(test_a_completion_that_was_taken_is_over),
		cmocka_unit_test(test_a_sure_call_is_known_or_never_happened),
		cmocka_unit_test(test_one_that_goes_along_is_known_too),
		cmocka_unit_test(test_a_successor_may_be_succeeded),
		cmocka_unit_test(test_what_is_in_the_kernel_is_waited_for),
		cmocka_unit_test(test_a_worker_without_rings_is_over),
		cmocka_unit_test(test_a_spoilt_journal_is_refused_or_harmless),
		cmocka_unit_test(test_a_loop_on_given_rings_gives_nothing_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
