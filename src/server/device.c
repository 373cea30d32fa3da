// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device's life: options, state, runtime, end.
 *
 * Creation goes from what can be refused without a trace to what is only
 * built: tables and options are checked, the state is laid out, the model's
 * init may still change the PCI description, and from then on that is fixed
 * and everything derived from it is built.  The first reset fills in the
 * power-on values.
 *
 * The first two (prepare) need no loop and nothing of a predecessor: a successor
 * does them before it is its turn.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <outboard/keep.h>

#include "base/fd.h"
#include "base/guard.h"
#include "base/ring.h"
#include "server/device_impl.h"
#include "server/lane.h"
#include "server/operator_impl.h"
#include "server/server.h"
#include "server/session.h"

#define GONE_CHECK_NS 1000000u

const struct ob_option ob_device_common_options[] = {
	{ .name = "socket", .type = OB_OPT_STRING,
	  .help = "path of the socket to listen on" },
	{ .name = "fd", .type = OB_OPT_UINT, .max = INT32_MAX,
	  .help = "an inherited listening socket, instead of a path" },
	{ .name = "id", .type = OB_OPT_STRING, .min = 1, .max = 64,
	  .help = "name in messages; default: the model and a number" },
	{ .name = "msix", .type = OB_OPT_BOOL, .def = "on",
	  .help = "offer MSI-X; off lets QEMU 11 unplug the device" },
	{ .name = "msi", .type = OB_OPT_BOOL, .def = "on",
	  .help = "offer MSI" },
	{ .name = "rom", .type = OB_OPT_STRING,
	  .help = "file with an option ROM" },
	{ .name = "drain", .type = OB_OPT_UINT, .def = OB_MIG_DRAIN_MS,
	  .max = OB_MIG_DRAIN_MAX_MS,
	  .help = "milliseconds for commands to end in when the device is "
		  "stopped to be moved" },
	{ .name = "incoming", .type = OB_OPT_BOOL, .def = "off",
	  .help = "the device comes from another server: its drives are "
		  "left alone until it runs" },
	{ .name = "thread", .type = OB_OPT_UINT, .max = OB_THREADS - 1,
	  .help = "the thread of --threads that has the device; default: the "
		  "one with the fewest" },
	{ .name = "lanes", .type = OB_OPT_UINT, .def = "1", .min = 1,
	  .max = OB_LANES_MAX,
	  .help = "how many threads may share the device's queues" },
	{ .name = NULL }
};

static void check_gone(struct ob_timer *timer);

/* Once: they are const, and there may be many devices, on several threads. */
static int check_own_tables(struct ob_err *err)
{
	static atomic_bool checked;
	int r;

	if (checked)
		return 0;
	if ((r = ob_table_check(&ob_core_table, err)) ||
	    (r = ob_table_check(&ob_dma_table_table, err)) ||
	    (r = ob_table_check(&ob_session_table, err)))
		return r;
	checked = true;
	return 0;
}

static int check_class(const struct ob_device_class *cls, struct ob_err *err)
{
	int r;

	if (cls->size != sizeof(*cls) || cls->abi != OB_DEVICE_ABI)
		return ob_fail(err, EINVAL, "built for another interface (%u bytes, version %u)",
			       cls->size, cls->abi);
	if ((r = check_own_tables(err)))
		return r;
	if (cls->state && (r = ob_table_check(cls->state, err)))
		return r;
	return cls->hot ? ob_table_check(cls->hot, err) : 0;
}

static int check_options(const struct ob_options *opts, struct ob_err *err)
{
	size_t given = ob_options_count(opts, "socket") +
		       ob_options_count(opts, "fd");

	if (given == 1)
		return 0;
	return ob_fail(err, EINVAL, given ? "socket and fd exclude each other" :
		       "one of socket=PATH and fd=N must be given");
}

/* Devices without a name are numbered through the process's life. */
static char *make_id(const struct ob_device *dev)
{
	static atomic_uint numbers[2];	/* a rehearsal has its own */
	const char *given = ob_options_str(dev->opts, "id");
	char *id;

	if (given)
		return strdup(given);
	return asprintf(&id, "%s%u", dev->cls->name,
			numbers[dev->rehearsal != NULL]++) < 0 ? NULL : id;
}

