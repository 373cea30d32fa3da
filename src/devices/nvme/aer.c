// SPDX-License-Identifier: BSD-3-Clause
/*
 * Asynchronous events (5.2).  The guest parks a few requests; an event
 * completes one.  After an event of a type has been told, further ones of
 * that type are kept until the guest has read its log page.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

static void remove_event(struct nvme_plain *st, unsigned i)
{
	st->nr_events--;
	memmove(&st->events[i], &st->events[i + 1],
		(st->nr_events - i) * sizeof(st->events[0]));
	st->events[st->nr_events] = (struct nvme_event){ 0 };
}

static void tell(struct nvme *n, const struct nvme_event *event)
{
	struct nvme_cmd *c = nvme_list_pop(&n->aers);

	n->nr_aers--;
	nvme_guard_slot(c);
	n->st->events_masked |= 1u << event->type;
	c->slot->result = event->type | event->info << 8 | event->log << 16;
	nvme_cmd_complete(c, NVME_OK);
}

/* An event is told and gone at once. */
static void tell_all(struct nvme *n)
{
	struct nvme_plain *st = n->st;

	nvme_guard(n, NULL, 0);
	for (unsigned i = 0; i < st->nr_events && n->nr_aers;) {
		if (st->events_masked >> st->events[i].type & 1) {
			i++;
			continue;
		}
		tell(n, &st->events[i]);
		remove_event(st, i);
	}
	nvme_unguard(n);
}

int nvme_step_aer(struct nvme_cmd *c)
{
	struct nvme *n = c->n;

	if (n->nr_aers == NVME_MAX_AERS)
		return NVME_AER_LIMIT;
	nvme_list_push(&n->aers, c);
	n->nr_aers++;
	nvme_owed_settle(c);
	tell_all(n);
	return -EINPROGRESS;
}

/* An event that waits already, or finds no room, adds nothing: its log page
 * tells it all. */
void nvme_aer_event(struct nvme *n, uint8_t type, uint8_t info, uint8_t log)
{
	struct nvme_plain *st = n->st;

	for (unsigned i = 0; i < st->nr_events; i++)
		if (st->events[i].type == type && st->events[i].info == info)
			return;
	if (st->nr_events == NVME_MAX_EVENTS)
		return;
	nvme_guard(n, NULL, 0);
	st->events[st->nr_events++] = (struct nvme_event){
		.type = type, .info = info, .log = log,
	};
	tell_all(n);
	nvme_unguard(n);
}

void nvme_aer_log_read(struct nvme *n, uint8_t log)
{
	switch (log) {
	case NVME_LOG_ERROR:
		n->st->events_masked &= ~(1u << NVME_EVENT_ERROR);
		break;
	case NVME_LOG_SMART:
		n->st->events_masked &= ~(1u << NVME_EVENT_SMART);
		break;
	case NVME_LOG_CHANGED_NS:
		n->st->events_masked &= ~(1u << NVME_EVENT_NOTICE);
		break;
	}
	tell_all(n);
}

void nvme_aer_reset(struct nvme *n)
{
	nvme_list_init(&n->aers);
	n->nr_aers = 0;
	n->st->nr_events = 0;
	n->st->events_masked = 0;
	memset(n->st->events, 0, sizeof(n->st->events));
}
