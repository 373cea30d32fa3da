/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole contract for the author of a device model.
 *
 * A model is a const class structure: identity and BARs as data, options and
 * state as tables, and a handful of callbacks, most of them optional.  The
 * library owns configuration space, BAR decoding, MSI, MSI-X, INTx, power
 * management, resets, the DMA map and the client's connection.
 *
 * State and runtime.  What must survive the process lives in the state
 * (ob_dev_state, ob_dev_hot): plain data, described by tables.  What can be
 * rebuilt lives in the runtime (ob_dev_runtime).  init builds the runtime
 * and must work both on zeroed, reset state and on state that came from
 * elsewhere.
 *
 * Moving.  A device runs or stands still.  It stands still while its state is
 * read or replaced (docs/migration.md); then it makes no DMA, raises no
 * interrupt, starts nothing, and still answers register accesses, which may
 * change its state.  The library enforces the first two: ob_dma_* fail with
 * -EACCES, interrupts are remembered and delivered when it runs again.  A
 * model whose work is all done inside register accesses has nothing to do
 * about any of this; others use stop, halt and run.
 *
 * Steps.  Every callback is one step: it runs to its end, never waits, and
 * may start operations whose completions are later steps.  All callbacks of a
 * device run on its loop's thread.  What a model has called by others (a
 * drive's done, a timer, a deferred) is a step between ob_dev_enter and
 * ob_dev_leave.
 *
 * Death.  The process may be killed at any instruction, and a successor goes
 * on with the state (docs/crash-safety.md).  A step that began with a client's
 * access changes the plain part as a whole or not at all; the author writes
 * ordinary C.  Other steps ask for the same with ob_dev_protect before they
 * change the plain part.  The hot part is changed in place: each change by one
 * committing store, so that recovery (check, then loaded, then run, as after
 * a migration) can tell from it what was done.  A model without a hot part has
 * nothing to do about any of this.
 *
 * Lanes (docs/threads.md).  A model that has lane_poll may have its queues on
 * several threads, one for each lane.  A lane has a handle (ob_dev_lane), which is
 * given to all that is called in a lane's step: lane_poll, lane_sleep, and what the
 * model begins itself on that thread with ob_dev_enter(handle).  All other steps
 * are control steps of the device: they have its own pointer, run on its thread,
 * and are alone: no lane's step is open meanwhile.  So a lane's step changes
 * nothing but what is its own, and reads the rest; it protects nothing.  A
 * message that is hot is neither: lanes go on beside it, and of what they change it
 * may touch only what is lane 0's, which is on the device's thread.  With one lane
 * its handle is the device itself, and a step of it is a step of the device.
 */
#ifndef OUTBOARD_DEVICE_H
#define OUTBOARD_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/block.h>
#include <outboard/dma.h>
#include <outboard/error.h>
#include <outboard/loop.h>
#include <outboard/option.h>
#include <outboard/state.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define OB_DEVICE_ABI 4u

struct ob_device;

/* Region indexes, as VFIO numbers them (linux/vfio.h). */
enum ob_region {
	OB_BAR0, OB_BAR1, OB_BAR2, OB_BAR3, OB_BAR4, OB_BAR5,
	OB_ROM, OB_CONFIG, OB_VGA, OB_NR_REGIONS
};

enum ob_bar_flags {
	OB_BAR_IO	= 1 << 0,	/* port I/O; else memory */
	OB_BAR_64	= 1 << 1,	/* takes this and the next BAR */
	OB_BAR_PREFETCH	= 1 << 2,
};

#define OB_MAX_AREAS 4

/* A piece of a BAR that the client may map; page multiples. */
struct ob_area {
	uint64_t offset, size;
};

struct ob_bar {
	uint64_t size;			/* power of two; 0: absent */
	uint32_t flags;
	uint32_t nr_areas;		/* 0: every access is a message */
	struct ob_area areas[OB_MAX_AREAS];
};

/* A vendor-specific capability (PCI 3.0, 6.7), body after the 3-byte head. */
struct ob_vendor_cap {
	uint8_t len;			/* of the body */
	uint8_t body[32];
};

/* PCI identity and capabilities (PCI Express base spec, chapter 7). */
struct ob_pci {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint8_t revision;
	uint32_t class_code;		/* base << 16 | sub << 8 | interface */
	struct ob_bar bars[6];
	bool intx;			/* has pin INTA */
	bool pm;			/* power management capability */
	bool express;			/* PCIe endpoint; adds FLR */
	uint16_t msi_vectors;		/* 0, or a power of two up to 32 */
	uint16_t msix_vectors;		/* 0 to 2048 */
	uint8_t msix_table_bar, msix_pba_bar;
	uint32_t msix_table_offset, msix_pba_offset;
	uint64_t serial_number;		/* extended capability; 0: none */
	uint32_t nr_vendor_caps;
	struct ob_vendor_cap vendor_caps[2];
};

