// SPDX-License-Identifier: BSD-3-Clause
/*
 * Names are those that pciutils made familiar.  Flags are tables: a bit, its
 * name.  The chains of capabilities come from the device, so a walk ends
 * where it has been before, and every byte is fetched through a checked
 * getter, which reads zeros beyond the end.  PCI Express Base Specification,
 * chapter 7.
 */
#include <stdbool.h>
#include <stdio.h>

#include "pci_decode.h"

#define PLACES (4096 / 4)	/* where a capability may begin */

struct config {
	const uint8_t *bytes;
	size_t len;
};

struct flag {
	unsigned bit;
	const char *name;
};

struct name {
	uint32_t value;
	const char *name;
};

static uint8_t get8(const struct config *cfg, size_t at)
{
	return at < cfg->len ? cfg->bytes[at] : 0;
}

static uint16_t get16(const struct config *cfg, size_t at)
{
	return (uint16_t)(get8(cfg, at) | get8(cfg, at + 1) << 8);
}

static uint32_t get32(const struct config *cfg, size_t at)
{
	return get16(cfg, at) | (uint32_t)get16(cfg, at + 2) << 16;
}

static uint64_t get64(const struct config *cfg, size_t at)
{
	return get32(cfg, at) | (uint64_t)get32(cfg, at + 4) << 32;
}

static void put_hex(json_t *obj, const char *key, uint64_t value, int digits)
{
	json_object_set_new(obj, key, json_sprintf("0x%0*llx", digits,
						   (unsigned long long)value));
}

static void put_int(json_t *obj, const char *key, uint64_t value)
{
	json_object_set_new(obj, key, json_integer((json_int_t)value));
}

static void put_text(json_t *obj, const char *key, const char *text)
{
	json_object_set_new(obj, key, json_string(text));
}

static void put_flags(json_t *obj, const char *key, uint32_t value,
		      const struct flag *flags)
{
	json_t *set = json_object();

	for (; flags->name; flags++)
		json_object_set_new(set, flags->name,
				    json_boolean(value >> flags->bit & 1));
	json_object_set_new(obj, key, set);
}

static const char *look_up(const struct name *names, uint32_t value,
			   const char *otherwise)
{
	for (; names->name; names++)
		if (names->value == value)
			return names->name;
	return otherwise;
}

static const struct flag control_flags[] = {
	{ 0, "I/O" }, { 1, "Mem" }, { 2, "BusMaster" }, { 3, "SpecCycle" },
	{ 4, "MemWINV" }, { 5, "VGASnoop" }, { 6, "ParErr" }, { 8, "SERR" },
	{ 9, "FastB2B" }, { 10, "DisINTx" }, { 0, NULL },
};

static const struct flag status_flags[] = {
	{ 4, "Cap" }, { 5, "66MHz" }, { 7, "FastB2B" }, { 8, "ParErr" },
	{ 11, ">TAbort" }, { 12, "<TAbort" }, { 13, "<MAbort" },
	{ 14, ">SERR" }, { 15, "<PERR" }, { 3, "INTx" }, { 0, NULL },
};

static const struct name class_names[] = {
	{ 0x010802, "NVM Express controller" },
	{ 0x010601, "AHCI SATA controller" },
	{ 0x010000, "SCSI storage controller" },
	{ 0x020000, "Ethernet controller" },
	{ 0x030000, "VGA controller" },
	{ 0x040300, "audio device" },
	{ 0x070002, "16550 serial controller" },
	{ 0x0c0330, "xHCI USB controller" },
	{ 0x00ff00, "unclassified device" },
	{ 0, NULL },
};

static const struct name base_class_names[] = {
	{ 0x00, "unclassified device" }, { 0x01, "storage controller" },
	{ 0x02, "network controller" }, { 0x03, "display controller" },
	{ 0x04, "multimedia device" }, { 0x05, "memory controller" },
	{ 0x06, "bridge" }, { 0x07, "communication controller" },
	{ 0x08, "system peripheral" }, { 0x0c, "serial bus controller" },
	{ 0x12, "processing accelerator" }, { 0, NULL },
};

