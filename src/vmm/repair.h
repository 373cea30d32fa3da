/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What QEMU keeps of a vfio-user device and does not migrate: addresses, COMMAND,
 * interrupts.  Taken at the source, put at the destination, both while the machine
 * stands still (docs/live-migration.md, "Repair").
 */
#ifndef OB_VMM_REPAIR_H
#define OB_VMM_REPAIR_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/pci.h"

#define OB_REPAIR_CONFIG 256u
#define OB_REPAIR_TABLE (2048u * 16u)	/* as many vectors as MSI-X can have */

struct ob_repair {
	uint8_t config[OB_REPAIR_CONFIG];	/* as the server has it */
	size_t table_len;			/* 0: not to be written */
	uint8_t table[OB_REPAIR_TABLE];		/* the MSI-X table */
};

/*
 * config: the server's, complete.  Reads the MSI-X table where the guest can
 * reach it itself; a level interrupt that is up is taken down in QEMU, whose own
 * stream would leave it up for ever.
 */
int ob_repair_take(struct ob_qmp *qmp, const uint8_t config[OB_REPAIR_CONFIG],
		   struct ob_repair *out, struct ob_err *err);
/* Writes, and reads back what matters. */
int ob_repair_put(struct ob_pci *pci, const struct ob_repair *repair,
		  struct ob_err *err);

#endif
