/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts: triggers (the client's eventfds) and what may pull them. */
#ifndef OB_SERVER_IRQ_H
#define OB_SERVER_IRQ_H

#include <outboard/device.h>

#include "proto/proto.h"
#include "server/core.h"

/*
 * Runtime.  A trigger is an eventfd of the client, owned here; NULL where the
 * client gave none.  The arrays have count[] places.
 */
struct ob_irqs {
	uint32_t count[OB_NR_IRQ_INDEXES];
	struct ob_signal **triggers[OB_NR_IRQ_INDEXES];
	enum ob_irq_mode mode;		/* as configuration space says */
	struct ob_watch unmask;		/* irq_unmask.c; no ready: none */
	/* Of this process, for the operator: signals, by index; since the guest
	 * was seen last; how often it was: at a register, or by a poll. */
	uint64_t fired[OB_NR_IRQ_INDEXES], unanswered, visits;
	bool stale;			/* a name of the keeper's is over */
	uint64_t gone[(OB_NR_TRIGGERS + 63) / 64];	/* which */
};

int ob_irqs_init(struct ob_device *dev);
void ob_irqs_finish(struct ob_device *dev);

/* irq_kept.c */
/* The eventfd of a bit in the state's list is with the keeper, or no more. */
int ob_irq_keep(struct ob_device *dev, unsigned index, unsigned vector,
		int fd);
int ob_irq_keep_unmask(struct ob_device *dev, int fd);
/* After a step: drops the names of what was taken away. */
void ob_irqs_settle(struct ob_device *dev);
/* A dead process's eventfds, as the state says. */
int ob_irqs_adopt(struct ob_device *dev, struct ob_err *err);
/* Raises everything that it may not have come to tell. */
void ob_irqs_owed(struct ob_device *dev);
/* The client has gone: its eventfds too. */
void ob_irqs_drop(struct ob_device *dev);
/* Clears levels, pendings and masks; the client's eventfds stay. */
void ob_irqs_reset(struct ob_device *dev);

/* SET_IRQS after decoding; takes the fds it uses out of the array. */
int ob_irqs_set(struct ob_device *dev, const struct ob_set_irqs *req,
		const uint8_t *bools, int *fds, size_t nr_fds);

/* Configuration space changed: mode, masks, INTx disable. */
void ob_irqs_update(struct ob_device *dev);
/* Sends what is owed and no longer held back. */
void ob_irqs_deliver(struct ob_device *dev);
/* Tells the model. */
void ob_irq_changed(struct ob_device *dev);
/* Takes *fd; NULL takes the trigger away.  Closes the one before. */
int ob_irq_assign(struct ob_device *dev, unsigned index, unsigned vector,
		  int *fd);
/* Takes fd, unless it fails (-ENOMEM). */
int ob_irq_tie(struct ob_signal **place, int fd);
bool ob_irq_has_trigger(const struct ob_device *dev, unsigned index,
			unsigned vector);
/* Those that are due and cannot be signalled: nobody listens, or they are masked. */
unsigned ob_irqs_waiting(const struct ob_device *dev);
/* The guest has come to its device. */
static inline void ob_irqs_visited(struct ob_irqs *irqs)
{
	irqs->visits++;
	irqs->unanswered = 0;
}
/* Pulls a trigger if there is one. */
bool ob_irq_fire(struct ob_device *dev, unsigned index, unsigned vector);

void ob_intx_mask(struct ob_device *dev, bool masked);
/* Takes *fd, which unmasks INTx whenever it is signalled; NULL: none. */
int ob_irq_unmask_by(struct ob_device *dev, int *fd);
void ob_irq_unmask_drop(struct ob_device *dev);
/* As ob_irq_unmask_by, of one that the keeper has already. */
int ob_irq_unmask_watch(struct ob_device *dev, int fd);

/* msix.c: the table and the pending bits. */
void ob_msix_reset(struct ob_device *dev);
void ob_msix_raise(struct ob_device *dev, unsigned vector);
/* A message that may have been raised; none while it would be remembered. */
void ob_msix_owe(struct ob_device *dev, unsigned vector);
void ob_msix_mask(struct ob_device *dev, unsigned vector, bool masked);
/* Delivers what is pending and no longer masked. */
void ob_msix_flush(struct ob_device *dev);
/*
 * The piece of an access to a BAR that begins at offset: its length (at most
 * len), and whether it is the table's, the PBA's or the model's.
 */
enum ob_msix_part { OB_PART_MODEL, OB_PART_TABLE, OB_PART_PBA };
enum ob_msix_part ob_msix_part(const struct ob_device *dev, unsigned bar,
			       uint64_t offset, size_t *len);
void ob_msix_read(struct ob_device *dev, enum ob_msix_part part,
		  uint64_t offset, void *buf, size_t len);
void ob_msix_write(struct ob_device *dev, enum ob_msix_part part,
		   uint64_t offset, const void *buf, size_t len);

#endif
