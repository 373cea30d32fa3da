// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a lane has on its thread: a poller, signals, a recorder.
 *
 * Whoever changes what it is to have does so in a step, where the thread itself
 * is not; the thread is posted to, enters the lane, and takes over what has been
 * asked for meanwhile.
 *
 * Signals.  One that was raised leaves at the end of the turn, outside of any step:
 * so a struct ob_signal belongs to its loop, and each lane that raises a vector has its
 * own for it, on a descriptor of its own, made when it is first needed.  Where that
 * fails the message is pending, and the device's thread sends it.  When the client
 * gives another eventfd, nobody knows whether the old one is still to be signalled: so
 * the new one is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "server/lane.h"
#include "server/lane_impl.h"
#include "state/old.h"

/* Polling */

static bool lane_poll(struct ob_poller *poller)
{
	struct ob_lane *lane = container_of(poller, struct ob_lane, dev.poller);
	bool worked = false;

	ob_step_begin_beside(&lane->dev.mem, OB_STEP_POLL);
	if (lane->polls)
		worked = lane->dev.cls->lane_poll(&lane->dev, lane->number);
	if (worked)
		ob_irqs_visited(&lane->dev.irqs);
	ob_dev_step_end(&lane->dev);
	return worked;
}

static bool lane_sleep(struct ob_poller *poller)
{
	struct ob_lane *lane = container_of(poller, struct ob_lane, dev.poller);
	bool may = true;

	ob_step_begin_beside(&lane->dev.mem, OB_STEP_POLL);
	if (lane->polls && lane->dev.cls->lane_sleep)
		may = lane->dev.cls->lane_sleep(&lane->dev, lane->number);
	ob_dev_step_end(&lane->dev);
	return may;
}

static void set_poller(struct ob_lane *lane, bool on, bool busy)
{
	struct ob_device *own = &lane->dev;

	own->poller.busy = busy;
	if (on && !own->poller_added)
		ob_poller_add(own->loop, &own->poller);
	if (!on && own->poller_added)
		ob_poller_remove(own->loop, &own->poller);
	own->poller_added = on;
}

static void free_over(struct ob_loop *loop, struct ob_lane_signal *over)
{
	struct ob_lane_signal *next;

	for (; over; over = next) {
		next = over->next;
		ob_signal_close(loop, &over->signal);
		close(over->signal.fd);
		free(over);
	}
}

static void arrange(struct ob_post *post)
{
	struct ob_lane *lane = container_of(post, struct ob_lane, arrange);
	struct ob_lane_signal *over;
	bool on, busy;

	ob_step_begin_beside(&lane->dev.mem, OB_STEP_WORK);
	on = lane->polls;
	busy = lane->busy;
	over = lane->over;
	lane->over = NULL;
	ob_dev_step_end(&lane->dev);
	set_poller(lane, on, busy);
	free_over(lane->dev.loop, over);
}

/* In a step: what is to be polled, by what is wanted and what may be. */
static void update_polling(struct ob_lane *lane)
{
	bool polls = lane->may_poll && lane->dev.poll_on;
	bool busy = polls && lane->dev.poll_busy;

	if (polls == lane->polls && busy == lane->busy)
		return;
	lane->polls = polls;
	lane->busy = busy;
	ob_loop_post(lane->dev.loop, &lane->arrange);
}

static void poll_one(struct ob_lane *lane, bool on, bool busy)
{
	lane->dev.poll_on = on;
	lane->dev.poll_busy = busy;
	update_polling(lane);
}

void ob_lanes_poll(struct ob_device *dev, bool on, bool busy)
{
	if (dev->home) {
		poll_one(container_of(dev, struct ob_lane, dev), on, busy);
		return;
	}
	for (unsigned i = 0; i < dev->nr_lanes; i++)
		poll_one(dev->lanes->of[i], on, busy);
}

/* Interrupts */

static struct ob_lane_signal *signal_new(int fd)
{
	struct ob_lane_signal *ls = calloc(1, sizeof(*ls));

