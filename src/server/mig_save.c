// SPDX-License-Identifier: BSD-3-Clause
/*
 * The session of saving: what of a device is in its stream, and the reading
 * of it.
 *
 * In the stream are the three parts of the state (the library's, the model's
 * plain and hot), and as content what lies only in this process: drives in
 * memory, which are tracked from the first to the last state of the saving
 * group so that they can be sent while the device runs, and the memory behind
 * BARs, which cannot be tracked and is sent at the end.
 *
 * A read is answered with pieces that lie where the saver or the content has
 * them.  It is short only when there is nothing more: for now in PRE_COPY, for
 * good in STOP_COPY.  Hence a read that meets END waits until the drives are
 * free, with what it has got so far kept aside (`kept`): if they do not come
 * free, the read fails, nothing is lost, and the next one begins with that.
 *
 * While the client takes an answer out of the socket the next one is made
 * (`ahead`), checksums included, in the hope that it will ask for as much
 * again.  Only at a standstill, when nothing changes any more; and there it
 * counts, since the guest waits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/device_impl.h"
#include "server/server.h"
#include "server/session.h"
#include "state/save.h"

#define BARS 6u
#define LOOK_EVERY_MS 1
#define ENOUGH_NS 50000000u	/* of one answer, while the device runs */

struct ob_mig_save {
	struct ob_part parts[OB_PARTS_MAX];
	struct ob_save_plan plan;
	struct ob_content_source *contents;	/* drives, then BARs */
	struct ob_mig_bar bars[BARS];
	struct ob_saver *saver;
	uint8_t *kept;			/* read, and not yet given out */
	size_t kept_at, kept_len, kept_room;
	struct iovec iov[OB_REPLY_MORE];
	struct ob_device *dev;
	struct ob_deferred look_ahead;
	size_t ahead;			/* bytes in iov that wait to be asked for */
	size_t pulled;			/* bytes in iov that are being written */
	unsigned ahead_pieces;
};

static void look_ahead(struct ob_deferred *deferred);

static bool take_drive(void *arg, uint64_t max, struct ob_content_run *run)
{
	struct ob_drive_run got;

	if (!ob_drive_take(arg, max, &got))
		return false;
	*run = (struct ob_content_run){ got.offset, got.length, got.data };
	return true;
}

static void drive_left(void *arg, uint64_t *initial, uint64_t *dirty)
{
	ob_drive_left(arg, initial, dirty);
}

/* Of a drive that is not tracked nobody knows how much is zeros. */
static void all_of_drive(void *arg, uint64_t *initial, uint64_t *dirty)
{
	*initial = ob_drive_info(arg)->size;
	*dirty = 0;
}

static void add_content(struct ob_mig_save *save,
			const struct ob_content_source *source)
{
	save->contents[save->plan.nr_contents++] = *source;
}

static void add_drives(struct ob_device *dev, struct ob_mig_save *save,
		       bool tracked)
{
	struct ob_drive *drive;
	unsigned i;

	for (i = 0; i < dev->mig.nr_drives; i++) {
		drive = ob_mig_drive(dev, i);
		if (!ob_drive_has_content(drive))
			continue;
		add_content(save, &(struct ob_content_source){
			.id = { OB_CONTENT_DRIVE, i, ob_drive_info(drive)->size },
			.live = true, .take = take_drive,
			.left = tracked ? drive_left : all_of_drive,
			.arg = drive,
		});
	}
}

static void add_bars(struct ob_device *dev, struct ob_mig_save *save)
{
	unsigned i;

	for (i = 0; i < BARS; i++) {
		if (!dev->bars[i].base)
			continue;
		save->bars[i] = (struct ob_mig_bar){
			&dev->pci.bars[i], dev->bars[i].fd, dev->bars[i].base,
			0
		};
		add_content(save, &(struct ob_content_source){
			.id = { OB_CONTENT_BAR, i, dev->pci.bars[i].size },
			.take = ob_mig_bar_take, .left = ob_mig_bar_left,
			.arg = &save->bars[i],
		});
	}
}

unsigned ob_mig_parts(const struct ob_device *dev,
		      struct ob_part parts[OB_PARTS_MAX])
{
	unsigned i, n = ob_device_class_parts(dev->cls, parts);

