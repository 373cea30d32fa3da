// SPDX-License-Identifier: BSD-3-Clause
/* Posts and calls from other threads.  A build with ThreadSanitizer says more. */
#include "loop_fixture.h"

#include <pthread.h>
#include <string.h>

#define THREADS 8
#define POSTS 200

struct board {
	struct ob_loop *loop;
	pthread_t owner;
	int runs;		/* by the loop's thread alone */
};

struct note {
	struct ob_post post;
	struct board *board;
	int number;
	int *last;		/* of its poster */
};

static void noted(struct ob_post *post)
{
	struct note *note = (struct note *)post;

	assert_true(pthread_equal(pthread_self(), note->board->owner));
	if (note->last) {
		assert_int_equal(note->number, *note->last + 1);
		*note->last = note->number;
	}
	note->board->runs++;
}

struct poster {
	pthread_t thread;
	struct board *board;
	struct note notes[POSTS];
	int last;
};

static void *post_all(void *arg)
{
	struct poster *poster = arg;

	for (int i = 0; i < POSTS; i++)
		ob_loop_post(poster->board->loop, &poster->notes[i].post);
	return NULL;
}

static void begin(struct poster *poster, struct board *board)
{
	*poster = (struct poster){ .board = board, .last = -1 };
	for (int i = 0; i < POSTS; i++)
		poster->notes[i] = (struct note){
			.post.run = noted, .board = board, .number = i,
			.last = &poster->last,
		};
	assert_int_equal(pthread_create(&poster->thread, NULL, post_all,
					poster), 0);
}

static void test_posts_of_many_threads_run_once_and_in_order(void **state)
{
	static struct poster posters[THREADS];
	struct board board = { *state, pthread_self(), 0 };

	for (int i = 0; i < THREADS; i++)
		begin(&posters[i], &board);
	turn_until(board.loop, &board.runs, THREADS * POSTS);
	for (int i = 0; i < THREADS; i++)
		pthread_join(posters[i].thread, NULL);
	turn_some(board.loop);
	assert_int_equal(board.runs, THREADS * POSTS);
}

static void test_one_that_waits_is_not_posted_twice(void **state)
{
	struct board board = { *state, pthread_self(), 0 };
	struct note note = { .post.run = noted, .board = &board };

	ob_loop_post(board.loop, &note.post);
	ob_loop_post(board.loop, &note.post);
	assert_int_equal(board.runs, 0);
	turn_until(board.loop, &board.runs, 1);
	turn_some(board.loop);
	assert_int_equal(board.runs, 1);
	ob_loop_post(board.loop, &note.post);
	turn_until(board.loop, &board.runs, 2);
}

struct chain {
	struct ob_post post;
	struct ob_loop *loop;
	struct ob_post *victim;
	int runs;
};

static void post_again(struct ob_post *post)
{
	struct chain *chain = (struct chain *)post;

	if (++chain->runs < 5)
		ob_loop_post(chain->loop, post);
	if (chain->victim)
		ob_post_cancel(chain->loop, chain->victim);
}

static void test_a_post_may_post_itself(void **state)
{
	struct chain chain = { .post.run = post_again, .loop = *state };

	ob_loop_post(chain.loop, &chain.post);
	turn_until(chain.loop, &chain.runs, 5);
}

static void test_what_is_cancelled_does_not_run(void **state)
{
	struct board board = { *state, pthread_self(), 0 };
	struct note first = { .post.run = noted, .board = &board };
	struct note second = first, third = first;

	ob_post_cancel(board.loop, &first.post);
	ob_loop_post(board.loop, &first.post);
	ob_loop_post(board.loop, &second.post);
	ob_loop_post(board.loop, &third.post);
	ob_post_cancel(board.loop, &second.post);
	turn_until(board.loop, &board.runs, 2);
	turn_some(board.loop);
	assert_int_equal(board.runs, 2);
	ob_loop_post(board.loop, &second.post);
	turn_until(board.loop, &board.runs, 3);
}

static void test_a_post_may_cancel_the_next(void **state)
{
	struct board board = { *state, pthread_self(), 0 };
	struct note next = { .post.run = noted, .board = &board };
	struct chain chain = { .post.run = post_again, .loop = *state,
			       .victim = &next.post };

	ob_loop_post(board.loop, &chain.post);
	ob_loop_post(board.loop, &next.post);
	turn_until(board.loop, &chain.runs, 5);
	turn_some(board.loop);
	assert_int_equal(board.runs, 0);
}

/* A thread with a loop of its own, of the fixture's engine. */
struct other {
	pthread_t thread;
	struct ob_loop_params params;
	struct ob_loop *loop;
	pthread_barrier_t made;
	struct ob_post stop;
	long sum;		/* by its thread alone */
};

static void stop_asked(struct ob_post *post)
{
	struct other *other = (struct other *)
		((char *)post - offsetof(struct other, stop));

	ob_loop_stop(other->loop);
}