static int create_state(struct ob_device *dev, struct ob_err *err)
{
	const struct ob_table *const tables[OB_NR_TABLES] = {
		[OB_SECTION_CORE] = &ob_core_table,
		[OB_SECTION_PLAIN] = dev->cls->state,
		[OB_SECTION_HOT] = dev->cls->hot,
		[OB_SECTION_DMA] = &ob_dma_table_table,
		[OB_SECTION_SESSION] = &ob_session_table,
	};
	int r = ob_state_create(&dev->mem, dev->cls->name, tables, err);

	if (r)
		return r;
	dev->core = ob_state_section(&dev->mem, OB_SECTION_CORE);
	dev->plain = ob_state_section(&dev->mem, OB_SECTION_PLAIN);
	dev->hot = ob_state_section(&dev->mem, OB_SECTION_HOT);
	dev->ss = ob_state_section(&dev->mem, OB_SECTION_SESSION);
	return 0;
}

static void leave_out(struct ob_device *dev)
{
	if (!ob_options_bool(dev->opts, "msix"))
		dev->pci.msix_vectors = 0;
	if (!ob_options_bool(dev->opts, "msi"))
		dev->pci.msi_vectors = 0;
}

static int init_model(struct ob_device *dev, struct ob_err *err)
{
	int r = 0;

	dev->pci = *dev->cls->pci;
	leave_out(dev);
	dev->inited = true;	/* finish takes a half-built runtime */
	if (dev->cls->init)
		r = dev->cls->init(dev, &dev->pci, err);
	leave_out(dev);
	return r ? r : ob_pci_check(&dev->pci, err);
}

static int create_bar_memory(struct ob_device *dev, unsigned bar,
			     struct ob_err *err)
{
	struct ob_bar_memory *mem = &dev->bars[bar];
	size_t size = dev->pci.bars[bar].size;
	void *base;

	if (dev->pci.bars[bar].nr_areas == 0)
		return 0;
	mem->fd = ob_memfd_create("outboard-bar", (off_t)size);
	if (mem->fd < 0)
		return ob_fail(err, -mem->fd, "BAR%u memory: %s", bar,
			       strerror(-mem->fd));
	/* A client has it too; the next one must find it as it is. */
	if (fcntl(mem->fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return ob_fail(err, errno, "BAR%u memory: %s", bar,
			       strerror(errno));
	base = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_NORESERVE, mem->fd, 0);
	if (base == MAP_FAILED)
		return ob_fail(err, errno, "BAR%u memory: %s", bar,
			       strerror(errno));
	mem->base = base;
	return 0;
}

/* Everything that follows from the PCI description. */
static int build(struct ob_device *dev, struct ob_err *err)
{
	const char *rom = ob_options_str(dev->opts, "rom");
	unsigned i;
	int r;

	if (rom && (r = ob_rom_load(dev, rom, err)))
		return r;
	r = ob_config_build(&dev->cfg, &dev->pci, dev->rom_size, err);
	if (r)
		return r;
	for (i = 0; i < 6; i++)
		if ((r = create_bar_memory(dev, i, err)))
			return r;
	r = ob_irqs_init(dev);
	return r ? ob_fail(err, -r, "out of memory") : 0;
}

/* The keeper's number of this life; without one, the state's. */
void ob_dev_note_birth(struct ob_device *dev)
{
	uint64_t generation = dev->past ? dev->past->generation :
			      ob_state_header(&dev->mem)->generation;

	ob_recorder_born(&dev->rec, ob_loop_turn_time(dev->loop),
			 (uint32_t)generation);
	ob_lanes_born(dev, (uint32_t)generation);
}

static int start_empty(struct ob_device *dev, struct ob_err *err)
{
	int r = 0;

	if (dev->anew)
		ob_adopt_nothing(dev);
	if (dev->kept && ((r = ob_wire_create(dev, err)) ||
			  (r = ob_recorder_open(&dev->rec, -1, err)) ||
			  (r = ob_lanes_record(dev, err)) ||
			  (r = ob_dev_keep_all(dev, err))))
		return r;
	ob_dev_note_birth(dev);
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	if (dev->cls->run && !dev->mig.halted)
		dev->cls->run(dev);
	ob_dev_step_end(dev);
	return 0;
}

/* What can be said before anything is created. */
static int check_all(struct ob_device *dev, struct ob_err *err)
{
	int r;

	if ((r = check_class(dev->cls, err)) ||
	    (r = check_options(dev->opts, err)))
		return r;
	if (!dev->id)
		dev->id = make_id(dev);
	dev->nr_lanes = ob_device_lanes(dev->opts);
	if (dev->nr_lanes > 1 && !dev->cls->lane_poll)
		return ob_fail(err, EINVAL, "lanes=%u: this model has one",
			       dev->nr_lanes);
	dev->runtime = calloc(1, dev->cls->runtime_size + 1);
	if (!dev->id || !dev->runtime)
		return ob_fail(err, ENOMEM, "out of memory");
	dev->log.who = dev->id;
	return 0;
}

/* What depends on nothing but the class, the options and this process. */
static int prepare(struct ob_device *dev, struct ob_err *err)
{
	int r = check_all(dev, err);

	if (r)
		return r;
	r = ob_guard_start();
	if (r)
		return ob_fail(err, -r, "SIGBUS handler: %s", strerror(-r));
	if (dev->nr_lanes > 1)
		ob_gate_prepare();
	return create_state(dev, err);
}

static int setup(struct ob_device *dev, struct ob_err *err)
{
	int r = dev->anew ? 0 : ob_adopt_begin(dev, err);

	if (r || (r = ob_lanes_create(dev, err)) ||
	    (r = init_model(dev, err)) || (r = build(dev, err)) ||
	    (r = ob_lanes_built(dev, err)) || (r = ob_mig_init(dev, err)))
		return r;
	ob_arrival_init(dev);
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	ob_device_reset(dev, OB_RESET_INIT);
	ob_dev_step_end(dev);
	if (dev->rehearsal)
		return ob_rehearse(dev, err);
	return dev->old ? ob_adopt(dev, err) : start_empty(dev, err);
}

static struct ob_device *device_new(const struct ob_device_class *cls,
				    struct ob_options *opts)
{
	struct ob_device *dev = calloc(1, sizeof(*dev));
	unsigned i;

