// SPDX-License-Identifier: BSD-3-Clause
#include "loop_fixture.h"

#include <string.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

struct note {
	struct ob_timer timer;
	struct ob_loop *loop;
	struct ob_timer *victim;
	char name;
};

static char order[32];
static int fired;

static void on_fire(struct ob_timer *timer)
{
	struct note *note = (struct note *)timer;

	order[fired++] = note->name;
	if (note->victim)
		ob_timer_cancel(note->loop, note->victim);
}

static struct note note(struct ob_loop *loop, char name)
{
	memset(order, 0, sizeof(order));
	fired = 0;
	return (struct note){
		.timer.fire = on_fire, .loop = loop, .name = name,
	};
}

static void test_timers_fire_in_order_of_due_time(void **state)
{
	struct ob_loop *loop = *state;
	struct note a = note(loop, 'a'), b = note(loop, 'b');
	struct note c = note(loop, 'c');
	uint64_t start = ob_loop_now(loop);

	ob_timer_arm(loop, &c.timer, 30 * MS);
	ob_timer_arm(loop, &a.timer, 1 * MS);
	ob_timer_arm(loop, &b.timer, 10 * MS);
	turn_until(loop, &fired, 3);
	assert_string_equal(order, "abc");
	/* Never early; how late is the machine's business. */
	assert_true(ob_loop_now(loop) - start >= 30 * MS);
}

static void test_arming_again_moves_a_timer(void **state)
{
	struct ob_loop *loop = *state;
	struct note a = note(loop, 'a'), b = note(loop, 'b');

	ob_timer_arm(loop, &a.timer, 1 * MS);
	ob_timer_arm(loop, &b.timer, 5 * MS);
	ob_timer_arm(loop, &a.timer, 20 * MS);
	turn_until(loop, &fired, 2);
	assert_string_equal(order, "ba");
}

static void test_a_cancelled_timer_does_not_fire(void **state)
{
	struct ob_loop *loop = *state;
	struct note a = note(loop, 'a'), b = note(loop, 'b');

	ob_timer_arm(loop, &a.timer, 1 * MS);
	ob_timer_arm(loop, &b.timer, 2 * MS);
	ob_timer_cancel(loop, &a.timer);
	ob_timer_cancel(loop, &a.timer);
	turn_until(loop, &fired, 1);
	assert_string_equal(order, "b");
}

/* Both are due in the same turn. */
static void test_a_timer_may_cancel_the_next(void **state)
{
	struct ob_loop *loop = *state;
	struct note a = note(loop, 'a'), b = note(loop, 'b');

	a.victim = &b.timer;
	ob_timer_arm(loop, &a.timer, 1 * MS);
	ob_timer_arm(loop, &b.timer, 1 * MS);
	usleep(3000);
	turn_until(loop, &fired, 1);
	turn_some(loop);
	assert_string_equal(order, "a");
}

static void test_a_timer_of_for_ever_does_not_fire(void **state)
{
	struct ob_loop *loop = *state;
	struct note a = note(loop, 'a'), b = note(loop, 'b');

	ob_timer_arm(loop, &a.timer, UINT64_MAX);
	ob_timer_arm(loop, &b.timer, 1 * MS);
	turn_until(loop, &fired, 1);
	assert_string_equal(order, "b");
	ob_timer_cancel(loop, &a.timer);
}

struct task {
	struct ob_deferred deferred;
	struct ob_loop *loop;
	struct task *victim;
	bool again;
	int runs;
};

static void on_run(struct ob_deferred *deferred)
{
	struct task *task = (struct task *)deferred;

	task->runs++;
	if (task->again)
		ob_defer(task->loop, deferred);
	if (task->victim)
		ob_defer_cancel(task->loop, &task->victim->deferred);
}

static void test_deferred_runs_once_on_the_next_turn(void **state)
{
	struct ob_loop *loop = *state;
	struct task task = { .deferred.run = on_run };

	ob_defer(loop, &task.deferred);
	ob_defer(loop, &task.deferred);
	assert_int_equal(task.runs, 0);
	ob_loop_turn(loop, true);
	assert_int_equal(task.runs, 1);
	turn_some(loop);
	assert_int_equal(task.runs, 1);
}

