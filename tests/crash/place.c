// SPDX-License-Identifier: BSD-3-Clause
/*
 * The server's command line: which devices, and on which threads.
 *
 * A keeper starts each worker with the words that it was started with itself.  A
 * release that spreads devices otherwise, or an operator who is given more
 * threads with one, would be on other threads; so that the enumeration has that too,
 * the words of a successor are changed where they lie when it has just been
 * executed.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "run.h"

#define MAX_WORDS 32u
#define WORD_ROOM 240u
#define IMAGE_SIZE (8 << 20)

struct words {
	char text[MAX_WORDS][WORD_ROOM];
	char *list[MAX_WORDS + 1];
	unsigned count;
};

static char *add_word(struct words *words)
{
	char *word = words->text[words->count];

	words->list[words->count++] = word;
	words->list[words->count] = NULL;
	return word;
}

static void add_device(struct words *words, const struct run *run,
		       const char *name, const char *more, unsigned number)
{
	strcpy(add_word(words), "--device");
	snprintf(add_word(words), WORD_ROOM,
		 "nvme,queues=8,serial=CRASH,id=%s,socket=%s/%s,thread=%u,%sfile:"
		 "%s/image-%s", name, run->folder, name, number % threads, more,
		 run->folder, name);
}

static void add_devices(struct words *words, const struct run *run)
{
	if (run->kind == ARRIVAL) {
		/* What its drive is asked is in flight long enough. */
		add_device(words, run, "out", "drain=1,drive=delay:1000000:", 0);
		add_device(words, run, "in0", "drive=", 1);
		add_device(words, run, "in1", "drive=", 0);
		add_device(words, run, "op0", "drive=", 1);
		add_device(words, run, "op1", "drive=", 0);
		return;
	}
	add_device(words, run, "disk0", "drive=", 0);
	if (run->nr_clients > 1)
		add_device(words, run, "disk1", "drive=", 1);
}

static void make_words(struct words *words, const struct run *run)
{
	static const char *const first[] = {
		"outboard", "serve", "--watchdog", "0", "--log-level", "info",
		"--threads",
	};

	words->count = 0;
	for (unsigned i = 0; i < sizeof(first) / sizeof(first[0]); i++)
		strcpy(add_word(words), first[i]);
	snprintf(add_word(words), WORD_ROOM, "%u", threads);
	strcpy(add_word(words), "--control");
	snprintf(add_word(words), WORD_ROOM, "%s/control", run->folder);
	add_devices(words, run);
}

pid_t place_server(struct run *run)
{
	static struct words words;
	char log[FOLDER_ROOM + 8];
	pid_t pid;
	int fd, null;

	make_words(&words, run);
	snprintf(log, sizeof(log), "%s/log", run->folder);
	pid = fork();
	if (pid)
		return pid;
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	null = open("/dev/null", O_RDWR);
	dup2(null, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	execv(outboard, words.list);
	_exit(127);
}

/* A block of a number is full of it, so that what is read can be told. */
static void make_image(const struct run *run, const char *name)
{
	char path[FOLDER_ROOM + 32];
	uint8_t block[SESSION_BLOCK];
	int fd;

	snprintf(path, sizeof(path), "%s/image-%s", run->folder, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, IMAGE_SIZE))
		abort();
	for (unsigned i = 0; i < SESSION_OWED && run->kind == ARRIVAL; i++) {
		memset(block, (int)i + 1, sizeof(block));
		if (pwrite(fd, block, sizeof(block), i * sizeof(block)) !=
		    (ssize_t)sizeof(block))
			abort();
	}
	close(fd);
}

void place_images(const struct run *run)
{
	static const char *const names[NR_KINDS][5] = {
		[ALONE] = { "disk0" }, [PAIR] = { "disk0", "disk1" },
		[TOGETHER] = { "disk0", "disk1" },
		[ARRIVAL] = { "out", "in0", "in1", "op0", "op1" },
	};

	for (unsigned i = 0; i < 5 && names[run->kind][i]; i++)
		make_image(run, names[run->kind][i]);
}

/* -- successors ---------------------------------------------------------- */

/* Where in its memory a process's words are. */
static bool find_words(pid_t pid, unsigned long *from, unsigned long *to)
{
	char path[32], text[1024], *at;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	at = strrchr(text, ')');
	/* Fields 48 and 49; the one after the bracket is the third. */
	for (unsigned i = 2; at && i < 48; i++)
		at = strchr(at + 1, ' ');
	return at && sscanf(at, "%lu %lu", from, to) == 2 && *from < *to;
}

/* Every number of a thread has one digit, and keeps it. */
static void change_words(struct run *run, char *text, size_t len)
{
	unsigned count = 1 + (unsigned)(next_random(&run->random) % threads);
	static const char option[] = ",thread=", all[] = "--threads";

	for (size_t i = 0; i + sizeof(option) <= len; i++) {
		if (i + sizeof(all) < len && !memcmp(text + i, all, sizeof(all)))
			text[i + sizeof(all)] = (char)('0' + count);
		else if (!memcmp(text + i, option, sizeof(option) - 1))
			text[i + sizeof(option) - 1] = (char)('0' +
				next_random(&run->random) % count);
	}
}

void place_successor(struct run *run, pid_t pid)
{
	unsigned long from, to;
	char path[32], text[4096];
	ssize_t n;
	int fd;

	if (threads < 2 || !find_words(pid, &from, &to))
		return;
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	n = pread(fd, text, to - from < sizeof(text) ? to - from : sizeof(text),
		  (off_t)from);
	if (n > 0) {
		change_words(run, text, (size_t)n);
		if (pwrite(fd, text, (size_t)n, (off_t)from) != n)
			abort();
	}
	close(fd);
}
