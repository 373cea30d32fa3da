// SPDX-License-Identifier: BSD-3-Clause
/*
 * The order at the destination: BARs and the plain registers, COMMAND, which maps
 * the BARs, the MSI-X table, which is behind one of them, then the capabilities,
 * which enable interrupts with what is in the table.  The server has these values
 * already, and takes the writes for what they are.
 *
 * A guest that has memory decoding off or the device asleep reaches no table, and
 * will write all of it before it uses it again, so none is taken then.
 */
#include "vmm/repair.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "vmm/gdb.h"

enum {
	COMMAND = 0x04, CACHE_LINE = 0x0c, LATENCY = 0x0d, BARS = 0x10,
	NR_BARS = 6, ROM = 0x30, CAPS = 0x34, LINE = 0x3c, PIN = 0x3d,
	STATUS = 0x06,
	COMMAND_MEMORY = 1 << 1, COMMAND_NO_INTX = 1 << 10,
	STATUS_CAPS = 1 << 4,
	CAP_PM = 0x01, CAP_MSI = 0x05, CAP_MSIX = 0x11,
	MSI_ENABLE = 1 << 0, MSI_64 = 1 << 7, MSI_MASKS = 1 << 8,
	MSIX_ENABLE = 1 << 15, MSIX_SIZE = 0x7ff,
	BAR_IO = 1 << 0, BAR_TYPE = 3 << 1, BAR_64 = 2 << 1,
	ENTRY = 16,
};

static uint16_t get16(const uint8_t *config, unsigned at)
{
	return (uint16_t)(config[at] | config[at + 1] << 8);
}

static uint32_t get32(const uint8_t *config, unsigned at)
{
	return get16(config, at) | (uint32_t)get16(config, at + 2) << 16;
}

/* Where a capability is; 0: there is none.  room: bytes it needs. */
static unsigned find_cap(const uint8_t *config, uint8_t id, unsigned room)
{
	unsigned at = config[CAPS] & ~3u;

	if (!(get16(config, STATUS) & STATUS_CAPS))
		return 0;
	for (unsigned i = 0; i < 48 && at >= 0x40; i++) {
		if (config[at] == id)
			return at + room <= OB_REPAIR_CONFIG ? at : 0;
		at = config[at + 1] & ~3u;
	}
	return 0;
}

static bool is_awake(const uint8_t *config)
{
	unsigned pm = find_cap(config, CAP_PM, 8);

	return !pm || !(get16(config, pm + 4) & 3);
}

static bool has_memory(const uint8_t *config)
{
	return get16(config, COMMAND) & COMMAND_MEMORY && is_awake(config);
}

static bool uses_msi(const uint8_t *config)
{
	unsigned msi = find_cap(config, CAP_MSI, 10);
	unsigned msix = find_cap(config, CAP_MSIX, 12);

	return (msi && get16(config, msi + 2) & MSI_ENABLE) ||
	       (msix && get16(config, msix + 2) & MSIX_ENABLE);
}

static bool uses_intx(const uint8_t *config)
{
	return config[PIN] && !uses_msi(config) &&
	       !(get16(config, COMMAND) & COMMAND_NO_INTX);
}

/* 0: none, or no memory. */
static uint64_t bar_address(const uint8_t *config, unsigned bar)
{
	uint32_t low = get32(config, BARS + 4 * bar);
	uint64_t high = 0;

	if (low & BAR_IO)
		return 0;
	if ((low & BAR_TYPE) == BAR_64 && bar < NR_BARS - 1)
		high = get32(config, BARS + 4 * bar + 4);
	return high << 32 | (low & ~0xfu);
}

/* The table's address and size; *len 0: there is none to be reached. */
static uint64_t find_table(const uint8_t *config, size_t *len)
{
	unsigned msix = find_cap(config, CAP_MSIX, 12);
	uint32_t where = msix ? get32(config, msix + 4) : 0;
	uint64_t bar = 0;

	if (msix && has_memory(config) && (where & 7) < NR_BARS)
		bar = bar_address(config, where & 7);
	*len = bar ? ((get16(config, msix + 2) & MSIX_SIZE) + 1u) * ENTRY : 0;
	return bar + (where & ~7u);
}

/* -- the source -------------------------------------------------------- */

/* "00fee000: 0x00000001 0x00000002 ...", line after line. */
static int parse_words(const char *text, uint8_t *buf, size_t len)
{
	size_t done = 0;

	for (const char *at = text; (at = strpbrk(at, ": ")); ) {
		char *end;
		uint32_t word;

		at++;
		if (strncmp(at, "0x", 2))
			continue;
		word = (uint32_t)strtoul(at, &end, 16);
		if (done == len)
			return -EPROTO;
		for (unsigned i = 0; i < 4; i++)
			buf[done++] = (uint8_t)(word >> 8 * i);
		at = end;
	}
	return done == len ? 0 : -EPROTO;
}

static int peek(struct ob_qmp *qmp, uint64_t addr, uint8_t *buf, size_t len,
		struct ob_err *err)
{
	OB_CLEANUP_FREE char *said = NULL;
	int r = ob_qmp_hmp(qmp, &said, err, "xp /%zuxw %#" PRIx64, len / 4,
			   addr);

