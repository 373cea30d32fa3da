// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is read of a QEMU and what is written to one, on a small machine: a function
 * with 256 bytes of configuration space, ports 0xcf8 and 0xcfc, an MSI-X table in
 * memory, and a monitor and a gdb stub in front of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/gdb.h"
#include "vmm/pci.h"
#include "vmm/repair.h"

#define BAR 0xfe000000u
#define TABLE 0x2000u
#define VECTORS 4u
#define ENTRY 16u

struct machine {
	int monitor, stub;		/* -1: none */
	pthread_t thread, stub_thread;
	uint8_t config[256];
	uint8_t table[VECTORS * ENTRY];
	uint32_t address;
	unsigned writes[64];		/* offsets, in their order */
	unsigned nr_writes, peeks_of_bar;
	bool deaf;			/* COMMAND keeps what it was */
};

static uint32_t port(struct machine *m)
{
	return m->address & 0xfc;
}

static void put(struct machine *m, unsigned at, unsigned width, uint32_t value)
{
	m->writes[m->nr_writes++ % 64] = at;
	if (m->deaf && at == 4)
		return;
	memcpy(m->config + at, &value, width);
}

static unsigned width_of(char letter)
{
	return letter == 'b' ? 1 : letter == 'h' ? 2 : 4;
}

static json_t *out(struct machine *m, const char *line)
{
	unsigned at, value;
	char letter;

	sscanf(line, "o/%c %x %x", &letter, &at, &value);
	if (at == 0xcf8)
		m->address = value;
	else
		put(m, port(m) + at - 0xcfc, width_of(letter), value);
	return json_string("");
}

static json_t *in(struct machine *m, const char *line)
{
	char text[64], letter;
	uint32_t value = 0;
	unsigned at;

	sscanf(line, "i/%c %x", &letter, &at);
	if (at == 0xcf8)
		value = m->address;
	else
		memcpy(&value, m->config + port(m) + at - 0xcfc,
		       width_of(letter));
	snprintf(text, sizeof(text), "portl[0x%04x] = 0x%08x\r\n", at, value);
	return json_string(text);
}

static json_t *examine(struct machine *m, const char *line)
{
	char text[1024] = "";
	unsigned count, at;
	uint32_t word;

	sscanf(line, "xp /%uxw %x", &count, &at);
	if (at == BAR) {
		m->peeks_of_bar++;
		return json_string("fe000000: 0x00000001\r\n");
	}
	if (at != BAR + TABLE || count != VECTORS * 4)
		return json_string("Cannot access memory\r\n");
	for (unsigned i = 0; i < count; i++) {
		memcpy(&word, m->table + 4 * i, 4);
		if (i % 4 == 0)
			sprintf(text + strlen(text), "%08x:", at + 4 * i);
		sprintf(text + strlen(text), " 0x%08x%s", word,
			i % 4 == 3 ? "\r\n" : "");
	}
	return json_string(text);
}

/* -- the stub ---------------------------------------------------------- */

static void poke(struct machine *m, const char *packet)
{
	unsigned at, len, byte;
	const char *data = strchr(packet, ':') + 1;

	sscanf(packet, "M%x,%x", &at, &len);
	assert_in_range(at, BAR + TABLE, BAR + TABLE + sizeof(m->table) - len);
	for (unsigned i = 0; i < len; i++) {
		sscanf(data + 2 * i, "%2x", &byte);
		m->table[at - BAR - TABLE + i] = (uint8_t)byte;
	}
}

static void *serve_stub(void *arg)
{
	struct machine *m = arg;
	char packet[8192];
	ssize_t n;

	while ((n = recv(m->stub, packet, sizeof(packet) - 1, 0)) > 0) {
		const char *ok = "+$OK#9a";
		char *at;

		packet[n] = '\0';
		at = strchr(packet, '$');
		if (!at)
			continue;
		if (at[1] == 'M')
			poke(m, at + 1);
		if (send(m->stub, ok, strlen(ok), 0) < 0)
			break;
	}
	close(m->stub);
	return NULL;
}

/* -- the monitor ------------------------------------------------------- */

static json_t *hmp(struct machine *m, const char *line)
{
	if (!strncmp(line, "o/", 2))
		return out(m, line);
	if (!strncmp(line, "i/", 2))
		return in(m, line);
	if (!strncmp(line, "xp", 2))
		return examine(m, line);
	if (!strcmp(line, "gdbserver chardev:outboard-gdb"))
		pthread_create(&m->stub_thread, NULL, serve_stub, m);
	return json_string("");
}

