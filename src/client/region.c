// SPDX-License-Identifier: BSD-3-Clause
/*
 * Register access.  A request is made on the stack and goes out in one send;
 * posted writes are packed, PACK_BYTES at a time.
 */
#include <errno.h>
#include <string.h>

#include "client/client.h"

#define ACCESS_HEAD (OB_HDR_SIZE + OB_REGION_ACCESS_SIZE)
#define PACK_BYTES (32u << 10)

static int put_access(uint8_t *head, uint32_t region, uint64_t offset,
		      uint32_t count)
{
	struct ob_region_access access = {
		.offset = offset, .region = region, .count = count,
	};
	struct ob_writer wr;

	ob_writer_init(&wr, head, OB_REGION_ACCESS_SIZE);
	return ob_put_region_access(&wr, &access);
}

static int check_range(uint64_t offset, size_t len, struct ob_err *err)
{
	uint64_t end;

	if (len && !__builtin_add_overflow(offset, len, &end))
		return 0;
	return ob_fail(err, EINVAL, "an access of %zu bytes at 0x%llx", len,
		       (unsigned long long)offset);
}

static int check_count(const struct ob_msg *reply, size_t len,
		       struct ob_err *err)
{
	struct ob_region_access access;
	struct ob_reader rd;
	int r;

	ob_reader_init(&rd, reply->payload, reply->len);
	r = ob_get_region_access(&rd, &access);
	if (r)
		return r;
	if (access.count == len)
		return 0;
	return ob_fail(err, EIO, "the server did %u of %zu bytes",
		       access.count, len);
}

/* No answer to an access has fds. */
static int call_access(struct ob_client *client, uint16_t cmd,
		       struct iovec *iov, unsigned nr_iov,
		       struct ob_msg *reply, struct ob_err *err)
{
	int r;

	ob_conn_bytes_only(client->conn, true);
	r = client_call(client, cmd, iov, nr_iov, NULL, 0,
			OB_REGION_ACCESS_SIZE, reply, err);
	ob_conn_bytes_only(client->conn, false);
	return r;
}

static int read_some(struct ob_client *client, uint32_t region,
		     uint64_t offset, void *buf, uint32_t len,
		     struct ob_err *err)
{
	uint8_t head[ACCESS_HEAD];
	struct iovec iov = { head, sizeof(head) };
	struct ob_msg reply;
	int r;

	r = put_access(head + OB_HDR_SIZE, region, offset, len);
	if (r)
		return r;
	r = call_access(client, OB_CMD_REGION_READ, &iov, 1, &reply, err);
	if (!r)
		r = check_count(&reply, len, err);
	if (!r && reply.len < OB_REGION_ACCESS_SIZE + (size_t)len)
		r = ob_fail(err, EPROTO, "the reply's data is cut short");
	if (!r)
		memcpy(buf, reply.payload + OB_REGION_ACCESS_SIZE, len);
	if (reply.hdr.size)
		ob_msg_finish(&reply);
	return r;
}

int ob_client_read(struct ob_client *client, uint32_t region, uint64_t offset,
		   void *buf, size_t len, struct ob_err *err)
{
	uint8_t *at = buf;
	int r = check_range(offset, len, err);

	while (!r && len) {
		uint32_t n = client->version.max_data_xfer_size;

		if (n > len)
			n = (uint32_t)len;
		r = read_some(client, region, offset, at, n, err);
		at += n;
		offset += n;
		len -= n;
	}
	return r;
}

static int write_some(struct ob_client *client, uint32_t region,
		      uint64_t offset, const void *buf, uint32_t len,
		      struct ob_err *err)
{
	uint8_t head[ACCESS_HEAD];
	struct iovec iov[2] = { { head, sizeof(head) }, { (void *)buf, len } };
	struct ob_msg reply;
	int r;

	r = put_access(head + OB_HDR_SIZE, region, offset, len);
	if (r)
		return r;
	r = call_access(client, OB_CMD_REGION_WRITE, iov, 2, &reply, err);
	if (!r)
		r = check_count(&reply, len, err);
	if (reply.hdr.size)
		ob_msg_finish(&reply);
	return r;
}

int ob_client_write(struct ob_client *client, uint32_t region,
		    uint64_t offset, const void *buf, size_t len,
		    struct ob_err *err)
{
	const uint8_t *at = buf;
	int r = check_range(offset, len, err);

	while (!r && len) {
		uint32_t n = client->version.max_data_xfer_size;

		if (n > len)
			n = (uint32_t)len;
		r = write_some(client, region, offset, at, n, err);
		at += n;
		offset += n;
		len -= n;
	}
	return r;
}

