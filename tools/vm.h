/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A QEMU with the small Linux guest that scripts/prepare-vm makes, and a shell
 * in it (scripts/guest/init: the second serial port).
 */
#ifndef TOOLS_VM_H
#define TOOLS_VM_H

#include <stddef.h>
#include <sys/types.h>

#include <outboard/error.h>

struct vm {
	pid_t pid;			/* 0: none */
	int shell;
	unsigned commands;
};

/*
 * Boots with the device behind socket; lab: the folder that prepare-vm prints.
 * The console goes to log.  It is killed when the caller ends.
 */
int vm_boot(struct vm *vm, const char *lab, const char *socket,
	    const char *log, struct ob_err *err);
/* A shell command in the guest, which has to succeed; text: what it said. */
int vm_run(struct vm *vm, const char *command, unsigned seconds, char *text,
	   size_t size, struct ob_err *err);
/* Switches it off; an error if QEMU did not end well. */
int vm_off(struct vm *vm, struct ob_err *err);
void vm_kill(struct vm *vm);

#endif