	if (!r && parse_words(said, buf, len))
		r = ob_fail(err, EIO, "QEMU cannot read at %#" PRIx64
			    ": %.60s", addr, said);
	return r;
}

/*
 * QEMU takes an access to the device for the end of its level interrupt: the line
 * goes down, and up again when the device says so, here or elsewhere.  The
 * device's last eventfd may wait in QEMU's main loop behind the request that makes
 * the access, and behind the next one; it cannot behind the third.
 */
static int lower_intx(struct ob_qmp *qmp, const uint8_t *config,
		      struct ob_err *err)
{
	uint64_t addr = 0;
	uint8_t word[4];
	int r = 0;

	if (!uses_intx(config) || !has_memory(config))
		return 0;
	for (unsigned bar = 0; bar < NR_BARS && !addr; bar++)
		addr = bar_address(config, bar);
	for (unsigned i = 0; addr && i < 3 && !r; i++)
		r = peek(qmp, addr, word, sizeof(word), err);
	return r;
}

int ob_repair_take(struct ob_qmp *qmp, const uint8_t config[OB_REPAIR_CONFIG],
		   struct ob_repair *out, struct ob_err *err)
{
	uint64_t table;
	int r = lower_intx(qmp, config, err);

	memcpy(out->config, config, OB_REPAIR_CONFIG);
	table = find_table(config, &out->table_len);
	if (!r && out->table_len)
		r = peek(qmp, table, out->table, out->table_len, err);
	if (r)
		ob_err_prefix(err, "what QEMU has of the device");
	return r;
}

/* -- the destination --------------------------------------------------- */

/* A step that failed makes those after it nothing. */
struct puts {
	struct ob_pci *pci;
	const uint8_t *config;
	struct ob_err *err;
	int r;
};

static void put(struct puts *p, unsigned at, unsigned width)
{
	uint32_t value = width == 1 ? p->config[at] :
			 width == 2 ? get16(p->config, at) :
				      get32(p->config, at);

	if (!p->r)
		p->r = ob_pci_write(p->pci, at, width, value, p->err);
}

/* What was reset is 0 already. */
static void put_set(struct puts *p, unsigned at, unsigned width)
{
	for (unsigned i = 0; i < width; i++)
		if (p->config[at + i]) {
			put(p, at, width);
			return;
		}
}

/* And reads it back. */
static void put_surely(struct puts *p, unsigned at, unsigned width,
		       const char *what)
{
	uint32_t value = width == 2 ? get16(p->config, at)
				    : get32(p->config, at), found;

	put(p, at, width);
	if (!p->r)
		p->r = ob_pci_read(p->pci, at, width, &found, p->err);
	if (!p->r && found != value)
		p->r = ob_fail(p->err, EIO, "%s is %#" PRIx32 " and stays %#"
			       PRIx32 " in QEMU", what, value, found);
}

static void put_header(struct puts *p)
{
	put_surely(p, BARS, 4, "the first BAR");
	for (unsigned i = 1; i < NR_BARS; i++)
		put_set(p, BARS + 4 * i, 4);
	put_set(p, ROM, 4);
	put_set(p, CACHE_LINE, 1);
	put_set(p, LATENCY, 1);
	put_set(p, LINE, 1);
	put_surely(p, COMMAND, 2, "COMMAND");
}

static void put_table(struct puts *p, const struct ob_repair *repair)
{
	struct ob_gdb *gdb;
	uint64_t addr;
	size_t len;

	addr = find_table(p->config, &len);
	if (p->r || !repair->table_len || len != repair->table_len)
		return;
	p->r = ob_gdb_open(p->pci->qmp, &gdb, p->err);
	if (p->r)
		return;
	p->r = ob_gdb_write(gdb, addr, repair->table, len, p->err);
	ob_gdb_close(gdb);
}

/* Message, then masks, then the enable. */
static void put_msi(struct puts *p)
{
	unsigned msi = find_cap(p->config, CAP_MSI, 24), data;
	uint16_t control;

	if (!msi)
		return;
	control = get16(p->config, msi + 2);
	put_set(p, msi + 4, 4);
	if (control & MSI_64)
		put_set(p, msi + 8, 4);
	data = msi + (control & MSI_64 ? 12 : 8);
	put_set(p, data, 2);
	if (control & MSI_MASKS)
		put_set(p, data + 4, 4);
	if (control & MSI_ENABLE)
		put_surely(p, msi + 2, 2, "MSI's control");
}

static void put_caps(struct puts *p)
{
	unsigned msix = find_cap(p->config, CAP_MSIX, 12);
	unsigned pm = find_cap(p->config, CAP_PM, 8);

	put_msi(p);
	if (msix)
		put_surely(p, msix + 2, 2, "MSI-X's control");
	if (pm && !is_awake(p->config))
		put(p, pm + 4, 2);
}

int ob_repair_put(struct ob_pci *pci, const struct ob_repair *repair,
		  struct ob_err *err)
{
	struct puts p = { .pci = pci, .config = repair->config, .err = err };

	p.r = ob_pci_begin(pci, err);
	if (!p.r) {
		put_header(&p);
		put_table(&p, repair);
		put_caps(&p);
		if (!p.r)
			p.r = ob_pci_end(pci, err);
	}
	if (p.r)
		ob_err_prefix(err, "QEMU's part of the device");
	return p.r;
}
