// SPDX-License-Identifier: BSD-3-Clause
/* Negotiation, dispatch, framing, errors. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *json_of(struct rig *rig)
{
	assert_true(rig->len > 5);
	assert_int_equal(rig->reply[rig->len - 1], 0);
	return (const char *)rig->reply + 4;
}

static void version_without_json_gets_all_capabilities(void **arg)
{
	struct rig *rig = rig_start("", NULL);
	const char *json;

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(rig->reply[0] | rig->reply[1] << 8, 0);
	assert_int_equal(rig->reply[2] | rig->reply[3] << 8, 1);
	json = json_of(rig);
	assert_non_null(strstr(json, "\"max_msg_fds\":16"));
	assert_non_null(strstr(json, "\"max_data_xfer_size\":1048576"));
	assert_non_null(strstr(json, "\"max_dma_maps\":65535"));
	assert_non_null(strstr(json, "\"pgsizes\":4096"));
	assert_non_null(strstr(json, "\"write_multiple\":false"));
	assert_null(strstr(json, "twin_socket"));
	assert_int_equal(rig->nr_fds, 0);
	rig_end(rig);
}

static void version_narrows_what_is_offered(void **arg)
{
	struct rig *rig = rig_start("", NULL);
	const char *json;

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig,
		"{\"capabilities\":{\"max_data_xfer_size\":65536,"
		"\"max_dma_maps\":10,\"pgsizes\":2101248,\"write_multiple\":true,"
		"\"migration\":{\"pgsize\":4096},\"twin_socket\":"
		"{\"supported\":true},\"max_msg_fds\":16}}"), 0);
	json = json_of(rig);
	assert_non_null(strstr(json, "\"max_data_xfer_size\":65536"));
	assert_non_null(strstr(json, "\"max_dma_maps\":10"));
	assert_non_null(strstr(json, "\"pgsizes\":2101248"));
	assert_non_null(strstr(json, "\"write_multiple\":true"));
	assert_non_null(strstr(json, "\"fd_index\":0"));
	assert_int_equal(rig->nr_fds, 1);
	rig_end(rig);
}

static void version_minor_is_the_smaller(void **arg)
{
	const uint8_t older[4] = { 0, 0, 0, 0 }, newer[4] = { 0, 0, 9, 0 };
	struct rig *rig = rig_start("", NULL);

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_call(rig, VERSION, older, 4), 0);
	assert_int_equal(rig->reply[2], 0);
	rig_hang_up(rig);
	rig_connect(rig);
	assert_int_equal(rig_call(rig, VERSION, newer, 4), 0);
	assert_int_equal(rig->reply[2], 1);
	rig_end(rig);
}

static void another_major_is_refused_and_the_next_client_served(void **arg)
{
	const uint8_t body[4] = { 1, 0, 0, 0 };
	struct rig *rig = rig_start("", NULL);

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_call(rig, VERSION, body, 4), EPROTONOSUPPORT);
	assert_false(rig_receive(rig));
	rig_hang_up(rig);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	rig_end(rig);
}

static void version_is_first_and_only_once(void **arg)
{
	uint32_t info[4] = { 16 };
	struct rig *rig = rig_start("", NULL);

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_call(rig, GET_INFO, info, sizeof(info)), EINVAL);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(rig_version(rig, NULL), EINVAL);
	assert_int_equal(rig_call(rig, GET_INFO, info, sizeof(info)), 0);
	rig_end(rig);
}

static void r12_hostile_json_is_an_error_reply(void **arg)
{
	static const char *const texts[] = {
		"{", "[]", "nonsense", "{\"capabilities\":7}",
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{\"max_data_xfer_size\":\"x\"}}",
		"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
	};
	struct rig *rig = rig_start("", NULL);
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		rig_connect(rig);
		assert_int_equal(rig_version(rig, texts[i]), EINVAL);
		rig_hang_up(rig);
	}
	rig_connect(rig);
	assert_int_equal(rig_version(rig, "{}"), 0);
	rig_end(rig);
}

/* Every number that a command could have, with bodies of several lengths. */
static void r3_unknown_or_malformed_is_an_error_reply_never_the_end(void **arg)
{
	static const uint8_t junk[64] = { 0xff, 0xff, 0xff, 0xff };
	static const size_t lengths[] = { 0, 1, 7, 16, 64 };
	struct rig *rig = rig_ready();
	unsigned cmd, i;

	(void)arg;
	for (cmd = 0; cmd < 40; cmd++)
		for (i = 0; i < 5; i++)
			if (cmd != RESET)
				rig_call(rig, cmd, junk, lengths[i]);
	assert_int_equal(rig_call(rig, 0, NULL, 0), ENOSYS);
	assert_int_equal(rig_call(rig, 0xffff, NULL, 0), ENOSYS);
	assert_int_equal(rig_call(rig, DMA_READ, junk, 16), ENOSYS);
	assert_int_equal(rig_call(rig, RETIRED, junk, 16), ENOSYS);
	assert_int_equal(rig_call(rig, FEATURE, (uint32_t[]){ 8, 0x20000 }, 8),
			 ENOTTY);
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	rig_end(rig);
}

