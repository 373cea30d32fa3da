// SPDX-License-Identifier: BSD-3-Clause
/*
 * The option ROM, read from a file once, so that no access waits for a disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "server/device_impl.h"

#define ROM_MIN 2048u			/* what a ROM BAR can say */
#define ROM_MAX (16u << 20)

static int read_all(int fd, uint8_t *buf, size_t len)
{
	ssize_t n;
	size_t at;

	for (at = 0; at < len; at += (size_t)n) {
		n = pread(fd, buf + at, len - at, (off_t)at);
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
	}
	return 0;
}

static int check_file(int fd, const char *path, size_t *len,
		      struct ob_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return ob_fail(err, errno, "rom %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return ob_fail(err, EINVAL, "rom %s: not a regular file", path);
	if (st.st_size <= 0 || st.st_size > ROM_MAX)
		return ob_fail(err, EINVAL, "rom %s: %lld bytes, must be 1 to %u",
			       path, (long long)st.st_size, ROM_MAX);
	*len = (size_t)st.st_size;
	return 0;
}

int ob_rom_load(struct ob_device *dev, const char *path, struct ob_err *err)
{
	OB_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	uint64_t size = ROM_MIN;
	size_t len = 0;
	void *rom;
	int r;

	if (fd < 0)
		return ob_fail(err, errno, "rom %s: %s", path, strerror(errno));
	r = check_file(fd, path, &len, err);
	if (r)
		return r;
	while (size < len)
		size *= 2;
	rom = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (rom == MAP_FAILED)
		return ob_fail(err, ENOMEM, "rom %s: out of memory", path);
	dev->rom = rom;
	dev->rom_size = size;
	r = read_all(fd, rom, len);
	return r ? ob_fail(err, -r, "rom %s: %s", path, strerror(-r)) : 0;
}

void ob_rom_free(struct ob_device *dev)
{
	if (dev->rom)
		munmap(dev->rom, dev->rom_size);
	dev->rom = NULL;
	dev->rom_size = 0;
}
