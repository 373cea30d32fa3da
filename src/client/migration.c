// SPDX-License-Identifier: BSD-3-Clause
/*
 * One device's migration: DEVICE_FEATURE, MIG_DATA_READ, MIG_DATA_WRITE.
 *
 * Servers differ, and a client that wants to work takes their answers as they
 * are: a SET may be answered by nothing or by an echo; the length of data is
 * what the reply's size field says, though the message may be padded beyond;
 * an error may carry a payload; an unknown feature is ENOTTY, EINVAL or some
 * other word for no.
 *
 * Where the server can tell why it refused (outboard_error_text), it is asked
 * at once, since the next request of anybody replaces the text.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/client.h"

#define LAST_WORDS 1024u	/* looks at the twin socket */

_Static_assert((int)OB_CLIENT_NR_MIG_STATES == (int)OB_NR_MIG_STATES &&
	       (int)OB_CLIENT_STOP_COPY == (int)OB_MIG_STOPPED_COPY &&
	       (int)OB_CLIENT_PRE_COPY_P2P == (int)OB_MIG_PRECOPY_P2P,
	       "the states of client.h are those of the wire");

static const char *const state_names[OB_CLIENT_NR_MIG_STATES] = {
	[OB_CLIENT_ERROR] = "ERROR",
	[OB_CLIENT_STOP] = "STOP",
	[OB_CLIENT_RUNNING] = "RUNNING",
	[OB_CLIENT_STOP_COPY] = "STOP_COPY",
	[OB_CLIENT_RESUMING] = "RESUMING",
	[OB_CLIENT_RUNNING_P2P] = "RUNNING_P2P",
	[OB_CLIENT_PRE_COPY] = "PRE_COPY",
	[OB_CLIENT_PRE_COPY_P2P] = "PRE_COPY_P2P",
};

const char *ob_client_mig_state_name(enum ob_client_mig_state state)
{
	return (unsigned)state < OB_CLIENT_NR_MIG_STATES ? state_names[state]
							 : "unknown";
}

int client_feature(struct ob_client *client, uint32_t flags, const void *data,
		   size_t len, size_t room, size_t min_reply,
		   struct ob_msg *reply, struct ob_err *err)
{
	size_t argsz = OB_FEATURE_SIZE + (room > len ? room : len);
	uint8_t head[OB_HDR_SIZE + OB_FEATURE_SIZE];
	struct iovec iov[2] = {
		{ head, sizeof(head) }, { (void *)data, len },
	};
	struct ob_feature wire = { .flags = flags };
	struct ob_writer wr;
	int r;

	reply->hdr.size = 0;
	if (argsz > UINT32_MAX)
		return ob_fail(err, EINVAL, "a feature of %zu bytes", argsz);
	wire.argsz = (uint32_t)argsz;
	ob_writer_init(&wr, head + OB_HDR_SIZE, OB_FEATURE_SIZE);
	r = ob_put_feature(&wr, &wire);
	if (r)
		return ob_fail(err, -r, "cannot encode");
	return client_call(client, OB_CMD_DEVICE_FEATURE, iov, len ? 2 : 1,
			   NULL, 0,
			   min_reply ? OB_FEATURE_SIZE + min_reply : 0, reply,
			   err);
}

/* A reader of what follows struct ob_feature in a checked answer. */
static void read_answer(struct ob_reader *rd, const struct ob_msg *reply)
{
	ob_reader_init(rd, reply->payload + OB_FEATURE_SIZE,
		       reply->len - OB_FEATURE_SIZE);
}

static void finish(struct ob_msg *reply)
{
	if (reply->hdr.size)
		ob_msg_finish(reply);
}

/* A SET whose answer says nothing of interest. */
static int set_feature(struct ob_client *client, uint32_t feature,
		       const void *data, size_t len, struct ob_err *err)
{
	struct ob_msg reply;
	int r = client_feature(client, feature | OB_FEATURE_SET, data, len, 0,
			       0, &reply, err);

	if (r)
		client_add_error_text(client, &reply, err);
	finish(&reply);
	return r;
}

