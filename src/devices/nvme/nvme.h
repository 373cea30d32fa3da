/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller's own structures; docs/nvme.md is the tour.
 *
 * A command's way: a doorbell moves a submission queue's tail (doorbell.c);
 * its lane's turn of work (lane.c) fetches entries in batches (sq.c); each
 * gets a slot and is run through the steps that its opcode's row names (cmd.c,
 * admin.c, io.c); its completion waits at its completion queue until some have
 * come together (cq.c) and is told by one interrupt (irq.c).
 */
#ifndef OB_NVME_NVME_H
#define OB_NVME_NVME_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/block.h>
#include <outboard/device.h>

#include "devices/nvme/spec.h"
#include "devices/nvme/state_features.h"
#include "devices/nvme/state_slot.h"
#include "devices/nvme/walk.h"

extern const struct ob_device_class ob_nvme_class;

/*
 * "OB": not assigned by the PCI-SIG to anyone.  Drivers bind by class, and
 * none knows quirks of this pair.
 */
#define NVME_PCI_VENDOR		0x4f42u
#define NVME_PCI_DEVICE		0x0001u
#define NVME_FIRMWARE		"1.0     "
#define NVME_DEFAULT_MODEL	"Outboard NVMe disk"

#define NVME_MAX_QUEUES		64u	/* I/O pairs */
#define NVME_NO_VALUE		UINT64_MAX
#define NVME_LINE		64u	/* of a cache */
#define NVME_QIDS		(NVME_MAX_QUEUES + 1)
#define NVME_MAX_ENTRIES	4096u	/* of one queue */
#define NVME_MAX_NS		64u
#define NVME_MDTS		7u	/* 2^7 pages of 4 KiB */
#define NVME_MAX_TRANSFER	(4096u << NVME_MDTS)
#define NVME_MPSMAX		4u	/* 64 KiB pages */
#define NVME_MAX_AERS		4u
#define NVME_MAX_EVENTS		16u
#define NVME_ERROR_ENTRIES	64u
#define NVME_ABORTS		4u
#define NVME_FETCH		32u	/* entries of a batch */
#define NVME_POST		64u
#define NVME_TURN_COMMANDS	32u	/* of one turn of the loop */
#define NVME_TURN_BYTES		(64u << 10)	/* copied, then it is over */
#define NVME_PART_BYTES		(128u << 10)	/* ... but not within one */
#define NVME_POST_EVERY		8u	/* commands */
#define NVME_HEAR_EVERY		4u	/* commands: has a message come? */
#define NVME_LOOK_EVERY		4u	/* turns that leave something to do */

/* Slots of the admin queue come first, so that I/O never takes them. */
#define NVME_ADMIN_SLOTS	32u
#define NVME_IO_SLOTS		1024u
#define NVME_SLOTS		(NVME_ADMIN_SLOTS + NVME_IO_SLOTS)

#define NVME_BAR_SIZE		0x4000u
#define NVME_DB_OFFSET		0x1000u
#define NVME_DB_SIZE		0x1000u
#define NVME_MSIX_OFFSET	0x2000u
#define NVME_PBA_OFFSET		0x3000u

/* -- state, plain part ------------------------------------------------- */

struct nvme_sq_state {
	uint64_t base;
	uint32_t entries;
	uint16_t cqid;
	uint8_t created, priority;
};

struct nvme_cq_state {
	uint64_t base;
	uint32_t entries;
	uint16_t vector;
	uint8_t created, interrupts;
};

struct nvme_event {
	uint8_t type, info, log;
};

struct nvme_counters {
	uint64_t blocks_read, blocks_written;	/* units of 512 bytes */
	uint64_t reads, writes;
	uint64_t media_errors, errors;
};

/*
 * What the guest has seen of the options and drives and cannot see change.  A
 * destination is started with its own; they must be the same.
 */
struct nvme_shape {
	uint64_t readonly, write_cache;		/* bit per namespace */
	uint64_t blocks[NVME_MAX_NS];
	uint32_t lba_shift, nr_ns, queues, doorbells;
};

struct nvme_plain {
	uint32_t cc, csts, aqa, intm;
	uint64_t asq, acq;
	uint64_t dbs_addr, eis_addr;	/* shadow doorbells, if dbbuf */
	uint32_t generation;		/* of the controller's life */
	uint8_t dbbuf;
	uint8_t nr_events;
	uint16_t events_masked;		/* bit per type, until its log is read */
	struct nvme_event events[NVME_MAX_EVENTS];
	struct nvme_features features;
	struct nvme_counters counters;
	uint64_t attached, changed;	/* bit per namespace, nsid - 1 */
	struct nvme_sq_state sqs[NVME_QIDS];
	struct nvme_cq_state cqs[NVME_QIDS];
	struct nvme_shape shape;
	/* All names follow from it; zeros behind the text. */
	uint8_t serial[20], model[40], reserved2[4];
	/* Last, so that what every life writes is in one page. */
	uint8_t error_log[NVME_ERROR_ENTRIES * sizeof(struct nvme_error_entry)];
};

