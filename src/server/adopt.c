// SPDX-License-Identifier: BSD-3-Clause
/*
 * A successor takes a device over (docs/crash-safety.md).
 *
 * The device has been built as a fresh one, with memory of its own.  What the
 * dead process left is read into that through its own tables, judged like a
 * stream from another host, and then our memory is put where the old one was:
 * the hand-over.  Before it nothing that others see is changed, and whoever dies
 * leaves the same work to the next; after it our memory is the truth.
 *
 * From then on the client is served, and the device stands still until no
 * request of the dead is in the kernel any more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ring.h"
#include "server/device_impl.h"
#include "server/drive.h"
#include "server/lane.h"
#include "server/session.h"
#include "state/old.h"

/* Whoever asks for it again waits for the keeper. */
static int look_at(struct ob_device *dev, int fd, struct ob_err *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return ob_fail(err, errno, "the state that is kept: %s", strerror(errno));
	dev->old_file.dev = st.st_dev;
	dev->old_file.ino = st.st_ino;
	if (dev->rehearsal)
		*dev->rehearsal = (struct ob_rehearsal){
			.state_bytes = (size_t)st.st_blocks * 512,
		};
	return 0;
}

int ob_adopt_begin(struct ob_device *dev, struct ob_err *err)
{
	const char *name = dev->rehearsal ? "copy" : "state";
	OB_CLEANUP_FD int fd = -1;
	int r;

	if (dev->practice)
		return 0;
	fd = ob_dev_kept(dev, "%s", name);
	if (fd < 0)
		return dev->rehearsal ? ob_fail(err, ENOENT, "no copy of its state is kept") : 0;
	dev->found = true;
	r = look_at(dev, fd, err);
	if (!r && !dev->rehearsal)
		r = ob_fuse_taking(dev, fd, err);
	return r ? r : ob_adopt_open(dev, fd, err);
}

int ob_adopt_open(struct ob_device *dev, int fd, struct ob_err *err)
{
	const struct ob_state_header *hdr;
	int r = ob_old_state_open(fd, &dev->old, err);

	if (r) {
		ob_err_prefix(err, "the state that is kept");
		return r;
	}
	hdr = ob_old_state_header(dev->old);
	if (strncmp((const char *)hdr->model, dev->cls->name,
		    sizeof(hdr->model)) == 0)
		return 0;
	return ob_fail(err, EINVAL, "the state that is kept: model %.*s",
		       (int)sizeof(hdr->model), (const char *)hdr->model);
}

void ob_adopt_end(struct ob_device *dev)
{
	ob_old_state_close(dev->old);
	dev->old = NULL;
	dev->past = NULL;
}

const struct ob_old_rings *ob_past_rings(const struct ob_past *past,
					 const struct ob_conn_journal *journal)
{
	unsigned i;

	for (i = 0; past && i < past->nr_rings; i++)
		if ((journal->take_tag &&
		     ob_old_rings_sure(past->rings[i], journal->take_tag) != -ENOENT) ||
		    (journal->send_tag &&
		     ob_old_rings_sure(past->rings[i], journal->send_tag) != -ENOENT))
			return past->rings[i];
	return past && past->nr_rings ? past->rings[0] : NULL;
}

static int read_part(struct ob_device *dev, enum ob_section which,
		     const struct ob_table *table, void **out,
		     struct ob_err *err)
{
	*out = table ? calloc(1, table->size) : NULL;
	if (table && !*out)
		return ob_fail(err, ENOMEM, "out of memory");
	return ob_old_state_read(dev->old, which, table, *out, err);
}

int ob_adopt_read(struct ob_device *dev, struct ob_adopt_parts *parts,
		  struct ob_err *err)
{
	int r;

	*parts = (struct ob_adopt_parts){ 0 };
	if ((r = read_part(dev, OB_SECTION_CORE, &ob_core_table, &parts->core,
			   err)) ||
	    (r = read_part(dev, OB_SECTION_PLAIN, dev->cls->state,
			   &parts->plain, err)) ||
	    (r = read_part(dev, OB_SECTION_HOT, dev->cls->hot, &parts->hot,
			   err)))
		return r;
	return ob_mig_judge(dev, parts->core, parts->plain, parts->hot, err);
}

void ob_adopt_parts_free(struct ob_adopt_parts *parts)
{
	free(parts->core);
	free(parts->plain);
	free(parts->hot);
}

