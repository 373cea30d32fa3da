// SPDX-License-Identifier: BSD-3-Clause
#include "vmm/pci.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

#define ADDRESS_PORT 0xcf8u
#define DATA_PORT 0xcfcu
#define MAX_DEPTH 16u			/* of bridges */

/* -- where it is ------------------------------------------------------- */

static bool take(const json_t *device, struct ob_pci *out)
{
	int bus, slot, function;

	if (json_unpack((json_t *)(uintptr_t)device, "{s:i, s:i, s:i}", "bus",
			&bus, "slot", &slot, "function", &function) ||
	    bus < 0 || bus > 255 || slot < 0 || slot > 31 || function < 0 ||
	    function > 7)
		return false;
	out->bus = (uint8_t)bus;
	out->slot = (uint8_t)slot;
	out->function = (uint8_t)function;
	return true;
}

static bool find(const json_t *devices, const char *id, unsigned depth,
		 struct ob_pci *out)
{
	const json_t *device, *bridge;
	const char *name;
	size_t i;

	json_array_foreach(devices, i, device) {
		name = json_string_value(json_object_get(device, "qdev_id"));
		if (name && !strcmp(name, id))
			return take(device, out);
		bridge = json_object_get(device, "pci_bridge");
		if (bridge && depth < MAX_DEPTH &&
		    find(json_object_get(bridge, "devices"), id, depth + 1, out))
			return true;
	}
	return false;
}

int ob_pci_find(struct ob_qmp *qmp, const char *id, struct ob_pci *out,
		struct ob_err *err)
{
	json_t *buses = NULL;
	const json_t *bus;
	bool found = false;
	size_t i;
	int r = ob_qmp_call(qmp, "query-pci", NULL, &buses, err);

	*out = (struct ob_pci){ .qmp = qmp };
	json_array_foreach(buses, i, bus)
		found = found || find(json_object_get(bus, "devices"), id, 0,
				      out);
	json_decref(buses);
	if (!r && !found)
		r = ob_fail(err, ENOENT, "QEMU has no PCI device %s", id);
	return r;
}

/* -- ports ------------------------------------------------------------- */

static char letter(unsigned width)
{
	return width == 1 ? 'b' : width == 2 ? 'h' : 'w';
}

static int port_out(struct ob_qmp *qmp, unsigned port, unsigned width,
		    uint32_t value, struct ob_err *err)
{
	OB_CLEANUP_FREE char *said = NULL;
	int r = ob_qmp_hmp(qmp, &said, err, "o/%c %#x %#" PRIx32,
			   letter(width), port, value);

	if (!r && *said)
		r = ob_fail(err, EIO, "o %#x: %.60s", port, said);
	return r;
}

/* "portl[0x0cfc] = 0x00014f42" */
static int port_in(struct ob_qmp *qmp, unsigned port, unsigned width,
		   uint32_t *value, struct ob_err *err)
{
	OB_CLEANUP_FREE char *said = NULL;
	const char *at;
	char *end;
	int r = ob_qmp_hmp(qmp, &said, err, "i/%c %#x", letter(width), port);

	if (r)
		return r;
	at = strstr(said, "= ");
	*value = at ? (uint32_t)strtoul(at + 2, &end, 16) : 0;
	if (!at || end == at + 2)
		return ob_fail(err, EIO, "i %#x: %.60s", port, said);
	return 0;
}

int ob_pci_begin(struct ob_pci *pci, struct ob_err *err)
{
	pci->aim = 0;
	return port_in(pci->qmp, ADDRESS_PORT, 4, &pci->address, err);
}

int ob_pci_end(struct ob_pci *pci, struct ob_err *err)
{
	return port_out(pci->qmp, ADDRESS_PORT, 4, pci->address, err);
}

/* The port keeps what it was told. */
static int aim(struct ob_pci *pci, unsigned offset, struct ob_err *err)
{
	uint32_t aim = 0x80000000u | (uint32_t)pci->bus << 16 |
		       (uint32_t)pci->slot << 11 |
		       (uint32_t)pci->function << 8 | (offset & 0xfcu);
	int r = aim == pci->aim ? 0 : port_out(pci->qmp, ADDRESS_PORT, 4, aim,
					       err);

	pci->aim = r ? 0 : aim;
	return r;
}

int ob_pci_read(struct ob_pci *pci, unsigned offset, unsigned width,
		uint32_t *value, struct ob_err *err)
{
	int r = aim(pci, offset, err);

	return r ? r : port_in(pci->qmp, DATA_PORT + (offset & 3), width, value,
			       err);
}

int ob_pci_write(struct ob_pci *pci, unsigned offset, unsigned width,
		 uint32_t value, struct ob_err *err)
{
	int r = aim(pci, offset, err);

	return r ? r : port_out(pci->qmp, DATA_PORT + (offset & 3), width,
				value, err);
}