/* It may end on a screen. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

void client_add_error_text(struct ob_client *client,
			   const struct ob_msg *failed, struct ob_err *err)
{
	char text[OB_ERROR_TEXT_SIZE + 1] = "";
	struct ob_msg reply;
	size_t len;

	if (!err || !client->error_text || !failed->hdr.size ||
	    !(failed->hdr.flags & OB_HDR_ERROR))
		return;
	if (!client_feature(client, OB_FEATURE_ERROR_TEXT | OB_FEATURE_GET,
			    NULL, 0, OB_ERROR_TEXT_SIZE, 1, &reply, NULL)) {
		len = reply.len - OB_FEATURE_SIZE;
		memcpy(text, reply.payload + OB_FEATURE_SIZE,
		       len < OB_ERROR_TEXT_SIZE ? len : OB_ERROR_TEXT_SIZE);
	}
	finish(&reply);
	make_printable(text);
	/* They say more than the error's name, and there is little room. */
	if (*text)
		snprintf(err->msg, sizeof(err->msg), "the server refuses: %s",
			 text);
}

/* No server says "no such feature" quite like another. */
static bool means_no(int r)
{
	return r == -ENOTTY || r == -EINVAL || r == -EOPNOTSUPP ||
	       r == -ENOSYS || r == -ENOENT;
}

int client_probe(struct ob_client *client, uint32_t feature, bool *there,
		 struct ob_err *err)
{
	struct ob_msg reply;
	int r = client_feature(client, feature | OB_FEATURE_PROBE, NULL, 0, 0,
			       0, &reply, err);

	finish(&reply);
	*there = !r;
	if (means_no(r) && err)
		err->msg[0] = 0;
	return means_no(r) ? 0 : r;
}

static int get_flags(struct ob_client *client, uint64_t *flags,
		     struct ob_err *err)
{
	struct ob_msg reply;
	struct ob_reader rd;
	int r = client_feature(client, OB_FEATURE_MIGRATION | OB_FEATURE_GET,
			       NULL, 0, OB_MIG_FLAGS_SIZE, OB_MIG_FLAGS_SIZE,
			       &reply, err);

	*flags = 0;
	if (!r) {
		read_answer(&rd, &reply);
		r = ob_get_u64(&rd, flags);
	}
	finish(&reply);
	if (means_no(r) && err)
		err->msg[0] = 0;
	return means_no(r) ? 0 : r;
}

int ob_client_mig_info(struct ob_client *client, struct ob_client_mig *info,
		       struct ob_err *err)
{
	uint64_t flags;
	bool logging;
	int r;

	*info = (struct ob_client_mig){ 0 };
	if ((r = get_flags(client, &flags, err)) ||
	    (r = client_probe(client, OB_FEATURE_LOG_START | OB_FEATURE_SET,
			      &logging, err)))
		return r;
	info->logging = logging;
	info->stop_copy = flags & OB_MIG_STOP_COPY;
	if (!info->stop_copy)
		return 0;
	info->p2p = flags & OB_MIG_P2P;
	info->pre_copy = flags & OB_MIG_PRE_COPY;
	info->precopy_info = info->pre_copy && client->precopy_info;
	return 0;
}

/* The second half, an fd that vfio-user does not use, may be missing. */
int ob_client_mig_get(struct ob_client *client,
		      enum ob_client_mig_state *state, struct ob_err *err)
{
	struct ob_msg reply;
	struct ob_reader rd;
	uint32_t value = 0;
	int r = client_feature(client,
			       OB_FEATURE_MIG_DEVICE_STATE | OB_FEATURE_GET,
			       NULL, 0, OB_MIG_DEVICE_STATE_SIZE,
			       sizeof(value), &reply, err);

