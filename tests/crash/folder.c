// SPDX-License-Identifier: BSD-3-Clause
#include "folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void folder_make(char folder[FOLDER_ROOM], const char *name)
{
	const char *where = getenv("TMPDIR");

	snprintf(folder, FOLDER_ROOM, "%s/%s.XXXXXX",
		 where && strlen(where) < 40 ? where : "/tmp", name);
	if (!mkdtemp(folder))
		abort();
}

void folder_remove(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(folder);
}
