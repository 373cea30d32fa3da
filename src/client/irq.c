// SPDX-License-Identifier: BSD-3-Clause
/*
 * Interrupts.  A message carries the eventfds of consecutive vectors, as many
 * as the server takes; a vector without one ends the run and goes alone,
 * without an fd, because the wire has no "no fd" inside a list.
 */
#include <errno.h>
#include <string.h>

#include "client/client.h"

int ob_client_irq_info(struct ob_client *client, uint32_t index,
		       struct ob_client_irq *info, struct ob_err *err)
{
	struct ob_irq_info wire = {
		.argsz = OB_IRQ_INFO_SIZE, .index = index,
	};
	uint8_t bytes[OB_IRQ_INFO_SIZE];
	struct ob_writer wr;
	struct ob_reader rd;
	int r;

	ob_writer_init(&wr, bytes, sizeof(bytes));
	ob_reader_init(&rd, bytes, sizeof(bytes));
	if ((r = ob_put_irq_info(&wr, &wire)) ||
	    (r = client_query(client, OB_CMD_DEVICE_GET_IRQ_INFO, bytes,
			      sizeof(bytes), err)) ||
	    (r = ob_get_irq_info(&rd, &wire)))
		return r;
	*info = (struct ob_client_irq){
		.index = index, .count = wire.count,
		.eventfd = wire.flags & OB_IRQ_EVENTFD,
		.maskable = wire.flags & OB_IRQ_MASKABLE,
		.automasked = wire.flags & OB_IRQ_AUTOMASKED,
		.noresize = wire.flags & OB_IRQ_NORESIZE,
	};
	return 0;
}

static int set_irqs(struct ob_client *client, uint32_t flags, uint32_t index,
		    uint32_t start, uint32_t count, const int *fds,
		    unsigned nr_fds, struct ob_err *err)
{
	struct ob_set_irqs wire = {
		.argsz = OB_SET_IRQS_SIZE, .flags = flags, .index = index,
		.start = start, .count = count,
	};
	uint8_t bytes[OB_SET_IRQS_SIZE];
	struct ob_writer wr;
	int r;

	ob_writer_init(&wr, bytes, sizeof(bytes));
	r = ob_put_set_irqs(&wr, &wire);
	if (r)
		return ob_fail(err, -r, "cannot encode");
	return client_command(client, OB_CMD_DEVICE_SET_IRQS, bytes,
			      sizeof(bytes), fds, nr_fds, err);
}

/* Vectors from at on that go into one message: with fds, or one without. */
static uint32_t run_length(const struct ob_client *client, const int *fds,
			   uint32_t left)
{
	uint32_t n = 0, most = client->version.max_msg_fds;

	if (most > OB_MAX_MSG_FDS)
		most = OB_MAX_MSG_FDS;
	while (n < left && n < most && fds[n] >= 0)
		n++;
	return n ? n : 1;
}

int ob_client_irq_attach(struct ob_client *client, uint32_t index,
			 uint32_t start, const int *fds, uint32_t count,
			 struct ob_err *err)
{
	uint32_t end, n;
	int r;

	if (!count || __builtin_add_overflow(start, count, &end))
		return ob_fail(err, EINVAL, "%u vectors from %u on", count,
			       start);
	for (uint32_t at = start; at < end; at += n, fds += n) {
		n = run_length(client, fds, end - at);
		r = set_irqs(client,
			     OB_IRQ_DATA_EVENTFD | OB_IRQ_ACTION_TRIGGER,
			     index, at, n, fds, fds[0] >= 0 ? n : 0, err);
		if (r)
			return r;
	}
	return 0;
}

int ob_client_irq_disable(struct ob_client *client, uint32_t index,
			  struct ob_err *err)
{
	return set_irqs(client, OB_IRQ_DATA_NONE | OB_IRQ_ACTION_TRIGGER,
			index, 0, 0, NULL, 0, err);
}

int ob_client_irq_mask(struct ob_client *client, uint32_t index,
		       uint32_t start, uint32_t count, struct ob_err *err)
{
	return set_irqs(client, OB_IRQ_DATA_NONE | OB_IRQ_ACTION_MASK, index,
			start, count, NULL, 0, err);
}

int ob_client_irq_unmask(struct ob_client *client, uint32_t index,
			 uint32_t start, uint32_t count, struct ob_err *err)
{
	return set_irqs(client, OB_IRQ_DATA_NONE | OB_IRQ_ACTION_UNMASK, index,
			start, count, NULL, 0, err);
}

int ob_client_irq_trigger(struct ob_client *client, uint32_t index,
			  uint32_t start, uint32_t count, struct ob_err *err)
{
	if (!count)
		return ob_fail(err, EINVAL, "no vector to trigger");
	return set_irqs(client, OB_IRQ_DATA_NONE | OB_IRQ_ACTION_TRIGGER,
			index, start, count, NULL, 0, err);
}
