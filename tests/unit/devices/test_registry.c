// SPDX-License-Identifier: BSD-3-Clause
/*
 * Models by name, and from shared objects: good ones, and those that were
 * built for another release, lack the symbol, or take a name twice.
 * Argument: the folder of the shared objects.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "devices/registry.h"

static const char *folder;
static struct ob_registry reg;
static struct ob_err err;

static int setup(void **state)
{
	(void)state;
	err.msg[0] = '\0';
	ob_registry_init(&reg);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ob_registry_finish(&reg);
	return 0;
}

static int load(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.so", folder, name);
	return ob_registry_load(&reg, path, &err);
}

static void expect_message(const char *text)
{
	if (!strstr(err.msg, text))
		fail_msg("'%s' is not in: %s", text, err.msg);
}

static void builtin_models_are_found(void **state)
{
	(void)state;
	assert_string_equal(ob_registry_find(&reg, "null", &err)->name,
			    "null");
	assert_string_equal(ob_registry_find(&reg, "edu", &err)->name, "edu");
	assert_string_equal(ob_registry_find(&reg, "nvme", &err)->name,
			    "nvme");
}

static void builtin_models_are_well_formed(void **state)
{
	(void)state;
	for (size_t i = 0; i < reg.count; i++) {
		const struct ob_device_class *cls = reg.models[i];

		assert_int_equal(cls->size, sizeof(*cls));
		assert_int_equal(cls->abi, OB_DEVICE_ABI);
		if (ob_table_check(cls->state, &err))
			fail_msg("%s", err.msg);
		if (cls->hot && ob_table_check(cls->hot, &err))
			fail_msg("%s", err.msg);
		for (const struct ob_option *o = cls->options; o && o->name;
		     o++)
			assert_non_null(o->help);
	}
}

static void unknown_model_lists_the_known(void **state)
{
	(void)state;
	assert_null(ob_registry_find(&reg, "floppy", &err));
	expect_message("no model 'floppy'");
	expect_message("null");
	expect_message("nvme");
}

static void shared_object_adds_a_model(void **state)
{
	const struct ob_device_class *cls;
	size_t before = reg.count;

	(void)state;
	assert_null(ob_registry_find(&reg, "sample", NULL));
	assert_int_equal(load("sample"), 0);
	cls = ob_registry_find(&reg, "sample", &err);
	assert_non_null(cls);
	assert_string_equal(cls->summary, "a model from outside");
	assert_int_equal(reg.count, before + 1);
	assert_int_equal(load("sample"), -EEXIST);
	expect_message("'sample'");
}

static void wrong_objects_are_refused(void **state)
{
	size_t before = reg.count;

	(void)state;
	assert_int_equal(load("nowhere"), -ENOENT);
	expect_message("nowhere.so");
	assert_int_equal(load("sample_abi"), -ENOEXEC);
	expect_message("interface 77");
	assert_int_equal(load("sample_size"), -ENOEXEC);
	expect_message("8 bytes");
	assert_int_equal(load("sample_symbol"), -ENOEXEC);
	expect_message("outboard_device_class");
	assert_int_equal(load("sample_null"), -EEXIST);
	expect_message("'null'");
	assert_int_equal(reg.count, before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(builtin_models_are_found),
		TEST(builtin_models_are_well_formed),
		TEST(unknown_model_lists_the_known),
		TEST(shared_object_adds_a_model),
		TEST(wrong_objects_are_refused),
	};

	if (argc != 2)
		return 2;
	folder = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