	for (i = 0; i < n; i++)
		parts[i].base = parts[i].table == dev->cls->state ? dev->plain :
				parts[i].table == dev->cls->hot ? dev->hot :
				dev->core;
	return n;
}

static void save_destroy(struct ob_mig_save *save)
{
	if (!save)
		return;
	ob_defer_cancel(save->dev->loop, &save->look_ahead);
	ob_saver_destroy(save->saver);
	free(save->contents);
	free(save->kept);
	free(save);
}

/* The plan alone; NULL: no memory. */
static struct ob_mig_save *save_create(struct ob_device *dev, bool tracked)
{
	struct ob_mig_save *save = calloc(1, sizeof(*save));

	if (!save)
		return NULL;
	save->contents = calloc(dev->mig.nr_drives + BARS,
				sizeof(*save->contents));
	if (!save->contents) {
		free(save);
		return NULL;
	}
	save->dev = dev;
	save->look_ahead.run = look_ahead;
	save->plan = (struct ob_save_plan){
		.model = dev->cls->name, .id = dev->id,
		.parts = save->parts, .contents = save->contents,
		.nr_parts = ob_mig_parts(dev, save->parts),
	};
	add_drives(dev, save, tracked);
	add_bars(dev, save);
	return save;
}

static void untrack(struct ob_device *dev)
{
	unsigned i;

	for (i = 0; i < dev->mig.nr_drives; i++)
		if (ob_drive_has_content(ob_mig_drive(dev, i)))
			ob_drive_track(ob_mig_drive(dev, i), false);
}

static int track(struct ob_device *dev, struct ob_err *err)
{
	struct ob_drive *drive;
	unsigned i;
	int r;

	for (i = 0; i < dev->mig.nr_drives; i++) {
		drive = ob_mig_drive(dev, i);
		r = ob_drive_has_content(drive) ? ob_drive_track(drive, true) : 0;
		if (r) {
			untrack(dev);
			return ob_fail(err, -r, "drive %s: %s",
				       ob_drive_name(drive), strerror(-r));
		}
	}
	return 0;
}

int ob_mig_save_begin(struct ob_device *dev, struct ob_err *err)
{
	struct ob_mig_save *save = save_create(dev, true);
	int r;

	if (!save)
		return ob_fail(err, ENOMEM, "out of memory");
	r = track(dev, err);
	if (r) {
		save_destroy(save);
		return r;
	}
	dev->mig.save = save;
	r = ob_saver_create(&save->plan, &save->saver, err);
	if (r)
		ob_mig_save_end(dev);
	return r;
}

void ob_mig_save_stopped(struct ob_device *dev)
{
	ob_saver_stopped(dev->mig.save->saver);
}

void ob_mig_save_end(struct ob_device *dev)
{
	if (!dev->mig.save)
		return;
	untrack(dev);
	save_destroy(dev->mig.save);
	dev->mig.save = NULL;
}

uint64_t ob_mig_save_size(struct ob_device *dev)
{
	struct ob_mig_save *save = dev->mig.save;
	uint64_t size;

	if (save)
		return ob_saver_left(save->saver) + save->kept_len -
		       save->kept_at + save->ahead;
	save = save_create(dev, false);
	size = save ? ob_save_size(&save->plan) : 0;
	save_destroy(save);
	return size;
}

void ob_mig_precopy_info(struct ob_device *dev, uint64_t *initial,
			 uint64_t *dirty)
{
	ob_saver_precopy_info(dev->mig.save->saver, initial, dirty);
}

/* Reading */

/* Room for so many more bytes in what is kept, got before they are read. */
static int keep_room(struct ob_mig_save *save, size_t len)
{
	size_t have = save->kept_len - save->kept_at;
	uint8_t *room = save->kept;

	if (save->kept_room - have < len) {
		room = malloc(have + len);
		if (!room)
			return -ENOMEM;
		save->kept_room = have + len;
	}
	if (have)
		memmove(room, save->kept + save->kept_at, have);
	if (room != save->kept)
		free(save->kept);
	save->kept = room;
	save->kept_at = 0;
	save->kept_len = have;
	return 0;
}

