// SPDX-License-Identifier: BSD-3-Clause
/*
 * R25: the state memory of real devices, damaged in one place, and read as a
 * successor reads it.
 *
 *	test_memory FOLDER PREFIX STRIDE
 *
 * A device loads a stream of tests/golden; then its memory is copied as after
 * a death.  Undamaged, the copy gives what is in the device.  With a bit
 * flipped it is refused with a reason, or gives a state within bounds on
 * which the model has its say.  Of each section all bytes are tried that are
 * not zero, of the others every STRIDE-th.
 */
#include "golden.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/device_impl.h"
#include "state/old.h"
#include "state/table_io.h"

static const char *folder, *prefix;
static unsigned stride, refused, accepted, rounds;

struct memory {
	int fd;
	uint8_t *base;
	const struct ob_state_header *header;
};

static void copy_memory(struct memory *m, const struct ob_device *dev)
{
	const struct ob_state_header *from = ob_state_header(&dev->mem);
	unsigned i;

	m->fd = memfd_create("copy", MFD_CLOEXEC);
	assert_true(m->fd >= 0);
	assert_int_equal(ftruncate(m->fd, (off_t)dev->mem.size), 0);
	m->base = mmap(NULL, dev->mem.size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       m->fd, 0);
	assert_true(m->base != MAP_FAILED);
	m->header = (const struct ob_state_header *)m->base;
	memcpy(m->base, from, sizeof(*from));
	for (i = 0; i < OB_NR_SECTIONS; i++)
		if (i != OB_SECTION_DMA)
			memcpy(m->base + from->sections[i].offset,
			       dev->mem.base + from->sections[i].offset,
			       from->sections[i].size);
	memcpy(m->base + from->sections[OB_SECTION_DMA].offset,
	       ob_state_section(&dev->mem, OB_SECTION_DMA), 4096);
}

static void drop_memory(struct memory *m, const struct ob_device *dev)
{
	munmap(m->base, dev->mem.size);
	close(m->fd);
}

/* As by a successor: everything is read before anything is judged. */
struct successor {
	struct ob_core *core;
	struct ob_dma_table *dma;
	void *plain, *hot;
};

static void *zeros(const struct ob_table *table)
{
	void *base = table ? calloc(1, table->size) : NULL;

	assert_true(!table || base);
	return base;
}

static int read_all(const struct ob_old_state *old, const struct ob_device *dev,
		    struct successor *s, struct ob_err *err)
{
	int r;

	if ((r = ob_old_state_read(old, OB_SECTION_CORE, &ob_core_table, s->core,
				   err)) ||
	    (r = ob_old_state_read(old, OB_SECTION_PLAIN, dev->cls->state,
				   s->plain, err)) ||
	    (r = ob_old_state_read(old, OB_SECTION_HOT, dev->cls->hot, s->hot,
				   err)))
		return r;
	return ob_old_state_read(old, OB_SECTION_DMA, &ob_dma_table_table, s->dma,
				 err);
}

static void in_bounds(const struct ob_table *table, const void *base)
{
	if (table)
		assert_int_equal(ob_table_check_values(table, base, "", NULL), 0);
}

static int judge(struct ob_device *dev, const struct successor *s,
		 struct ob_err *err)
{
	int r;

	in_bounds(&ob_core_table, s->core);
	in_bounds(dev->cls->state, s->plain);
	in_bounds(dev->cls->hot, s->hot);
	r = ob_mig_core_check(dev, s->core, err);
	if (!r && dev->cls->check)
		r = dev->cls->check(dev, s->plain, s->hot, err);
	return r;
}

static int succeed(const struct memory *m, struct ob_device *dev,
		   struct successor *s, struct ob_err *err)
{
	struct ob_old_state *old;
	int r = ob_old_state_open(m->fd, &old, err);

	if (r)
		return r;
	r = read_all(old, dev, s, err);
	if (!r)
		r = judge(dev, s, err);
	ob_old_state_close(old);
	return r;
}