static json_t *pci(void)
{
	return json_pack("[{s:i, s:[{s:s, s:i, s:i, s:i}, {s:s, s:i, s:i, s:i, "
			 "s:{s:[{s:s, s:i, s:i, s:i}]}}]}]", "bus", 0,
			 "devices", "qdev_id", "other", "bus", 0, "slot", 1,
			 "function", 0, "qdev_id", "port0", "bus", 0, "slot", 2,
			 "function", 0, "pci_bridge", "devices", "qdev_id",
			 "disk0", "bus", 3, "slot", 4, "function", 1);
}

static void answer(struct machine *m, const char *line)
{
	json_t *request = json_loads(line, 0, NULL), *result = NULL, *reply;
	const char *name = NULL, *command = "";
	char *text;
	int id = 0;

	json_unpack(request, "{s:s, s?i, s?{s?s}}", "execute", &name, "id", &id,
		    "arguments", "command-line", &command);
	if (!strcmp(name, "human-monitor-command"))
		result = hmp(m, command);
	else if (!strcmp(name, "query-pci"))
		result = pci();
	else
		result = json_object();
	reply = json_pack("{s:o, s:i}", "return", result, "id", id);
	text = json_dumps(reply, JSON_COMPACT);
	dprintf(m->monitor, "%s\n", text);
	free(text);
	json_decref(reply);
	json_decref(request);
}

static void take_fd(struct machine *m, struct msghdr *msg)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(msg);

	if (control)
		memcpy(&m->stub, CMSG_DATA(control), sizeof(int));
}

static void *serve(void *arg)
{
	struct machine *m = arg;
	char line[8192], room[CMSG_SPACE(sizeof(int))];
	size_t got = 0;

	for (;;) {
		struct iovec iov = { line + got, 1 };
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room,
			.msg_controllen = sizeof(room),
		};

		if (recvmsg(m->monitor, &msg, 0) != 1)
			return NULL;
		take_fd(m, &msg);
		if (line[got++] != '\n')
			continue;
		line[got] = '\0';
		answer(m, line);
		got = 0;
	}
}

static struct ob_qmp *start(struct machine *m)
{
	static const char hello[] =
		"{\"QMP\": {\"version\": {\"qemu\": {\"major\": 11, "
		"\"minor\": 1, \"micro\": 3}}}}\n";
	struct ob_qmp *qmp = NULL;
	struct ob_err err = { 0 };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	m->monitor = pair[0];
	m->stub = -1;
	assert_int_equal(write(m->monitor, hello, strlen(hello)),
			 strlen(hello));
	pthread_create(&m->thread, NULL, serve, m);
	if (ob_qmp_open(pair[1], &qmp, &err))
		fail_msg("%s", err.msg);
	return qmp;
}

static void stop(struct machine *m, struct ob_qmp *qmp)
{
	ob_qmp_close(qmp);
	pthread_join(m->thread, NULL);
	if (m->stub_thread)
		pthread_join(m->stub_thread, NULL);
	close(m->monitor);
}

/* -- a device ---------------------------------------------------------- */

static void set16(uint8_t *config, unsigned at, unsigned value)
{
	config[at] = (uint8_t)value;
	config[at + 1] = (uint8_t)(value >> 8);
}

static void set32(uint8_t *config, unsigned at, uint32_t value)
{
	set16(config, at, value & 0xffff);
	set16(config, at + 2, value >> 16);
}

/* A memory BAR, INTx, power management, MSI, MSI-X; memory and DMA on. */
static void make_config(uint8_t config[256])
{
	memset(config, 0, 256);
	set32(config, 0x00, 0x00014f42);
	set16(config, 0x04, 0x0406);
	set16(config, 0x06, 0x0010);
	set32(config, 0x10, BAR | 4);
	config[0x34] = 0x40;
	config[0x3c] = 11;
	config[0x3d] = 1;
	set16(config, 0x40, 0x4801);		/* power management */
	set16(config, 0x48, 0x5805);		/* MSI */
	set16(config, 0x4a, 0x0080);
	set16(config, 0x58, 0x0011);		/* MSI-X */
	set16(config, 0x5a, 0x8000 | (VECTORS - 1));
	set32(config, 0x5c, TABLE);
}

static void fill_table(struct machine *m)
{
	for (unsigned i = 0; i < sizeof(m->table); i++)
		m->table[i] = (uint8_t)(i * 7 + 1);
}

static int position(const struct machine *m, unsigned offset)
{
	for (unsigned i = 0; i < m->nr_writes; i++)
		if (m->writes[i] == offset)
			return (int)i;
	return -1;
}

static void test_finds_it_behind_a_bridge(void **state)
{
	struct machine m = { 0 };
	struct ob_qmp *qmp = start(&m);
	struct ob_err err = { 0 };
	struct ob_pci at;

	(void)state;
	assert_int_equal(ob_pci_find(qmp, "disk0", &at, &err), 0);
	assert_int_equal(at.bus, 3);
	assert_int_equal(at.slot, 4);
	assert_int_equal(at.function, 1);
	assert_int_equal(ob_pci_find(qmp, "disk1", &at, &err), -ENOENT);
	stop(&m, qmp);
}