/* -- state, hot part --------------------------------------------------- */

/*
 * The counters commit (docs/nvme.md, "Death"): they count entries since the
 * queue was created, and head, tail and phase follow from them, one store
 * later.  NVME_NO_VALUE: from a release that had none.
 */
struct nvme_sq_hot {
	uint64_t fetched;
	uint32_t head, tail;
	uint32_t rung;			/* a tail that its lane has not seen, plus 1 */
	uint8_t reserved[44];		/* a line each: they are different threads' */
};

struct nvme_cq_hot {
	uint64_t posted;
	uint32_t head, tail;
	uint32_t phase;
	uint32_t rung;			/* ... such a head */
	uint8_t reserved[8];		/* less often written: two to a line */
};

/* What lane 1 and those behind it count; lane 0 has that of the plain part. */
struct nvme_lane_counters {
	struct nvme_counters counters;
	uint8_t reserved[16];
};

/* With up to 31 queues, what each life writes of them is in one page. */
struct nvme_hot {
	struct nvme_cq_hot cqs[NVME_QIDS];
	uint8_t reserved[32];
	struct nvme_sq_hot sqs[NVME_QIDS];
	struct nvme_lane_counters lanes[OB_LANES_MAX - 1];
	struct nvme_slot slots[NVME_SLOTS];
};

extern const struct ob_table nvme_plain_table, nvme_hot_table;

/* inflight.c */
void nvme_inflight(struct ob_device *dev,
		   void (*each)(void *arg,
				const struct ob_device_inflight *io),
		   void *arg);

/* -- runtime ----------------------------------------------------------- */

struct nvme;
struct nvme_lane;
struct nvme_cmd;

/* A run of pages of a pool, or pages = 0. */
struct nvme_buffer {
	uint8_t *data;
	struct nvme_pool *pool;
	uint32_t page, pages;
};

struct nvme_list {
	struct nvme_cmd *first, **last;
};

/*
 * Bounce memory: untouched anonymous pages, lowest free run first, so that a
 * light load touches little of it.  Who finds no room waits, in order.
 */
struct nvme_pool {
	uint8_t *base;
	uint32_t pages;
	uint64_t used[32];		/* bit per page */
	struct nvme_list waiting;
};
#define NVME_IO_POOL_PAGES	2048u	/* 8 MiB */
#define NVME_ADMIN_POOL_PAGES	256u	/* 1 MiB: two transfers of MDTS */

struct nvme_ns {
	struct nvme *n;
	uint32_t nsid;
	uint32_t old_writes;	/* disowned writes that are still under way */
	struct nvme_list held;	/* commands that wait for them */
	struct ob_drive *drive;
	const struct ob_drive_info *info;
	uint64_t blocks;
	uint8_t uuid[16], nguid[16], eui64[8];
	struct ob_block_request *flush;	/* for shutdown */
	bool flushing, flush_again;
};

/*
 * A step of a command.  0: go on with the next.  -EINPROGRESS: a completion
 * will call nvme_cmd_resume.  Positive: the command ends with this status.
 */
typedef int (*nvme_step)(struct nvme_cmd *c);

/* Instead: another lane has the command now, it must not be touched any more. */
#define NVME_GONE (-EXDEV)

enum nvme_op_flags {
	NVME_OP_NSID	= 1 << 0,	/* names one active namespace */
	NVME_OP_NSID_ALL = 1 << 1,	/* or all, FFFFFFFFh */
	NVME_OP_WRITE	= 1 << 2,	/* changes the medium */
	NVME_OP_DBBUF	= 1 << 3,	/* only with shadow doorbells */
	NVME_OP_AWAY	= 1 << 4,	/* every lane can do it */
};

/* A row of a dispatch table; steps end with NULL. */
struct nvme_op {
	uint8_t opcode;
	uint8_t flags;
	uint16_t effects;
	const char *name;
	const nvme_step *steps;
};

extern const struct nvme_op nvme_admin_ops[], nvme_io_ops[];
extern const unsigned nvme_nr_admin_ops, nvme_nr_io_ops;
const struct nvme_op *nvme_op_find(const struct nvme_op *ops, unsigned count,
				   uint8_t opcode);