static void keep(struct ob_mig_save *save, unsigned pieces)
{
	unsigned i;

	for (i = 0; i < pieces; i++) {
		memcpy(save->kept + save->kept_len, save->iov[i].iov_base,
		       save->iov[i].iov_len);
		save->kept_len += save->iov[i].iov_len;
	}
}

/*
 * Fills up what is kept to `size` bytes.  0: it has that, or there is no more;
 * -EINPROGRESS: END would be next, and the drives are not free.  Looking
 * through zeros takes time and brings little, so in PRE_COPY, where a short
 * answer does no harm, it is given up after a while.
 */
static int collect(struct ob_device *dev, size_t size, struct ob_err *err)
{
	struct ob_mig_save *save = dev->mig.save;
	uint64_t enough = ob_loop_now(dev->loop) + ENOUGH_NS;
	size_t have, n;
	unsigned count;
	int r;

	while ((have = save->kept_len - save->kept_at) < size) {
		count = OB_REPLY_MORE;
		n = ob_saver_read(save->saver, size - have, save->iov, &count);
		keep(save, count);
		if (n && !dev->mig.halted && ob_loop_now(dev->loop) > enough)
			return 0;
		if (n)
			continue;
		if (!ob_saver_wants_end(save->saver))
			return 0;
		r = ob_mig_drives_release(dev, err);
		if (r)
			return r;
		ob_saver_allow_end(save->saver);
		ob_mig_set_given(dev, true);
	}
	return 0;
}

/*
 * Exactly `size` bytes more as pieces in iov, none of them copied; false: there
 * were fewer, which are kept.
 */
static bool fetch(struct ob_mig_save *save, size_t size, unsigned *count)
{
	size_t n;

	*count = OB_REPLY_MORE;
	n = ob_saver_read(save->saver, size, save->iov, count);
	if (n < size)
		keep(save, *count);
	return n == size;
}

/* As much as was asked for last; room to keep it in is there (keep_room). */
static void look_ahead(struct ob_deferred *deferred)
{
	struct ob_mig_save *save = container_of(deferred, struct ob_mig_save,
						look_ahead);
	size_t size = save->dev->mig.read_size;

	if (!save->kept_len && fetch(save, size, &save->ahead_pieces))
		save->ahead = size;
}

/* It asks for another size than was expected. */
static int keep_ahead(struct ob_mig_save *save)
{
	int r = keep_room(save, save->ahead);

	if (r)
		return r;
	keep(save, save->ahead_pieces);
	save->ahead = 0;
	return 0;
}

/* All that was asked for, and none of it copied; else false, and it is kept. */
static bool read_in_place(struct ob_mig_save *save, struct ob_reply *reply,
			  size_t size)
{
	unsigned count = save->ahead_pieces;

	if (save->kept_len || (!save->ahead && !fetch(save, size, &count)))
		return false;
	save->ahead = 0;
	reply->more = save->iov;
	reply->nr_more = count;
	reply->lent = true;
	reply->fill = 0;
	if (save->dev->mig.halted)
		ob_defer(save->dev->loop, &save->look_ahead);
	return true;
}

/* The reply refers to what is kept: it stays until the next read. */
static size_t give_kept(struct ob_mig_save *save, struct ob_reply *reply,
			size_t size)
{
	size_t n = save->kept_len - save->kept_at;

	if (n > size)
		n = size;
	save->iov[0] = (struct iovec){ save->kept + save->kept_at, n };
	save->kept_at += n;
	reply->more = save->iov;
	reply->nr_more = n > 0;
	reply->lent = true;
	reply->fill = 0;
	return n;
}

static int put_answer(struct ob_reply *reply, size_t size)
{
	struct ob_mig_data answer = {
		(uint32_t)(OB_MIG_DATA_SIZE + size), (uint32_t)size
	};

	return ob_put_mig_data(&reply->wr, &answer);
}

static int read_kept(struct ob_device *dev, struct ob_err *err)
{
	struct ob_reply *reply = &dev->session->reply;
	size_t size = dev->mig.read_size;
	int r = collect(dev, size, err);

	if (r == -EINPROGRESS && ob_mig_is_late(dev, LOOK_EVERY_MS))
		r = ob_mig_drives_late(dev, err);
	if (r)
		return r;
	return put_answer(reply, give_kept(dev->mig.save, reply, size));
}

