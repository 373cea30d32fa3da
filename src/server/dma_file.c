// SPDX-License-Identifier: BSD-3-Clause
/*
 * The files behind the client's memory, and our windows into them.
 *
 * Clients send the same memfd again and again, as a new fd each time; inode
 * and access mode tell that it is the same.  A file is mapped whole when it
 * is first needed, and later mappings of it share that window as long as they
 * lie inside; so the number of maps is not bounded by the kernel's limit of
 * mappings for a process, and no offset needs to suit our page size (R23).
 * Rights are checked at each access, by the flags of the DMA mapping.
 *
 * A window is guarded (R7): if its owner cuts the file, the access fails, as
 * does every later one through this window; a new map gets a new one.  It
 * stays out of core dumps (R32).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "server/device_impl.h"

#define FUSE_MAGIC 0x65735546

/*
 * Memory of a VM is a memfd, a hugetlbfs or tmpfs file, now and then a file
 * on a disk.  Behind a FUSE file could be the client itself, and a page fault
 * would wait for it.
 */
static int examine(int fd, struct ob_dma_file *key)
{
	struct statfs fs;
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if ((flags & O_PATH) || !S_ISREG(st.st_mode) ||
	    fs.f_type == FUSE_MAGIC)
		return -EINVAL;
	key->dev = st.st_dev;
	key->ino = st.st_ino;
	key->access = flags & O_ACCMODE;
	return 0;
}

static struct ob_dma_file *add(struct ob_dma *dma,
			       const struct ob_dma_file *key, int fd,
			       uint32_t id)
{
	struct ob_dma_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->dev = key->dev;
	file->ino = key->ino;
	file->access = key->access;
	file->fd = fd;
	file->id = id;
	file->next = dma->files;
	file->pprev = &dma->files;
	if (file->next)
		file->next->pprev = &file->next;
	dma->files = file;
	return file;
}

/* With the keeper before an entry of the table says so. */
static int add_new(struct ob_device *dev, const struct ob_dma_file *key,
		   int *fd, struct ob_dma_file **out)
{
	uint32_t id = dev->dma.next_file_id;
	int r = ob_dev_keep(dev, *fd, "dma/%u", id);

	if (r)
		return r;
	*out = add(&dev->dma, key, *fd, id);
	if (!*out)
		return -ENOMEM;
	dev->dma.next_file_id++;
	ob_fd_take(fd);
	return 0;
}

int ob_dma_file_get(struct ob_device *dev, int *fd, struct ob_dma_file **out)
{
	struct ob_dma_file key = { .fd = -1 }, *file;
	int r = examine(*fd, &key);

	if (r)
		return r;
	for (file = dev->dma.files; file; file = file->next)
		if (file->dev == key.dev && file->ino == key.ino &&
		    file->access == key.access)
			break;
	if (!file && (r = add_new(dev, &key, fd, &file)))
		return r;
	file->refs++;
	*out = file;
	return 0;
}

int ob_dma_file_adopt(struct ob_device *dev, uint32_t id,
		      struct ob_dma_file **out)
{
	struct ob_dma_file key = { .fd = -1 }, *file;
	int fd, r;

	for (file = dev->dma.files; file && file->id != id; file = file->next)
		;
	if (!file) {
		fd = ob_dev_kept(dev, "dma/%u", id);
		if (fd < 0)
			return fd;
		r = examine(fd, &key);
		file = r ? NULL : add(&dev->dma, &key, fd, id);
		if (!file) {
			ob_fd_close(&fd);
			return r ? r : -ENOMEM;
		}
		if (id >= dev->dma.next_file_id)
			dev->dma.next_file_id = id + 1;
	}
	file->refs++;
	*out = file;
	return 0;
}

/* The keeper has it until the table has stopped saying so. */
void ob_dma_file_put(struct ob_device *dev, struct ob_dma_file *file)
{
	if (--file->refs)
		return;
	*file->pprev = file->next;
	if (file->next)
		file->next->pprev = file->pprev;
	ob_fd_close(&file->fd);
	if (dev->kept) {
		file->next = dev->dma.over;
		dev->dma.over = file;
		dev->unsettled = true;
		return;
	}
	free(file);
}

