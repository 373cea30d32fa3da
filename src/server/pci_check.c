// SPDX-License-Identifier: BSD-3-Clause
/* Is a model's struct ob_pci consistent?  After this, code relies on it. */
#include <errno.h>
#include <unistd.h>

#include "server/pci.h"

static bool power_of_two(uint64_t v)
{
	return v && !(v & (v - 1));
}

static int check_areas(const struct ob_bar *bar, unsigned i,
		       struct ob_err *err)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end = 0;
	const struct ob_area *area;
	uint32_t n;

	if (bar->nr_areas > OB_MAX_AREAS ||
	    (bar->nr_areas && bar->flags & OB_BAR_IO))
		return ob_fail(err, EINVAL, "BAR%u: bad number of areas", i);
	for (n = 0; n < bar->nr_areas; n++) {
		area = &bar->areas[n];
		if ((area->offset | area->size) % page || area->size == 0 ||
		    area->offset < end || area->offset > bar->size ||
		    area->size > bar->size - area->offset)
			return ob_fail(err, EINVAL, "BAR%u: area %u: whole pages, in order, inside",
				       i, n);
		end = area->offset + area->size;
	}
	return 0;
}

static int check_bar(const struct ob_pci *pci, unsigned i, struct ob_err *err)
{
	const struct ob_bar *bar = &pci->bars[i];
	bool io = bar->flags & OB_BAR_IO, wide = bar->flags & OB_BAR_64;

	if (bar->size == 0)
		return 0;
	if (!power_of_two(bar->size) || bar->size < (io ? 4 : 16) ||
	    (io && bar->size > 256) || (!wide && bar->size > 1ull << 31))
		return ob_fail(err, EINVAL, "BAR%u: %llu bytes is no size for it",
			       i, (unsigned long long)bar->size);
	if (wide && (io || i == 5 || pci->bars[i + 1].size))
		return ob_fail(err, EINVAL, "BAR%u: 64 bits need a memory BAR and a free next one",
			       i);
	return check_areas(bar, i, err);
}

/* A client that maps it writes past us. */
static bool is_mappable(const struct ob_bar *bar, uint64_t offset,
			uint64_t size)
{
	const struct ob_area *area;
	uint32_t n;

	for (n = 0; n < bar->nr_areas; n++) {
		area = &bar->areas[n];
		if (offset < area->offset + area->size &&
		    area->offset < offset + size)
			return true;
	}
	return false;
}

static int check_msix_place(const struct ob_pci *pci, const char *what,
			    unsigned bar, uint64_t offset, uint64_t size,
			    struct ob_err *err)
{
	const struct ob_bar *b = bar < 6 ? &pci->bars[bar] : NULL;

	if (!b || b->flags & OB_BAR_IO || offset % 8 || size > b->size ||
	    offset > b->size - size)
		return ob_fail(err, EINVAL, "the MSI-X %s is not in memory BAR%u",
			       what, bar);
	if (is_mappable(b, offset, size))
		return ob_fail(err, EINVAL, "the MSI-X %s is in a mappable area of BAR%u",
			       what, bar);
	return 0;
}

static int check_msix(const struct ob_pci *pci, struct ob_err *err)
{
	uint64_t table = pci->msix_vectors * 16u;
	uint64_t pba = (pci->msix_vectors + 63u) / 64u * 8u;
	int r;

	if (pci->msix_vectors == 0)
		return 0;
	if (pci->msix_vectors > OB_MSIX_MAX)
		return ob_fail(err, EINVAL, "%u MSI-X vectors are more than %u",
			       pci->msix_vectors, OB_MSIX_MAX);
	r = check_msix_place(pci, "table", pci->msix_table_bar,
			     pci->msix_table_offset, table, err);
	if (!r)
		r = check_msix_place(pci, "PBA", pci->msix_pba_bar,
				     pci->msix_pba_offset, pba, err);
	if (r)
		return r;
	if (pci->msix_table_bar == pci->msix_pba_bar &&
	    pci->msix_table_offset < pci->msix_pba_offset + pba &&
	    pci->msix_pba_offset < pci->msix_table_offset + table)
		return ob_fail(err, EINVAL, "MSI-X table and PBA overlap");
	return 0;
}

int ob_pci_check(const struct ob_pci *pci, struct ob_err *err)
{
	unsigned i;
	int r;

	for (i = 0; i < 6; i++)
		if ((r = check_bar(pci, i, err)))
			return r;
	if (pci->msi_vectors &&
	    (pci->msi_vectors > 32 || !power_of_two(pci->msi_vectors)))
		return ob_fail(err, EINVAL, "%u MSI vectors: must be a power of two up to 32",
			       pci->msi_vectors);
	if (pci->nr_vendor_caps > 2)
		return ob_fail(err, EINVAL, "%u vendor capabilities, at most 2",
			       pci->nr_vendor_caps);
	for (i = 0; i < pci->nr_vendor_caps; i++)
		if (pci->vendor_caps[i].len > sizeof(pci->vendor_caps[i].body))
			return ob_fail(err, EINVAL, "vendor capability %u is too long", i);
	return check_msix(pci, err);
}