static void test_deferred_that_queues_itself_runs_once_a_turn(void **state)
{
	struct ob_loop *loop = *state;
	struct task task = {
		.deferred.run = on_run, .loop = loop, .again = true,
	};

	ob_defer(loop, &task.deferred);
	for (int i = 1; i <= 3; i++) {
		ob_loop_turn(loop, true);
		assert_int_equal(task.runs, i);
	}
	ob_defer_cancel(loop, &task.deferred);
	turn_some(loop);
	assert_int_equal(task.runs, 3);
}

static void test_deferred_may_cancel_one_of_the_same_turn(void **state)
{
	struct ob_loop *loop = *state;
	struct task tasks[3] = {
		{ .deferred.run = on_run, .loop = loop, .victim = &tasks[1] },
		{ .deferred.run = on_run },
		{ .deferred.run = on_run },
	};

	for (size_t i = 0; i < COUNT_OF(tasks); i++)
		ob_defer(loop, &tasks[i].deferred);
	ob_loop_turn(loop, true);
	assert_int_equal(tasks[0].runs, 1);
	assert_int_equal(tasks[1].runs, 0);
	assert_int_equal(tasks[2].runs, 1);
	/* One that was cancelled can be queued again. */
	ob_defer(loop, &tasks[1].deferred);
	ob_loop_turn(loop, true);
	assert_int_equal(tasks[1].runs, 1);
}

struct stopper {
	struct ob_deferred deferred;
	struct ob_loop *loop;
};

static void on_stop(struct ob_deferred *deferred)
{
	ob_loop_stop(((struct stopper *)deferred)->loop);
}

static void test_run_returns_after_stop_and_can_run_again(void **state)
{
	struct ob_loop *loop = *state;
	struct stopper stopper = { .deferred.run = on_stop, .loop = loop };

	for (int i = 0; i < 2; i++) {
		ob_defer(loop, &stopper.deferred);
		assert_int_equal(ob_loop_run(loop), 0);
	}
	ob_loop_stop(loop);
	assert_int_equal(ob_loop_run(loop), 0);
}

/* What two callbacks of one turn were told. */
static uint64_t turn_times[2];

static void ask_time(struct ob_deferred *deferred)
{
	struct task *task = (struct task *)deferred;
	uint64_t end = ob_loop_now(task->loop) + 10000;

	turn_times[task->runs++ % 2] = ob_loop_turn_time(task->loop);
	while (ob_loop_now(task->loop) < end)
		;
	turn_times[task->runs++ % 2] = ob_loop_turn_time(task->loop);
}

static void test_a_turn_has_one_time(void **state)
{
	struct ob_loop *loop = *state;
	struct task task = { .deferred.run = ask_time, .loop = loop };
	uint64_t before = ob_loop_now(loop);

	ob_defer(loop, &task.deferred);
	ob_loop_turn(loop, false);
	assert_true(turn_times[0] >= before);
	assert_true(turn_times[0] == turn_times[1]);
	before = ob_loop_now(loop);
	ob_defer(loop, &task.deferred);
	ob_loop_turn(loop, false);
	assert_true(turn_times[0] >= before);
	assert_true(turn_times[0] == turn_times[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(test_timers_fire_in_order_of_due_time),
		ON_BOTH_ENGINES(test_arming_again_moves_a_timer),
		ON_BOTH_ENGINES(test_a_cancelled_timer_does_not_fire),
		ON_BOTH_ENGINES(test_a_timer_may_cancel_the_next),
		ON_BOTH_ENGINES(test_a_timer_of_for_ever_does_not_fire),
		ON_BOTH_ENGINES(test_deferred_runs_once_on_the_next_turn),
		ON_BOTH_ENGINES(
			test_deferred_that_queues_itself_runs_once_a_turn),
		ON_BOTH_ENGINES(
			test_deferred_may_cancel_one_of_the_same_turn),
		ON_BOTH_ENGINES(test_run_returns_after_stop_and_can_run_again),
		ON_BOTH_ENGINES(test_a_turn_has_one_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
