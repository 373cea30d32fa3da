// SPDX-License-Identifier: BSD-3-Clause
/*
 * A breakpoint.  Where the function is says the program's own table of symbols, which
 * a build tree's has; where the program is, the process's list of mappings.
 */
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <unistd.h>

#include "mark.h"

#if defined(__x86_64__)
static const uint8_t trap[] = { 0xcc };
#define BEHIND 1u	/* where the task stands then */
#elif defined(__aarch64__)
static const uint8_t trap[] = { 0x00, 0x00, 0x20, 0xd4 };
#define BEHIND 0u
#else
static const uint8_t trap[] = { 0 };
#define BEHIND 0u
#define UNKNOWN
#endif

/* -- where ---------------------------------------------------------------- */

/* The name's value in a table; the file is a build's, and believed. */
static uint64_t look_up(const uint8_t *elf, const Elf64_Shdr *table,
			const Elf64_Shdr *sections, const char *function)
{
	const Elf64_Sym *sym = (const void *)(elf + table->sh_offset);
	const char *names = (const char *)elf +
		sections[table->sh_link].sh_offset;

	for (size_t i = 0; i < table->sh_size / sizeof(*sym); i++)
		if (ELF64_ST_TYPE(sym[i].st_info) == STT_FUNC &&
		    !strcmp(names + sym[i].st_name, function))
			return sym[i].st_value;
	return 0;
}

static uint64_t find_function(const char *program, const char *function)
{
	int fd = open(program, O_RDONLY | O_CLOEXEC);
	const Elf64_Shdr *sections;
	const Elf64_Ehdr *elf;
	uint64_t at = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return 0;
	elf = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (elf == MAP_FAILED)
		return 0;
	sections = (const void *)((const uint8_t *)elf + elf->e_shoff);
	for (unsigned i = 0; i < elf->e_shnum && !at; i++)
		if (sections[i].sh_type == SHT_SYMTAB)
			at = look_up((const uint8_t *)elf, &sections[i],
				     sections, function);
	munmap((void *)(uintptr_t)elf, (size_t)st.st_size);
	return at;
}

/* Of its first mapping. */
static uint64_t find_base(pid_t process, const char *program)
{
	char path[32], line[PATH_MAX + 100], real[PATH_MAX];
	unsigned long base = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)process);
	f = realpath(program, real) ? fopen(path, "re") : NULL;
	while (f && !base && fgets(line, sizeof(line), f))
		if (strstr(line, real) && sscanf(line, "%lx", &base) != 1)
			base = 0;
	if (f)
		fclose(f);
	return base;
}

/* -- what ------------------------------------------------------------------ */

static bool change(const struct mark *mark, const uint8_t *to, uint8_t *was)
{
	char path[32];
	bool done;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)mark->process);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return false;
	done = (!was || pread(fd, was, sizeof(trap), (off_t)mark->at) ==
			(ssize_t)sizeof(trap)) &&
	       pwrite(fd, to, sizeof(trap), (off_t)mark->at) ==
		(ssize_t)sizeof(trap);
	close(fd);
	return done;
}

bool mark_set(struct mark *mark, pid_t process, const char *program,
	      const char *function)
{
	uint64_t at = find_function(program, function);
	uint64_t base = find_base(process, program);

	mark_remove(mark);
#ifdef UNKNOWN
	return false;
#endif
	mark->process = process;
	mark->at = base + at;
	if (at && base && change(mark, trap, mark->was))
		return true;
	mark->process = 0;
	return false;
}

void mark_remove(struct mark *mark)
{
	if (mark->process)
		change(mark, mark->was, NULL);
	mark->process = 0;
}

/* True: it stands there.  The counter is put before the instruction again. */
static bool step_back(const struct mark *mark, pid_t task)
{
	struct user_regs_struct regs;
	struct iovec iov = { &regs, sizeof(regs) };
	uint64_t at;

	if (ptrace(PTRACE_GETREGSET, task, (void *)(long)NT_PRSTATUS, &iov))
		return false;
#if defined(__x86_64__)
	at = regs.rip;
	regs.rip = mark->at;
#elif defined(__aarch64__)
	at = regs.pc;
#else
	at = 0;
#endif
	return at == mark->at + BEHIND &&
	       !ptrace(PTRACE_SETREGSET, task, (void *)(long)NT_PRSTATUS, &iov);
}

bool mark_reached(struct mark *mark, pid_t task)
{
	if (!mark->process || !step_back(mark, task))
		return false;
	mark_remove(mark);
	return true;
}
