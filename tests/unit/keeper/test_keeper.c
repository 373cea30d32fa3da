// SPDX-License-Identifier: BSD-3-Clause
/* Lives, deaths, clients and upgrades.  Argument: the toy. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rig.h"

#include "../open_fds.h"
#include "base/fd.h"
#include "base/keep.h"
#include "keeper/impl.h"

static void a_life_in_order(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	assert_int_equal(life(1)->why, OB_START_FIRST);
	assert_int_equal(life(1)->generation, 1);
	assert_int_equal(stop(), 0);
	assert_int_equal(board->births, 1);
}

/* When it has heard all that was said before. */
static unsigned settled_fds(void)
{
	status();
	return count_fds_of(keeper);
}

static void a_thousand_deaths(void **state)
{
	unsigned files;

	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	ring(ACT_DIE);
	UNTIL(lives(2));
	files = settled_fds();
	board->die_ready = 997;
	ring(ACT_DIE);
	UNTIL(lives(1000));
	ring(ACT_DIE);
	UNTIL(lives(1001));
	assert_int_equal(life(1001)->why, OB_START_DEATH);
	assert_int_equal(life(1001)->signal, SIGKILL);
	assert_int_equal(life(1001)->nr_old, 1);
	assert_int_equal(settled_fds(), files);
	assert_int_equal(stop(), 0);
}

static unsigned count_children_of(pid_t pid)
{
	char path[80];
	int child;
	unsigned n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid,
		 (int)pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fscanf(f, "%d", &child) == 1)
		n++;
	fclose(f);
	return n;
}

/* Each of these workers leaves a task that ends after it. */
static void orphans_are_reaped(void **state)
{
	(void)state;
	KEEP(.reaper = true);
	for (unsigned i = 1; i <= 20; i++) {
		UNTIL(lives(i));
		ring(ACT_DIE);
	}
	UNTIL(lives(21));
	/* The worker and the midwives. */
	UNTIL(count_children_of(keeper) == 1 + OB_MIDWIVES);
	assert_int_equal(stop(), 0);
}

static void a_standby_takes_over(void **state)
{
	(void)state;
	KEEP(.standby = true);
	for (unsigned i = 1; i <= 20; i++) {
		UNTIL(lives(i));
		UNTIL(*(volatile unsigned *)&board->warm >= i);
		ring(ACT_DIE);
	}
	UNTIL(lives(21));
	assert_int_equal(stop(), 0);
}

/* What each of them did is kept, and its rings too. */
static void deaths_before_ready_wait_longer_and_longer(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	board->die_early = 6;
	ring(ACT_DIE);
	UNTIL(lives(8));
	assert_int_equal(life(8)->deaths, 7);
	assert_true(life(7)->at_ms - life(6)->at_ms + 1 >= 20);
	assert_true(life(8)->at_ms - life(7)->at_ms + 1 >= 40);
	assert_int_equal(stop(), 0);
}

/* A storm is what has no READY in it: who is killed at random waits for nobody. */
static void deaths_around_ready_do_not_add_up(void **state)
{
	uint64_t begin;

	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	begin = life(1)->at_ms;
	for (unsigned i = 1; i <= 118; i += 3) {
		UNTIL(lives(i));
		board->die_early = 2;
		ring(ACT_DIE);
	}
	UNTIL(lives(121));
	assert_int_equal(life(121)->deaths, 120);
	/* Added up, 80 of them would wait for a second each. */
	assert_true(life(121)->at_ms - begin < WAIT_MS);
	assert_int_equal(stop(), 0);
}

static void a_first_worker_that_exits_ends_the_server(void **state)
{
	(void)state;
	board->die_early = 1;
	board->early = ANSWER_EXIT;
	KEEP(0);
	assert_int_equal(ended(), 3);
	assert_int_equal(board->births, 1);
}

static void a_first_worker_that_crashes_has_three_lives(void **state)
{
	(void)state;
	board->die_early = 100;
	board->early = ANSWER_DIE;
	KEEP(0);
	assert_int_equal(ended(), 1);
	assert_int_equal(board->births, 3);
}