static void r3_a_message_of_no_type_is_an_error_reply(void **arg)
{
	struct rig *rig = rig_ready();

	(void)arg;
	rig_send(rig, RESET, 7, NULL, 0, NULL, 0);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.flags, REPLY | ERROR);
	assert_int_equal(rig->hdr.error, EINVAL);
	rig_end(rig);
}

static void a_reply_that_nobody_asked_for_is_ignored(void **arg)
{
	struct rig *rig = rig_ready();

	(void)arg;
	rig_send(rig, DMA_READ, REPLY, NULL, 0, NULL, 0);
	rig_send(rig, RESET, REPLY | ERROR, NULL, 0, NULL, 0);
	assert_true(rig_silent(rig));
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	rig_end(rig);
}

static void r4_no_reply_is_honoured_for_success_and_error(void **arg)
{
	struct { uint64_t offset; uint32_t region, count, value; } write = {
		0, 0, 4, 0xabcd
	};
	struct rig *rig = rig_ready();
	unsigned cmd;

	(void)arg;
	rig_send(rig, REGION_WRITE, NO_REPLY, &write, 20, NULL, 0);
	for (cmd = 0; cmd < 25; cmd++)
		rig_send(rig, cmd, NO_REPLY, &write, 20, NULL, 0);
	assert_true(rig_silent(rig));
	assert_int_equal(rig_state(rig)->regs[0], 0xabcd);
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	rig_end(rig);
}

static void r4_ids_are_echoed_even_if_they_repeat(void **arg)
{
	struct rig *rig = rig_ready();
	unsigned i;

	(void)arg;
	for (i = 0; i < 3; i++) {
		rig->id = 0xffff;	/* becomes 0 */
		assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
		assert_int_equal(rig->hdr.id, 0);
	}
	rig_end(rig);
}

/* Clients read as many bytes as a success would have. */
static void r37_errors_are_as_long_as_successes(void **arg)
{
	struct { uint64_t offset; uint32_t region, count; } access = {
		0x10000, 0, 4000
	};
	struct { uint32_t argsz, flags; uint64_t addr, size; } unmap = {
		24, 0, 0x1000, 0x1000
	};
	uint32_t region[8] = { 32, 0, 99 }, irq[4] = { 16, 0, 99 };
	struct rig *rig = rig_ready();

	(void)arg;
	assert_int_equal(rig_call(rig, REGION_READ, &access, 16), EINVAL);
	assert_int_equal(rig->len, 16 + 4000);
	access.count = 1 << 20;
	assert_int_equal(rig_call(rig, REGION_READ, &access, 16), EINVAL);
	assert_int_equal(rig->len, 16 + (1 << 20));
	access.count = UINT32_MAX;	/* beyond what was agreed: bounded */
	assert_int_equal(rig_call(rig, REGION_READ, &access, 16), EINVAL);
	assert_int_equal(rig->len, 16 + (1 << 20));
	access.count = 0;
	assert_int_equal(rig_call(rig, REGION_WRITE, &access, 16), EINVAL);
	assert_int_equal(rig->len, 16);
	assert_int_equal(rig_call(rig, DMA_UNMAP, &unmap, 24), ENOENT);
	assert_int_equal(rig->len, 24);
	assert_int_equal(rig_call(rig, REGION_INFO, region, 32), EINVAL);
	assert_int_equal(rig->len, 32);
	assert_int_equal(rig_call(rig, IRQ_INFO, irq, 16), EINVAL);
	assert_int_equal(rig->len, 16);
	rig_end(rig);
}

static void framing_errors_end_only_this_connection(void **arg)
{
	static const uint32_t sizes[] = { 0, 15, 1u << 30, UINT32_MAX };
	struct rig *rig = rig_start("", NULL);
	unsigned i;

	(void)arg;
	for (i = 0; i < 4; i++) {
		struct hdr hdr = { 1, RESET, sizes[i], 0, 0 };

		rig_connect(rig);
		assert_int_equal(rig_version(rig, NULL), 0);
		assert_int_equal(send(rig->fd, &hdr, sizeof(hdr), 0),
				 sizeof(hdr));
		assert_false(rig_receive(rig));
		rig_hang_up(rig);
	}
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	rig_end(rig);
}