	if (!r) {
		read_answer(&rd, &reply);
		r = ob_get_u32(&rd, &value);
	}
	finish(&reply);
	if (r)
		return r;
	if (value >= OB_NR_MIG_STATES)
		return ob_fail(err, EPROTO,
			       "the server is in migration state %u, which "
			       "there is not", value);
	*state = (enum ob_client_mig_state)value;
	return 0;
}

/*
 * A wait of its own for one call.  The socket's own limit stays as it is:
 * when that is over, wait.c sleeps for the rest.
 */
static int be_patient(struct ob_client *client)
{
	int before = client->timeout_ms;

	if (before >= 0 && before < OB_CLIENT_MIG_TIMEOUT_MS)
		client->timeout_ms = OB_CLIENT_MIG_TIMEOUT_MS;
	return before;
}

static bool stands_still(enum ob_client_mig_state state)
{
	return state == OB_CLIENT_STOP || state == OB_CLIENT_STOP_COPY ||
	       state == OB_CLIENT_RESUMING;
}

/*
 * What the device wrote by message before it stood still was sent before the
 * answer, but not on the same socket: it has come, and is served now.
 */
static int empty_twin(struct ob_client *client, struct ob_err *err)
{
	struct ob_err why = { 0 };
	unsigned i;
	int r = client->twin != NULL;

	for (i = 0; r > 0 && i < LAST_WORDS; i++)
		r = ob_client_poll(client, 0, &why);
	if (r > 0)
		return ob_fail(err, EPROTO, "the server goes on asking for memory");
	return r ? ob_fail(err, -r, "%s", why.msg) : 0;
}

int ob_client_mig_set(struct ob_client *client,
		      enum ob_client_mig_state state, struct ob_err *err)
{
	struct ob_mig_device_state wire = { (uint32_t)state, -1 };
	uint8_t bytes[OB_MIG_DEVICE_STATE_SIZE];
	int before = be_patient(client), r;
	struct ob_writer wr;

	ob_writer_init(&wr, bytes, sizeof(bytes));
	r = ob_put_mig_device_state(&wr, &wire);
	if (!r)
		r = set_feature(client, OB_FEATURE_MIG_DEVICE_STATE, bytes,
				sizeof(bytes), err);
	client->timeout_ms = before;
	if (!r && stands_still(state))
		r = empty_twin(client, err);
	if (r)
		ob_err_prefix(err, "cannot enter %s",
			      ob_client_mig_state_name(state));
	return r;
}

static int put_mig_data(uint8_t *head, size_t argsz, size_t size)
{
	struct ob_mig_data wire = { (uint32_t)argsz, (uint32_t)size };
	struct ob_writer wr;

	ob_writer_init(&wr, head, OB_MIG_DATA_SIZE);
	return ob_put_mig_data(&wr, &wire);
}

/* The size field counts; the message may be longer than it says (padding). */
static int take_data(const struct ob_msg *reply, size_t len,
		     const void **data, size_t *got, struct ob_err *err)
{
	struct ob_mig_data wire;
	struct ob_reader rd;
	int r;

	ob_reader_init(&rd, reply->payload, reply->len);
	r = ob_get_mig_data(&rd, &wire);
	if (r)
		return r;
	if (wire.size > len || wire.size > ob_reader_left(&rd))
		return ob_fail(err, EPROTO,
			       "the reply to MIG_DATA_READ claims %u bytes, "
			       "has %zu, and %zu were asked for", wire.size,
			       ob_reader_left(&rd), len);
	*data = reply->payload + OB_MIG_DATA_SIZE;
	*got = wire.size;
	return 0;
}

static int read_patiently(struct ob_client *client, size_t len,
			  struct ob_msg *reply, struct ob_err *err)
{
	uint8_t head[OB_HDR_SIZE + OB_MIG_DATA_SIZE];
	struct iovec iov = { head, sizeof(head) };
	int before, r;