/* A script that takes the devices from it loses none. */
static void a_long_ready_line_is_told_whole(void **state)
{
	const char *said = board->said;

	(void)state;
	board->line = 2 * OB_KEEPER_TEXT + 5;
	KEEP(0);
	UNTIL(lives(1) && board->told[OB_KEEPER_IS_READY]);
	assert_int_equal(strlen(said), board->line);
	for (unsigned i = 0; i < board->line; i++)
		assert_int_equal(said[i], 'a' + i % 23);
	assert_int_equal(board->told[OB_KEEPER_GETS_READY], 2);
	assert_int_equal(stop(), 0);
}

static void a_ready_line_that_a_death_cuts_off_is_told_again(void **state)
{
	const char *said = board->said + OB_KEEPER_TEXT;

	(void)state;
	board->line = OB_KEEPER_TEXT + 5;
	board->die_in_line = 1;
	KEEP(0);
	UNTIL(lives(2) && board->told[OB_KEEPER_IS_READY]);
	assert_int_equal(said[-1], '\n');
	assert_int_equal(strlen(said), board->line);
	assert_int_equal(*said, 'a');
	assert_int_equal(stop(), 0);
}

static void its_end_is_the_servers(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	ring(ACT_END);
	assert_int_equal(ended(), 7);
}

static void own_puts_can_be_got(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	ring(ACT_GET);
	UNTIL(*(volatile unsigned *)&board->acts == 1);
	assert_int_equal(stop(), 0);
}

static void one_that_spins_is_killed(void **state)
{
	(void)state;
	succeeded_after(ACT_SPIN, SIGALRM);
}

static void one_that_is_stopped_is_killed(void **state)
{
	(void)state;
	succeeded_after(ACT_STOP, SIGKILL);
}

static void one_that_closes_its_channel_is_killed(void **state)
{
	(void)state;
	succeeded_after(ACT_CLOSE, SIGKILL);
}

/* Continued in time, it lives. */
static void a_short_stop_is_forgiven(void **state)
{
	(void)state;
	KEEP(.watchdog_ms = 5000);
	UNTIL(lives(1));
	kill(life(1)->pid, SIGSTOP);
	poll(NULL, 0, 50);
	kill(life(1)->pid, SIGCONT);
	ring(ACT_GET);
	UNTIL(*(volatile unsigned *)&board->acts == 1);
	assert_int_equal(stop(), 0);
	assert_int_equal(board->births, 1);
}

/* The watchdog rests; and wakes again, since a spin is noticed. */
static void an_idle_server_is_not_woken(void **state)
{
	unsigned long before, worker;

	(void)state;
	KEEP(.watchdog_ms = 40);
	UNTIL(lives(1));
	UNTIL(({ before = switches(keeper); poll(NULL, 0, 200);
		 switches(keeper) == before; }));
	worker = switches(life(1)->pid);
	poll(NULL, 0, 500);
	assert_int_equal(switches(keeper), before);
	assert_int_equal(switches(life(1)->pid), worker);
	ring(ACT_SPIN);
	UNTIL(lives(2));
	assert_int_equal(stop(), 0);
}

static void a_full_table_hurts_nobody(void **state)
{
	(void)state;
	KEEP(.files = 600);
	UNTIL(lives(1));
	for (unsigned i = 1; i <= 3; i++) {
		ring(ACT_FILL);
		UNTIL(*(volatile unsigned *)&board->acts == i &&
		      *(volatile int *)&board->full);
		ring(ACT_NONE);
		UNTIL(*(volatile unsigned *)&board->acts >= i + 1);
		board->acts = i;
		assert_int_equal(board->full, -ENFILE);
		assert_true(board->filled > 300);
		/* Of 600, 192 are the keeper's, 64 for clients that come. */
		assert_true(board->filled <= 600 - 192 - 64);
		board->full = 0;
	}
	ring(ACT_DIE);
	UNTIL(lives(2));
	assert_int_equal(stop(), 0);
}

static void nonsense_is_dropped(void **state)
{
	unsigned files;

	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	files = count_fds_of(keeper);
	ring(ACT_GARBAGE);
	UNTIL(*(volatile unsigned *)&board->acts == 1);
	ring(ACT_DIE);
	UNTIL(lives(2));
	/* What it put under good names, it may. */
	assert_true(count_fds_of(keeper) < files + 200);
	ring(ACT_DIE);
	UNTIL(lives(3));
	assert_int_equal(stop(), 0);
}