	if (!dev)
		return NULL;
	dev->cls = cls;
	dev->opts = opts;
	dev->nr_lanes = 1;
	dev->mem.fd = dev->wire.fd = dev->rec.fd = -1;
	dev->listener.watch.fd = dev->listener.spare = -1;
	dev->gone_timer.fire = check_gone;
	for (i = 0; i < 6; i++)
		dev->bars[i].fd = -1;
	ob_dma_init(dev);
	return dev;
}

static int failed(struct ob_device *dev, struct ob_err *err, int r)
{
	ob_err_prefix(err, "%s", dev->id ? dev->id : dev->cls->name);
	ob_device_destroy(dev);
	return r;
}

static int prepare_as(const struct ob_device_class *cls,
		      struct ob_options *opts, struct ob_rehearsal *rehearsal,
		      struct ob_device **out, struct ob_err *err)
{
	struct ob_device *dev = device_new(cls, opts);
	int r;

	if (!dev) {
		ob_options_destroy(opts);
		return ob_fail(err, ENOMEM, "%s: out of memory", cls->name);
	}
	dev->rehearsal = rehearsal;
	r = prepare(dev, err);
	if (r)
		return failed(dev, err, r);
	*out = dev;
	return 0;
}

unsigned ob_device_lanes(const struct ob_options *opts)
{
	return (unsigned)ob_options_u64(opts, "lanes");
}

void ob_device_set_lanes(struct ob_device *dev, struct ob_loop *const *loops,
			 unsigned nr)
{
	for (unsigned i = 0; i < OB_LANES_MAX; i++)
		dev->lane_loops[i] = loops[i % nr];
}

int ob_device_prepare(const struct ob_device_class *cls,
		      struct ob_options *opts, struct ob_device **out,
		      struct ob_err *err)
{
	return prepare_as(cls, opts, NULL, out, err);
}

void ob_device_get_warm(struct ob_device *dev)
{
	ob_state_get_warm(&dev->mem);
	/* As new as it is, but with its pages. */
	explicit_bzero(dev->runtime, dev->cls->runtime_size);
}

/* What is kept is refused: another one, which does not look at it. */
static struct ob_device *make_anew(struct ob_device *dev)
{
	struct ob_device *anew = device_new(dev->cls, dev->opts);

