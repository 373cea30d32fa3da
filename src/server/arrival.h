/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VM that came without its device's state (docs/live-migration.md, "The
 * guard").  arrival.c.
 */
#ifndef OB_SERVER_ARRIVAL_H
#define OB_SERVER_ARRIVAL_H

#include <stdbool.h>
#include <stddef.h>

#include <outboard/loop.h>

struct ob_device;

/* How far it is: bits of ob_session_state.operator, for a successor. */
struct ob_arrival {
	struct ob_timer timer;		/* from the last map on */
	const char *alarm;		/* NULL: all is well */
	void (*tell)(void *arg, struct ob_device *dev, const char *alarm);
	void *arg;
};

void ob_arrival_init(struct ob_device *dev);
void ob_arrival_finish(struct ob_device *dev);
/* Goes on where a dead process was. */
void ob_arrival_adopt(struct ob_device *dev);
/* What the client did: DEVICE_RESET, DMA_MAP, a write to configuration space. */
void ob_arrival_reset(struct ob_device *dev);
void ob_arrival_mapped(struct ob_device *dev);
void ob_arrival_written(struct ob_device *dev, const void *bytes, size_t len);
/* It has gone, or its device has got a state. */
void ob_arrival_over(struct ob_device *dev, bool loaded);

#endif