/* A slot's runtime twin. */
struct nvme_cmd {
	struct nvme *n;
	struct nvme_lane *lane;		/* that runs it; once it is DONE, posts it */
	struct nvme_lane *owner;	/* of its slot */
	struct nvme_lane *via;		/* whose thread has its drive's request */
	struct ob_drive *drive;		/* ... and that drive, or branch */
	struct nvme_slot *slot;
	const struct nvme_op *op;
	const nvme_step *steps;
	struct nvme_ns *ns;
	struct nvme_cmd *next;		/* in whichever list it is */
	struct nvme_buffer buf;
	uint32_t len;			/* of the guest's data */
	uint32_t moved;			/* ... and what of it is where it should be */
	uint32_t at, count;		/* a step's own loop */
	uint64_t offset, span;		/* on the drive, bytes */
	uint64_t since;			/* fetched; 0: by another process */
	bool busy;			/* an operation belongs to others */
	bool is_drive;			/* ... namely to the drive */
	bool disowned;			/* by a reset */
	bool disowned_write;
	bool owed;			/* nothing is fetched before it ends */
	bool put_off;			/* run begins it again */
	bool hurried;			/* cancelled by halt: not an end */
	bool ended;			/* while halted, with end_status */
	bool told;			/* the recorder has its fetching */
	bool cancelled;			/* in its via's list for that */
	uint8_t arrival;		/* enum nvme_arrival, on the way to lane */
	uint16_t end_status;
	int drive_rc;
	struct ob_block_request *req;
	struct ob_dma_op dma;
	struct nvme_walk walk;
};

/*
 * Of both, what a command changes is the middle third, and the size is three halves
 * of a line: so no two queues, which may be different threads', have theirs in one
 * line, and a disk of many queues does not pay for whole lines.
 */
#define NVME_HALF_LINE	(NVME_LINE / 2)

struct nvme_sq {
	_Alignas(NVME_HALF_LINE)
	uint64_t bad_tail;		/* refused last; do not tell again */
	uint64_t refused;		/* as a completion queue's */
	struct nvme_cmd *deleter;	/* waits for in_flight to reach 0 */
	struct nvme *n;

	struct nvme_sqe *batch;		/* NVME_FETCH */
	uint16_t pos, count;		/* of batch: not dispatched yet */
	uint16_t fetching;		/* entries that are on their way */
	bool stale;			/* fetch of a former life under way */
	uint32_t in_flight;
	uint32_t load;			/* since lanes were compared */
	struct nvme_lane *lane;		/* that of its completion queue */

	struct ob_dma_op dma;
};

struct nvme_cq {
	_Alignas(NVME_HALF_LINE)
	uint64_t bad_head;
	uint64_t refused;		/* a doorbell's value, to be told at home */
	struct nvme *n;
	struct nvme_lane *lane;

	struct nvme_list done;		/* completions without an entry yet */
	struct nvme_cq *next;
	uint16_t posting;		/* entries that are on their way */
	uint16_t assigned;		/* first of done: their places are on
					 * record, the guest may see them */
	uint16_t waiting;		/* entries not told by an interrupt */
	bool queued : 1;		/* in its lane's flush */
	bool full : 1;			/* the last flush left some of done */
	bool stale : 1;
	uint8_t sqs;			/* submission queues that use it */

	struct ob_dma_op dma;
	struct nvme_cqe *batch;		/* NVME_POST */
};

/* Apart from the queues, so that those which nobody uses stay untouched. */
struct nvme_cell;
struct nvme_batches {
	uint32_t indexes[2 * NVME_QIDS];	/* as we set EventIdx last */
	_Alignas(NVME_LINE)
	struct nvme_sqe sq[NVME_QIDS][NVME_FETCH];
	struct nvme_cqe cq[NVME_QIDS][NVME_POST];
};

enum nvme_doorbells {
	NVME_DB_ADAPTIVE, NVME_DB_TRAPPED, NVME_DB_MAPPED
};

/* Slots of the hot state, [first, end), with their twins. */
struct nvme_slots {
	struct nvme_list free;
	unsigned seen;			/* from here on they were never used */
	unsigned first, end;
};

/* Why a command comes to a lane from another one (hand.c). */
enum nvme_arrival {
	NVME_BEGINS,		/* to lane 0: the other cannot do it */
	NVME_ENDS,		/* to lane 0: with an error that is logged */
	NVME_DRIVE_ENDED,	/* to lane 0: it was the other's when it was asked */
	NVME_IS_DONE,		/* to its completion queue's lane */
	NVME_IS_FREE,		/* to its slot's owner */
};

