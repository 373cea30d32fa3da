// SPDX-License-Identifier: BSD-3-Clause
/*
 * The session of loading.
 *
 * What comes is kept beside the device: parts in the loader's fresh
 * structures, content in stages.  Nothing of the device changes until
 * RESUMING -> STOP has judged the whole (R25): the stream's end, every field
 * (state/load.h), the library's own part (mig_core.c), the model's check.  Then
 * it is put in place, by steps none of which can fail.
 *
 * The operator's question "would this build load that file?" is the same
 * judgement with stages that keep nothing (ob_device_check_stream).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "server/device_impl.h"
#include "server/server.h"
#include "server/session.h"
#include "state/load.h"
#include "state/old.h"

#define BARS 6u
#define CHECK_PIECE (64u << 10)

struct ob_mig_load {
	bool dry;			/* only to judge */
	struct ob_part parts[OB_PARTS_MAX];
	struct ob_load_plan plan;
	struct ob_content_sink *sinks;	/* drives, then BARs */
	struct ob_mig_bar bars[BARS];	/* stages */
	struct ob_loader *loader;
};

static int put_drive(void *arg, uint64_t offset, const void *data,
		     uint64_t length)
{
	return ob_drive_stage_put(arg, offset, data, length);
}

static int judge_drive(void *arg, uint64_t offset, const void *data,
		       uint64_t length)
{
	uint64_t size = ob_drive_info(arg)->size;

	(void)data;
	return length > size || offset > size - length ? -EINVAL : 0;
}

static void add_sink(struct ob_mig_load *load,
		     const struct ob_content_sink *sink)
{
	load->sinks[load->plan.nr_sinks++] = *sink;
}

static int add_drives(struct ob_device *dev, struct ob_mig_load *load,
		      struct ob_err *err)
{
	struct ob_drive *drive;
	unsigned i;
	int r;

	for (i = 0; i < dev->mig.nr_drives; i++) {
		drive = ob_mig_drive(dev, i);
		if (!ob_drive_has_content(drive))
			continue;
		r = load->dry ? 0 : ob_drive_stage_begin(drive);
		if (r)
			return ob_fail(err, -r, "drive %s: room for its content: %s",
				       ob_drive_name(drive), strerror(-r));
		add_sink(load, &(struct ob_content_sink){
			.id = { OB_CONTENT_DRIVE, i, ob_drive_info(drive)->size },
			.put = load->dry ? judge_drive : put_drive, .arg = drive,
		});
	}
	return 0;
}

static int add_bar(struct ob_device *dev, struct ob_mig_load *load, unsigned i,
		   struct ob_err *err)
{
	struct ob_mig_bar *stage = &load->bars[i];
	int r;

	if (!dev->bars[i].base)
		return 0;
	stage->bar = &dev->pci.bars[i];
	r = load->dry ? 0 : ob_mig_bar_init(stage, stage->bar);
	if (r)
		return ob_fail(err, -r, "room for BAR%u: %s", i, strerror(-r));
	add_sink(load, &(struct ob_content_sink){
		.id = { OB_CONTENT_BAR, i, stage->bar->size },
		.put = ob_mig_bar_put, .arg = stage,
	});
	return 0;
}

static void load_destroy(struct ob_device *dev, struct ob_mig_load *load)
{
	unsigned i;

	ob_loader_destroy(load->loader);
	for (i = 0; i < BARS; i++)
		ob_mig_bar_finish(&load->bars[i]);
	for (i = 0; i < dev->mig.nr_drives && !load->dry; i++)
		if (ob_drive_has_content(ob_mig_drive(dev, i)))
			ob_drive_stage_abort(ob_mig_drive(dev, i));
	free(load->sinks);
	free(load);
}

static int fill(struct ob_device *dev, struct ob_mig_load *load,
		struct ob_err *err)
{
	unsigned i;
	int r;

	load->sinks = calloc(dev->mig.nr_drives + BARS, sizeof(*load->sinks));
	if (!load->sinks)
		return ob_fail(err, ENOMEM, "out of memory");
	load->plan = (struct ob_load_plan){
		.model = dev->cls->name, .parts = load->parts,
		.nr_parts = ob_mig_parts(dev, load->parts),
		.sinks = load->sinks,
	};
	r = add_drives(dev, load, err);
	for (i = 0; i < BARS && !r; i++)
		r = add_bar(dev, load, i, err);
	return r ? r : ob_loader_create(&load->plan, &load->loader, err);
}