static void r5_a_byte_at_a_time_is_the_same_message(void **arg)
{
	struct { struct hdr hdr; uint64_t offset; uint32_t region, count; } m = {
		{ 77, REGION_READ, 32, 0, 0 }, 0, CONFIG, 4
	};
	struct rig *rig = rig_ready();
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(m); i++) {
		assert_true(rig_silent(rig));
		assert_int_equal(send(rig->fd, (char *)&m + i, 1, 0), 1);
	}
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.id, 77);
	assert_int_equal(rig->len, 20);
	rig_end(rig);
}

/*
 * A client that sends and does not read: the server keeps one answer and
 * stops reading; when the client reads at last, every answer is there.
 */
static void expect_log(int log, const char *what)
{
	char text[4096];
	ssize_t n = pread(log, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = 0;
	if (ftruncate(log, 0) || lseek(log, 0, SEEK_SET) || !strstr(text, what))
		fail_msg("\"%s\" does not say \"%s\"", text, what);
}

/* Of a batch that went wrong in the middle nobody else tells. */
static void the_log_says_what_was_refused_and_why(void **arg)
{
	struct {
		uint64_t count;
		struct { uint64_t offset; uint32_t region, len; char data[8]; } e[2];
	} multi = { 2, { { 4, 0, 4, "" }, { 8, 9, 4, "" } } };
	struct { uint32_t argsz, flags, index, start, count; } irqs = {
		20, 0x24, 2, 68, 5
	};
	uint32_t info[8] = { 32, 0, 77 };
	int real = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC);
	struct rig *rig = rig_start("", NULL);

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig,
		"{\"capabilities\":{\"write_multiple\":true}}"), 0);
	dup2(log, STDERR_FILENO);
	assert_int_equal(rig_call(rig, WRITE_MULTI, &multi, sizeof(multi)), 0);
	expect_log(log, "entry 1: no 4 bytes at 0x8 of region 9");
	assert_int_equal(rig_unmap(rig, 0x5000, 0x1000, 0), ENOENT);
	expect_log(log, "DMA_UNMAP (3) refused: 0x1000 bytes at 0x5000");
	assert_int_equal(rig_call(rig, SET_IRQS, &irqs, sizeof(irqs)), EINVAL);
	expect_log(log, "index 2, 5 from 68, 0 fds");
	assert_int_equal(rig_call(rig, REGION_INFO, info, sizeof(info)), EINVAL);
	expect_log(log, "index 77, argsz 32");
	assert_int_equal(rig_call(rig, DMA_MAP, info, 20), EINVAL);
	expect_log(log, "20 bytes");
	dup2(real, STDERR_FILENO);
	close(real);
	close(log);
	rig_end(rig);
}

static void take_a_millisecond(struct ob_device *dev, uint64_t offset)
{
	(void)dev;
	(void)offset;
	usleep(1000);
}

/* One read brings them all, but a turn ends long before the last. */
static void r5_slow_requests_leave_others_their_turn(void **arg)
{
	struct { uint64_t offset; uint32_t region, count, value; } body = {
		0, 0, 4, 1
	};
	struct rig *rig = rig_ready();
	struct test_seen *seen = rig_seen(rig);
	unsigned i;

	(void)arg;
	rig_settle(rig);
	seen->on_write = take_a_millisecond;
	for (i = 0; i < 200; i++)
		rig_send(rig, REGION_WRITE, NO_REPLY, &body, 20, NULL, 0);
	while (seen->writes == 0)
		assert_int_equal(ob_loop_turn(rig->loop, true), 0);
	assert_in_range(seen->writes, 1, 100);
	rig_settle(rig);
	assert_int_equal(seen->writes, 200);
	rig_end(rig);
}

static void r11_what_a_gone_client_left_does_not_hold_up_the_next(void **arg)
{
	struct { uint64_t offset; uint32_t region, count, value; } body = {
		0, 0, 4, 1
	};
	struct rig *rig = rig_ready();
	struct test_seen *seen = rig_seen(rig);
	unsigned i;

	(void)arg;
	rig_settle(rig);
	seen->on_write = take_a_millisecond;
	for (i = 0; i < 200; i++)
		rig_send(rig, REGION_WRITE, NO_REPLY, &body, 20, NULL, 0);
	close(rig->fd);
	rig->fd = -1;
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_in_range(seen->writes, 1, 100);
	rig_end(rig);
}