	reply->hdr.size = 0;
	if (len > client->version.max_data_xfer_size)
		return ob_fail(err, EINVAL,
			       "%zu bytes in one read, %u are agreed", len,
			       client->version.max_data_xfer_size);
	r = put_mig_data(head + OB_HDR_SIZE, OB_MIG_DATA_SIZE + len, len);
	if (r)
		return ob_fail(err, -r, "cannot encode");
	before = be_patient(client);
	r = client_call(client, OB_CMD_MIG_DATA_READ, &iov, 1, NULL, 0,
			OB_MIG_DATA_SIZE, reply, err);
	if (r)
		client_add_error_text(client, reply, err);
	client->timeout_ms = before;
	return r;
}

/* A reply's payload outlives ob_msg_finish, which is about its fds. */
int ob_client_mig_read_view(struct ob_client *client, size_t len,
			    const void **data, size_t *got,
			    struct ob_err *err)
{
	struct ob_msg reply;
	int r = read_patiently(client, len, &reply, err);

	if (!r)
		r = take_data(&reply, len, data, got, err);
	finish(&reply);
	return r;
}

int ob_client_mig_read(struct ob_client *client, void *buf, size_t len,
		       size_t *got, struct ob_err *err)
{
	const void *data;
	int r = ob_client_mig_read_view(client, len, &data, got, err);

	if (!r)
		memcpy(buf, data, *got);
	return r;
}

static int write_some(struct ob_client *client, const void *buf, size_t len,
		      struct ob_err *err)
{
	uint8_t head[OB_HDR_SIZE + OB_MIG_DATA_SIZE];
	struct iovec iov[2] = { { head, sizeof(head) }, { (void *)buf, len } };
	struct ob_msg reply;
	int before, r;

	r = put_mig_data(head + OB_HDR_SIZE, OB_MIG_DATA_SIZE + len, len);
	if (r)
		return ob_fail(err, -r, "cannot encode");
	before = be_patient(client);
	r = client_call(client, OB_CMD_MIG_DATA_WRITE, iov, len ? 2 : 1, NULL,
			0, 0, &reply, err);
	if (r)
		client_add_error_text(client, &reply, err);
	client->timeout_ms = before;
	finish(&reply);
	return r;
}

int ob_client_mig_write(struct ob_client *client, const void *buf, size_t len,
			struct ob_err *err)
{
	const uint8_t *at = buf;
	int r;

	do {
		size_t n = client->version.max_data_xfer_size;

		n = n < len ? n : len;
		r = write_some(client, at, n, err);
		at += n;
		len -= n;
	} while (!r && len);
	return r;
}

int ob_client_mig_size(struct ob_client *client, uint64_t *bytes,
		       struct ob_err *err)
{
	struct ob_msg reply;
	struct ob_reader rd;
	int r = client_feature(client,
			       OB_FEATURE_MIG_DATA_SIZE | OB_FEATURE_GET,
			       NULL, 0, sizeof(*bytes), sizeof(*bytes),
			       &reply, err);

	if (!r) {
		read_answer(&rd, &reply);
		r = ob_get_u64(&rd, bytes);
	}
	finish(&reply);
	return r;
}

int ob_client_mig_precopy(struct ob_client *client, uint64_t *initial,
			  uint64_t *dirty, struct ob_err *err)
{
	struct ob_precopy_info wire;
	struct ob_msg reply;
	struct ob_reader rd;
	int r;

	if (!client->precopy_info)
		return ob_fail(err, EOPNOTSUPP,
			       "the server does not tell about pre-copy");
	r = client_feature(client, OB_FEATURE_PRECOPY_INFO | OB_FEATURE_GET,
			   NULL, 0, OB_PRECOPY_INFO_SIZE, OB_PRECOPY_INFO_SIZE,
			   &reply, err);
	if (!r) {
		read_answer(&rd, &reply);
		r = ob_get_precopy_info(&rd, &wire);
	}
	finish(&reply);
	if (r)
		return r;
	*initial = wire.initial_bytes;
	*dirty = wire.dirty_bytes;
	return 0;
}
