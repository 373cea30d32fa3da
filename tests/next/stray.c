// SPDX-License-Identifier: BSD-3-Clause
/*
 * A binary that is a bad successor, for tests/upgrade: what it does wrong is
 * its name, refuses, hangs or crashes, in the rehearsal; with -late, after a
 * good one, when it is to serve.  serves-briefly says that it serves, and
 * crashes.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "link/link.h"

static void crash(void)
{
	const struct rlimit none = { 0 };

	setrlimit(RLIMIT_CORE, &none);
	abort();
}

static void misbehave(struct ob_link *link, const char *how)
{
	if (!strcmp(how, "refuses"))
		ob_link_refused(link, "it is a stray");
	else if (!strcmp(how, "hangs"))
		for (;;)
			pause();
	else if (!strcmp(how, "serves-briefly"))
		ob_link_ready(link, "all is well");
	if (strcmp(how, "refuses"))
		crash();
	exit(1);
}

int main(void)
{
	static const char suffix[] = "-late";
	char path[4096], *name;
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	struct ob_link_start start;
	struct ob_link *link;
	bool late;

	if (len < 0 || ob_link_open(&link, NULL) || !link)
		return 1;
	path[len] = '\0';
	name = strrchr(path, '/') + 1;
	late = !strcmp(name, "serves-briefly");
	len = (ssize_t)(strlen(name) - strlen(suffix));
	if (len > 0 && !strcmp(name + len, suffix)) {
		name[len] = '\0';
		late = true;
	}
	while (!ob_link_wait(link, &start, NULL)) {
		if (start.rehearse != late)
			misbehave(link, name);
		ob_link_ready(link, "all is well");
	}
	return 1;
}