static void r5_a_client_that_does_not_read_gets_it_all_later(void **arg)
{
	struct { struct hdr hdr; uint64_t offset; uint32_t region, count; } m = {
		{ 0, REGION_READ, 32, 0, 0 }, 0, CONFIG, 4096
	};
	struct rig *rig = rig_ready();
	unsigned sent = 0, got;

	(void)arg;
	for (;;) {
		m.hdr.id = (uint16_t)sent;
		if (send(rig->fd, &m, sizeof(m), MSG_DONTWAIT) < 0)
			break;
		sent++;
		rig_settle(rig);
		assert_true(sent < 100000);
	}
	for (got = 0; got < sent; got++) {
		assert_true(rig_receive(rig));
		assert_int_equal(rig->hdr.id, (uint16_t)got);
		assert_int_equal(rig->len, 16 + 4096);
	}
	assert_true(rig_silent(rig));
	rig_end(rig);
}

static void r1_stray_fds_are_closed(void **arg)
{
	uint8_t body[64] = { 0 };
	int fds[100];
	struct rig *rig = rig_start("", NULL);
	unsigned i, cmd, n, before = count_fds();

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	for (i = 0; i < 100; i++)
		assert_true((fds[i] = eventfd(0, EFD_CLOEXEC)) >= 0);
	for (cmd = 0; cmd < 20; cmd++)
		for (n = 1; n <= 100; n += 33) {
			rig_send(rig, cmd, 0, body, sizeof(body), fds, n);
			assert_true(rig_receive(rig));
		}
	for (i = 0; i < 100; i++)
		close(fds[i]);
	rig_hang_up(rig);
	assert_int_equal(count_fds(), before);
	rig_end(rig);
}

/* A client that hands us its own end, and goes: the end must still be seen. */
static void r1_a_client_cannot_keep_its_connection_open(void **arg)
{
	uint32_t body[5] = { 20, 0x24, 2, 0, 1 };
	struct rig *rig = rig_ready();
	unsigned i;

	(void)arg;
	for (i = 1; i <= 3; i++) {
		rig_call_fds(rig, SET_IRQS, body, 20, &rig->fd, 1);
		rig_hang_up(rig);
		assert_int_equal(rig_seen(rig)->gone, i);
		rig_connect(rig);
		assert_int_equal(rig_version(rig, NULL), 0);
	}
	rig_end(rig);
}