/* What a lane wants of a control step. */
enum nvme_want {
	NVME_WANT_FATAL		= 1 << 0,
	NVME_WANT_REFUSED	= 1 << 1,	/* doorbells */
	NVME_WANT_DELETED	= 1 << 2,	/* queues; their last command is told */
	NVME_WANT_SPREAD	= 1 << 3,	/* what was in the way has gone */
	NVME_WANT_BALANCE	= 1 << 4,
};

/*
 * Queues, and what their commands need on the way: whatever changes with a
 * command is here, in its queue, or its own.  The I/O queues have one or several,
 * each on a thread of its own (spread.c); the admin queue has another, whose
 * steps are control steps, since its commands change what all rely on.
 */
struct nvme_lane {
	_Alignas(NVME_LINE)
	struct nvme *n;
	unsigned number;		/* not 0: away from the device's thread */
	struct ob_device *dev;		/* to be called with in a step of the lane */
	struct ob_device *step;		/* to be entered with */
	struct ob_loop *loop;
	struct ob_deferred work;
	bool working, again;		/* in its work; something came up */
	bool starved;			/* no slot was left */
	bool republish;			/* some are assigned since loaded */
	bool coalescing;		/* the timer is armed */
	uint8_t qids[NVME_QIDS];	/* of its submission queues */
	unsigned nr_sqs, next_sq;	/* round robin */
	unsigned looks;			/* at doorbells, that were put off */
	/* What a look at a doorbell need not judge again: the tail that we have, or
	 * one that was refused.  All ones: whatever is there. */
	uint32_t tails[NVME_QIDS];
	unsigned nr_full;		/* completion queues that are `full` */
	uint32_t moved;			/* bytes copied in this turn */
	const void *expected;		/* the next entry, perhaps: a hint */
	struct nvme_cq *flush;		/* queues with something to post */
	struct nvme_list parked;	/* data waits for a turn or a client */
	struct nvme_list owed;		/* to be begun again, in order */
	unsigned nr_owed;		/* these, and those that go on */
	unsigned nr_busy_drive;		/* drive requests under way */
	unsigned nr_busy_dma;		/* transfers by message */
	uint64_t *order, own_order;	/* of the next command */
	uint32_t load;			/* since it asked for a comparison */
	struct nvme_slots slots;
	struct nvme_pool pool;
	struct nvme_counters *counters;
	struct ob_drive **drives;	/* one for each namespace */
	struct ob_timer coalesce;
	struct nvme_list cancels;	/* requests of drives */
	/* From other threads: arrive is posted to the loop. */
	_Alignas(NVME_LINE)
	struct nvme_cmd *arrivals;
	struct ob_post arrive;
	struct ob_post lend;
};

struct nvme {
	struct ob_device *dev;
	struct ob_loop *loop;
	struct nvme_plain *st;
	struct nvme_hot *hot;

	enum nvme_doorbells doorbells;
	unsigned max_queues, vectors;
	unsigned lba_shift;
	uint32_t *db_page;		/* mapped doorbells */
	bool old_page;			/* ... hold values of a former life */
	bool frozen;			/* no client, or its memory is not back */
	bool master;			/* bus master enable */
	bool draining;			/* from stop to run: nothing is fetched */
	bool halted;			/* from halt to run */
	bool failing;			/* a lane has asked for nvme_fatal */
	unsigned guards;		/* depth of nvme_guard */
	unsigned last_cq;		/* highest created */
	char serial[21], model[41];
	char uuid[37];

	unsigned nr_ns;
	struct nvme_ns *ns;

	/* The I/O queues' lanes, then that of the admin queue. */
	struct nvme_lane *lanes, *admin;
	unsigned nr_lanes;
	bool branches;			/* each lane has a branch of each drive */
	bool spread;			/* not all I/O queues are lane 0's */
	bool blocked;			/* they would be, but for what is under way */
	uint64_t balance_after;		/* lanes are not compared before, turn_time */
	bool polls, polls_busy;
	unsigned wants;			/* enum nvme_want, of all lanes */
	const char *why_fatal;
	struct ob_post asked;

	struct nvme_list aers;		/* outstanding event requests */
	unsigned nr_aers;

	struct nvme_cmd *cmds;
	size_t hot_written;		/* bytes of a loaded state: zeros follow, */
	unsigned slots_written;		/* and so many slots */
	unsigned nr_busy_flush;
	unsigned nr_owed;		/* of all lanes */
	char *requests;
	size_t request_stride;

