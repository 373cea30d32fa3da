// SPDX-License-Identifier: BSD-3-Clause
/*
 * A worker as small as can be: it counts its lives in memory that the keeper
 * holds, and does what the board says.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/linger.h"
#include "board.h"
#include "keeper/msg.h"
#include "link/link.h"
#include "toy_threads.h"

static struct board *board;
static struct ob_link *toy;
static struct ob_keep *keep;
static struct ob_loop *loop;
static struct ob_link_start start;

void wrong(const char *what)
{
	if (!board->wrong)
		snprintf(board->what, sizeof(board->what), "%s, life %u", what,
			 board->births);
	board->wrong = true;
}

static void die(enum answer how)
{
	if (how == ANSWER_EXIT)
		_exit(3);
	if (how == ANSWER_CRASH) {
		signal(SIGSEGV, SIG_DFL);
		raise(SIGSEGV);
	}
	raise(SIGKILL);
}

static void note_birth(void)
{
	struct birth *b = &board->birth[board->births++ % BIRTHS];
	struct timespec ts;
	struct stat st;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	stat("/proc/self/exe", &st);
	*b = (struct birth){
		.pid = getpid(), .generation = start.generation,
		.at_ms = (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000,
		.exe = st.st_ino, .deaths = start.deaths,
		.signal = start.signal, .why = start.why,
		.nr_old = start.nr_old,
	};
}

static int new_memory(uint64_t value)
{
	int fd = ob_memfd_create("toy", sizeof(value));

	if (pwrite(fd, &value, sizeof(value), 0) != sizeof(value))
		wrong("memfd");
	return fd;
}

/* Replaced by each life, by a new one that holds one more. */
static void count_life(void)
{
	int fd = keep->get(keep, "toy/lives");
	uint64_t lives = 0;

	if (fd >= 0 && pread(fd, &lives, sizeof(lives), 0) != sizeof(lives))
		wrong("lives cannot be read");
	if (lives + 1 != board->births && !board->uncounted)
		wrong("a life is missing");
	ob_fd_close(&fd);
	fd = new_memory(lives + 1);
	if (keep->put(keep, "toy/lives", fd))
		wrong("put failed");
	ob_fd_close(&fd);
}

static void seen(void *arg, const char *name)
{
	strcat(arg, name);
	strcat(arg, " ");
}

/* Order of names is that of their first put; what was dropped stays away. */
static void check_names(void)
{
	char names[512] = "";
	int fd = new_memory(1);

	keep->each(keep, "toy/", seen, names);
	if (board->births > 1 && strcmp(names, "toy/lives toy/listen "))
		wrong(names);
	keep->put(keep, "gone/a", fd);
	keep->put(keep, "gone/b", fd);
	keep->put(keep, "one", fd);
	keep->drop(keep, "one");
	keep->drop(keep, "gone/");
	if (keep->get(keep, "gone/a") != -ENOENT ||
	    keep->get(keep, "one") != -ENOENT)
		wrong("found what was dropped");
	close(fd);
}

/* By one that could do nothing else any more. */
static void look_for_the_last_word(void)
{
	int fd = keep->get(keep, "left");

	board->left += fd >= 0;
	ob_fd_close(&fd);
	keep->drop(keep, "left");
}

/* The kernel makes up a name; the test finds it with getsockname. */
static void listen_somewhere(void)
{
	const struct sockaddr any = { .sa_family = AF_UNIX };
	int fd = keep->get(keep, "toy/listen");
	socklen_t len;

	if (fd < 0) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || bind(fd, &any, sizeof(any.sa_family)) ||
		    listen(fd, 8) || keep->put(keep, "toy/listen", fd))
			wrong("listen");
		len = sizeof(board->address);
		getsockname(fd, (struct sockaddr *)&board->address, &len);
		board->address_len = len;
	}
	close(fd);
	ob_link_accept(toy, "toy/listen", true);
}

static void taken(unsigned place)
{
	char name[40];

	snprintf(name, sizeof(name), "toy/listen/new/%u", place);
	keep->drop(keep, name);
}

/* Those whom a dead one was told of; they see that it is somebody else. */
static void greet(void)
{
	char name[40];
	int fd;

	for (unsigned place = 0; place < OB_KEEP_NEW; place++) {
		snprintf(name, sizeof(name), "toy/listen/new/%u", place);
		fd = keep->get(keep, name);
		if (fd < 0)
			continue;
		if (write(fd, "g", 1) != 1)
			wrong("a client that was kept has gone");
		board->greeted++;
		close(fd);
		taken(place);
	}
}

/* Acts */

static void put_until_full(void)
{
	char name[40];
	int fd = new_memory(1), r = 0;

	for (int i = 0; !r && i < 70000; i++) {
		snprintf(name, sizeof(name), "many/%d", i);
		r = keep->put(keep, name, fd);
		board->filled = i;
	}
	board->full = r;
	/* The last one is there, and a name can be replaced all the same. */
	snprintf(name, sizeof(name), "many/%d", board->filled - 1);
	if (keep->put(keep, "toy/lives", keep->get(keep, "toy/lives")) ||
	    keep->get(keep, name) < 0)
		wrong("not kept in a full table");
	keep->drop(keep, "many/");
	close(fd);
}