enum ob_reset {
	OB_RESET_INIT,		/* first, right after init on new state */
	OB_RESET_DEVICE,	/* DEVICE_RESET message */
	OB_RESET_FLR,		/* function level reset */
	OB_RESET_D3,		/* D3hot to D0 without No_Soft_Reset */
};

/* One command that a device has begun and not ended, for the operator. */
struct ob_device_inflight {
	unsigned queue, command;	/* as the guest calls them */
	const char *operation, *phase;	/* words */
	uint64_t offset, bytes;		/* on its drive; 0: nothing there */
	/*
	 * Its begin, by ob_loop_turn_time; 0: in another process, so that the
	 * library looks for it in the flight recorder.
	 */
	uint64_t since;
	uint64_t age_us;		/* the library's */
};

struct ob_device_class {
	uint32_t size;			/* sizeof(struct ob_device_class) */
	uint32_t abi;			/* OB_DEVICE_ABI */
	const char *name;		/* the word in --device */
	const char *summary;		/* one line */
	const struct ob_pci *pci;
	const struct ob_option *options;	/* may be NULL */
	const struct ob_table *state;	/* plain part; may be NULL */
	const struct ob_table *hot;	/* hot part; may be NULL */
	size_t runtime_size;		/* zeroed; may be 0 */

	/*
	 * Builds the runtime.  pci is this device's private copy of the
	 * class's, to be adjusted (vectors, areas, serial number); it is
	 * fixed when init returns.  On error the library calls finish, so
	 * finish accepts a half-built runtime.  Optional.
	 */
	int (*init)(struct ob_device *dev, struct ob_pci *pci,
		    struct ob_err *err);
	/* Releases the runtime.  No operation is in flight any more. */
	void (*finish)(struct ob_device *dev);

	/*
	 * Register access inside a BAR: offset + len is within the BAR, len
	 * is 1 to 1 MiB.  Default: reads are zeros, writes are ignored.  The
	 * MSI-X table and PBA never reach the model.  An access that the
	 * device does not define reads as zeros and is not an error.
	 */
	void (*region_read)(struct ob_device *dev, unsigned bar,
			    uint64_t offset, void *buf, size_t len);
	void (*region_write)(struct ob_device *dev, unsigned bar,
			     uint64_t offset, const void *buf, size_t len);

	/*
	 * Is that access hot: does it read only, or change nothing but the hot
	 * part by committing stores, so that doing it twice is as once?  Then
	 * nothing is saved before it.  Default: none is.
	 */
	bool (*is_hot)(struct ob_device *dev, unsigned bar, uint64_t offset,
		       bool write);

	/*
	 * Brings the state to its documented power-on values.  Operations in
	 * flight are disowned: their completions must change nothing that the
	 * guest sees.
	 */
	void (*reset)(struct ob_device *dev, enum ob_reset kind);

	/*
	 * Hot path, see struct ob_poller.  Called only while ob_dev_poll is
	 * on and a client is connected.  What poll finds is the guest's: true
	 * is counted as a visit of it, as an access to a register is.
	 */
	bool (*poll)(struct ob_device *dev);
	bool (*sleep)(struct ob_device *dev);

	/*
	 * The guest memory map changed: pointers are void, and what failed or
	 * waits for memory may be tried again.  Before an unmap is answered
	 * nothing may touch the range any more (R10); since the model only
	 * copies through dma.h, that holds by itself.
	 */
	void (*memory_changed)(struct ob_device *dev);
	/* The client has gone; its memory and interrupts are gone already. */
	void (*disconnected)(struct ob_device *dev);
	/* INTx, MSI or MSI-X was switched, or a mask lifted. */
	void (*irq_changed)(struct ob_device *dev);
	/* COMMAND.BusMaster changed; off: no DMA, ob_dma_* fail -EACCES. */
	void (*bus_master)(struct ob_device *dev, bool on);
	/*
	 * Operations of this device (drive requests and the like) that have
	 * not completed.  The library destroys a device only at 0.  Optional.
	 */
	unsigned (*in_flight)(struct ob_device *dev);
	/*
	 * Moving; all optional, and never called in another order than
	 *
	 *	run (stop (halt) run)*
	 *
	 * stop: begin nothing more; what is under way may end as usual, DMA
	 * and interrupts included.  Call ob_dev_stopped, from here or from a
	 * later step, when nothing is left that can end by itself.  Do not
	 * wait for messages to the client (memory without an fd): none leave
	 * any more, those that had not left fail with -ECANCELED.
	 * halt: from now on the device stands still.  Comes when ob_dev_stopped
	 * was called or the bound has passed (option drain); in the second case
	 * what is still under way is written in the state so that run, here or
	 * elsewhere, does it again or goes on with it, and its completion
	 * changes nothing that the guest sees until then.  The state is
	 * complete when halt returns.  Default for both: nothing is ever under
	 * way.
	 * run: begin, or begin again, what the state says is owed; raise
	 * interrupts that could be owed; look at queues anew.  Called after
	 * the first reset, after a halt, and after loaded.  It runs what is
	 * owed before anything new (R26).
	 */
	void (*stop)(struct ob_device *dev);
	void (*halt)(struct ob_device *dev);
	void (*run)(struct ob_device *dev);