	/* max_queues + 1 of each; the guest can have no others.  Zeros, and no
	 * memory, until they are created for the first time. */
	struct nvme_sq *sqs;
	struct nvme_cq *cqs;
	struct nvme_batches *batches;
	struct nvme_cell *cells;	/* with several lanes, else NULL */
};

/* SLBA, where a command has one. */
static inline uint64_t nvme_start(const struct nvme_sqe *sqe)
{
	return sqe->cdw10 | (uint64_t)sqe->cdw11 << 32;
}

static inline bool nvme_ns_has(const struct nvme_ns *ns, uint64_t start,
			       uint64_t count)
{
	return start <= ns->blocks && count <= ns->blocks - start;
}

static inline uint32_t nvme_page_size(const struct nvme *n)
{
	return 4096u << ((n->st->cc & NVME_CC_MPS_MASK) >> NVME_CC_MPS_SHIFT);
}

/* Commands are fetched and completions posted only while this holds. */
static inline bool nvme_running(const struct nvme *n)
{
	return (n->st->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) == NVME_CSTS_RDY &&
	       !n->frozen && n->master && !n->halted &&
	       !__atomic_load_n(&n->failing, __ATOMIC_RELAXED);
}

/* A register access must not wait for more copying (R8). */
static inline bool nvme_turn_is_over(const struct nvme_lane *lane)
{
	return lane->moved >= NVME_TURN_BYTES;
}

#define nvme_for_each_lane(n, lane) \
	for (struct nvme_lane *lane = (n)->lanes; lane <= (n)->admin; lane++)

/* Not on the device's thread: what is rare goes there. */
static inline bool nvme_is_away(const struct nvme_lane *lane)
{
	return lane->number;
}

/* Of all lanes no two are the same, and those of a queue ascend. */
static inline uint64_t nvme_next_order(struct nvme_lane *lane)
{
	uint64_t order = *lane->order;

	*lane->order += lane->n->nr_lanes;
	return order;
}

/* nvme.c */
void nvme_fatal(struct nvme *n, const char *why);
void nvme_set_polling(struct nvme *n, bool on, bool busy);

/* lane.c */
int nvme_lanes_init(struct nvme *n, struct ob_err *err);
void nvme_lanes_finish(struct nvme *n);
/* There may be something to do: look in the next turn. */
void nvme_kick(struct nvme_lane *lane);
void nvme_kick_all(struct nvme *n);
void nvme_kick_others(struct nvme *n);
/* One turn's share of work; true if something was done. */
bool nvme_lane_work(struct nvme_lane *lane);
bool nvme_lane_poll(struct nvme_lane *lane);
/* Tells of what has ended, if the memory that it read is what it was. */
void nvme_post(struct nvme_lane *lane);
/* Has nobody asked for a turn, and is no drive's request under way? */
bool nvme_lanes_idle(const struct nvme *n);

/* hand.c: from lane to lane */
void nvme_hand_init(struct nvme_lane *lane);
/* From now on the command is the other lane's. */
void nvme_hand_over(struct nvme_cmd *c, struct nvme_lane *to,
		    enum nvme_arrival why);
/* In a control step.  Those on their way are in no list; to be begun again. */
void nvme_hand_forget(struct nvme *n);
void nvme_hand_home(struct nvme_lane *lane);
/* From any lane: a control step is to come.  With one lane it is here. */
void nvme_ask(struct nvme *n, enum nvme_want what);
void nvme_lane_fatal(struct nvme_lane *lane, const char *why);
/* Something that was under way has ended. */
static inline void nvme_settled(struct nvme *n)
{
	if (n->blocked)
		nvme_ask(n, NVME_WANT_SPREAD);
}

/* spread.c: which lane has which queue; control steps */
void nvme_spread_update(struct nvme *n);
void nvme_spread_changed(struct ob_device *dev);
void nvme_gather(struct nvme *n);
void nvme_balance(struct nvme *n);
/* For a new completion queue. */
struct nvme_lane *nvme_place(struct nvme *n);
void nvme_note_load(struct nvme_lane *lane, struct nvme_sq *sq,
		    const struct nvme_sqe *sqe);

/* cell.c: with several lanes; offsets are on the drive */
int nvme_cells_init(struct nvme *n);
void nvme_cells_finish(struct nvme *n);
/* To the end of its cell, bytes. */
uint32_t nvme_cell_left(uint64_t offset);
void nvme_cell_take(const struct nvme_ns *ns, uint64_t offset);
void nvme_cell_put(const struct nvme_ns *ns, uint64_t offset);
/* Of a drive in memory, with one lane as well. */
void nvme_cells_read(const struct nvme_ns *ns, uint64_t offset, void *to,
		     uint32_t len);