static void send_raw(int channel, const void *data, size_t size, int fds)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * 20)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;

	if (fds) {
		memset(&control, 0, sizeof(control));
		hdr.msg_control = control.buf;
		hdr.msg_controllen = CMSG_SPACE(sizeof(int) * fds);
		cmsg = CMSG_FIRSTHDR(&hdr);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fds);
	}
	if (sendmsg(channel, &hdr, MSG_NOSIGNAL) < 0)
		wrong("send");
}

/* Everything that a worker gone mad could say, at random and on purpose. */
static void talk_nonsense(int channel)
{
	struct ob_keeper_msg msg;
	unsigned seed = 1;

	for (int i = 0; i < 3000; i++) {
		char *bytes = (char *)&msg;

		for (size_t n = 0; n < sizeof(msg); n++)
			bytes[n] = (char)rand_r(&seed);
		if (i % 3) {
			msg.magic = OB_KEEPER_MAGIC;
			msg.op = (uint32_t)i % 90;
			msg.name[i % 8 ? i % 100 : (int)OB_KEEPER_NAME - 1] = 0;
		}
		if (i % 5)
			memset(msg.name, 'a' + i % 20, i % 100);
		/* Not these: they are believed. */
		if (msg.magic == OB_KEEPER_MAGIC &&
		    (msg.op == OB_KEEPER_ENDED || msg.op == OB_KEEPER_DROP))
			continue;
		send_raw(channel, &msg, 1 + (size_t)i * 7 % sizeof(msg),
			 i % 4 ? 0 : 1 + i % 19);
	}
	keep->drop(keep, "");
}

/* Questions, and no ear for the answers. */
static void flood(void)
{
	for (;;)
		ob_link_ask_status(toy);
}

/* What is put is copied by the kernel, also when we can open nothing. */
static void use_up_files(void)
{
	int fd = new_memory(board->births), more;

	while ((more = dup(fd)) >= 0)
		;
	if (errno != EMFILE || keep->put(keep, "left", fd))
		wrong("a put needs no descriptor");
	if (keep->get(keep, "left") >= 0)
		wrong("a get does");
	raise(SIGABRT);
}

static void use_up_memory(void)
{
	const struct rlimit limit = { 64 << 20, 64 << 20 };

	setrlimit(RLIMIT_AS, &limit);
	while (malloc(1 << 20))
		;
	while (malloc(16))
		;
	if (keep->put(keep, "left", 1))
		wrong("a put needs no memory of ours");
	raise(SIGABRT);
}

static int channel_of_env(const char *env)
{
	return env ? atoi(env) : -1;
}

static int channel;

static void act(void)
{
	int fd;

	board->acts++;
	switch (board->act) {
	case ACT_NONE:
		break;
	case ACT_DIE:
		raise(SIGKILL);
		break;
	case ACT_SPIN:
		for (;;)
			__asm__ volatile("");
	case ACT_STOP:
		raise(SIGSTOP);
		break;
	case ACT_GARBAGE:
		talk_nonsense(channel);
		break;
	case ACT_FILL:
		put_until_full();
		break;
	case ACT_END:
		ob_link_ended(toy, 7);
		_exit(0);
	case ACT_CLOSE:
		shutdown(channel, SHUT_RDWR);
		break;
	case ACT_STATUS:
		ob_link_ask_status(toy);
		break;
	case ACT_UPGRADE_DRY:
		fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
		ob_link_upgrade(toy, fd, OB_UPGRADE_DRY_RUN, board->ticket);
		close(fd);
		break;
	case ACT_FLOOD:
		flood();
		break;
	case ACT_FILES:
		use_up_files();
		break;
	case ACT_MEMORY:
		use_up_memory();
		break;
	case ACT_TAKE:
		for (unsigned place = 0; place < OB_KEEP_NEW; place++)
			taken(place);
		break;
	case ACT_SPIN_THREAD:
		if (board->late_threads)
			threads_start();
		threads_spin();
		break;
	case ACT_HAMMER:
		threads_hammer();
		break;
	case ACT_GET:
		fd = keep->get(keep, "toy/lives");
		if (fd < 0)
			wrong("own put cannot be got");
		ob_fd_close(&fd);
		break;
	}
}

static void bell(struct ob_watch *watch, uint32_t events)
{
	uint64_t count;

	(void)events;
	if (read(watch->fd, &count, sizeof(count)) == sizeof(count))
		act();
}

/* The keeper's words */

static bool take_order(unsigned *left)
{
	if (!*left)
		return false;
	--*left;
	return true;
}

static void client(void *arg, const char *name, unsigned place, int fd)
{
	(void)arg;
	if (strcmp(name, "toy/listen") || place >= OB_KEEP_NEW)
		wrong("client of another socket");
	board->clients++;
	if (take_order(&board->die_client))
		raise(SIGKILL);
	close(fd);
	if (!board->hoard)
		taken(place);
}

