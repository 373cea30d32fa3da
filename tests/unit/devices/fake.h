/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stand-in for the library around one device: what a model calls
 * (outboard/device.h, dma.h), and what a test wants to know of it.  The loop
 * and the options are the real ones.
 */
#ifndef TESTS_FAKE_H
#define TESTS_FAKE_H

#include <outboard/device.h>

#define FAKE_GUEST	0x10000ull	/* guest memory, from here */
#define FAKE_GUEST_SIZE	0x10000u

#define FAKE_STATE_SIZE 8192u

/*
 * What outlives the process: shared memory.  `now` is what a step may have
 * protected, the device's state and what the library keeps beside it; `saved`
 * is how it was, and counts while `armed` says so.
 */
struct fake_protected {
	_Alignas(64) uint8_t state[FAKE_STATE_SIZE];
	unsigned accesses;	/* of the client, that have had their effect */
	bool level;
};

struct fake_lasting {
	bool armed;
	struct fake_protected now;
	uint8_t guest[FAKE_GUEST_SIZE];
	unsigned raised[32];		/* messages per vector, that left */
	struct fake_protected saved;
};

struct ob_device {
	const struct ob_device_class *cls;
	struct ob_loop *loop;
	struct ob_options *opts;
	struct ob_pci pci;
	struct fake_lasting *lasting;
	void *state, *runtime;
	unsigned depth;			/* of steps */

	uint8_t *guest;
	bool dma_later;			/* transfers wait for fake_dma_end */
	struct ob_dma_op *dma_op;
	struct ob_seg dma_seg;
	void *dma_buf;
	bool dma_write;
	unsigned dma_count;		/* transfers asked for */

	bool still;			/* no DMA; interrupts are remembered */
	unsigned stopped;		/* calls of ob_dev_stopped */
	uint32_t owed_irqs;

	unsigned *raised;		/* messages per vector */
	bool level;
	unsigned logged;
};

/* text is NAME,KEY=VALUE,... as on the command line. */
struct ob_device *fake_create(const struct ob_device_class *cls,
			      const char *text);
void fake_destroy(struct ob_device *dev);
/* A new life of the process: the state stays, the runtime is built anew. */
void fake_rebuild(struct ob_device *dev);
/*
 * Another process goes on with what one that was killed left: what a step had
 * protected is put back, and the device built, checked and run.
 */
void fake_revive(struct ob_device *dev, const struct fake_lasting *left);
/* As the library does it: stop, halt; and run. */
void fake_stop(struct ob_device *dev);
void fake_run(struct ob_device *dev);
/* What check says about from's state; 0: to has it now and stands still. */
int fake_load(struct ob_device *to, const struct ob_device *from,
	      struct ob_err *err);
/* Runs what is due in the loop. */
void fake_turn(struct ob_device *dev);
/* Completes the waiting transfer. */
void fake_dma_end(struct ob_device *dev, int rc);

uint32_t fake_read32(struct ob_device *dev, uint64_t offset);
uint64_t fake_read64(struct ob_device *dev, uint64_t offset);
void fake_write32(struct ob_device *dev, uint64_t offset, uint32_t value);
void fake_write64(struct ob_device *dev, uint64_t offset, uint64_t value);

#endif