	if (!anew)
		return NULL;
	anew->id = dev->id;
	anew->anew = true;
	memcpy(anew->lane_loops, dev->lane_loops, sizeof(dev->lane_loops));
	dev->id = NULL;
	dev->opts = NULL;
	return anew;
}

/* The device is destroyed, but for what the other one took. */
static struct ob_device *give_up(struct ob_device *dev, struct ob_err *err, int r)
{
	struct ob_device *anew = NULL;

	if (ob_adopt_is_hopeless(dev, r)) {
		ob_log(&dev->log, OB_LOG_ERROR, "begins anew, without its client:"
		       " %s", err->msg);
		anew = make_anew(dev);
	}
	ob_adopt_end(dev);
	if (anew)
		ob_device_destroy(dev);
	else
		failed(dev, err, r);
	return anew;
}

static int begin(struct ob_device **out, struct ob_loop *loop,
		 const struct ob_past *past, struct ob_err *err)
{
	struct ob_device *dev = *out;
	int r;

	dev->loop = loop;
	dev->created = ob_loop_now(loop);
	dev->kept = ob_keep_is_on(loop) && !dev->rehearsal;
	dev->judges = dev->kept || dev->nr_lanes > 1;
	dev->past = past;
	r = setup(dev, err);
	if (r == 0) {
		ob_adopt_end(dev);
		return 0;
	}
	*out = dev = give_up(dev, err, r);
	if (!dev)
		return r;
	r = prepare(dev, err);
	if (r == 0)
		return begin(out, loop, past, err);
	*out = NULL;
	return failed(dev, err, r);
}

int ob_device_begin(struct ob_device **dev, struct ob_loop *loop,
		    const struct ob_past *past, struct ob_err *err)
{
	int r = begin(dev, loop, past, err);

	if (r)
		return r;
	ob_adopt_resume(*dev);
	ob_fuse_taken(*dev, true);
	return 0;
}

int ob_device_create_after(struct ob_loop *loop,
			   const struct ob_device_class *cls,
			   struct ob_options *opts, const struct ob_past *past,
			   struct ob_device **out, struct ob_err *err)
{
	struct ob_device *dev;
	int r = ob_device_prepare(cls, opts, &dev, err);

	if (r || (r = ob_device_begin(&dev, loop, past, err)))
		return r;
	*out = dev;
	return 0;
}

int ob_device_create(struct ob_loop *loop, const struct ob_device_class *cls,
		     struct ob_options *opts, struct ob_device **out,
		     struct ob_err *err)
{
	return ob_device_create_after(loop, cls, opts, NULL, out, err);
}

int ob_device_rehearse(struct ob_loop *loop, const struct ob_device_class *cls,
		       struct ob_options *opts, struct ob_rehearsal *out,
		       struct ob_err *err)
{
	struct ob_rehearsal practice;
	struct ob_device *dev;
	int r = prepare_as(cls, opts, out ? out : &practice, &dev, err);