static void *run_other(void *arg)
{
	struct other *other = arg;
	struct ob_err err = { "" };

	assert_int_equal(ob_loop_create(&other->params, &other->loop, &err), 0);
	pthread_barrier_wait(&other->made);
	assert_int_equal(ob_loop_run(other->loop), 0);
	ob_loop_destroy(other->loop);
	return NULL;
}

static void start_other(struct other *other, struct ob_loop *like)
{
	*other = (struct other){ .stop.run = stop_asked };
	other->params.engine = ob_loop_is_uring(like) ? OB_LOOP_URING :
		OB_LOOP_POOL;
	pthread_barrier_init(&other->made, NULL, 2);
	assert_int_equal(pthread_create(&other->thread, NULL, run_other, other),
			 0);
	pthread_barrier_wait(&other->made);
}

static void end_other(struct other *other)
{
	ob_loop_post(other->loop, &other->stop);
	pthread_join(other->thread, NULL);
	pthread_barrier_destroy(&other->made);
}

struct sum {
	struct other *other;
	pthread_t ran;
};

static void add_one(void *arg)
{
	struct sum *sum = arg;

	sum->ran = pthread_self();
	sum->other->sum++;
}

static void test_a_call_runs_there_and_waits(void **state)
{
	struct other other;
	struct sum sum = { .other = &other };

	start_other(&other, *state);
	for (int i = 0; i < 1000; i++) {
		ob_loop_call(other.loop, add_one, &sum);
		assert_int_equal(other.sum, i + 1);
	}
	assert_true(pthread_equal(sum.ran, other.thread));
	end_other(&other);
}

static void test_a_call_at_home_runs_at_once(void **state)
{
	struct other none = { .sum = 0 };
	struct sum sum = { .other = &none };

	ob_loop_call(*state, add_one, &sum);
	assert_int_equal(none.sum, 1);
	assert_true(pthread_equal(sum.ran, pthread_self()));
}

static void *call_often(void *arg)
{
	struct sum sum = { .other = arg };

	for (int i = 0; i < POSTS; i++)
		ob_loop_call(sum.other->loop, add_one, &sum);
	return NULL;
}

static void test_calls_of_many_threads_take_turns(void **state)
{
	pthread_t callers[THREADS];
	struct other other;

	start_other(&other, *state);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&callers[i], NULL, call_often,
						&other), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(callers[i], NULL);
	end_other(&other);
	assert_int_equal(other.sum, THREADS * POSTS);
}

static void post_back(void *arg)
{
	struct note *note = arg;

	ob_loop_post(note->board->loop, &note->post);
}

static void test_who_is_called_posts_back(void **state)
{
	struct board board = { *state, pthread_self(), 0 };
	struct note note = { .post.run = noted, .board = &board };
	struct other other;

	start_other(&other, *state);
	ob_loop_call(other.loop, post_back, &note);
	turn_until(board.loop, &board.runs, 1);
	end_other(&other);
}

/* A call of a call of a call, to and fro. */
struct ladder {
	struct ob_loop *here, *there;
	struct note *note;
	int left, order;
};

static void step_down(void *arg)
{
	struct ladder *ladder = arg;
	struct ob_loop *next = ladder->left % 2 ? ladder->here : ladder->there;

	if (!ladder->left--)
		return;
	ob_loop_post(ladder->here, &ladder->note->post);
	ob_loop_call(next, step_down, ladder);
	ladder->order++;
}

static void test_who_waits_is_called_back(void **state)
{
	struct board board = { *state, pthread_self(), 0 };
	struct note note = { .post.run = noted, .board = &board };
	struct other other;

	start_other(&other, *state);
	for (int i = 0; i < 200; i++) {
		struct ladder ladder = {
			*state, other.loop, &note, 2 + i % 5, 0
		};

		step_down(&ladder);
		assert_int_equal(ladder.order, 2 + i % 5);
		assert_int_equal(board.runs, i);	/* a post is no call */
		turn_until(board.loop, &board.runs, i + 1);
	}
	end_other(&other);
}

static void test_a_loop_that_ends_forgets_its_posts(void **state)
{
	struct ob_loop *loop = loop_like(*state, 4);
	struct board board = { loop, pthread_self(), 0 };
	struct note note = { .post.run = noted, .board = &board };

	ob_loop_post(loop, &note.post);
	ob_loop_destroy(loop);
	assert_int_equal(board.runs, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(test_posts_of_many_threads_run_once_and_in_order),
		ON_BOTH_ENGINES(test_one_that_waits_is_not_posted_twice),
		ON_BOTH_ENGINES(test_a_post_may_post_itself),
		ON_BOTH_ENGINES(test_what_is_cancelled_does_not_run),
		ON_BOTH_ENGINES(test_a_post_may_cancel_the_next),
		ON_BOTH_ENGINES(test_a_call_runs_there_and_waits),
		ON_BOTH_ENGINES(test_a_call_at_home_runs_at_once),
		ON_BOTH_ENGINES(test_calls_of_many_threads_take_turns),
		ON_BOTH_ENGINES(test_who_is_called_posts_back),
		ON_BOTH_ENGINES(test_who_waits_is_called_back),
		ON_BOTH_ENGINES(test_a_loop_that_ends_forgets_its_posts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
