// SPDX-License-Identifier: BSD-3-Clause
#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void ob_fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

int ob_fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

void ob_fds_close(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		ob_fd_close(&fds[i]);
}

void ob_cleanup_free(void *pointer_to_pointer)
{
	void **pp = pointer_to_pointer;
	int saved = errno;

	free(*pp);
	*pp = NULL;
	errno = saved;
}

int ob_memfd_create(const char *name, off_t size)
{
	OB_CLEANUP_FD int fd = -1;

	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		return -errno;
	return ob_fd_take(&fd);
}

int ob_fd_connect(const char *path, struct ob_err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	OB_CLEANUP_FD int fd = -1;

	if (strlen(path) >= sizeof(sun.sun_path))
		return ob_fail(err, ENAMETOOLONG, "%s: too long a path", path);
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof(sun)))
		return ob_fail(err, errno, "%s: %s", path, strerror(errno));
	return ob_fd_take(&fd);
}
