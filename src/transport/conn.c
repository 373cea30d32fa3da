// SPDX-License-Identifier: BSD-3-Clause
/* Lifetime of a connection, and of a message that was taken from it. */
#include "transport/conn_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"

int ob_conn_create(int fd, size_t max_message, struct ob_conn **out)
{
	struct ob_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return -ENOMEM;
	conn->buf = malloc(BUF_SIZE);
	if (!conn->buf) {
		free(conn);
		return -ENOMEM;
	}
	conn->cap = BUF_SIZE;
	conn->fd = fd;
	conn->max_message = max_message;
	conn->last = &conn->first;
	*out = conn;
	return 0;
}

void ob_conn_destroy(struct ob_conn *conn)
{
	if (!conn)
		return;
	if (conn->kept)
		(void)kept_settle(conn);
	conn_drop_slots(conn);
	conn_drop_unsent(conn);
	ob_fd_close(&conn->fd);
	if (!conn->kept)
		free(conn->buf);
	free(conn->kept);
	free(conn);
}

int ob_conn_fd(const struct ob_conn *conn)
{
	return conn->fd;
}

void ob_conn_set_max_message(struct ob_conn *conn, size_t max_message)
{
	if (conn->kept && max_message > conn->kept->memory.inbox_size)
		max_message = conn->kept->memory.inbox_size;
	conn->max_message = max_message;
}

void ob_conn_refuse_sockets(struct ob_conn *conn)
{
	conn->refuse_sockets = true;
}

void ob_conn_bytes_only(struct ob_conn *conn, bool on)
{
	conn->bytes_only = on;
}

int ob_msg_take_fd(struct ob_msg *msg, size_t index)
{
	return index < msg->nr_fds ? ob_fd_take(&msg->fds[index]) : -1;
}

void ob_msg_finish(struct ob_msg *msg)
{
	ob_fds_close(msg->fds, msg->nr_fds);
	msg->nr_fds = 0;
}