static void clients_are_accepted_for_whoever_lives(void **state)
{
	(void)state;
	KEEP(0);
	for (unsigned i = 1; i <= 5; i++) {
		UNTIL(lives(i));
		assert_int_equal(knock(), 0);
		assert_int_equal(board->clients, i);
		kill(life(i)->pid, SIGKILL);
	}
	UNTIL(lives(6));
	assert_int_equal(stop(), 0);
}

static void greeted(int fd)
{
	char byte = 0;

	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal(byte, 'g');
	assert_int_equal(read(fd, &byte, 1), 0);
	close(fd);
}

/* Of the keeper, when a worker serves and all that it had said was heard. */
static unsigned files_at_rest(void)
{
	unsigned acts = board->acts;

	assert_int_equal(knock(), 0);
	ring(ACT_GET);
	UNTIL(*(volatile unsigned *)&board->acts == acts + 1);
	return count_fds_of(keeper);
}

/* Told, and not even that: it is all one to the client. */
static void a_client_outlives_the_worker_that_did_not_take_it(void **state)
{
	unsigned files;
	int fd[2];

	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	board->die_client = 1;
	greeted(come());
	UNTIL(lives(2));
	/* The keeper has both before it dies. */
	files = files_at_rest();
	kill(life(2)->pid, SIGSTOP);
	fd[0] = come();
	fd[1] = come();
	UNTIL(count_fds_of(keeper) == files + 2);
	kill(life(2)->pid, SIGKILL);
	greeted(fd[0]);
	greeted(fd[1]);
	UNTIL(lives(3));
	assert_int_equal(board->greeted, 3);
	assert_int_equal(knock(), 0);
	assert_int_equal(stop(), 0);
}

/* As many as there are places; the others wait in the socket's own queue. */
static void a_flood_of_clients_takes_little_room(void **state)
{
	unsigned files, clients, places = OB_KEEP_NEW;
	int fd[OB_KEEP_NEW + 4];

	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	files = files_at_rest();
	clients = board->clients;
	board->hoard = true;
	for (unsigned i = 0; i < places + 4; i++)
		fd[i] = come();
	UNTIL(*(volatile unsigned *)&board->clients == clients + places);
	poll(NULL, 0, 20);
	assert_int_equal(board->clients, clients + places);
	assert_int_equal(count_fds_of(keeper), files + places);
	ring(ACT_TAKE);
	UNTIL(*(volatile unsigned *)&board->clients == clients + places + 4);
	ring(ACT_TAKE);
	UNTIL(count_fds_of(keeper) == files);
	for (unsigned i = 0; i < places + 4; i++)
		close(fd[i]);
	board->hoard = false;
	assert_int_equal(knock(), 0);
	assert_int_equal(stop(), 0);
}

/* Upgrades */

static uint64_t inode(const char *path)
{
	struct stat st;

	assert_return_code(stat(path, &st), errno);
	return st.st_ino;
}

static void another_binary_takes_over(void **state)
{
	(void)state;
	KEEP(.standby = true);
	UNTIL(lives(1));
	kill(keeper, SIGHUP);
	UNTIL(lives(2));
	assert_int_equal(life(1)->exe, inode(toy));
	assert_int_equal(life(2)->exe, inode(other));
	assert_int_equal(life(2)->why, OB_START_UPGRADE);
	assert_int_equal(board->rehearsals, 1);
	outcome_is(OB_UPGRADE_DONE);
	assert_int_equal(board->status.upgrades, 1);
	assert_int_equal(board->status.deaths, 0);
	/* From now on it is the binary. */
	ring(ACT_DIE);
	UNTIL(lives(3));
	assert_int_equal(life(3)->exe, inode(other));
	assert_int_equal(stop(), 0);
}

static void refused_as(enum answer answer, const char *why)
{
	board->rehearsal = answer;
	KEEP(0);
	UNTIL(lives(1));
	kill(keeper, SIGHUP);
	outcome_is(OB_UPGRADE_REFUSED);
	if (!strstr(board->status.why, why))
		fail_msg("%s", board->status.why);
	assert_int_equal(board->births, 1);
	ring(ACT_DIE);
	UNTIL(lives(2));
	assert_int_equal(life(2)->exe, inode(toy));
	assert_int_equal(stop(), 0);
}

static void a_refusal_changes_nothing(void **state)
{
	(void)state;
	refused_as(ANSWER_NO, "toy.x: too large");
}