	/*
	 * State that came from elsewhere.  check: would this device work with
	 * it?  Bounds of the tables hold; what depends on more than one field,
	 * or on this device's options and drives, is judged here (R25).
	 * plain and hot are complete fresh copies, nothing of the device
	 * changes.  0, or -EINVAL (or a better errno) with a message that
	 * begins with the field's name.  loaded: the state has been replaced
	 * by what check accepted, after a reset that disowned what was under
	 * way; build the runtime that follows from it.  The device stands
	 * still.  Neither may fail for lack of anything: loaded has no result.
	 */
	int (*check)(struct ob_device *dev, const void *plain, const void *hot,
		     struct ob_err *err);
	void (*loaded)(struct ob_device *dev);
	/*
	 * Drive number i, or NULL behind the last: the library hands drives
	 * over (locks, flush) and moves content that lives in this process.
	 */
	struct ob_drive *(*drive)(struct ob_device *dev, unsigned i);

	/*
	 * The operator says that what is behind the device may have another
	 * size (an image that was grown): look, and tell the guest.  Optional.
	 */
	void (*refresh)(struct ob_device *dev);
	/* Calls each for every command in flight.  Optional. */
	void (*inflight)(struct ob_device *dev,
			 void (*each)(void *arg,
				      const struct ob_device_inflight *io),
			 void *arg);

	/*
	 * What the device was asked to do has killed its process again and
	 * again.  It goes to the failed state of its kind, out of which the
	 * guest's driver leads it (NVMe: CSTS.CFS), and run, which follows,
	 * does not begin again what was in flight.  Called within a step, after
	 * loaded, before run.  Default: registers are served on, and the device
	 * stands still until it is reset.
	 */
	void (*fail)(struct ob_device *dev);

	/*
	 * With more than one lane, instead of poll and sleep: on the lane's
	 * thread, lane is its handle, while ob_dev_poll of that is on.  A model
	 * without the first has one lane.  spread_changed: at the end of a
	 * control step after which ob_dev_may_spread says something else.
	 */
	bool (*lane_poll)(struct ob_device *lane, unsigned number);
	bool (*lane_sleep)(struct ob_device *lane, unsigned number);
	void (*spread_changed)(struct ob_device *dev);
};

#define OB_LANES_MAX 16u
/* 1 to OB_LANES_MAX; fixed before init. */
unsigned ob_dev_lanes(const struct ob_device *dev);
/*
 * A lane's handle, as long as the device.  For lane 0 all works as for the device.
 * In the others ob_dma_read and write are -EAGAIN where the client or file I/O would
 * be needed (a part may have been copied), and ob_dma_lost says that the device's
 * thread is to ask; of interrupts they know MSI-X; ob_dev_protect does nothing.
 */
struct ob_device *ob_dev_lane(struct ob_device *dev, unsigned number);
/*
 * May more than lane 0 have work?  Not without a client, while the device stands
 * still or is about to, in another mode than MSI-X, with memory that is not mapped
 * into this process, or while what is written there or to a drive's content is
 * being followed.  Asked in control steps.
 */
bool ob_dev_may_spread(struct ob_device *dev);
/*
 * In a control step: from now on the others are busy, or, as in the beginning, hardly
 * ever entered.  A matter of cost: a lane that is expected enters without a lock, and
 * control steps are dearer by what it takes to stop it.
 */
void ob_dev_spread(struct ob_device *dev, bool on);