/* regs.c */
void nvme_regs_reset(struct nvme *n);
bool nvme_is_hot(struct ob_device *dev, unsigned bar, uint64_t offset,
		 bool write);
void nvme_region_read(struct ob_device *dev, unsigned bar, uint64_t offset,
		      void *buf, size_t len);
void nvme_region_write(struct ob_device *dev, unsigned bar, uint64_t offset,
		       const void *buf, size_t len);

/* ctrl.c: the controller's life */
void nvme_ctrl_configure(struct nvme *n, uint32_t cc);
void nvme_ctrl_subsystem_reset(struct nvme *n);
/* False: another process has them, and the controller has failed. */
bool nvme_ctrl_has_drives(struct nvme *n);
void nvme_ctrl_stop(struct nvme *n);
void nvme_ctrl_shutdown_step(struct nvme *n);

/* list.c */
void nvme_list_init(struct nvme_list *list);
void nvme_list_push(struct nvme_list *list, struct nvme_cmd *c);
bool nvme_list_empty(const struct nvme_list *list);
void nvme_list_push_front(struct nvme_list *list, struct nvme_cmd *c);
struct nvme_cmd *nvme_list_pop(struct nvme_list *list);
bool nvme_list_remove(struct nvme_list *list, struct nvme_cmd *c);

/* cmd.c */
int nvme_cmds_init(struct nvme *n, struct ob_err *err);
void nvme_cmds_finish(struct nvme *n);
/* A slot that holds a copy of the entry; NULL when there is none. */
struct nvme_cmd *nvme_cmd_take(struct nvme *n, uint16_t sqid,
			       const struct nvme_sqe *sqe);
void nvme_cmd_begin(struct nvme_cmd *c);
/* Without what an earlier begin came to. */
void nvme_cmd_begin_anew(struct nvme_cmd *c);
void nvme_cmd_run(struct nvme_cmd *c);
void nvme_cmd_resume(struct nvme_cmd *c, int status);
void nvme_cmd_complete(struct nvme_cmd *c, uint16_t status);
void nvme_cmd_release(struct nvme_cmd *c);
bool nvme_slots_left(struct nvme_lane *lane);
/* Disowns or frees every command in flight; never waits. */
void nvme_cmds_disown(struct nvme *n);
/* Asks for an early end, of one or all of a queue; true: it has ended. */
bool nvme_cmd_hurry(struct nvme_cmd *c, uint16_t status);
void nvme_cmds_hurry(struct nvme *n, unsigned sqid);
/* The next call of nvme_cmd_run starts with the step that is running now. */
void nvme_cmd_again(struct nvme_cmd *c);
int nvme_dma_status(struct nvme_lane *lane, int rc);
/* To the recorder: it waits for something; it is posted. */
void nvme_cmd_tell(struct nvme_cmd *c);
void nvme_cmd_tell_end(const struct nvme_cmd *c);
unsigned nvme_slot_index(const struct nvme_cmd *c);
struct nvme_cmd *nvme_cmd_find(struct nvme *n, uint16_t sqid, uint16_t cid);

/* The operation under way has brought nothing: as if it had not begun. */
void nvme_cmd_put_off(struct nvme_cmd *c);
/* From the state alone: lists, counts, the twins of slots in use. */
void nvme_cmds_adopt(struct nvme *n);
/* Those that are neither free nor disowned, as they were fetched. */
unsigned nvme_cmds_in_order(struct nvme *n,
			    struct nvme_cmd *list[NVME_SLOTS]);

/* move.c */
void nvme_move_stop(struct ob_device *dev);
void nvme_move_halt(struct ob_device *dev);
void nvme_move_run(struct ob_device *dev);
void nvme_move_loaded(struct ob_device *dev);
struct ob_drive *nvme_move_drive(struct ob_device *dev, unsigned i);
void nvme_drained(struct nvme *n);
bool nvme_owed_serve(struct nvme_lane *lane);
bool nvme_owed_is_before(const struct nvme_lane *lane);
void nvme_owed_forget(struct nvme *n);
void nvme_owed_add(struct nvme_cmd *c);
void nvme_owed_end(struct nvme_cmd *c);

/* It has ended, or waits for the guest alone: on the way of every command. */
static inline void nvme_owed_settle(struct nvme_cmd *c)
{
	if (c->owed)
		nvme_owed_end(c);
}

/*
 * recover.c.  Between guard and unguard, which nest, changes to the plain part
 * and to [hot, hot + len) happen as a whole or not at all.
 */