static void one_stray_fd_is_forgiven_sixteen_are_not(void **arg)
{
	uint32_t info[4] = { 16 };
	struct rig *rig = rig_ready();
	int fds[16], i;

	(void)arg;
	for (i = 0; i < 16; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(rig_call_fds(rig, GET_INFO, info, 16, fds, 1), 0);
	assert_int_equal(rig_call_fds(rig, GET_INFO, info, 16, fds, 16),
			 EINVAL);
	assert_int_equal(rig_call_fds(rig, GET_INFO, info, 16, NULL, 0), 0);
	for (i = 0; i < 16; i++)
		close(fds[i]);
	rig_end(rig);
}

static void state_outlives_the_client(void **arg)
{
	uint32_t value = 0x1234, back = 0;
	struct rig *rig = rig_ready();

	(void)arg;
	assert_int_equal(rig_write(rig, 0, 8, &value, 4), 0);
	rig_set_config(rig, 0x3c, 0x0b, 1);
	rig_hang_up(rig);
	assert_int_equal(rig_seen(rig)->gone, 1);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(rig_read(rig, 0, 8, &back, 4), 0);
	assert_int_equal(back, value);
	assert_int_equal(rig_config(rig, 0x3c, 1), 0x0b);
	rig_end(rig);
}

/* Everything a client left in the socket counts, then its end. */
static void posted_writes_before_hanging_up_are_done(void **arg)
{
	struct { uint64_t offset; uint32_t region, count, value; } write = {
		12, 0, 4, 0x77
	};
	struct rig *rig = rig_ready();

	(void)arg;
	rig_send(rig, REGION_WRITE, NO_REPLY, &write, 20, NULL, 0);
	rig_hang_up(rig);
	assert_int_equal(rig_state(rig)->regs[3], 0x77);
	assert_int_equal(rig_seen(rig)->gone, 1);
	rig_end(rig);
}

static void many_posted_writes_arrive_in_order(void **arg)
{
	struct {
		struct hdr hdr; uint64_t offset; uint32_t region, count, value;
	} __attribute__((packed)) m[1000];
	struct rig *rig = rig_ready();
	unsigned i;

	(void)arg;
	for (i = 0; i < 1000; i++) {
		m[i].hdr = (struct hdr){ 0, REGION_WRITE, 36, NO_REPLY, 0 };
		m[i].offset = i % 64 * 4;
		m[i].region = 0;
		m[i].count = 4;
		m[i].value = i;
	}
	assert_int_equal(send(rig->fd, m, sizeof(m), 0), sizeof(m));
	assert_true(rig_silent(rig));
	assert_int_equal(rig_seen(rig)->writes, 1000);
	for (i = 1000 - 64; i < 1000; i++)
		assert_int_equal(rig_state(rig)->regs[i % 64], i);
	rig_end(rig);
}

static void a_loop_that_never_sleeps_serves_as_well(void **arg)
{
	uint32_t value = 5, back = 0;
	struct rig *rig = rig_start_busy("");
	int i;

	(void)arg;
	for (i = 0; i < 2; i++) {
		rig_connect(rig);
		assert_int_equal(rig_version(rig, NULL), 0);
		assert_int_equal(rig_write(rig, 0, 0, &value, 4), 0);
		assert_int_equal(rig_read(rig, 0, 0, &back, 4), 0);
		assert_int_equal(back, 5);
		rig_hang_up(rig);
		assert_int_equal(rig_seen(rig)->gone, i + 1);
	}
	rig_end(rig);
}

static void a_polling_model_and_its_client_share_the_loop(void **arg)
{
	uint32_t back = 0;
	struct rig *rig = rig_ready();
	unsigned polls;

	(void)arg;
	ob_dev_poll(rig->dev, true, true);
	assert_int_equal(rig_read(rig, 0, 0, &back, 4), 0);
	assert_true(rig_seen(rig)->polls > 0);
	ob_dev_poll(rig->dev, false, false);
	polls = rig_seen(rig)->polls;
	assert_int_equal(rig_read(rig, 0, 0, &back, 4), 0);
	assert_int_equal(rig_seen(rig)->polls, polls);

	/* on again, and the client goes: nothing is polled for nobody */
	ob_dev_poll(rig->dev, true, true);
	rig_hang_up(rig);
	polls = rig_seen(rig)->polls;
	rig_settle(rig);
	assert_int_equal(rig_seen(rig)->polls, polls);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_true(rig_seen(rig)->polls > polls);
	rig_end(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_without_json_gets_all_capabilities),
		cmocka_unit_test(version_narrows_what_is_offered),
		cmocka_unit_test(version_minor_is_the_smaller),
		cmocka_unit_test(another_major_is_refused_and_the_next_client_served),
		cmocka_unit_test(version_is_first_and_only_once),
		cmocka_unit_test(r12_hostile_json_is_an_error_reply),
		cmocka_unit_test(r3_unknown_or_malformed_is_an_error_reply_never_the_end),
		cmocka_unit_test(r3_a_message_of_no_type_is_an_error_reply),
		cmocka_unit_test(a_reply_that_nobody_asked_for_is_ignored),
		cmocka_unit_test(r4_no_reply_is_honoured_for_success_and_error),
		cmocka_unit_test(r4_ids_are_echoed_even_if_they_repeat),
		cmocka_unit_test(r37_errors_are_as_long_as_successes),
		cmocka_unit_test(framing_errors_end_only_this_connection),
		cmocka_unit_test(r5_a_byte_at_a_time_is_the_same_message),
		cmocka_unit_test(r11_what_a_gone_client_left_does_not_hold_up_the_next),
		cmocka_unit_test(the_log_says_what_was_refused_and_why),
		cmocka_unit_test(r5_slow_requests_leave_others_their_turn),
		cmocka_unit_test(r5_a_client_that_does_not_read_gets_it_all_later),
		cmocka_unit_test(r1_stray_fds_are_closed),
		cmocka_unit_test(r1_a_client_cannot_keep_its_connection_open),
		cmocka_unit_test(one_stray_fd_is_forgiven_sixteen_are_not),
		cmocka_unit_test(state_outlives_the_client),
		cmocka_unit_test(posted_writes_before_hanging_up_are_done),
		cmocka_unit_test(many_posted_writes_arrive_in_order),
		cmocka_unit_test(a_loop_that_never_sleeps_serves_as_well),
		cmocka_unit_test(a_polling_model_and_its_client_share_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