/* The operator's way: as much as its pipe takes, never held. */

size_t ob_mig_save_pull(struct ob_device *dev, size_t room, struct iovec **iov,
			unsigned *count)
{
	struct ob_mig_save *save = dev->mig.save;
	size_t kept = save->kept_len - save->kept_at;

	*iov = save->iov;
	*count = OB_REPLY_MORE;
	if (!kept) {
		save->pulled = ob_saver_read(save->saver, room, save->iov,
					     count);
		return save->pulled;
	}
	*count = 1;
	save->pulled = 0;
	save->iov[0] = (struct iovec){ save->kept + save->kept_at, kept };
	return kept;
}

int ob_mig_save_pulled(struct ob_device *dev, size_t used)
{
	struct ob_mig_save *save = dev->mig.save;
	struct iovec *piece = save->iov;
	size_t left = save->pulled - used;
	int r;

	if (!save->pulled) {
		save->kept_at += used;
		return 0;
	}
	if (!left)
		return 0;
	if ((r = keep_room(save, left)))
		return r;
	for (; used >= piece->iov_len; piece++)
		used -= piece->iov_len;
	for (; left; left -= piece->iov_len - used, used = 0, piece++) {
		memcpy(save->kept + save->kept_len,
		       (uint8_t *)piece->iov_base + used,
		       piece->iov_len - used);
		save->kept_len += piece->iov_len - used;
	}
	return 0;
}

bool ob_mig_save_wants_end(const struct ob_device *dev)
{
	const struct ob_mig_save *save = dev->mig.save;

	return save->kept_len == save->kept_at &&
	       ob_saver_wants_end(save->saver);
}

int ob_mig_save_allow_end(struct ob_device *dev, struct ob_err *err)
{
	int r = ob_mig_drives_release(dev, err);

	if (r)
		return r;
	ob_saver_allow_end(dev->mig.save->saver);
	ob_mig_set_given(dev, true);
	return 0;
}

bool ob_mig_save_is_done(const struct ob_device *dev)
{
	const struct ob_mig_save *save = dev->mig.save;

	return save->kept_len == save->kept_at && ob_saver_done(save->saver);
}

static int check_read(struct ob_session *s, const struct ob_mig_data *ask)
{
	int r = ob_mig_claim(s->dev, OB_MIG_CLIENT, &s->err);

	if (r)
		return r;
	if (s->dev->mig.broken && ob_mig_is_saving(s->dev->mig.state))
		return ob_fail(&s->err, EIO, "the process that wrote the "
			       "stream has died; begin again");
	if (!s->dev->mig.save)
		return ob_fail(&s->err, EINVAL, "nothing to read in %s",
			       ob_mig_state_name(s->dev->mig.state));
	if (ask->size > s->caps.max_data_xfer_size)
		return ob_fail(&s->err, EINVAL, "%u bytes, at most %u were agreed",
			       ask->size, s->caps.max_data_xfer_size);
	if (ask->argsz < OB_MIG_DATA_SIZE ||
	    ask->argsz - OB_MIG_DATA_SIZE < ask->size)
		return ob_fail(&s->err, EINVAL, "argsz %u is too small for %u bytes",
			       ask->argsz, ask->size);
	return 0;
}

int ob_do_mig_read(struct ob_session *s, const struct ob_request *req,
		   struct ob_msg *msg)
{
	struct ob_mig *mig = &s->dev->mig;
	size_t size = req->mig.size;
	int r = check_read(s, &req->mig);

	(void)msg;
	if (req->hdr.flags & OB_HDR_NO_REPLY)
		size = 0;	/* what it takes away would be lost */
	if (r == 0 && size == 0)
		return put_answer(&s->reply, 0);
	if (r || (mig->save->ahead && mig->save->ahead != size &&
		  (r = keep_ahead(mig->save))))
		return r;
	if ((r = keep_room(mig->save, size)))
		return r;
	mig->read_size = size;
	if (read_in_place(mig->save, &s->reply, size))
		return put_answer(&s->reply, size);
	return ob_mig_hold(s->dev, OB_MIG_CLIENT, read_kept, OB_MIG_FREE_MS,
			   &s->err);
}
