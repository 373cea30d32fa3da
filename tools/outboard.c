// SPDX-License-Identifier: BSD-3-Clause
#include <string.h>

#include "ob_config.h"
#include "tools.h"

const struct tool_verb tool_verbs[] = {
	{ "serve", "--device MODEL,KEY=VALUE,... [OPTION...]",
	  "serve devices to VMMs", tool_serve, tool_serve_help },
	{ "devices", "[OPTION...]",
	  "list the models, their keys and defaults, and the drive types",
	  tool_devices, tool_devices_help },
	{ "inspect", "SOCKET | --inflight CONTROL [--json]",
	  "tell what a client sees of a served device", tool_inspect,
	  tool_inspect_help },
	{ "bench", "SOCKET [OPTION...]",
	  "do I/O on a served NVMe disk, measure it, verify it", tool_bench,
	  tool_bench_help },
	{ "bench-mmio", "SOCKET [OPTION...]",
	  "measure register accesses against what sockets allow",
	  tool_bench_mmio, tool_bench_mmio_help },
	{ "bench-move", "SOCKET SOCKET [OPTION...]",
	  "measure what a device adds to the pause of a migration",
	  tool_bench_move, tool_bench_move_help },
	{ "migrate", "SOCKET-FROM SOCKET-TO [OPTION...]",
	  "move a device from one server to another", tool_migrate,
	  tool_migrate_help },
	{ "save", "SOCKET FILE|-", "write a device's state to a file",
	  tool_save, tool_save_help },
	{ "load", "FILE|- SOCKET", "give a device the state of a file",
	  tool_load, tool_load_help },
	{ "state", "VERB FILE... [OPTION...]",
	  "show, compare, check and convert saved state", tool_state,
	  tool_state_help },
	{ "vm-migrate", "--from-qmp PATH --to-qmp PATH --from-control PATH... "
	  "--to-control PATH...",
	  "move a VM and its devices from one QEMU to another",
	  tool_vm_migrate, tool_vm_migrate_help },
	{ "vm-save", "--qmp PATH --control PATH... DIR",
	  "write a VM and its devices to a folder", tool_vm_save,
	  tool_vm_save_help },
	{ "vm-restore", "--qmp PATH --control PATH... DIR",
	  "let a VM go on from a folder", tool_vm_restore,
	  tool_vm_restore_help },
	{ "ctl", "CONTROL METHOD [KEY=VALUE...] | --schema",
	  "ask a running server by its control socket", tool_ctl,
	  tool_ctl_help },
	{ "upgrade", "CONTROL [--to BINARY] [--dry-run]",
	  "let a running server go on in another binary", tool_upgrade,
	  tool_upgrade_help },
	{ "torture", "[OPTION...]",
	  "kill a server over and over under verified I/O", tool_torture,
	  tool_torture_help },
	{ "help", "[VERB]", "tell how to use a verb", tool_help, NULL },
	{ 0 }
};

const struct tool_verb *tool_find(const char *name)
{
	for (const struct tool_verb *v = tool_verbs; v->name; v++)
		if (!strcmp(v->name, name))
			return v;
	return NULL;
}

static int run_verb(const struct tool_verb *verb, int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--help")) {
		tool_print_help(verb, stdout);
		return TOOL_OK;
	}
	return verb->run(argc, argv);
}

int main(int argc, char **argv)
{
	const struct tool_verb *verb;

	if (argc < 2) {
		tool_print_verbs(stderr);
		return TOOL_USAGE;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("outboard %s\n", OB_VERSION);
		return TOOL_OK;
	}
	if (!strcmp(argv[1], "--help"))
		argv[1] = (char *)"help";
	verb = tool_find(argv[1]);
	if (!verb) {
		fprintf(stderr, "outboard: no verb '%s'\n", argv[1]);
		tool_print_verbs(stderr);
		return TOOL_USAGE;
	}
	return run_verb(verb, argc - 1, argv + 1);
}
