// SPDX-License-Identifier: BSD-3-Clause
/*
 * Clients that come while nobody is there to take them, or while whoever takes
 * them dies (docs/crash-safety.md, "A client that comes").
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "life.h"

static void ask_version(int fd)
{
	static const uint8_t words[20] = { [2] = 1, [4] = 20, [18] = 1 };

	assert_int_equal(write(fd, words, sizeof(words)), sizeof(words));
}

/* The kernel interrupts those who made a ring when it takes it apart. */
static ssize_t hear(int fd, uint8_t *data, size_t size, int flags)
{
	ssize_t n;

	do
		n = recv(fd, data, size, flags);
	while (n < 0 && errno == EINTR);
	return n;
}

/* What error it is told, or 0, and whether that is all. */
static unsigned answer_to(int fd, bool *over)
{
	uint8_t reply[4096];
	ssize_t n = hear(fd, reply, sizeof(reply), 0), m;

	assert_true(n >= 16);
	m = hear(fd, reply + n, sizeof(reply) - (size_t)n, *over ? 0 : MSG_DONTWAIT);
	*over = m == 0;
	return reply[8] & ERROR ? reply[12] : 0;
}

static void new_client(struct life *life, unsigned place, int *fd)
{
	struct timeval patience = { .tv_sec = 20 };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				    pair), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience,
		   sizeof(patience));
	ask_version(pair[0]);
	life_comes(life, place, pair[1]);
	*fd = pair[0];
}

/*
 * Dies at a word of its own, or is killed some time after the client was sent
 * away: how many words that takes depends on who is seen first.
 */
static void die_or_be_killed(struct life *life, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	for (unsigned idle = 0; idle < 50 && !life_is_dead(life);) {
		idle += poll(&p, 1, 0) > 0;
		poll(NULL, 0, 1);
	}
	life_kill(life);
	life->shared->die_at_call = 0;
}

/*
 * Two come at once, and their worker dies at its nth word with the keeper, if it
 * has that many: the first is served all the same, and the other one is told that
 * it is not.  How many words there were.
 */
#define NEVER 100000u
static unsigned two_come(unsigned n)
{
	struct life *life = life_served();
	bool over[2] = { false, true };
	int fd[2];

	assert_int_equal(life_put(life, LIFE_ADD, 5), 0);
	shutdown(life->client, SHUT_RDWR);
	life_kill(life);
	new_client(life, 0, &fd[0]);
	new_client(life, 1, &fd[1]);
	life->shared->die_at_call = n;
	life_begin(life);
	if (n != NEVER) {
		die_or_be_killed(life, fd[1]);
		life_begin(life);
	}
	assert_int_equal(answer_to(fd[0], &over[0]), 0);
	assert_false(over[0]);
	assert_int_equal(answer_to(fd[1], &over[1]), EBUSY);
	assert_true(over[1]);
	life->rig.fd = fd[0];
	assert_int_equal(life_get(life, LIFE_ADD), 5);
	n = life->shared->die_at_call;
	for (unsigned ms = 0; ms < 10000 &&
	     fake_keep_has(&life->keep, "dev/listen/new/1"); ms++) {
		fake_keep_drain(&life->keep, life->told);
		poll(NULL, 0, 1);
	}
	assert_true(fake_keep_has(&life->keep, "dev/client"));
	assert_false(fake_keep_has(&life->keep, "dev/listen/new/0"));
	assert_false(fake_keep_has(&life->keep, "dev/listen/new/1"));
	close(fd[0]);
	close(fd[1]);
	life_end(life);
	return NEVER - n;
}

static void test_coming(void **unused)
{
	unsigned all = two_come(NEVER);

	(void)unused;
	assert_true(all > 20);
	for (unsigned n = 1; n <= all; n++)
		two_come(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_coming),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