/* Of the client: maps, agreements.  They are read to where they will be. */
int ob_adopt_read_client(struct ob_device *dev, struct ob_err *err)
{
	struct ob_dma_table *table = ob_state_section(&dev->mem, OB_SECTION_DMA);
	struct ob_session_state *ss = dev->ss;
	int r;

	memset(ss, 0, sizeof(*ss));
	if ((r = ob_old_state_read(dev->old, OB_SECTION_SESSION,
				   &ob_session_table, ss, err)) ||
	    (r = ob_old_state_read(dev->old, OB_SECTION_DMA,
				   &ob_dma_table_table, table, err)))
		return r;
	if (ss->negotiated && (ss->pgsizes == 0 || ss->pgsizes & 4095))
		return ob_fail(err, EINVAL, "session.pgsizes: %#llx",
			       (unsigned long long)ss->pgsizes);
	if (ss->max_data_xfer_size > OB_OUR_DATA_XFER)
		return ob_fail(err, EINVAL, "session.max_data_xfer_size: %u",
			       ss->max_data_xfer_size);
	if (ss->negotiated)
		dev->dma.pgsize = ss->pgsizes & -ss->pgsizes;
	dev->dma_queue.next_id = ss->next_dma_id;
	return ob_adopt_dma_check(dev, table, err);
}

/* The client has it mapped, so ours becomes the same, where it is. */
static int adopt_bar(struct ob_device *dev, unsigned i, struct ob_err *err)
{
	struct ob_bar_memory *mem = &dev->bars[i];
	size_t size = dev->pci.bars[i].size;
	struct stat st;
	int fd;

	if (!mem->base)
		return 0;
	fd = ob_dev_kept(dev, "bar/%u", i);
	if (fd == -ENOENT)	/* the predecessor's model had none */
		return ob_dev_keep(dev, mem->fd, "bar/%u", i);
	if (fd < 0)
		return ob_fail(err, -fd, "bar/%u: %s", i, strerror(-fd));
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != size ||
	    mmap(mem->base, size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) == MAP_FAILED) {
		ob_fd_close(&fd);
		return ob_fail(err, EINVAL, "bar/%u: not %zu bytes of memory", i,
			       size);
	}
	ob_fd_close(&mem->fd);
	mem->fd = fd;
	return 0;
}

/* None of this can fail; nothing is raised, since the device stands still. */
static void become(struct ob_device *dev, const struct ob_adopt_parts *parts)
{
	ob_state_fill(&dev->mem, OB_SECTION_CORE, parts->core);
	if (parts->plain)
		ob_state_fill(&dev->mem, OB_SECTION_PLAIN, parts->plain);
	if (parts->hot)
		ob_state_fill(&dev->mem, OB_SECTION_HOT, parts->hot);
	ob_irqs_update(dev);
	ob_bus_master_update(dev);
	if (dev->cls->loaded)
		dev->cls->loaded(dev);
}

static int adopt_memory(struct ob_device *dev, struct ob_err *err)
{
	unsigned i;
	int r = 0;

	for (i = 0; i < 6 && !r; i++)
		r = adopt_bar(dev, i, err);
	if (r || (r = ob_adopt_dma(dev, err)) || (r = ob_irqs_adopt(dev, err)))
		return r;
	if (dev->ss->log_on && (r = ob_dma_log_adopt(dev, &dev->dma.log, err)))
		return r;
	return dev->ss->operator & OB_OPERATOR_LOG ?
		ob_dma_log_adopt(dev, &dev->dma.op_log, err) : 0;
}

static int adopt_recorder(struct ob_device *dev, struct ob_err *err)
{
	const struct ob_state_header *old = ob_old_state_header(dev->old);
	int fd = ob_dev_kept(dev, "recorder");
	int r = ob_recorder_open(&dev->rec, fd < 0 ? -1 : fd, err);

	if (r == 0 && fd < 0)
		r = ob_dev_keep(dev, dev->rec.fd, "recorder");
	if (r || (r = ob_lanes_adopt(dev, err)))
		return r;
	ob_dev_note_birth(dev);
	ob_dev_note(dev, OB_EVENT_ADOPTED, 0, old->step_kind, old->step);
	return 0;
}

/*
 * A connection whose journal is nonsense, or whose socket is not there, has
 * ended; the device has not.
 */