	if (!ls)
		return NULL;
	ls->signal.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (ls->signal.fd >= 0)
		return ls;
	free(ls);
	return NULL;
}

bool ob_lane_tie(struct ob_device *dev, unsigned index, unsigned vector)
{
	struct ob_device *home = dev->home;
	struct ob_lane_signal *ls;

	if (!home || !dev->lane || index != OB_IRQ_INDEX_MSIX ||
	    !ob_irq_has_trigger(home, index, vector))
		return false;
	ls = signal_new(home->irqs.triggers[index][vector]->fd);
	if (!ls) {
		ob_lane_owes(dev);
		return false;
	}
	dev->irqs.triggers[index][vector] = &ls->signal;
	return true;
}

static void untie(struct ob_lane *lane, struct ob_signal **place)
{
	struct ob_lane_signal *ls;

	if (!*place)
		return;
	ls = container_of(*place, struct ob_lane_signal, signal);
	*place = NULL;
	ls->next = lane->over;
	lane->over = ls;
}

bool ob_lanes_untie(struct ob_device *dev, unsigned index, unsigned vector)
{
	bool any = false;

	for (unsigned i = 1; i < ob_lanes_nr(dev); i++) {
		struct ob_lane *lane = dev->lanes->of[i];

		if (!ob_irq_has_trigger(&lane->dev, index, vector))
			continue;
		untie(lane, &lane->dev.irqs.triggers[index][vector]);
		ob_loop_post(lane->dev.loop, &lane->arrange);
		any = true;
	}
	return any;
}

static void deliver(struct ob_post *post)
{
	struct ob_lane *lane = container_of(post, struct ob_lane, owes);

	ob_step_begin(&lane->home->mem, OB_STEP_WORK);
	ob_irqs_deliver(lane->home);
	ob_dev_step_end(lane->home);
}

void ob_lane_owes(struct ob_device *dev)
{
	struct ob_lane *lane = container_of(dev, struct ob_lane, dev);

	ob_loop_post(lane->home->loop, &lane->owes);
}

void ob_lanes_count(const struct ob_device *dev, struct ob_irqs *sum)
{
	for (unsigned i = 0; i < ob_lanes_nr(dev); i++) {
		const struct ob_irqs *irqs = &dev->lanes->of[i]->dev.irqs;

		for (unsigned n = 0; n < OB_NR_IRQ_INDEXES; n++)
			sum->fired[n] += irqs->fired[n];
		sum->unanswered += irqs->unanswered;
		sum->visits += irqs->visits;
	}
}

/* The handle */

void ob_lane_prepare(struct ob_lane *lane)
{
	lane->dev.poller.poll = lane_poll;
	lane->dev.poller.sleep = lane_sleep;
	lane->arrange.run = arrange;
	lane->owes.run = deliver;
}

void ob_lane_renew(struct ob_lane *lane)
{
	const struct ob_device *dev = lane->home;
	struct ob_device *own = &lane->dev;
	unsigned losses = own->dma.losses;

	own->bus_master = dev->bus_master;
	own->mig.halted = dev->mig.halted;
	own->irqs.mode = dev->irqs.mode;
	own->dma = dev->dma;
	own->dma.hit = NULL;		/* its own, and perhaps gone */
	own->dma.losses = losses;
	lane->may_poll = dev->session && !dev->mig.halted;
	update_polling(lane);
}

void ob_lane_leave(void *arg)
{
	struct ob_lane *lane = arg;
	struct ob_irqs *irqs = &lane->dev.irqs;
	unsigned count = lane->number ? irqs->count[OB_IRQ_INDEX_MSIX] : 0;

	ob_post_cancel(lane->dev.loop, &lane->arrange);
	set_poller(lane, false, false);
	for (unsigned v = 0; v < count; v++)
		untie(lane, &irqs->triggers[OB_IRQ_INDEX_MSIX][v]);
	free_over(lane->dev.loop, lane->over);
	lane->over = NULL;
}

/* Recorders */

