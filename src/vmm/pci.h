/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI function of a QEMU, and configuration cycles to it as a guest makes them:
 * by the ports 0xcf8 and 0xcfc of a PC, through people's monitor.  They reach the
 * first 256 bytes, on any bus that the guest has numbered.
 */
#ifndef OB_VMM_PCI_H
#define OB_VMM_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/qmp.h"

struct ob_pci {
	struct ob_qmp *qmp;
	uint8_t bus, slot, function;
	uint32_t address;		/* what the guest left in port 0xcf8 */
	uint32_t aim;			/* what is there now; 0: not known */
};

/* The device that QEMU calls id, where it is now; -ENOENT. */
int ob_pci_find(struct ob_qmp *qmp, const char *id, struct ob_pci *out,
		struct ob_err *err);

/*
 * Around cycles, while the machine stands still: a guest that was stopped
 * between the two halves of a cycle of its own finds port 0xcf8 as it left it.
 */
int ob_pci_begin(struct ob_pci *pci, struct ob_err *err);
int ob_pci_end(struct ob_pci *pci, struct ob_err *err);

/* width: 1, 2 or 4 bytes, aligned. */
int ob_pci_read(struct ob_pci *pci, unsigned offset, unsigned width,
		uint32_t *value, struct ob_err *err);
int ob_pci_write(struct ob_pci *pci, unsigned offset, unsigned width,
		 uint32_t value, struct ob_err *err);

#endif
