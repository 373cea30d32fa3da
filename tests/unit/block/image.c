// SPDX-License-Identifier: BSD-3-Clause
#include <fcntl.h>
#include <unistd.h>

#include "image.h"

struct file_drive *file_of(struct rig *rig)
{
	return (struct file_drive *)rig->drive;
}

void start(struct rig *rig, void **state)
{
	seam = (struct seam){ 0 };
	rig_start(rig, state);
}

void start_with_image(struct rig *rig, void **state)
{
	start(rig, state);
	rig_make_image(rig, rig_disk(), SIZE);
	rig_open_image(rig, false);
}

void read_image(struct rig *rig, void *buf)
{
	int fd = open(rig->path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, buf, SIZE, 0), SIZE);
	close(fd);
}

void pretend(struct rig *rig, const struct way *way)
{
	struct file_drive *file = file_of(rig);

	if (way->buffered) {
		fcntl(file->fd, F_SETFL, 0);
		file->direct = false;
		file->mem_align = file->offset_align = 1;
	} else if (file->direct && file->offset_align < way->block) {
		/* A medium of larger blocks behaves the same but for this. */
		file->offset_align = way->block;
		file->drive.info.block_size = way->block;
	}
}