static int load_create(struct ob_device *dev, bool dry,
		       struct ob_mig_load **out, struct ob_err *err)
{
	struct ob_mig_load *load = calloc(1, sizeof(*load));
	int r;

	if (!load)
		return ob_fail(err, ENOMEM, "out of memory");
	load->dry = dry;
	r = fill(dev, load, err);
	if (r)
		load_destroy(dev, load);
	else
		*out = load;
	return r;
}

int ob_mig_load_begin(struct ob_device *dev, struct ob_err *err)
{
	return load_create(dev, false, &dev->mig.load, err);
}

void ob_mig_load_end(struct ob_device *dev)
{
	if (dev->mig.load)
		load_destroy(dev, dev->mig.load);
	dev->mig.load = NULL;
}

int ob_mig_load_push(struct ob_device *dev, const void *bytes, size_t len,
		     struct ob_err *err)
{
	return ob_loader_write(dev->mig.load->loader, bytes, len, err);
}

int ob_do_mig_write(struct ob_session *s, const struct ob_request *req,
		    struct ob_msg *msg)
{
	struct ob_mig *mig = &s->dev->mig;
	int r = ob_mig_claim(s->dev, OB_MIG_CLIENT, &s->err);

	(void)msg;
	if (r)
		return r;
	if (mig->broken && mig->state == OB_MIG_RESUMING)
		return ob_fail(&s->err, EIO, "the process that was loading "
			       "has died; begin again");
	if (!mig->load)
		return ob_fail(&s->err, EINVAL, "nothing to write in %s",
			       ob_mig_state_name(mig->state));
	if (req->mig.size > s->caps.max_data_xfer_size)
		return ob_fail(&s->err, EINVAL, "%u bytes, at most %u were agreed",
			       req->mig.size, s->caps.max_data_xfer_size);
	return ob_loader_write(mig->load->loader, req->data, req->data_len,
			       &s->err);
}

/* The part of that name, as it came; NULL: there is none. */
static void *part(const struct ob_mig_load *load, const char *name)
{
	unsigned i;

	for (i = 0; i < load->plan.nr_parts; i++)
		if (strcmp(load->parts[i].name, name) == 0)
			return ob_loader_part(load->loader, i);
	return NULL;
}

/*
 * The model first: it knows its options, whose other value config space would
 * only show as a byte that differs.
 */
int ob_mig_judge(struct ob_device *dev, const struct ob_core *core,
		 const void *plain, const void *hot, struct ob_err *err)
{
	int r = dev->cls->check ? dev->cls->check(dev, plain, hot, err) : 0;

	return r ? r : ob_mig_core_check(dev, core, err);
}

static int judge(struct ob_device *dev, struct ob_mig_load *load,
		 struct ob_err *err)
{
	int r = ob_loader_finish(load->loader, err);

	return r ? r : ob_mig_judge(dev, part(load, "core"),
				    part(load, "plain"), part(load, "hot"),
				    err);
}

/* Nothing is under way, so that the only reason to fail is a mistake of ours. */
static int commit_drives(struct ob_device *dev, struct ob_err *err)
{
	struct ob_drive *drive;
	unsigned i;
	int r;

	for (i = 0; i < dev->mig.nr_drives; i++) {
		drive = ob_mig_drive(dev, i);
		r = ob_drive_has_content(drive) ? ob_drive_stage_commit(drive) : 0;
		if (r)
			return ob_fail(err, -r, "drive %s: %s",
				       ob_drive_name(drive), strerror(-r));
	}
	return 0;
}

void ob_mig_commit_part(void *to, const void *from,
			const struct ob_table *table)
{
	if (table)
		memcpy(to, from, table->size);
}

static void commit_bar(struct ob_device *dev, const struct ob_mig_load *load,
		       unsigned i)
{
	struct ob_mig_bar to = {
		&dev->pci.bars[i], dev->bars[i].fd, dev->bars[i].base, 0
	};

	if (load->bars[i].base)
		ob_mig_bar_commit(&load->bars[i], &to);
}

/*
 * The caller's step is all or nothing, and a model's reset saves only what it has
 * used of its hot part so far: what comes may use more.
 */
static void commit(struct ob_device *dev, const struct ob_mig_load *load)
{
	uint8_t intx_masked = dev->core->intx_masked;
	unsigned i;

	ob_step_protect_hot(dev);
	ob_device_reset(dev, OB_RESET_DEVICE);
	ob_mig_commit_part(dev->plain, part(load, "plain"), dev->cls->state);
	ob_mig_commit_part(dev->hot, part(load, "hot"), dev->cls->hot);
	for (i = 0; i < BARS; i++)
		commit_bar(dev, load, i);
	ob_mig_core_commit(dev, part(load, "core"), intx_masked);
	if (dev->cls->loaded)
		dev->cls->loaded(dev);
}

