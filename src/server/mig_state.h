/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The states of VFIO migration version 2 and the ways between them
 * (linux/vfio.h, enum vfio_device_mig_state).  Pure: nothing here knows a
 * device.
 */
#ifndef OB_SERVER_MIG_STATE_H
#define OB_SERVER_MIG_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/proto.h"

/*
 * Who drives it: whoever takes the device out of RUNNING, until it is RUNNING
 * again.  The other is refused.
 */
enum ob_mig_party { OB_MIG_NOBODY, OB_MIG_CLIENT, OB_MIG_OPERATOR };

/* What a device does on the way from one state to the next. */
enum ob_mig_deed {
	OB_DEED_NONE,		/* nothing: there is no peer that we reach */
	OB_DEED_HALT,		/* come to a standstill */
	OB_DEED_RUN,		/* go on */
	OB_DEED_SAVE,		/* open a session of saving */
	OB_DEED_SAVED,		/* end it, whatever was read of it */
	OB_DEED_LOAD,		/* open a session of loading */
	OB_DEED_COMMIT,		/* judge what was loaded, and become it */
	OB_NR_DEEDS
};

struct ob_mig_arc {
	uint8_t from, to;	/* enum ob_mig_state */
	uint8_t deed;
};

/*
 * The first arc of the shortest way, NULL when there is none: nothing leads
 * to ERROR or out of it, and from STOP_COPY none back to pre-copy.  from and
 * to differ.  to may be any number.
 */
const struct ob_mig_arc *ob_mig_next(enum ob_mig_state from, uint32_t to);

/* Does a session of saving go on in this state? */
bool ob_mig_is_saving(enum ob_mig_state state);
/* As the kernel names them; "?" for what is no state. */
const char *ob_mig_state_name(uint32_t state);

#endif