static void test_takes_and_puts(void **state)
{
	static struct ob_repair repair;
	struct machine from = { 0 }, to = { .address = 0x80001234 };
	struct ob_qmp *qmp = start(&from);
	struct ob_err err = { 0 };
	uint8_t config[256];
	struct ob_pci at;

	(void)state;
	make_config(config);
	fill_table(&from);
	assert_int_equal(ob_repair_take(qmp, config, &repair, &err), 0);
	assert_int_equal(repair.table_len, sizeof(from.table));
	assert_memory_equal(repair.table, from.table, sizeof(from.table));
	assert_int_equal(from.peeks_of_bar, 0);
	stop(&from, qmp);

	/* What a reset left. */
	make_config(to.config);
	set16(to.config, 4, 0);
	set32(to.config, 0x10, 0);
	to.config[0x3c] = 0;
	set16(to.config, 0x5a, VECTORS - 1);
	qmp = start(&to);
	assert_int_equal(ob_pci_find(qmp, "disk0", &at, &err), 0);
	if (ob_repair_put(&at, &repair, &err))
		fail_msg("%s", err.msg);
	stop(&to, qmp);
	assert_memory_equal(to.config, config, 256);
	assert_memory_equal(to.table, from.table, sizeof(from.table));
	assert_int_equal(to.address, 0x80001234);
	assert_true(position(&to, 0x10) < position(&to, 0x04));
	assert_true(position(&to, 0x04) < position(&to, 0x5a));
}

static void test_lowers_a_level_interrupt(void **state)
{
	static struct ob_repair repair;
	struct machine m = { 0 };
	struct ob_qmp *qmp = start(&m);
	struct ob_err err = { 0 };
	uint8_t config[256];

	(void)state;
	make_config(config);
	set16(config, 0x04, 0x0006);
	set16(config, 0x5a, VECTORS - 1);
	assert_int_equal(ob_repair_take(qmp, config, &repair, &err), 0);
	assert_true(m.peeks_of_bar > 0);
	stop(&m, qmp);
}

/* Its guest will write the table before it uses it. */
static void test_leaves_a_sleeping_device(void **state)
{
	static struct ob_repair repair;
	struct machine m = { 0 };
	struct ob_qmp *qmp = start(&m);
	struct ob_err err = { 0 };
	uint8_t config[256];

	(void)state;
	make_config(config);
	config[0x44] = 3;
	assert_int_equal(ob_repair_take(qmp, config, &repair, &err), 0);
	assert_int_equal(repair.table_len, 0);
	make_config(config);
	set16(config, 0x04, 0);
	assert_int_equal(ob_repair_take(qmp, config, &repair, &err), 0);
	assert_int_equal(repair.table_len, 0);
	stop(&m, qmp);
}

static void test_says_what_did_not_stay(void **state)
{
	static struct ob_repair repair;
	struct machine m = { .deaf = true };
	struct ob_qmp *qmp = start(&m);
	struct ob_err err = { 0 };
	struct ob_pci at;

	(void)state;
	make_config(repair.config);
	repair.table_len = 0;
	assert_int_equal(ob_pci_find(qmp, "disk0", &at, &err), 0);
	assert_int_equal(ob_repair_put(&at, &repair, &err), -EIO);
	assert_non_null(strstr(err.msg, "COMMAND"));
	stop(&m, qmp);
}

/* Capabilities that lead nowhere, in a circle, or out of it. */
static void test_survives_any_config(void **state)
{
	static struct ob_repair repair;
	struct machine m = { 0 };
	struct ob_qmp *qmp = start(&m);
	uint8_t config[256];
	uint32_t seed = 1;

	(void)state;
	for (unsigned turn = 0; turn < 2000; turn++) {
		for (unsigned i = 0; i < 256; i++) {
			seed = seed * 1103515245 + 12345;
			config[i] = (uint8_t)(seed >> 16);
		}
		config[6] |= 0x10;
		config[4] |= 2;
		ob_repair_take(qmp, config, &repair, NULL);
		assert_true(repair.table_len <= sizeof(repair.table));
	}
	stop(&m, qmp);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_it_behind_a_bridge),
		cmocka_unit_test(test_takes_and_puts),
		cmocka_unit_test(test_lowers_a_level_interrupt),
		cmocka_unit_test(test_leaves_a_sleeping_device),
		cmocka_unit_test(test_says_what_did_not_stay),
		cmocka_unit_test(test_survives_any_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
