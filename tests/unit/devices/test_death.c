// SPDX-License-Identifier: BSD-3-Clause
/*
 * A model's process is killed between any two instructions.  A child plays a
 * script of a client's accesses, single-stepped by ptrace; whenever an
 * instruction has changed what outlives the process, that is what a successor
 * could find, and one is made to find it: the device is built on it, the
 * client goes on behind the last access that had its effect, and in the end
 * everything must be as if nobody had died.  Interrupts may be more.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/models.h"
#include "fake.h"

enum {
	NARROW = 0,
	WIDE = 1,		/* 8 bytes, not 4 */
	WAIT = 2,		/* until the device has done it */
};

struct access {
	uint32_t offset;
	uint64_t value;
	unsigned how;
};

struct script {
	const struct ob_device_class *cls;
	const char *options;
	const struct access *accesses;
	unsigned count;
	bool dma_later;
};

/* As a driver does: what it waits for ends before it goes on. */
static void settle(struct ob_device *dev)
{
	do {
		fake_turn(dev);
		if (dev->dma_op)
			fake_dma_end(dev, 0);
	} while (dev->dma_op);
}

static void play(struct ob_device *dev, const struct script *script)
{
	unsigned i = dev->lasting->now.accesses;

	if (i && script->accesses[i - 1].how & WAIT)
		settle(dev);
	for (; i < script->count; i++) {
		const struct access *a = &script->accesses[i];

		if (a->how & WIDE)
			fake_write64(dev, a->offset, a->value);
		else
			fake_write32(dev, a->offset, a->value);
		if (a->how & WAIT)
			settle(dev);
	}
	settle(dev);
}

static struct ob_device *create(const struct script *script)
{
	struct ob_device *dev = fake_create(script->cls, script->options);

	dev->dma_later = script->dma_later;
	for (unsigned i = 0; i < FAKE_GUEST_SIZE; i++)
		dev->guest[i] = i * 7 + i / 256;
	return dev;
}

/* The child's device, created here so that its memory is shared. */
static pid_t start_child(struct ob_device *dev, const struct script *script)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		alarm(120);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(77);
		raise(SIGSTOP);
		play(dev, script);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_true(WIFSTOPPED(status));
	return pid;
}

/* One instruction further; false at the end. */
static bool step(pid_t pid)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		assert_int_equal(WEXITSTATUS(status), 0);
		return false;
	}
	assert_int_equal(WSTOPSIG(status), SIGTRAP);
	return true;
}

/* What is saved counts only while it is armed. */
static bool is_new(const struct fake_lasting *now, struct fake_lasting *last)
{
	if (!memcmp(now, last, offsetof(struct fake_lasting, saved)))
		return false;
	*last = *now;
	return true;
}

static void check_end(const struct fake_lasting *end,
		      const struct fake_lasting *undisturbed)
{
	assert_false(end->armed);
	assert_memory_equal(&end->now, &undisturbed->now, sizeof(end->now));
	assert_memory_equal(end->guest, undisturbed->guest, FAKE_GUEST_SIZE);
	for (unsigned i = 0; i < 32; i++)
		assert_true(end->raised[i] >= undisturbed->raised[i]);
}

static void enumerate(const struct script *script)
{
	struct ob_device *dying = create(script), *heir = create(script);
	struct fake_lasting *end = malloc(sizeof(*end));
	struct fake_lasting *last = malloc(sizeof(*last));
	unsigned points = 0, instructions = 0;
	pid_t pid;

	play(heir, script);
	*end = *heir->lasting;
	*last = *dying->lasting;
	pid = start_child(dying, script);
	while (step(pid)) {
		instructions++;
		if (!is_new(dying->lasting, last))
			continue;
		points++;
		fake_revive(heir, last);
		play(heir, script);
		check_end(heir->lasting, end);
	}
	check_end(dying->lasting, end);
	print_message("%s: %u deaths in %u instructions\n", script->cls->name,
		      points, instructions);
	assert_true(points > script->count);
	fake_destroy(dying);
	fake_destroy(heir);
	free(end);
	free(last);
}

/* edu: both kinds of work, in both directions, with and without interrupts. */

enum {
	LIVENESS = 0x04, FACTORIAL = 0x08, STATUS = 0x20, IRQ_RAISE = 0x60,
	IRQ_ACK = 0x64, DMA_SRC = 0x80, DMA_DST = 0x88, DMA_COUNT = 0x90,
	DMA_CMD = 0x98, BUFFER = 0x40000, LENGTH = 48,
};

static const struct access edu_accesses[] = {
	{ LIVENESS, 0x1234, NARROW },
	{ STATUS, 0x80, NARROW },
	{ FACTORIAL, 5, WAIT },
	{ IRQ_ACK, 1, NARROW },
	{ FACTORIAL, 6, NARROW },		/* still at work when the next come */
	{ DMA_SRC, FAKE_GUEST, WIDE },
	{ DMA_DST, BUFFER + 8, WIDE },
	{ DMA_COUNT, LENGTH, WIDE },
	{ DMA_CMD, 5, WIDE | WAIT },
	{ IRQ_ACK, 0x101, NARROW },
	{ IRQ_RAISE, 0x40, NARROW },
	{ DMA_SRC, BUFFER + 16, WIDE },
	{ DMA_DST, FAKE_GUEST + 0x800, WIDE },
	{ DMA_COUNT, LENGTH / 2, WIDE },
	{ DMA_CMD, 3 | 4, WIDE | WAIT },
};

static void test_r27_edu_survives_every_instruction(void **state)
{
	struct script script = {
		.cls = &ob_edu_class, .options = "edu",
		.accesses = edu_accesses,
		.count = sizeof(edu_accesses) / sizeof(edu_accesses[0]),
	};

	(void)state;
	enumerate(&script);
	script.dma_later = true;
	enumerate(&script);
}

static const struct access null_accesses[] = {
	{ 0x000, 0x1122334455667788, WIDE },
	{ 0x004, 0x99, NARROW },
	{ 0xff8, 0x0102030405060708, WIDE },	/* rings */
	{ 0xffc, 3, NARROW },
};

static void test_r27_null_survives_every_instruction(void **state)
{
	const struct script script = {
		.cls = &ob_null_class, .options = "null",
		.accesses = null_accesses,
		.count = sizeof(null_accesses) / sizeof(null_accesses[0]),
	};

	(void)state;
	enumerate(&script);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r27_edu_survives_every_instruction),
		cmocka_unit_test(test_r27_null_survives_every_instruction),
	};

	return cmocka_run_group_tests_name("models and death", tests, NULL,
					   NULL);
}