static void a_death_in_rehearsal_changes_nothing(void **state)
{
	(void)state;
	refused_as(ANSWER_DIE, "signal 9");
}

static void an_exit_in_rehearsal_changes_nothing(void **state)
{
	(void)state;
	refused_as(ANSWER_EXIT, "exit status 3");
}

static void taken_back(void)
{
	KEEP(0);
	UNTIL(lives(1));
	kill(keeper, SIGHUP);
	UNTIL(lives(3));
	assert_int_equal(life(2)->why, OB_START_UPGRADE);
	assert_int_equal(life(2)->exe, inode(other));
	assert_int_equal(life(3)->why, OB_START_ROLLBACK);
	assert_int_equal(life(3)->exe, inode(toy));
	outcome_is(OB_UPGRADE_REFUSED);
	assert_int_equal(board->status.rollbacks, 1);
	assert_int_equal(board->status.upgrades, 0);
	/* It can be tried again. */
	board->die_upgraded = board->refuse_upgraded = false;
	kill(keeper, SIGHUP);
	UNTIL(lives(4));
	outcome_is(OB_UPGRADE_DONE);
	assert_int_equal(stop(), 0);
}

static void a_death_in_the_grace_period_is_taken_back(void **state)
{
	(void)state;
	board->die_upgraded = true;
	taken_back();
}

static void a_late_refusal_is_taken_back(void **state)
{
	(void)state;
	board->refuse_upgraded = true;
	taken_back();
}

/* The old binary no longer understands the state; only the new one can go on. */
static void a_rollback_that_is_refused_leaves_the_new_one(void **state)
{
	(void)state;
	board->die_upgraded = board->refuse_back = true;
	KEEP(0);
	UNTIL(lives(1));
	kill(keeper, SIGHUP);
	UNTIL(lives(4));
	assert_int_equal(life(3)->exe, inode(toy));
	assert_int_equal(life(4)->exe, inode(other));
	outcome_is(OB_UPGRADE_REFUSED);
	assert_string_equal(board->status.why,
			    "the worker died (signal 9); no way back: no");
	ring(ACT_DIE);
	UNTIL(lives(5));
	assert_int_equal(life(5)->exe, inode(other));
	assert_int_equal(stop(), 0);
}

/* Grace is for those that serve. */
static void a_slow_start_is_not_taken_back(void **state)
{
	(void)state;
	board->slow_upgraded_ms = GRACE_MS + 200;
	KEEP(0);
	UNTIL(lives(1));
	kill(keeper, SIGHUP);
	UNTIL(lives(2));
	outcome_is(OB_UPGRADE_DONE);
	assert_int_equal(board->births, 2);
	assert_int_equal(stop(), 0);
}

static void ask_for_a_dry_run(int32_t ticket)
{
	unsigned acts = board->acts;

	board->ticket = ticket;
	ring(ACT_UPGRADE_DRY);
	UNTIL(*(volatile unsigned *)&board->acts == acts + 1);
	outcome_is(OB_UPGRADE_REHEARSED);
	assert_int_equal(board->status.ticket, ticket);
}

static void a_dry_run_ends_with_the_rehearsal(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	ask_for_a_dry_run(0);
	assert_string_equal(board->status.why, "fine");
	assert_int_equal(board->status.estimated_gap_us, 1234);
	assert_int_equal(board->births, 1);
	assert_int_equal(stop(), 0);
}

/* One who lost the answer asks again, and a successor may be whom he asks. */
static void a_ticket_is_good_for_one_upgrade(void **state)
{
	(void)state;
	KEEP(0);
	for (unsigned i = 1; i <= 3; i++) {
		UNTIL(lives(i));
		ask_for_a_dry_run(7);
		assert_int_equal(board->rehearsals, 1);
		ring(ACT_DIE);
	}
	UNTIL(lives(4));
	ask_for_a_dry_run(8);
	assert_int_equal(board->rehearsals, 2);
	assert_int_equal(stop(), 0);
}

static void a_switch_is_told_before_the_grace_ends(void **state)
{
	(void)state;
	KEEP(.grace_ms = 3600000);
	UNTIL(lives(1));
	kill(keeper, SIGHUP);
	UNTIL(lives(2));
	outcome_is(OB_UPGRADE_SWITCHED);
	assert_int_equal(board->status.upgrades, 0);
	/* Whoever serves then is asked to end, not killed. */
	assert_int_equal(stop(), 0);
}

