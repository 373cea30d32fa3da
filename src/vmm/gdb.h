/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Physical memory of a QEMU that stands still, by gdb's remote protocol: what lies
 * behind an address is reached as a CPU would, registers of devices too.
 *
 * The stub is started at run time and speaks over a descriptor that QEMU is given,
 * so that no name in anybody's file system is needed.  One that was there before is
 * gone afterwards.  A machine that runs is stopped by it.
 */
#ifndef OB_VMM_GDB_H
#define OB_VMM_GDB_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/qmp.h"

struct ob_gdb;

int ob_gdb_open(struct ob_qmp *qmp, struct ob_gdb **out, struct ob_err *err);
/* Ends the stub; the machine stays as it is.  Accepts NULL. */
void ob_gdb_close(struct ob_gdb *gdb);

int ob_gdb_read(struct ob_gdb *gdb, uint64_t addr, void *buf, size_t len,
		struct ob_err *err);
int ob_gdb_write(struct ob_gdb *gdb, uint64_t addr, const void *buf, size_t len,
		 struct ob_err *err);

#endif