static void begin(struct successor *s, const struct ob_device *dev)
{
	s->core = zeros(&ob_core_table);
	s->dma = zeros(&ob_dma_table_table);
	s->plain = zeros(dev->cls->state);
	s->hot = zeros(dev->cls->hot);
}

static void end(struct successor *s)
{
	free(s->core);
	free(s->dma);
	free(s->plain);
	free(s->hot);
}

static void same(const struct ob_table *table, const void *a, const void *b)
{
	if (table)
		assert_int_equal(ob_table_diff(table, a, b, NULL, NULL), 0);
}

static void undamaged(struct golden_device *d, const struct memory *m)
{
	struct ob_device *dev = d->rig->dev;
	struct ob_err err = { "" };
	struct successor s;

	begin(&s, dev);
	if (succeed(m, dev, &s, &err))
		fail_msg("%s", err.msg);
	same(&ob_core_table, s.core, dev->core);
	same(dev->cls->state, s.plain, dev->plain);
	same(dev->cls->hot, s.hot, dev->hot);
	assert_memory_equal(s.dma, ob_state_section(&dev->mem, OB_SECTION_DMA),
			    4096);
	assert_int_equal(s.dma->entries[0].size, 2u << 20);
	end(&s);
}

static void damaged(struct golden_device *d, const struct memory *m, size_t at,
		    uint8_t mask)
{
	struct ob_err err = { "" };
	struct successor s;
	int r;

	begin(&s, d->rig->dev);
	m->base[at] ^= mask;
	r = succeed(m, d->rig->dev, &s, &err);
	m->base[at] ^= mask;
	assert_true(!r == !err.msg[0]);
	*(r ? &refused : &accepted) += 1;
	end(&s);
}

static void damage(struct golden_device *d, const struct memory *m, size_t from,
		   size_t size)
{
	size_t i;

	if (size > 192u << 10)		/* of the undo and the DMA table */
		size = 4096;
	for (i = from; i < from + size; i++)
		if (m->base[i] || i % stride == 0)
			damaged(d, m, i, (uint8_t)(i & 1 ? 0xff : 1u << i / 2 % 8));
}

static void load(struct golden_device *d, const struct golden *golden)
{
	assert_int_equal(rig_mig_set(d->rig, S_STOP), 0);
	assert_int_equal(rig_mig_set(d->rig, S_RESUMING), 0);
	assert_int_equal(rig_write_all(d->rig, &golden->stream, 1u << 20), 0);
	assert_int_equal(rig_mig_set(d->rig, S_STOP), 0);
}

/* A step was open that had changed both parts. */
static void open_step(struct golden_device *d)
{
	struct ob_device *dev = d->rig->dev;

	ob_step_begin(&dev->mem, OB_STEP_MESSAGE);
	ob_undo_add(&dev->mem, dev->core, 64);
	if (dev->plain)
		ob_undo_add(&dev->mem, dev->plain, dev->cls->state->size);
}

static void each(const struct golden *golden)
{
	struct golden_device d;
	struct memory m;
	unsigned i;

	golden_start(&d, golden);
	load(&d, golden);
	open_step(&d);
	copy_memory(&m, d.rig->dev);
	undamaged(&d, &m);
	damage(&d, &m, 0, sizeof(*m.header));
	/* The schema is the same every time. */
	for (i = 0; i < OB_NR_SECTIONS; i++)
		if (i != OB_SECTION_SCHEMA || !rounds)
			damage(&d, &m, m.header->sections[i].offset,
			       m.header->sections[i].size);
	rounds++;
	undamaged(&d, &m);
	drop_memory(&m, d.rig->dev);
	ob_step_end(&d.rig->dev->mem);
	golden_end(&d);
}

static void test_r25_memory_of_a_dead_device(void **arg)
{
	(void)arg;
	golden_each(folder, prefix, each);
	assert_true(refused && accepted);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r25_memory_of_a_dead_device),
	};

	if (argc != 4)
		return 2;
	folder = argv[1];
	prefix = argv[2];
	stride = (unsigned)strtoul(argv[3], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
