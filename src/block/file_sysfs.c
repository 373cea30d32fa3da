// SPDX-License-Identifier: BSD-3-Clause
/*
 * What sysfs knows of an NVMe namespace: whether a character device is one, and which
 * block device is the same namespace's.  The names there are the kernel's, those in
 * /dev anybody's who may write there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "block/file.h"

#define MOST_NAME 32

/* Where a link of a character device leads: the last part of that. */
static bool follow(dev_t dev, const char *link, char name[MOST_NAME])
{
	char path[64], target[PATH_MAX], *last;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u%s", major(dev),
		 minor(dev), link);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	last = strrchr(target, '/');
	return last && snprintf(name, MOST_NAME, "%s", last + 1) < MOST_NAME;
}

bool file_is_nvme(const struct stat *st)
{
	char name[MOST_NAME];

	return S_ISCHR(st->st_mode) &&
		follow(st->st_rdev, "/subsystem", name) &&
		!strcmp(name, "nvme-generic");
}

/* What is called so in /dev must be what sysfs means. */
static bool is_right(int fd, const char *name)
{
	char path[96], text[32];
	unsigned major_nr, minor_nr;
	OB_CLEANUP_FD int dev = -1;
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/class/block/%s/dev", name);
	dev = open(path, O_RDONLY | O_CLOEXEC);
	n = dev < 0 ? -1 : read(dev, text, sizeof(text) - 1);
	if (n <= 0 || fstat(fd, &st) || !S_ISBLK(st.st_mode))
		return false;
	text[n] = '\0';
	return sscanf(text, "%u:%u", &major_nr, &minor_nr) == 2 &&
		st.st_rdev == makedev(major_nr, minor_nr);
}

/* Is that its name, of which only the last number is the character device's? */
static bool is_block_name(const char *name, unsigned last)
{
	unsigned number, found;
	int end = 0;

	return sscanf(name, "nvme%un%u%n", &number, &found, &end) == 2 &&
		!name[end] && found == last && end < MOST_NAME;
}

/*
 * Beside ng0n1, at the controller or the subsystem, is nvme0n1.  The first numbers are
 * not the same when a controller came back to a subsystem that was still there.
 */
static bool find_block(dev_t dev, char name[MOST_NAME])
{
	char own[MOST_NAME], path[64];
	const struct dirent *entry;
	unsigned last;
	bool found = false;
	DIR *dir;

	if (!follow(dev, "", own) || sscanf(own, "ng%*un%u", &last) != 1)
		return false;
	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/..", major(dev),
		 minor(dev));
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)))
		if ((found = is_block_name(entry->d_name, last)))
			strcpy(name, entry->d_name);
	if (dir)
		closedir(dir);
	return found;
}

int file_nvme_node(const struct file_drive *file)
{
	int alone = file->drive.info.readonly ? 0 : O_EXCL, fd;
	char name[MOST_NAME], path[64];
	struct stat st;

	if (fstat(file->fd, &st) || !find_block(st.st_rdev, name))
		return -ENOENT;
	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | alone);
	if (fd < 0)
		return -errno;
	if (is_right(fd, name))
		return fd;
	close(fd);
	return -ENOENT;
}