static int check_writes(const struct ob_client_reg_write *writes,
			unsigned count, struct ob_err *err)
{
	for (unsigned i = 0; i < count; i++)
		if (writes[i].len < 1 || writes[i].len > 8)
			return ob_fail(err, EINVAL,
				       "write %u has %u bytes, not 1 to 8", i,
				       writes[i].len);
	return 0;
}

/* The value's len low bytes, moved to where the wire has its first byte. */
static uint64_t wire_value(const struct ob_client_reg_write *write)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return write->value << (64 - 8 * write->len);
#else
	return write->value;
#endif
}

/* One whole posted message, header included, unless there is no room. */
static int pack_post(struct ob_client *client, struct ob_writer *wr,
		     const struct ob_client_reg_write *write)
{
	size_t size = ACCESS_HEAD + write->len;
	struct ob_hdr hdr = {
		.id = client_new_id(client), .cmd = OB_CMD_REGION_WRITE,
		.size = (uint32_t)size,
		.flags = OB_HDR_COMMAND | OB_HDR_NO_REPLY,
	};
	struct ob_region_access access = {
		.offset = write->offset, .region = write->region,
		.count = write->len,
	};
	uint64_t value = wire_value(write);
	int r;

	if (ob_writer_len(wr) + size > PACK_BYTES)
		return -ENOSPC;
	if ((r = ob_hdr_put(wr, &hdr)) ||
	    (r = ob_put_region_access(wr, &access)))
		return r;
	return ob_put_bytes(wr, &value, write->len);
}

int ob_client_post(struct ob_client *client,
		   const struct ob_client_reg_write *writes, unsigned count,
		   struct ob_err *err)
{
	uint8_t pack[PACK_BYTES];
	struct ob_writer wr;
	unsigned i = 0;
	int r = check_writes(writes, count, err);

	while (!r && i < count) {
		ob_writer_init(&wr, pack, sizeof(pack));
		while (i < count && !pack_post(client, &wr, &writes[i]))
			i++;
		r = client_send_bytes(client, pack, ob_writer_len(&wr), err);
	}
	return r;
}

static int pack_multi(struct ob_writer *wr,
		      const struct ob_client_reg_write *writes, unsigned count)
{
	int r = ob_put_u64(wr, count);

	for (unsigned i = 0; !r && i < count; i++) {
		if ((r = ob_put_u64(wr, writes[i].offset)) ||
		    (r = ob_put_u32(wr, writes[i].region)) ||
		    (r = ob_put_u32(wr, writes[i].len)))
			break;
		r = ob_put_u64(wr, wire_value(&writes[i]));
	}
	return r;
}

static int multi_done(const struct ob_msg *reply, unsigned count,
		      uint64_t *done, struct ob_err *err)
{
	struct ob_reader rd;
	uint64_t n = 0;
	int r;

	ob_reader_init(&rd, reply->payload, reply->len);
	r = ob_get_u64(&rd, &n);
	if (done)
		*done = n;
	if (!r && n != count)
		r = ob_fail(err, EIO, "the server did %llu of %u writes",
			    (unsigned long long)n, count);
	return r;
}

int ob_client_write_multi(struct ob_client *client,
			  const struct ob_client_reg_write *writes,
			  unsigned count, bool posted, uint64_t *done,
			  struct ob_err *err)
{
	uint8_t head[OB_HDR_SIZE];
	uint8_t body[8 + OB_CLIENT_MAX_MULTI * OB_WRITE_ENTRY_SIZE];
	struct iovec iov[2] = { { head, sizeof(head) }, { body, 0 } };
	struct ob_writer wr;
	struct ob_msg reply;
	int r;

	if (!client->version.write_multiple)
		return ob_fail(err, EOPNOTSUPP,
			       "the server does not take several writes in "
			       "one message");
	if (!count || count > OB_CLIENT_MAX_MULTI)
		return ob_fail(err, EINVAL, "1 to %u writes, not %u",
			       OB_CLIENT_MAX_MULTI, count);
	r = check_writes(writes, count, err);
	if (r)
		return r;
	ob_writer_init(&wr, body, sizeof(body));
	r = pack_multi(&wr, writes, count);
	if (r)
		return ob_fail(err, -r, "cannot encode");
	iov[1].iov_len = ob_writer_len(&wr);
	if (posted)
		return client_send(client, OB_CMD_REGION_WRITE_MULTI,
				   OB_HDR_COMMAND | OB_HDR_NO_REPLY, iov, 2,
				   NULL, 0, NULL, err);
	r = client_call(client, OB_CMD_REGION_WRITE_MULTI, iov, 2, NULL, 0, 8,
			&reply, err);
	if (!r)
		r = multi_done(&reply, count, done, err);
	if (reply.hdr.size)
		ob_msg_finish(&reply);
	return r;
}
