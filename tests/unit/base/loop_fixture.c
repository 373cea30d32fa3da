// SPDX-License-Identifier: BSD-3-Clause
#include "loop_fixture.h"

#include <errno.h>
#include <unistd.h>

/* Long enough for any machine; only a test that fails waits for it. */
#define PATIENCE_NS (UINT64_C(20) * 1000000000)

static int create(enum ob_loop_engine engine, uint32_t depth, void **out)
{
	struct ob_loop_params params = { .engine = engine, .depth = depth };

	return ob_loop_create(&params, (struct ob_loop **)out, NULL);
}

int loop_setup(void **state)
{
	enum ob_loop_engine engine = (enum ob_loop_engine)(uintptr_t)*state;
	int r = create(engine, 0, state);

	/* A kernel without io_uring: the pool is what there is to test. */
	if (r == -ENOSYS || r == -EPERM)
		r = create(OB_LOOP_POOL, 0, state);
	return r;
}

int loop_teardown(void **state)
{
	ob_loop_destroy(*state);
	return 0;
}

struct ob_loop *loop_like(struct ob_loop *loop, uint32_t depth)
{
	void *out = NULL;

	assert_int_equal(create(ob_loop_is_uring(loop) ? OB_LOOP_URING :
				OB_LOOP_POOL, depth, &out), 0);
	return out;
}

struct patience {
	struct ob_timer timer;
	bool over;
};

static void run_out(struct ob_timer *timer)
{
	((struct patience *)timer)->over = true;
}

void turn_until(struct ob_loop *loop, const int *counter, int target)
{
	struct patience patience = { .timer.fire = run_out };

	ob_timer_arm(loop, &patience.timer, PATIENCE_NS);
	while (*counter < target && !patience.over)
		assert_int_equal(ob_loop_turn(loop, true), 0);
	ob_timer_cancel(loop, &patience.timer);
	assert_true(*counter >= target);
}

void turn_some(struct ob_loop *loop)
{
	for (int i = 0; i < 5; i++) {
		assert_int_equal(ob_loop_turn(loop, false), 0);
		usleep(1000);
	}
}