static void decode_class(json_t *obj, uint32_t class_code)
{
	const char *name = look_up(class_names, class_code, NULL);

	if (!name)
		name = look_up(base_class_names, class_code >> 16, "unknown");
	put_hex(obj, "class", class_code, 6);
	put_text(obj, "class_name", name);
}

static void decode_bars(const struct config *cfg, json_t *obj)
{
	json_t *bars = json_array();

	for (unsigned i = 0; i < 6; i++) {
		uint32_t low = get32(cfg, 0x10 + 4 * i);
		bool io = low & 1, wide = !io && (low & 6) == 4;
		uint64_t addr = low & (io ? ~3u : ~15u);
		json_t *bar;

		if (wide && i < 5)
			addr |= (uint64_t)get32(cfg, 0x14 + 4 * i) << 32;
		/* An absent BAR reads as zero; so does one that is unset. */
		if (!low && !addr)
			continue;
		bar = json_object();
		put_int(bar, "bar", i);
		put_text(bar, "type", io ? "I/O" : wide ? "64-bit memory"
							: "32-bit memory");
		put_hex(bar, "address", addr, wide ? 16 : 8);
		json_object_set_new(bar, "prefetchable",
				    json_boolean(!io && low & 8));
		json_array_append_new(bars, bar);
		i += wide;
	}
	json_object_set_new(obj, "bars", bars);
}

static void decode_header(const struct config *cfg, json_t *obj)
{
	static const char pins[] = "-ABCD";
	uint8_t pin = get8(cfg, 0x3d);
	char text[2] = { pin < 5 ? pins[pin] : '?', 0 };

	put_hex(obj, "vendor", get16(cfg, 0x00), 4);
	put_hex(obj, "device", get16(cfg, 0x02), 4);
	put_hex(obj, "revision", get8(cfg, 0x08), 2);
	decode_class(obj, get32(cfg, 0x08) >> 8);
	put_hex(obj, "subsystem_vendor", get16(cfg, 0x2c), 4);
	put_hex(obj, "subsystem", get16(cfg, 0x2e), 4);
	put_flags(obj, "Control", get16(cfg, 0x04), control_flags);
	put_flags(obj, "Status", get16(cfg, 0x06), status_flags);
	decode_bars(cfg, obj);
	if (get32(cfg, 0x30))
		put_hex(obj, "rom_address", get32(cfg, 0x30) & ~0x7ffu, 8);
	put_text(obj, "interrupt_pin", text);
	put_int(obj, "interrupt_line", get8(cfg, 0x3c));
}

static const struct flag pm_cap_flags[] = {
	{ 3, "PMEClk" }, { 5, "DSI" }, { 9, "D1" }, { 10, "D2" },
	{ 11, "PME-D0" }, { 14, "PME-D3hot" }, { 15, "PME-D3cold" },
	{ 0, NULL },
};

static const struct flag pm_status_flags[] = {
	{ 3, "NoSoftRst" }, { 8, "PME-Enable" }, { 15, "PME" }, { 0, NULL },
};

static void decode_pm(const struct config *cfg, size_t at, json_t *cap)
{
	char state[] = "D0";

	state[1] += (char)(get16(cfg, at + 4) & 3);
	put_int(cap, "version", get16(cfg, at + 2) & 7);
	put_text(cap, "state", state);
	put_flags(cap, "Flags", get16(cfg, at + 2), pm_cap_flags);
	put_flags(cap, "Status", get16(cfg, at + 4), pm_status_flags);
}

static const struct flag msi_flags[] = {
	{ 0, "Enable" }, { 8, "Maskable" }, { 7, "64bit" }, { 0, NULL },
};

static void decode_msi(const struct config *cfg, size_t at, json_t *cap)
{
	uint16_t control = get16(cfg, at + 2);
	bool wide = control & 0x80;
	size_t data = at + (wide ? 12 : 8);

	put_flags(cap, "Control", control, msi_flags);
	put_int(cap, "vectors_granted", 1u << (control >> 4 & 7));
	put_int(cap, "vectors", 1u << (control >> 1 & 7));
	put_hex(cap, "address", wide ? get64(cfg, at + 4) : get32(cfg, at + 4),
		wide ? 16 : 8);
	put_hex(cap, "data", get16(cfg, data), 4);
	if (control & 0x100) {
		put_hex(cap, "mask", get32(cfg, data + 4), 8);
		put_hex(cap, "pending", get32(cfg, data + 8), 8);
	}
}