/*
 * The names have the state that is half one thing and half another, so that they say
 * nothing about any other, should they be left behind: a release that does not know
 * them may go on, drop nothing, and be followed by one that does.  Older releases
 * say "half".
 */
static const char *const notes[] = { "half/load", "half" };

/* Takes fd.  Does it have the state that is taken over? */
static int is_its_state(const struct ob_device *dev, int fd, bool *is)
{
	OB_CLEANUP_FD int note = fd;
	struct stat st;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (fstat(note, &st))
		return -errno;
	*is |= st.st_dev == dev->old_file.dev && st.st_ino == dev->old_file.ino;
	return 0;
}

/* Who cannot tell drops nothing, and is followed by one who can. */
static int was_half(const struct ob_device *dev, bool *is, struct ob_err *err)
{
	unsigned i;
	int r = 0;

	*is = false;
	if (dev->mig.state != OB_MIG_RESUMING)
		return 0;
	for (i = 0; i < sizeof(notes) / sizeof(notes[0]) && !r; i++)
		r = is_its_state(dev, ob_dev_kept(dev, "%s", notes[i]), is);
	return r ? ob_fail(err, -r, "the note of a load: %s", strerror(-r)) : 0;
}

/*
 * Content is replaced where it is, the rest as a whole: who dies between leaves
 * registers of one state with content of another.  The name says so until the
 * step is over (ob_mig_adopt_half).
 */
static int begin_commit(struct ob_device *dev, const struct ob_mig_load *load,
			struct ob_err *err)
{
	int r;

	if (!load->plan.nr_sinks)
		return 0;
	r = ob_dev_keep(dev, dev->mem.fd, "half/load");
	if (r)
		return ob_fail(err, -r, "the keeper does not take it: %s",
			       strerror(-r));
	dev->mig.half = dev->unsettled = true;
	return 0;
}

/*
 * Neither the old state nor the new one: the guest begins anew.  A device that cannot say
 * in its own state that it has failed has a word in ours, which a reset takes back.
 */
int ob_mig_adopt_half(struct ob_device *dev, struct ob_err *err)
{
	bool half;
	int r = was_half(dev, &half, err);

	if (r || !(half || dev->ss->half))
		return r;
	ob_log(&dev->log, OB_LOG_ERROR, "its process died when a state had come "
	       "in and its content, or a part of it, was in place already");
	ob_fuse_fail(dev);
	dev->ss->half = dev->failed;
	return 0;
}

void ob_mig_forget_half(struct ob_device *dev)
{
	dev->mig.half = false;
	ob_dev_unkeep(dev, "half/");
	ob_dev_unkeep(dev, "half");
}

void ob_mig_half_over(struct ob_device *dev)
{
	if (dev->mig.half)
		ob_mig_forget_half(dev);
}

int ob_mig_load_commit(struct ob_device *dev, struct ob_err *err)
{
	struct ob_mig_load *load = dev->mig.load;
	int r;

	/* A shared image may have grown under its owner since we looked. */
	ob_device_refresh(dev);
	if ((r = judge(dev, load, err)) || (r = begin_commit(dev, load, err)) ||
	    (r = commit_drives(dev, err)))
		return r;
	commit(dev, load);
	ob_arrival_over(dev, true);
	return 0;
}

/* Until the reader has nothing more, or the loader wants nothing more. */
static int read_all(struct ob_mig_load *load,
		    int (*read)(void *arg, void *buf, size_t len), void *arg,
		    struct ob_err *err)
{
	void *piece = malloc(CHECK_PIECE);
	int n, r = 0;

	if (!piece)
		return ob_fail(err, ENOMEM, "out of memory");
	while (r == 0 && (n = read(arg, piece, CHECK_PIECE)) != 0)
		r = n < 0 ? ob_fail(err, -n, "reading: %s", strerror(-n)) :
		    ob_loader_write(load->loader, piece, (size_t)n, err);
	free(piece);
	return r;
}

int ob_device_check_stream(struct ob_device *dev,
			   int (*read)(void *arg, void *buf, size_t len),
			   void *arg, struct ob_err *err)
{
	struct ob_mig_load *load = NULL;
	int r = load_create(dev, true, &load, err);

	if (r)
		return r;
	r = read_all(load, read, arg, err);
	if (r == 0)
		r = judge(dev, load, err);
	load_destroy(dev, load);
	return r;
}