void nvme_guard(struct nvme *n, const void *hot, size_t len);
void nvme_unguard(struct nvme *n);
void nvme_guard_slot(const struct nvme_cmd *c);
/* For a reset: all that it changes, until the end of the step. */
void nvme_protect_all(struct nvme *n);
/* What follows from the counters of a state that check has accepted. */
void nvme_recover(struct nvme *n);

/* check.c */
int nvme_check(struct ob_device *dev, const void *plain, const void *hot,
	       struct ob_err *err);

/* sq.c, cq.c */
bool nvme_sq_serve(struct nvme_lane *lane, unsigned qid, unsigned *budget);
/* The runtime of one that begins. */
void nvme_sq_renew(struct nvme *n, unsigned qid);
void nvme_cq_renew(struct nvme *n, unsigned qid);
void nvme_sq_reset(struct nvme *n, unsigned qid);
void nvme_sq_command_done(struct nvme *n, unsigned qid);
/* In a control step: deletions that waited for the last command. */
void nvme_sqs_deleted(struct nvme *n);
void nvme_cq_reset(struct nvme *n, unsigned qid);
void nvme_cq_add(struct nvme *n, unsigned qid, struct nvme_cmd *c);
void nvme_cq_queue(struct nvme_cq *cq);
void nvme_cqs_flush(struct nvme_lane *lane);
void nvme_cqs_forget(struct nvme *n);
void nvme_cqs_revive(struct nvme *n);
void nvme_cqs_halt(struct nvme *n);
void nvme_sqs_halt(struct nvme *n);
bool nvme_cq_unconsumed(const struct nvme *n, unsigned qid);
bool nvme_queues_mapped(struct nvme *n);

/* queue.c: the admin commands about queues, as steps */
int nvme_step_create_sq(struct nvme_cmd *c);
int nvme_step_delete_sq(struct nvme_cmd *c);
int nvme_step_create_cq(struct nvme_cmd *c);
int nvme_step_delete_cq(struct nvme_cmd *c);
int nvme_queue_admin(struct nvme *n);
void nvme_queues_adopt(struct nvme *n);
/* What follows from which queues there are, and whose they are. */
void nvme_queues_note(struct nvme *n);

/* doorbell.c */
void nvme_doorbell_write(struct nvme *n, uint64_t offset, uint32_t value);
void nvme_doorbells_reset(struct nvme *n);
void nvme_doorbells_clear(struct nvme *n);
void nvme_doorbell_fresh(struct nvme *n, unsigned qid, bool cq);
bool nvme_doorbells_poll(struct nvme_lane *lane);
bool nvme_doorbells_arm(struct nvme_lane *lane);
void nvme_doorbells_intx(struct nvme_lane *lane);
/* Registers that another thread was told of, and values that it is to refuse. */
void nvme_doorbells_rung(struct nvme_lane *lane);
void nvme_doorbells_refused(struct nvme *n);
void nvme_doorbells_forget(struct nvme *n);
void nvme_doorbells_adopt(struct nvme *n);
void nvme_doorbells_halt(struct nvme *n);
void nvme_doorbells_resume(struct nvme *n);
void nvme_cq_head_refresh(struct nvme *n, unsigned qid);
void nvme_cq_head_behind(struct nvme *n, unsigned qid);
void nvme_sq_tail_behind(struct nvme *n, unsigned qid);
/* The guest's next move of the head, if it has not come yet, is a message. */
void nvme_cq_head_arm(struct nvme *n, unsigned qid);
void nvme_admin_index(struct nvme *n);
int nvme_step_dbbuf(struct nvme_cmd *c);

/* irq.c */
void nvme_irq_posted(struct nvme_cq *cq, unsigned entries);
void nvme_irq_update(struct nvme *n);
void nvme_irq_unmasked(struct nvme *n, uint32_t bits);
void nvme_irq_reset(struct nvme *n);
void nvme_irq_init(struct nvme_lane *lane);
void nvme_irq_finish(struct nvme *n);
void nvme_irq_resume(struct nvme *n);
/* In a control step: what waits for more to come is told. */
void nvme_irq_now(struct nvme_cq *cq);

/* memory.c: large and zero; a page of it is memory when it is used.  NULL. */
void *nvme_memory_get(size_t size);
void nvme_memory_put(void *at, size_t size);
/* Zeros that begin a line, which calloc does not promise; free gives them back. */
void *nvme_lines_get(size_t line, size_t size);