static void adopt_client(struct ob_device *dev)
{
	struct ob_err err = { "" };
	int fd;

	if (!dev->ss->connected)
		return;
	fd = ob_dev_kept(dev, "client");
	if (fd < 0)
		ob_log(&dev->log, OB_LOG_WARN, "client %u is not kept: %s",
		       dev->ss->pid, strerror(-fd));
	else if (ob_session_adopt(dev, fd, &dev->session, &err))
		ob_log(&dev->log, OB_LOG_WARN, "client %u: %s", dev->ss->pid,
		       err.msg);
}

/*
 * Between two steps: what is put here is whole, and nothing of it is undone by
 * whoever comes after us.
 */
static int hand_over(struct ob_device *dev, struct ob_err *err)
{
	struct ob_state_header *hdr = ob_state_header(&dev->mem);
	int r;

	hdr->generation = ob_old_state_header(dev->old)->generation + 1;
	ob_fuse_taken(dev, false);
	r = ob_dev_keep(dev, dev->mem.fd, "state");
	if (r)
		return ob_fail(err, -r, "the keeper does not take the state: %s",
			       strerror(-r));
	dev->counts = dev->kept;
	ob_mig_forget_half(dev);
	ob_lanes_adopted(dev);
	return 0;
}

static int take_over(struct ob_device *dev, const struct ob_adopt_parts *parts,
		     struct ob_err *err)
{
	int r;

	if ((r = adopt_memory(dev, err)) || (r = ob_wire_adopt(dev, err)) ||
	    (r = adopt_recorder(dev, err)))
		return r;
	become(dev, parts);
	adopt_client(dev);
	ob_arrival_adopt(dev);
	ob_fuse_judge(dev);
	return ob_mig_adopt_half(dev, err);
}

/* The device stands still as long as the dead one's requests go on. */
static void wait_for_past(struct ob_device *dev)
{
	unsigned i;

	dev->mig.halted = true;
	dev->adopting = true;
	for (i = 0; dev->past && i < dev->past->nr_rings; i++)
		dev->waiting |= !ob_old_rings_over(dev->past->rings[i]);
}

int ob_adopt(struct ob_device *dev, struct ob_err *err)
{
	struct ob_adopt_parts parts;
	int r = ob_device_recall_drives(dev, err);

	if (r || (r = ob_adopt_read_client(dev, err)))
		return r;
	ob_mig_adopt(dev);
	wait_for_past(dev);
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	r = ob_adopt_read(dev, &parts, err);
	if (r == 0)
		r = take_over(dev, &parts, err);
	ob_adopt_parts_free(&parts);
	ob_dev_step_end(dev);
	return r ? r : hand_over(dev, err);
}

/* What may be otherwise the next time says nothing about the state. */
bool ob_adopt_is_hopeless(const struct ob_device *dev, int error)
{
	switch (-error) {
	case ENOMEM: case EMFILE: case ENFILE: case EAGAIN: case EINTR:
	case ENOSPC: case EIO: case EPIPE: case ENOBUFS:
		return false;
	}
	return dev->found && dev->past && dev->past->last_try;
}

/* Its client's descriptors are closed with their names, so it knows. */
void ob_adopt_nothing(struct ob_device *dev)
{
	ob_dev_unkeep_client(dev);
	ob_dev_unkeep(dev, "bar/");
	ob_dev_unkeep(dev, "copy");
	ob_mig_forget_half(dev);
	ob_dev_unkeep(dev, "recorder/");
	wait_for_past(dev);
}

/* Nor is anything mapped, as a rule: to see that has made a page of the table. */
static void nobody_is_there(struct ob_device *dev)
{
	const struct ob_dma_table *table =
		ob_state_section(&dev->mem, OB_SECTION_DMA);

	ob_dev_unkeep_client(dev);
	if (!table->used)
		ob_state_clear(&dev->mem, OB_SECTION_DMA);
}

void ob_adopt_resume(struct ob_device *dev)
{
	if (!dev->adopting)
		return;
	ob_adopt_dma_extra(dev);
	if (dev->session)
		ob_session_resume(dev->session);
	else if (dev->ss->connected)
		ob_session_lost(dev);
	else		/* of one whose end, or whose coming, was cut short */
		nobody_is_there(dev);
	if (!dev->waiting)
		ob_device_old_rings_over(dev);
}

void ob_device_old_rings_over(struct ob_device *dev)
{
	if (!dev->adopting)
		return;
	dev->adopting = false;
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	ob_mig_still_over(dev);
	if (!dev->mig.halted)
		ob_irqs_owed(dev);
	ob_dev_step_end(dev);
	ob_mig_wake(dev);
}