/* -- the end, in the middle of a death -- */

#define ENDS 200u

/* Some moment later, of the first few milliseconds; somebody ends in order. */
static void end_after(unsigned i)
{
	usleep(i * 7919 % 6000);
	assert_int_equal(stop(), 0);
	assert_int_equal(board->stops, 1);
}

static void asked_to_end_while_a_worker_dies(void **state)
{
	for (unsigned i = 0; i < ENDS; i++) {
		rig_clear(state);
		KEEP(.standby = i % 2);
		UNTIL(lives(1));
		ring(ACT_DIE);
		end_after(i);
	}
}

/* Nobody is there for a while, or somebody who will not get ready. */
static void asked_to_end_while_nobody_gets_ready(void **state)
{
	for (unsigned i = 0; i < ENDS / 4; i++) {
		rig_clear(state);
		KEEP(0);
		UNTIL(lives(1));
		board->die_early = 5;
		board->early = i % 2 ? ANSWER_CRASH : ANSWER_EXIT;
		ring(ACT_DIE);
		end_after(i * 11);
	}
}

static void asked_to_end_in_an_upgrade(void **state)
{
	for (unsigned i = 0; i < ENDS / 4; i++) {
		rig_clear(state);
		board->uncounted = true;
		KEEP(0);
		UNTIL(lives(1));
		kill(keeper, SIGHUP);
		end_after(i * 3);
	}
}

static void those_who_die_of_the_end_are_followed(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	board->die_stop = 3;
	assert_int_equal(stop(), 0);
	assert_int_equal(board->births, 4);
}

static void asked_twice_nobody_is_waited_for(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	board->die_early = 1000000;
	ring(ACT_DIE);
	UNTIL(*(volatile unsigned *)&board->births >= 3);
	kill(keeper, SIGTERM);
	UNTIL(*(volatile unsigned *)&board->told[OB_KEEPER_IS_STOPPING] == 1);
	assert_int_equal(stop(), 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_life_in_order),
		TEST(a_thousand_deaths),
		TEST(orphans_are_reaped),
		TEST(a_standby_takes_over),
		TEST(deaths_before_ready_wait_longer_and_longer),
		TEST(deaths_around_ready_do_not_add_up),
		TEST(a_first_worker_that_exits_ends_the_server),
		TEST(a_first_worker_that_crashes_has_three_lives),
		TEST(a_long_ready_line_is_told_whole),
		TEST(a_ready_line_that_a_death_cuts_off_is_told_again),
		TEST(its_end_is_the_servers),
		TEST(own_puts_can_be_got),
		TEST(one_that_spins_is_killed),
		TEST(one_that_is_stopped_is_killed),
		TEST(one_that_closes_its_channel_is_killed),
		TEST(a_short_stop_is_forgiven),
		TEST(an_idle_server_is_not_woken),
		TEST(a_full_table_hurts_nobody),
		TEST(nonsense_is_dropped),
		TEST(clients_are_accepted_for_whoever_lives),
		TEST(a_client_outlives_the_worker_that_did_not_take_it),
		TEST(a_flood_of_clients_takes_little_room),
		TEST(another_binary_takes_over),
		TEST(a_refusal_changes_nothing),
		TEST(a_death_in_rehearsal_changes_nothing),
		TEST(an_exit_in_rehearsal_changes_nothing),
		TEST(a_death_in_the_grace_period_is_taken_back),
		TEST(a_late_refusal_is_taken_back),
		TEST(a_rollback_that_is_refused_leaves_the_new_one),
		TEST(a_slow_start_is_not_taken_back),
		TEST(a_dry_run_ends_with_the_rehearsal),
		TEST(a_ticket_is_good_for_one_upgrade),
		TEST(a_switch_is_told_before_the_grace_ends),
		TEST(asked_to_end_while_a_worker_dies),
		TEST(asked_to_end_while_nobody_gets_ready),
		TEST(asked_to_end_in_an_upgrade),
		TEST(those_who_die_of_the_end_are_followed),
		TEST(asked_twice_nobody_is_waited_for),
	};

	if (rig_arguments(argc, argv))
		return 2;
	return cmocka_run_group_tests(tests, rig_prepare, rig_finish);
}