/* data.c */
int nvme_pool_init(struct nvme_pool *pool, uint32_t pages);
void nvme_pool_finish(struct nvme_pool *pool);
void nvme_buffer_put(struct nvme_cmd *c);
int nvme_buffer_get(struct nvme_cmd *c, uint32_t bytes);
/* Serves those who wait, in order; true if it did something. */
bool nvme_pool_drain(struct nvme_pool *pool);
int nvme_step_walk(struct nvme_cmd *c);
/* Goes on with those whose data could not be moved at once. */
bool nvme_data_unpark(struct nvme_lane *lane);
void nvme_data_forget_waiting(struct nvme *n);
int nvme_step_buffer(struct nvme_cmd *c);	/* len bytes */
int nvme_step_data_in(struct nvme_cmd *c);	/* guest to buffer */
int nvme_step_data_out(struct nvme_cmd *c);	/* buffer to guest */
int nvme_data_read(struct nvme_cmd *c, void *to);
int nvme_data_write(struct nvme_cmd *c, const void *from);

/* ns.c */
int nvme_ns_open_all(struct nvme *n, struct ob_err *err);
/* A lane's drives: lane 0 has those of the namespaces, the others branches. */
int nvme_ns_branch(struct nvme_lane *lane, struct ob_err *err);
void nvme_ns_unbranch(struct nvme_lane *lane);
void nvme_ns_close_all(struct nvme *n);
void nvme_ns_refresh_all(struct ob_device *dev);
void nvme_ns_shape(const struct nvme *n, struct nvme_shape *shape);
struct nvme_ns *nvme_ns_get(struct nvme *n, uint32_t nsid);
bool nvme_ns_active(const struct nvme *n, uint32_t nsid);
void nvme_ns_changed(struct nvme *n, uint32_t nsid);
void nvme_ns_old_write_done(struct nvme_ns *ns);
void nvme_ns_forget_held(struct nvme *n);
int nvme_step_settled(struct nvme_cmd *c);
bool nvme_has_write_cache(const struct nvme *n);
void nvme_ns_flush_all(struct nvme *n);
bool nvme_ns_flushing(const struct nvme *n);
int nvme_step_attach(struct nvme_cmd *c);
int nvme_step_ns_management(struct nvme_cmd *c);

/* identity.c: stable names from the serial number */
void nvme_identity_default_serial(struct nvme *n);
void nvme_identity_store(struct nvme *n);
void nvme_identity_adopt(struct nvme *n);
void nvme_identity_uuid(const struct nvme *n, uint32_t nsid, uint8_t uuid[16]);
void nvme_identity_ns(struct nvme_ns *ns);
void nvme_identity_format(const uint8_t uuid[16], char text[37]);

/* identify.c, log.c, feature.c, aer.c */
int nvme_step_identify(struct nvme_cmd *c);
int nvme_step_log_prepare(struct nvme_cmd *c);
int nvme_step_log(struct nvme_cmd *c);
int nvme_step_log_told(struct nvme_cmd *c);
void nvme_error_add(struct nvme *n, const struct nvme_error_entry *entry);
void nvme_error_command(struct nvme_cmd *c, uint16_t status);
int nvme_step_set_feature(struct nvme_cmd *c);
int nvme_step_get_feature(struct nvme_cmd *c);
void nvme_features_reset(struct nvme *n);
uint32_t nvme_feature_mask(uint8_t fid);
void nvme_timestamp_rebase(struct nvme *n);
uint8_t nvme_critical_warning(const struct nvme *n);
#define NVME_TEMPERATURE 311u	/* kelvin; there is no sensor */
int nvme_step_aer(struct nvme_cmd *c);
void nvme_aer_event(struct nvme *n, uint8_t type, uint8_t info, uint8_t log);
void nvme_aer_log_read(struct nvme *n, uint8_t log);
void nvme_aer_reset(struct nvme *n);
int nvme_step_page(struct nvme_cmd *c);	/* len is 4096 */

/* io.c */
int nvme_io_init(struct nvme *n, struct ob_err *err);
struct ob_block_request *nvme_io_request(struct nvme *n, unsigned slot);
/* Hurry the memory of those that come, and of the one that comes next. */
void nvme_io_fetched(const struct nvme *n, const struct nvme_sqe *batch,
		     unsigned count);
void nvme_io_ahead(const struct nvme *n, const struct nvme_sqe *next);
void nvme_io_cancel(struct nvme_cmd *c);
void nvme_io_drive_ended(struct nvme_cmd *c, int rc);
/* Data has come from the guest by message, whatever becomes of its command. */
/* Is it moved to or from the drive's own memory? */
bool nvme_io_is_in_place(const struct nvme_cmd *c);
void nvme_io_data_moved(struct nvme_cmd *c);

#endif