	if (r)
		return r;
	dev->practice = !out;
	r = begin(&dev, loop, NULL, err);
	if (r == 0)
		ob_device_destroy(dev);
	return r;
}

static void destroy_bars(struct ob_device *dev)
{
	unsigned i;

	for (i = 0; i < 6; i++) {
		if (dev->bars[i].base)
			munmap(dev->bars[i].base, dev->pci.bars[i].size);
		ob_fd_close(&dev->bars[i].fd);
	}
}

static void leave_loop(struct ob_device *dev)
{
	ob_timer_cancel(dev->loop, &dev->gone_timer);
	ob_listener_close(dev, !dev->listener.is_kept);
	if (dev->session && dev->kept)
		ob_session_abandon(dev->session);
	else if (dev->session)
		ob_session_destroy(dev->session, "was dropped");
	ob_defer_cancel(dev->loop, &dev->dma_queue.run);
	ob_operator_finish(dev);
	ob_arrival_finish(dev);
	ob_mig_finish(dev);
	ob_lanes_leave(dev);
	if (dev->inited && dev->cls->finish)
		dev->cls->finish(dev);
	ob_lanes_free(dev);
}

/*
 * A device whose process ends may go on in another one, which has its own
 * descriptors of all this.
 */
void ob_device_destroy(struct ob_device *dev)
{
	if (!dev)
		return;
	if (dev->loop)
		leave_loop(dev);
	ob_irqs_finish(dev);
	destroy_bars(dev);
	ob_rom_free(dev);
	ob_dma_finish(dev);
	ob_wire_finish(dev);
	ob_recorder_close(&dev->rec);
	ob_state_destroy(&dev->mem);
	ob_options_destroy(dev->opts);
	free(dev->listener.address);
	free(dev->listener.name);
	free(dev->listener.refusals);
	free(dev->runtime);
	free(dev->id);
	free(dev);
}

/* Models do not say when their last operation ends; it is seldom far off. */
static void check_gone(struct ob_timer *timer)
{
	struct ob_device *dev = container_of(timer, struct ob_device,
					     gone_timer);

	bool shut = ob_lanes_shut(dev), busy;

	busy = (dev->cls->in_flight && dev->cls->in_flight(dev)) ||
	       ob_mig_in_flight(dev) || dev->dma_queue.done;
	ob_lanes_open(dev, shut);
	if (busy)
		ob_timer_arm(dev->loop, timer, GONE_CHECK_NS);
	else
		dev->gone(dev->gone_arg);
}

void ob_device_shutdown(struct ob_device *dev, void (*gone)(void *arg),
			void *arg)
{
	dev->gone = gone;
	dev->gone_arg = arg;
	ob_listener_close(dev, true);
	if (dev->session)
		ob_session_destroy(dev->session, "was dropped: the server ends");
	ob_timer_arm(dev->loop, &dev->gone_timer, 0);
}

const struct ob_device_class *ob_dev_class(const struct ob_device *dev)
{
	return dev->cls;
}

const char *ob_dev_id(const struct ob_device *dev)
{
	return dev->id;
}

void *ob_dev_state(struct ob_device *dev)
{
	return dev->plain;
}

void *ob_dev_hot(struct ob_device *dev)
{
	return dev->hot;
}

size_t ob_dev_hot_written(struct ob_device *dev)
{
	return ob_state_written(&dev->mem, OB_SECTION_HOT);
}

void *ob_dev_runtime(struct ob_device *dev)
{
	return dev->runtime;
}

void ob_device_refresh(struct ob_device *dev)
{
	if (!dev->cls->refresh)
		return;
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	dev->cls->refresh(dev);
	ob_dev_step_end(dev);
}

void ob_dev_enter(struct ob_device *dev)
{
	ob_step_begin(&dev->mem, OB_STEP_WORK);
}

void ob_dev_leave(struct ob_device *dev)
{
	ob_dev_step_end(dev);
}

void ob_dev_record(struct ob_device *dev, uint16_t what, uint32_t b,
		   uint64_t c)
{
	ob_dev_note(dev, OB_EVENT_MODEL, what, b, c);
}

void ob_dev_trace(struct ob_device *dev, enum ob_trace what, uint16_t a,
		  uint32_t b, uint64_t c)
{
	_Static_assert(OB_EVENT_POST - OB_EVENT_FETCH ==
		       (unsigned)OB_TRACE_POST - OB_TRACE_FETCH,
		       "the same, in the same order");
	enum ob_event event = what == OB_TRACE_AT_ONCE ? OB_EVENT_AT_ONCE :
			      OB_EVENT_FETCH + (what - OB_TRACE_FETCH);

	ob_dev_note(dev, event, a, b, c);
}

struct ob_loop *ob_dev_loop(struct ob_device *dev)
{
	return dev->loop;
}

const struct ob_options *ob_dev_options(const struct ob_device *dev)
{
	return dev->opts;
}

void *ob_dev_bar_memory(struct ob_device *dev, unsigned bar)
{
	return bar < 6 ? dev->bars[bar].base : NULL;
}

void ob_dev_log(struct ob_device *dev, enum ob_level level, const char *fmt,
		...)
{
	va_list ap;

	va_start(ap, fmt);
	ob_vlog(&dev->log, (enum ob_log_level)level, fmt, ap);
	va_end(ap);
}
