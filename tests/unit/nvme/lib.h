/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stand-in for the library around NVMe controllers, so that a test decides
 * when each thing happens: what the model calls (device.h, dma.h), and the
 * order in which the library calls it when a device stops, is loaded and runs.
 * The guest (guest.h) is the same; its register accesses are calls.  Loop,
 * options and drives are the real ones.
 *
 * Several devices may be there at a time, on one loop and with one guest
 * memory; the guest drives g->dev.
 */
#ifndef OB_TESTS_NVME_LIB_H
#define OB_TESTS_NVME_LIB_H

#include "guest.h"

#define LIB_VECTORS 65u
#define LIB_LANES 4u
#define LIB_UNDO_EXTENTS 16u
#define LIB_UNDO_BYTES (192u << 10)

/* What the library keeps behind ob_dev_protect.  count is a page of its own:
 * a store to it is one that a test of death looks at. */
struct lib_undo {
	uint32_t count;
	uint8_t page[4092];
	struct {
		uint8_t *at;
		size_t len;
	} extents[LIB_UNDO_EXTENTS];
	size_t used;
	bool whole_step;		/* commits with the client's message */
	uint8_t bytes[LIB_UNDO_BYTES];
};

/* A transfer by message on its way. */
struct lib_message {
	struct lib_message *next;
	struct ob_dma_op *op;
	struct ob_seg segs[NVME_WALK_SEGS];
	unsigned count;
	uint8_t *buf;
	bool write;
	enum { LIB_WAITS, LIB_SENT, LIB_EXECUTED, LIB_CANCELLED } stage;
};

struct ob_device {
	const struct ob_device_class *cls;
	struct guest *g;
	struct ob_loop *loop;
	struct ob_options *opts;
	struct ob_pci pci;
	void *state, *hot, *runtime;
	uint8_t *bar;			/* memory behind BAR0 */
	struct lib_undo *undo;
	bool bar_stays;			/* ... does not move with the state */
	int entered;

	bool connected, master, incoming;
	bool stopping, halted;
	unsigned stopped;		/* calls of ob_dev_stopped */
	int acquire;			/* what the drives say */
	unsigned acquired;

	bool poll, asleep;
	unsigned idle;
	enum ob_irq_mode mode;
	bool level;
	uint64_t raised[LIB_VECTORS];	/* since last asked */
	bool masked[LIB_VECTORS], pending[LIB_VECTORS];
	struct lib_message *messages;
	struct ob_deferred pump;
	bool hold_answers;		/* executed ones wait */
	unsigned traced[OB_TRACE_AT_ONCE + 1];
	char said[256];			/* the last line logged */

	/* Lanes: a handle for each that is not the device's own, with a loop. */
	unsigned nr_lanes, number;
	struct ob_device *home, *lanes[LIB_LANES];
	bool may_spread, lost;
};

/* Of devices that are created from now on; all are on this thread. */
extern unsigned lib_lanes;
/* What the library does in a control step. */
void lib_spread(struct ob_device *dev, bool may);
/* Does guest_turn turn lanes' loops as well? */
extern bool lib_turns_lanes;
/* One turn of that lane's loop. */
void lib_turn_lane(struct ob_device *dev, unsigned lane);

struct ob_device *lib_create(struct guest *g, const char *options);
/* Turns until nothing is in flight, then goes. */
void lib_destroy(struct ob_device *dev);

/* Puts back what an open step has changed under protection. */
void lib_undo(struct ob_device *dev);

/* RUNNING -> STOP in its two steps; drain: turns until it says stopped. */
void lib_stop(struct ob_device *dev);
bool lib_drain(struct ob_device *dev, unsigned us);
void lib_halt(struct ob_device *dev);
void lib_run(struct ob_device *dev);
/* Judges from's state as it is in the tables; 0: to has it. */
int lib_load(struct ob_device *to, struct ob_device *from,
	     struct ob_err *err);
/* Field by field, reserved ones as zeros. */
void lib_copy(const struct ob_table *table, void *to, const void *from);
/* Waits for from's requests to end; then the blocks are the same, but for
 * those of a drive that hangs. */
void lib_copy_drives(struct ob_device *to, struct ob_device *from);

/* Interrupt mode, masks, bus master. */
void lib_copy_config(struct ob_device *to, const struct ob_device *from);
/* The client has seen these messages. */
void lib_execute_sent(struct ob_device *dev);

/*
 * Not NULL: runs every entry into g->dev that the guest brings about.  message:
 * a client's, which comes again if it did not end.
 */
extern void (*lib_around)(struct guest *g,
			  void (*run)(struct guest *g, void *arg), void *arg,
			  bool message);

/* All of it: g->dev goes on in to; the old one is still there, and still. */
void lib_move(struct guest *g, struct ob_device *to);

#endif