void ob_dma_files_settle(struct ob_device *dev)
{
	struct ob_dma_file *file;

	while ((file = dev->dma.over)) {
		dev->dma.over = file->next;
		ob_dev_unkeep(dev, "dma/%u", file->id);
		free(file);
	}
}

void ob_dma_files_free(struct ob_dma *dma)
{
	struct ob_dma_file *file;

	while ((file = dma->over)) {
		dma->over = file->next;
		free(file);
	}
}

static int check_extent(const struct ob_dma_file *file, uint64_t offset,
			uint64_t size, uint64_t *file_size)
{
	uint64_t end;
	struct stat st;

	if (fstat(file->fd, &st) < 0)
		return -errno;
	*file_size = (uint64_t)st.st_size;
	if (__builtin_add_overflow(offset, size, &end) || end > *file_size)
		return -EINVAL;
	return 0;
}

int ob_dma_file_check(const struct ob_dma_file *file, uint64_t offset,
		      uint64_t size, bool write)
{
	uint64_t file_size;

	if (file->access == O_WRONLY || (write && file->access == O_RDONLY))
		return -EACCES;
	return check_extent(file, offset, size, &file_size);
}

static struct ob_window *find_window(struct ob_dma_file *file, uint64_t offset,
				     uint64_t size, int prot)
{
	struct ob_window *win;

	for (win = file->windows; win; win = win->next)
		if (win->prot == prot && offset >= win->offset &&
		    !atomic_load(&win->guard.lost) &&
		    size <= win->guard.len &&
		    offset - win->offset <= win->guard.len - size)
			return win;
	return NULL;
}

static int map_window(struct ob_dma_file *file, struct ob_window *win,
		      uint64_t offset, uint64_t len)
{
	void *addr;
	int r;

	if (offset > INT64_MAX || len > SIZE_MAX / 2)
		return -EINVAL;
	addr = mmap(NULL, len, win->prot, MAP_SHARED | MAP_NORESERVE, file->fd,
		    (off_t)offset);
	if (addr == MAP_FAILED)
		return -errno;
	madvise(addr, len, MADV_DONTDUMP);
	win->offset = offset;
	win->guard.addr = addr;
	win->guard.len = len;
	r = ob_guard_add(&win->guard);
	if (r)
		munmap(addr, len);
	return r;
}

/* The whole file; if that is too much to ask, the part that is needed. */
static int open_window(struct ob_dma_file *file, struct ob_window *win,
		       uint64_t offset, uint64_t size, uint64_t file_size)
{
	uint64_t mask = (uint64_t)sysconf(_SC_PAGESIZE) - 1;
	uint64_t start = offset & ~mask;

	if (map_window(file, win, 0, (file_size + mask) & ~mask) == 0)
		return 0;
	return map_window(file, win, start,
			  (offset + size - start + mask) & ~mask);
}

int ob_window_get(struct ob_dma_file *file, uint64_t offset, uint64_t size,
		  int prot, struct ob_window **out)
{
	struct ob_window *win;
	uint64_t file_size;
	int r = check_extent(file, offset, size, &file_size);

	if (r)
		return r;
	win = find_window(file, offset, size, prot);
	if (!win) {
		win = calloc(1, sizeof(*win));
		if (!win)
			return -ENOMEM;
		win->prot = prot;
		r = open_window(file, win, offset, size, file_size);
		if (r) {
			free(win);
			return r;
		}
		win->next = file->windows;
		win->pprev = &file->windows;
		if (win->next)
			win->next->pprev = &win->next;
		file->windows = win;
	}
	win->refs++;
	*out = win;
	return 0;
}

void ob_window_put(struct ob_window *win)
{
	if (--win->refs)
		return;
	*win->pprev = win->next;
	if (win->next)
		win->next->pprev = win->pprev;
	ob_guard_remove(&win->guard);
	munmap(win->guard.addr, win->guard.len);
	free(win);
}