static const struct flag msix_flags[] = {
	{ 15, "Enable" }, { 14, "Masked" }, { 0, NULL },
};

static void put_place(json_t *cap, const char *key, uint32_t value)
{
	json_t *place = json_object();

	put_int(place, "bar", value & 7);
	put_hex(place, "offset", value & ~7u, 8);
	json_object_set_new(cap, key, place);
}

static void decode_msix(const struct config *cfg, size_t at, json_t *cap)
{
	uint16_t control = get16(cfg, at + 2);

	put_flags(cap, "Control", control, msix_flags);
	put_int(cap, "vectors", (control & 0x7ffu) + 1);
	put_place(cap, "Table", get32(cfg, at + 4));
	put_place(cap, "PBA", get32(cfg, at + 8));
}

static const struct name express_types[] = {
	{ 0, "Endpoint" }, { 1, "Legacy Endpoint" }, { 4, "Root Port" },
	{ 5, "Upstream Port" }, { 6, "Downstream Port" },
	{ 9, "Root Complex Integrated Endpoint" }, { 0, NULL },
};

static const struct flag devcap_flags[] = {
	{ 5, "ExtTag" }, { 12, "AttnBtn" }, { 15, "RBE" }, { 28, "FLReset" },
	{ 0, NULL },
};

static const struct flag devctl_flags[] = {
	{ 0, "CorrErr" }, { 1, "NonFatalErr" }, { 2, "FatalErr" },
	{ 3, "UnsupReq" }, { 4, "RlxdOrd" }, { 8, "ExtTag" },
	{ 9, "PhantFunc" }, { 10, "AuxPwr" }, { 11, "NoSnoop" }, { 0, NULL },
};

static const struct flag devsta_flags[] = {
	{ 0, "CorrErr" }, { 1, "NonFatalErr" }, { 2, "FatalErr" },
	{ 3, "UnsupReq" }, { 4, "AuxPwr" }, { 5, "TransPend" }, { 0, NULL },
};

static const struct name link_speeds[] = {
	{ 1, "2.5GT/s" }, { 2, "5GT/s" }, { 3, "8GT/s" }, { 4, "16GT/s" },
	{ 5, "32GT/s" }, { 6, "64GT/s" }, { 0, NULL },
};

static void put_link(json_t *cap, const char *key, uint32_t value)
{
	json_t *link = json_object();

	put_text(link, "speed", look_up(link_speeds, value & 15, "unknown"));
	json_object_set_new(link, "width",
			    json_sprintf("x%u", value >> 4 & 63));
	json_object_set_new(cap, key, link);
}

static void decode_express(const struct config *cfg, size_t at, json_t *cap)
{
	uint16_t flags = get16(cfg, at + 2), devctl = get16(cfg, at + 8);
	uint32_t devcap = get32(cfg, at + 4);

	put_int(cap, "version", flags & 15);
	put_text(cap, "type",
		 look_up(express_types, flags >> 4 & 15, "unknown"));
	put_int(cap, "max_payload_supported", 128u << (devcap & 7));
	put_int(cap, "max_payload", 128u << (devctl >> 5 & 7));
	put_int(cap, "max_read_request", 128u << (devctl >> 12 & 7));
	put_flags(cap, "DevCap", devcap, devcap_flags);
	put_flags(cap, "DevCtl", devctl, devctl_flags);
	put_flags(cap, "DevSta", get16(cfg, at + 10), devsta_flags);
	put_link(cap, "LnkCap", get32(cfg, at + 12));
	put_link(cap, "LnkSta", get16(cfg, at + 18));
}

static void decode_vendor(const struct config *cfg, size_t at, json_t *cap)
{
	unsigned len = get8(cfg, at + 2);
	char hex[3 * 256 + 1] = "";
	size_t used = 0;

	for (unsigned i = 3; i < len && i < 256; i++)
		used += (size_t)snprintf(hex + used, sizeof(hex) - used,
					 i == 3 ? "%02x" : " %02x",
					 get8(cfg, at + i));
	put_int(cap, "length", len);
	put_text(cap, "data", hex);
}

