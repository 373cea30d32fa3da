/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The verbs of the `outboard` command, one file each.  A verb is added in two
 * places: its functions here, its row in outboard.c.
 */
#ifndef OB_TOOLS_TOOLS_H
#define OB_TOOLS_TOOLS_H

#include <stdio.h>

#include <outboard/error.h>

enum tool_exit { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

struct tool_verb {
	const char *name;
	const char *args;	/* for the usage line */
	const char *summary;	/* one line */
	/* argv[0] is the verb's name.  Returns an exit code. */
	int (*run)(int argc, char **argv);
	void (*help)(FILE *out);	/* the options; NULL: none */
};

/* outboard.c: all verbs; a row without a name ends them. */
extern const struct tool_verb tool_verbs[];
const struct tool_verb *tool_find(const char *name);

/* help.c */
void tool_print_help(const struct tool_verb *verb, FILE *out);
void tool_print_verbs(FILE *out);
int tool_help(int argc, char **argv);
/* "outboard VERB: message" on standard error; TOOL_FAILED. */
int tool_failed(const char *verb, const struct ob_err *err);
/* The same with a hint at the help; TOOL_USAGE. */
int tool_misused(const char *verb, const struct ob_err *err);

/* serve.c */
int tool_serve(int argc, char **argv);
void tool_serve_help(FILE *out);

/* devices.c */
int tool_devices(int argc, char **argv);
void tool_devices_help(FILE *out);

/* state.c: files with a device's state */
int tool_state(int argc, char **argv);
void tool_state_help(FILE *out);

/* inspect.c, bench.c, bench_mmio.c, bench_move.c: clients of served devices */
int tool_inspect(int argc, char **argv);
void tool_inspect_help(FILE *out);
int tool_bench(int argc, char **argv);
void tool_bench_help(FILE *out);
int tool_bench_mmio(int argc, char **argv);
void tool_bench_mmio_help(FILE *out);
int tool_bench_move(int argc, char **argv);
void tool_bench_move_help(FILE *out);

/* migrate.c, save.c, load.c: a device that moves */
int tool_migrate(int argc, char **argv);
void tool_migrate_help(FILE *out);
int tool_save(int argc, char **argv);
void tool_save_help(FILE *out);
int tool_load(int argc, char **argv);
void tool_load_help(FILE *out);

/* vm_migrate.c, vm_save.c: a whole VM that moves */
int tool_vm_migrate(int argc, char **argv);
void tool_vm_migrate_help(FILE *out);
int tool_vm_save(int argc, char **argv);
void tool_vm_save_help(FILE *out);
int tool_vm_restore(int argc, char **argv);
void tool_vm_restore_help(FILE *out);

/* ctl.c, upgrade.c: for a server's operator; torture.c: the proof that it is safe */
int tool_ctl(int argc, char **argv);
void tool_ctl_help(FILE *out);
int tool_upgrade(int argc, char **argv);
void tool_upgrade_help(FILE *out);
int tool_torture(int argc, char **argv);
void tool_torture_help(FILE *out);

#endif