const struct ob_device_class *ob_dev_class(const struct ob_device *dev);
const char *ob_dev_id(const struct ob_device *dev);
void *ob_dev_state(struct ob_device *dev);
void *ob_dev_hot(struct ob_device *dev);
/* All of the hot part from here on is zeros that were never written: memory that
 * does not exist yet, and comes into being by being read. */
size_t ob_dev_hot_written(struct ob_device *dev);
void *ob_dev_runtime(struct ob_device *dev);
struct ob_loop *ob_dev_loop(struct ob_device *dev);
/* Brackets of a step; the library sets them around its own calls.  They nest. */
void ob_dev_enter(struct ob_device *dev);
void ob_dev_leave(struct ob_device *dev);
/*
 * Until the end of the step, or ob_dev_commit, changes to the plain part and
 * to [hot, hot + len) of the hot part (NULL: nothing of it) happen as a whole
 * or not at all.  Again in the same step: adds what is new.
 */
void ob_dev_protect(struct ob_device *dev, const void *hot, size_t len);
void ob_dev_commit(struct ob_device *dev);
/* A note for the flight recorder: what, b and c are the model's. */
void ob_dev_record(struct ob_device *dev, uint16_t what, uint32_t b,
		   uint64_t c);
/* What every reader of the recorder knows of commands. */
enum ob_trace {
	OB_TRACE_FETCH,		/* a: queue; b: command id; c: opcode */
	OB_TRACE_DRIVE,		/* a: slot; b: queue << 16 | command; c: offset */
	OB_TRACE_DRIVE_DONE,	/* a: slot; b: -errno */
	OB_TRACE_POST,		/* a: queue; b: command id; c: status */
	/* Instead of FETCH and POST, one that waited for nothing:
	 * a: queue; b: command id; c: status << 8 | opcode */
	OB_TRACE_AT_ONCE,
};
void ob_dev_trace(struct ob_device *dev, enum ob_trace what, uint16_t a,
		  uint32_t b, uint64_t c);
const struct ob_options *ob_dev_options(const struct ob_device *dev);

/* See stop.  Harmless at other times. */
void ob_dev_stopped(struct ob_device *dev);
/* Stands still: between halt and run, and from loading to run. */
bool ob_dev_is_halted(const struct ob_device *dev);
/*
 * Drives are to be opened with OB_DRIVE_INCOMING (option incoming): another
 * process may still use them.
 */
bool ob_dev_is_incoming(const struct ob_device *dev);
/*
 * ob_drive_open for drive number index of the model, as class.drive numbers
 * them: one that survives the process.
 */
int ob_dev_drive_open(struct ob_device *dev, unsigned index, const char *spec,
		      unsigned flags, struct ob_drive **out,
		      struct ob_err *err);
/*
 * Makes every drive of the model active, if it is not; the model calls it
 * when the guest is about to use them (NVMe: CC.EN), since a reset may find
 * them handed over.  One try, no waiting.  -EBUSY and a message when another
 * process has one.
 */
int ob_dev_acquire_drives(struct ob_device *dev, struct ob_err *err);

/*
 * The memory behind a BAR's mappable areas, one memfd as long as the BAR,
 * zeroed at creation, shared with the client; NULL when it has none.  Device
 * registers outside the areas are not backed by it.
 */
void *ob_dev_bar_memory(struct ob_device *dev, unsigned bar);

/*
 * Asks for (or ends) calls of poll and sleep.  Off at creation and reset.  With
 * several lanes dev is a handle, in a control step or one of that lane; or the
 * device, and all are meant.
 */
void ob_dev_poll(struct ob_device *dev, bool on, bool busy);

/*
 * Interrupts.  The mode is what the guest enabled in configuration space.
 * ob_irq_raise is for MSI and MSI-X: one message, remembered in the PBA while
 * masked; in INTx mode it does nothing.  ob_irq_level drives the pin; it is
 * remembered in every mode and takes effect in INTx mode.
 */
enum ob_irq_mode { OB_IRQ_INTX, OB_IRQ_MSI, OB_IRQ_MSIX };
enum ob_irq_mode ob_irq_mode(const struct ob_device *dev);
/* Vectors that the guest granted in this mode; at least 1. */
unsigned ob_irq_vectors(const struct ob_device *dev);
void ob_irq_raise(struct ob_device *dev, unsigned vector);
void ob_irq_level(struct ob_device *dev, bool asserted);

/*
 * Logging.  Every line names the device; what a guest or a client can
 * trigger goes through OB_GUEST, which is rate-limited per device (R19).
 */
enum ob_level { OB_ERROR, OB_WARN, OB_INFO, OB_DEBUG, OB_GUEST };
void ob_dev_log(struct ob_device *dev, enum ob_level level,
		const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