static void copy(void *arg, uint64_t value)
{
	int fd = new_memory(board->births);

	(void)arg;
	board->copies++;
	keep->put(keep, "toy/copy", fd);
	close(fd);
	ob_link_copied(toy, value);
}

static void status_is(void *arg, const struct ob_keeper_status *status)
{
	(void)arg;
	board->status = *status;
	board->acts++;
}

static void stop(void *arg, bool now)
{
	(void)arg;
	(void)now;
	if (take_order(&board->die_stop))
		raise(SIGKILL);
	board->stops++;
	ob_link_ended(toy, 0);
	ob_loop_stop(loop);
}

/* Living */

static void rehearse(void)
{
	int fd = keep->get(keep, "toy/copy");

	board->rehearsals++;
	if (fd < 0 || keep->get(keep, "toy/lives") >= 0)
		wrong("a rehearsal must see copies only");
	if (keep->put(keep, "toy/bad", fd))
		wrong("a rehearsal's put");
	ob_fd_close(&fd);
	if (board->rehearsal == ANSWER_YES)
		ob_link_rehearsed(toy, 1234, "fine");
	else if (board->rehearsal == ANSWER_NO)
		ob_link_refused(toy, "field toy.x: too large");
	else
		die(board->rehearsal);
}

static void get_warm(void)
{
	int fd = new_memory(0);

	board->warm++;
	if (keep->get(keep, "toy/lives") >= 0)
		wrong("one that gets warm must see nothing");
	if (keep->put(keep, "toy/bad", fd))
		wrong("a put of one that gets warm");
	ob_fd_close(&fd);
}

/* Its own rings come with the first word. */
static void wait_for_start(void)
{
	struct ob_rings own[OB_THREADS];
	bool first = true;
	struct ob_err err;

	do {
		if (ob_link_wait(toy, &start, &err))
			_exit(9);
		if (first)
			memcpy(own, start.rings, sizeof(own));
		first = false;
		if (start.rehearse)
			rehearse();
		if (start.warm)
			get_warm();
	} while (start.rehearse || start.warm);
	memcpy(start.rings, own, sizeof(own));
}

/* Letters, so that each has its place. */
static void say_ready(void)
{
	char line[3 * OB_KEEPER_TEXT] = "toy is ready";
	struct ob_keeper_msg msg;

	for (unsigned i = 0; i < board->line; i++)
		line[i] = (char)('a' + i % 23);
	if (take_order(&board->die_in_line)) {
		ob_msg_init(&msg, OB_KEEPER_READY_PART, NULL);
		ob_msg_text(&msg, line);
		ob_msg_send(channel, &msg, 0, -1, 0);
		raise(SIGKILL);
	}
	ob_link_ready(toy, line);
}

static void get_ready(void)
{
	bool upgraded = start.why == OB_START_UPGRADE;

	if (take_order(&board->die_early))
		die(board->early);
	if ((upgraded && board->refuse_upgraded) ||
	    (start.why == OB_START_ROLLBACK && board->refuse_back)) {
		ob_link_refused(toy, "no");
		_exit(1);
	}
	if (upgraded)
		usleep(board->slow_upgraded_ms * 1000);
	say_ready();
	board->birth[(board->births - 1) % BIRTHS].ready = true;
	if (take_order(&board->die_ready))
		die(board->late);
	if (upgraded && board->die_upgraded)
		raise(SIGKILL);
}

static void old_rings_end(void)
{
	board->old = 0;
	for (unsigned i = 0; i < start.nr_old; i++) {
		if (start.old[i].generation >= start.generation)
			wrong("old rings from the future");
		board->old |= UINT64_C(1) << start.old[i].generation % 64;
		ob_rings_close(&start.old[i]);
		if (!board->keep_rings)
			ob_link_rings_over(toy, start.old[i].generation);
	}
}

int main(void)
{
	static struct ob_watch watch = { .ready = bell, .fd = BELL_FD,
					 .events = POLLIN };
	const struct ob_link_events events = {
		.client = client, .copy = copy, .status = status_is,
		.stop = stop,
	};
	const struct ob_loop_params params = { .engine = OB_LOOP_AUTO };
	struct ob_err err = { 0 };

	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED,
		     BOARD_FD, 0);
	channel = channel_of_env(getenv(OB_KEEPER_ENV));
	if (board == MAP_FAILED || ob_link_open(&toy, &err) || !toy)
		return 8;
	keep = ob_link_keep(toy);
	ob_linger();
	wait_for_start();
	note_birth();
	count_life();
	look_for_the_last_word();
	greet();
	listen_somewhere();
	check_names();
	if (ob_loop_create_on(&params, start.rings, &loop, &err))
		return 8;
	threads_init(board, toy, &start);
	threads_look_back(loop);
	old_rings_end();
	talk(loop, 0);
	if (!board->late_threads)
		threads_start();
	get_ready();
	if (ob_link_watch(toy, loop, &events) || ob_watch_add(loop, &watch))
		return 8;
	ob_loop_run(loop);
	threads_stop();
	ob_watch_remove(loop, &watch);
	ob_link_unwatch(toy);
	ob_loop_destroy(loop);
	ob_link_close(toy);
	return 0;
}