static void decode_serial(const struct config *cfg, size_t at, json_t *cap)
{
	uint64_t n = get64(cfg, at + 4);

	json_object_set_new(cap, "serial",
		json_sprintf("%02x-%02x-%02x-%02x-%02x-%02x-%02x-%02x",
			     (unsigned)(n >> 56) & 255,
			     (unsigned)(n >> 48) & 255,
			     (unsigned)(n >> 40) & 255,
			     (unsigned)(n >> 32) & 255,
			     (unsigned)(n >> 24) & 255,
			     (unsigned)(n >> 16) & 255,
			     (unsigned)(n >> 8) & 255, (unsigned)n & 255));
}

struct decoder {
	uint16_t id;
	const char *name;
	void (*decode)(const struct config *cfg, size_t at, json_t *cap);
};

static const struct decoder decoders[] = {
	{ 0x01, "Power Management", decode_pm },
	{ 0x03, "Vital Product Data", NULL },
	{ 0x05, "MSI", decode_msi },
	{ 0x09, "Vendor Specific Information", decode_vendor },
	{ 0x10, "PCI Express", decode_express },
	{ 0x11, "MSI-X", decode_msix },
	{ 0x13, "PCI Advanced Features", NULL },
	{ 0, NULL, NULL },
};

static const struct decoder ext_decoders[] = {
	{ 0x0001, "Advanced Error Reporting", NULL },
	{ 0x0002, "Virtual Channel", NULL },
	{ 0x0003, "Device Serial Number", decode_serial },
	{ 0x000b, "Vendor Specific Information", NULL },
	{ 0x000e, "Alternative Routing-ID Interpretation", NULL },
	{ 0x0010, "Single Root I/O Virtualization", NULL },
	{ 0x0018, "Latency Tolerance Reporting", NULL },
	{ 0, NULL, NULL },
};

static void decode_cap(const struct config *cfg, size_t at, uint16_t id,
		       const struct decoder *table, json_t *caps)
{
	json_t *cap = json_object();

	while (table->name && table->id != id)
		table++;
	put_hex(cap, "offset", at, 2);
	put_hex(cap, "id", id, 2);
	put_text(cap, "name", table->name ? table->name : "unknown");
	if (table->decode)
		table->decode(cfg, at, cap);
	json_array_append_new(caps, cap);
}

/* False if the walk was here already. */
static bool visit(uint8_t *seen, size_t at)
{
	uint8_t bit = (uint8_t)(1 << at / 4 % 8);
	bool fresh = !(seen[at / 32] & bit);

	seen[at / 32] |= bit;
	return fresh;
}

static void decode_caps(const struct config *cfg, json_t *caps)
{
	size_t at = get8(cfg, 0x34) & ~3u;
	uint8_t seen[PLACES / 8] = { 0 };

	if (!(get16(cfg, 0x06) & 0x10))
		return;
	for (; at >= 0x40 && visit(seen, at); at = get8(cfg, at + 1) & ~3u)
		decode_cap(cfg, at, get8(cfg, at), decoders, caps);
}

static void decode_ext_caps(const struct config *cfg, json_t *caps)
{
	uint8_t seen[PLACES / 8] = { 0 };
	size_t at = 0x100;

	while (at >= 0x100 && visit(seen, at)) {
		uint32_t head = get32(cfg, at);

		if (!head || head == UINT32_MAX)
			return;
		decode_cap(cfg, at, head & 0xffff, ext_decoders, caps);
		at = head >> 20 & ~3u;
	}
}

json_t *pci_decode(const uint8_t *config, size_t len)
{
	struct config cfg = { config, len };
	json_t *obj, *caps;

	if (len < 64)
		return NULL;
	obj = json_object();
	caps = json_array();
	decode_header(&cfg, obj);
	decode_caps(&cfg, caps);
	decode_ext_caps(&cfg, caps);
	json_object_set_new(obj, "capabilities", caps);
	return obj;
}
