// SPDX-License-Identifier: BSD-3-Clause
/* The smallest model: registers remember, the doorbell rings, reset clears. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "devices/models.h"
#include "fake.h"

#define DOORBELL 0xffc

static struct ob_device *dev;

static int setup(void **state)
{
	(void)state;
	dev = fake_create(&ob_null_class, "null");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_destroy(dev);
	return 0;
}

static void registers_remember(void **state)
{
	uint8_t bytes[4096];

	(void)state;
	fake_write32(dev, 0, 0x01020304);
	fake_write64(dev, 0xff0, 0x1122334455667788);
	assert_int_equal(fake_read32(dev, 0), 0x01020304);
	assert_int_equal(fake_read32(dev, 0xff4), 0x11223344);
	dev->cls->region_read(dev, OB_BAR0, 0, bytes, sizeof(bytes));
	assert_int_equal(bytes[1], 3);
	assert_int_equal(bytes[0xff0], 0x88);
	assert_int_equal(dev->raised[0], 0);
}

static void doorbell_rings(void **state)
{
	const uint8_t one = 1;

	(void)state;
	fake_write32(dev, DOORBELL, 7);
	assert_int_equal(dev->raised[0], 1);
	assert_int_equal(fake_read32(dev, DOORBELL), 7);
	dev->cls->region_write(dev, OB_BAR0, DOORBELL + 3, &one, 1);
	fake_write64(dev, DOORBELL - 4, 0);
	assert_int_equal(dev->raised[0], 3);
	fake_write32(dev, DOORBELL - 4, 7);
	dev->cls->region_write(dev, OB_BAR1, DOORBELL, &one, 1);
	assert_int_equal(dev->raised[0], 3);
}

static void reset_clears(void **state)
{
	(void)state;
	fake_write32(dev, 0x10, 1);
	fake_rebuild(dev);
	assert_int_equal(fake_read32(dev, 0x10), 1);
	dev->cls->reset(dev, OB_RESET_FLR);
	assert_int_equal(fake_read32(dev, 0x10), 0);
}

static void state_is_described(void **state)
{
	struct ob_err err = { 0 };

	(void)state;
	assert_int_equal(ob_table_check(dev->cls->state, &err), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers_remember),
		TEST(doorbell_rings),
		TEST(reset_clears),
		TEST(state_is_described),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