static uint32_t generation(const struct ob_device *dev)
{
	return (uint32_t)ob_state_header(&dev->mem)->generation;
}

static int open_recorder(struct ob_lane *lane, int fd, struct ob_err *err)
{
	struct ob_recorder *rec = &lane->dev.rec;
	int r = ob_recorder_open(rec, fd, err);

	if (r)
		return r;
	lane->at = &rec->memory->step;
	if (fd >= 0)
		return 0;
	*lane->at = (struct ob_recorder_step){ .generation = generation(lane->home) };
	r = ob_dev_keep(lane->home, rec->fd, "recorder/%u", lane->number);
	return r ? ob_fail(err, -r, "the keeper does not take a recorder: %s",
			   strerror(-r)) : 0;
}

/*
 * For the fuse: was the dead one's lane in a step?  Another release, or one that began
 * anew, may have served since it was written.
 */
static void note_step(struct ob_device *dev, int fd)
{
	struct ob_recorder_step was = { 0 };

	if (pread(fd, &was, sizeof(was),
		  offsetof(struct ob_recorder_memory, step)) == sizeof(was) &&
	    was.step & 1 &&
	    was.generation == (uint32_t)ob_old_state_header(dev->old)->generation)
		dev->lane_was_open = true;
}

/* The model may have posted to its lanes already, so they are kept out. */
int ob_lanes_record(struct ob_device *dev, struct ob_err *err)
{
	bool shut = ob_lanes_shut(dev);
	int r = 0;

	for (unsigned i = 0; i < ob_lanes_nr(dev) && !r; i++)
		r = open_recorder(dev->lanes->of[i], -1, err);
	ob_lanes_open(dev, shut);
	return r;
}

int ob_lanes_adopt(struct ob_device *dev, struct ob_err *err)
{
	unsigned i = 0, mine = ob_lanes_nr(dev);
	int fd, r = 0;

	for (; i < OB_LANES_MAX && !r; i++) {
		fd = ob_dev_kept(dev, "recorder/%u", i);
		if (fd < 0)
			break;
		note_step(dev, fd);
		if (i < mine)
			r = open_recorder(dev->lanes->of[i], fd, err);
		else
			close(fd);
	}
	dev->nr_dead_lanes = i;
	for (; i < mine && !r; i++)
		r = open_recorder(dev->lanes->of[i], -1, err);
	return r;
}

void ob_lanes_adopted(struct ob_device *dev)
{
	unsigned mine = ob_lanes_nr(dev);
	bool shut = ob_lanes_shut(dev);

	for (unsigned i = 0; i < mine; i++)
		*dev->lanes->of[i]->at = (struct ob_recorder_step){
			.generation = generation(dev),
		};
	ob_lanes_open(dev, shut);
	for (unsigned i = mine; i < dev->nr_dead_lanes; i++)
		ob_dev_unkeep(dev, "recorder/%u", i);
}

void ob_lanes_born(struct ob_device *dev, uint32_t generation)
{
	for (unsigned i = 0; i < ob_lanes_nr(dev); i++)
		ob_recorder_born(&dev->lanes->of[i]->dev.rec,
				 ob_loop_turn_time(dev->loop), generation);
}

void ob_lanes_get_warm(struct ob_device *dev)
{
	for (unsigned i = 0; i < ob_lanes_nr(dev); i++)
		ob_recorder_get_warm(&dev->lanes->of[i]->dev.rec);
}

unsigned ob_lanes_recorders(const struct ob_device *dev,
			    struct ob_recorder_bytes recs[1 + OB_LANES_MAX])
{
	unsigned n = 0;

	for (unsigned i = 0; i <= ob_lanes_nr(dev); i++) {
		const struct ob_recorder *rec =
			i ? &dev->lanes->of[i - 1]->dev.rec : &dev->rec;

		if (rec->memory)
			recs[n++] = (struct ob_recorder_bytes){
				rec->memory, sizeof(*rec->memory), rec->fd,
			};
	}
	return n;
}
