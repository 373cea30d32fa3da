// SPDX-License-Identifier: BSD-3-Clause
/*
 * Identify (5.15), and the names of things.
 *
 * Everything that must be unique follows from the serial number, which is
 * either given or follows from the socket and the drives: the same command
 * line makes the same disk, and two disks of a guest differ.
 */
#include <stdio.h>
#include <string.h>

#include "devices/nvme/nvme.h"

/* -- names ------------------------------------------------------------- */

static uint64_t hash(uint64_t h, const char *text)
{
	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 0x100000001b3ull;	/* FNV-1a */
	return h;
}

static uint64_t mix(uint64_t h)
{
	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ull;
	h = (h ^ h >> 27) * 0x94d049bb133111ebull;
	return h ^ h >> 31;
}

#define HASH_SEED 0xcbf29ce484222325ull

void nvme_identity_default_serial(struct nvme *n)
{
	const struct ob_options *opts = ob_dev_options(n->dev);
	const char *socket = ob_options_str(opts, "socket");
	/* A path is unique on its host; an inherited socket has none. */
	uint64_t h = hash(HASH_SEED, socket ? socket : ob_dev_id(n->dev));

	for (size_t i = 0; i < ob_options_count(opts, "drive"); i++)
		h = hash(hash(h, ","), ob_options_nth(opts, "drive", i));
	snprintf(n->serial, sizeof(n->serial), "OB%016llX",
		 (unsigned long long)mix(h));
}

/* A UUID of version 8: its bits are this project's own choice. */
void nvme_identity_uuid(const struct nvme *n, uint32_t nsid, uint8_t uuid[16])
{
	uint64_t h = hash(HASH_SEED, n->serial);
	uint64_t high = mix(h + 2 * (uint64_t)nsid);
	uint64_t low = mix(h + 2 * (uint64_t)nsid + 1);

	memcpy(uuid, &high, 8);
	memcpy(uuid + 8, &low, 8);
	uuid[6] = (uuid[6] & 0x0f) | 0x80;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

void nvme_identity_store(struct nvme *n)
{
	memset(n->st->serial, 0, sizeof(n->st->serial));
	memset(n->st->model, 0, sizeof(n->st->model));
	memcpy(n->st->serial, n->serial, strlen(n->serial));
	memcpy(n->st->model, n->model, strlen(n->model));
}

/* The disk stays the same disk wherever it goes. */
void nvme_identity_adopt(struct nvme *n)
{
	uint8_t uuid[16];

	memcpy(n->serial, n->st->serial, sizeof(n->st->serial));
	memcpy(n->model, n->st->model, sizeof(n->st->model));
	nvme_identity_uuid(n, 0, uuid);
	nvme_identity_format(uuid, n->uuid);
	for (unsigned i = 0; i < n->nr_ns; i++)
		nvme_identity_ns(&n->ns[i]);
}

void nvme_identity_format(const uint8_t uuid[16], char text[37])
{
	char *at = text;

	for (unsigned i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at += sprintf(at, "%02x", uuid[i]);
	}
}

/* NGUID and EUI64 carry the "locally administered" mark of an OUI. */
void nvme_identity_ns(struct nvme_ns *ns)
{
	nvme_identity_uuid(ns->n, ns->nsid, ns->uuid);
	nvme_identity_uuid(ns->n, ns->nsid + 0x10000, ns->nguid);
	ns->nguid[8] = 0x02;
	memcpy(ns->eui64, ns->nguid + 8, sizeof(ns->eui64));
}

/* -- data structures --------------------------------------------------- */

static void put_text(char *to, size_t size, const char *text)
{
	size_t len = strlen(text);

	memset(to, ' ', size);
	memcpy(to, text, len < size ? len : size);
}

static uint64_t total_bytes(const struct nvme *n)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < n->nr_ns; i++)
		total += n->ns[i].info->size;
	return total;
}

static int identify_ctrl(struct nvme_cmd *c, void *page)
{
	const struct nvme *n = c->n;
	struct nvme_id_ctrl *id = page;

	id->vid = id->ssvid = NVME_PCI_VENDOR;
	put_text(id->sn, sizeof(id->sn), n->serial);
	put_text(id->mn, sizeof(id->mn), n->model);
	put_text(id->fr, sizeof(id->fr), NVME_FIRMWARE);
	id->rab = 5;
	id->mdts = NVME_MDTS;
	id->ver = NVME_VS_1_4;
	id->rtd3e = 30 * 1000 * 1000;		/* a flush may take so long */
	id->oaes = 1u << 8;			/* namespace attributes */
	id->cntrltype = 1;			/* I/O controller */
	id->oacs = 1u << 3;			/* namespace management */
	if (n->doorbells == NVME_DB_ADAPTIVE)
		id->oacs |= 1u << 8;		/* doorbell buffer config */
	id->acl = NVME_ABORTS - 1;
	id->aerl = NVME_MAX_AERS - 1;
	id->frmw = 1u << 1 | 1;			/* one slot, read-only */
	id->lpa = 1u << 1 | 1u << 2;		/* effects; offset, length */
	id->elpe = NVME_ERROR_ENTRIES - 1;
	id->wctemp = 343;
	id->cctemp = 373;
	id->tnvmcap[0] = total_bytes(n);
	id->sqes = 0x66;
	id->cqes = 0x44;
	id->nn = n->nr_ns;
	/* compare, deallocate, zeroes, select, timestamp, verify */
	id->oncs = 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7;
	id->vwc = 3 << 1 | nvme_has_write_cache(n);
	id->sgls = NVME_WALK_SGLS;
	snprintf(id->subnqn, sizeof(id->subnqn),
		 "nqn.2014-08.org.nvmexpress:uuid:%s", n->uuid);
	id->psd[0].mp = 2500;
	return 0;
}

static void fill_ns(const struct nvme_ns *ns, struct nvme_id_ns *id)
{
	unsigned shift = ns->n->lba_shift;
	uint32_t optimal = ns->info->block_size >> shift;
	uint32_t discard = ns->info->discard_granularity >> shift;

	id->nsze = id->ncap = id->nuse = ns->blocks;
	id->dlfeat = 1u << 3;		/* Write Zeroes may deallocate */
	id->nvmcap[0] = ns->info->size;
	if (optimal > 1 || discard > 1) {
		id->nsfeat = 1u << 4;
		id->npwg = id->npwa = optimal ? optimal - 1 : 0;
		id->npdg = id->npda = discard ? discard - 1 : 0;
	}
	id->nsattr = ns->info->readonly;
	memcpy(id->nguid, ns->nguid, sizeof(id->nguid));
	memcpy(id->eui64, ns->eui64, sizeof(id->eui64));
	id->lbaf[0].lbads = shift;
}

/* One that is not active reads as zeros (figure 244). */
static int identify_ns(struct nvme_cmd *c, void *page)
{
	uint32_t nsid = c->slot->sqe.nsid;

	if (nsid == NVME_NSID_ALL) {	/* what all have in common */
		((struct nvme_id_ns *)page)->lbaf[0].lbads = c->n->lba_shift;
		return 0;
	}
	if (!nvme_ns_get(c->n, nsid))
		return NVME_INVALID_NAMESPACE;
	if (nvme_ns_active(c->n, nsid))
		fill_ns(nvme_ns_get(c->n, nsid), page);
	return 0;
}

static int identify_allocated_ns(struct nvme_cmd *c, void *page)
{
	struct nvme_ns *ns = nvme_ns_get(c->n, c->slot->sqe.nsid);

	if (!ns)
		return NVME_INVALID_NAMESPACE;
	fill_ns(ns, page);
	return 0;
}

static int list_namespaces(struct nvme_cmd *c, uint32_t *ids, bool all)
{
	uint32_t after = c->slot->sqe.nsid, count = 0;

	if (after >= 0xfffffffe)
		return NVME_INVALID_NAMESPACE;
	for (uint32_t i = 1; i <= c->n->nr_ns; i++)
		if (i > after && (all || nvme_ns_active(c->n, i)))
			ids[count++] = i;
	return 0;
}

static int identify_active_list(struct nvme_cmd *c, void *page)
{
	return list_namespaces(c, page, false);
}

static int identify_allocated_list(struct nvme_cmd *c, void *page)
{
	return list_namespaces(c, page, true);
}

static uint8_t *put_descriptor(uint8_t *at, uint8_t type, const void *id,
			       uint8_t len)
{
	at[0] = type;
	at[1] = len;
	memcpy(at + 4, id, len);
	return at + 4 + len;
}

static int identify_descriptors(struct nvme_cmd *c, void *page)
{
	const struct nvme_ns *ns = nvme_ns_get(c->n, c->slot->sqe.nsid);
	uint8_t *at = page;

	if (!ns)
		return NVME_INVALID_NAMESPACE;
	if (!nvme_ns_active(c->n, ns->nsid))
		return NVME_INVALID_FIELD;
	at = put_descriptor(at, 1, ns->eui64, sizeof(ns->eui64));
	at = put_descriptor(at, 2, ns->nguid, sizeof(ns->nguid));
	put_descriptor(at, 3, ns->uuid, sizeof(ns->uuid));
	return 0;
}

/* This controller's id is 0; the list begins at the id asked for. */
static void list_controllers(const struct nvme_cmd *c, uint16_t *list)
{
	list[0] = (c->slot->sqe.cdw10 >> 16) == 0;
}

static int identify_ctrl_list(struct nvme_cmd *c, void *page)
{
	list_controllers(c, page);
	return 0;
}

static int identify_ns_ctrl_list(struct nvme_cmd *c, void *page)
{
	if (!nvme_ns_get(c->n, c->slot->sqe.nsid))
		return NVME_INVALID_NAMESPACE;
	if (nvme_ns_active(c->n, c->slot->sqe.nsid))
		list_controllers(c, page);
	return 0;
}

/* From 2.0: by command set, of which there is NVM, number 0. */
static bool is_nvm(const struct nvme_cmd *c)
{
	return c->slot->sqe.cdw11 >> 24 == 0;
}

static int identify_csi_ns(struct nvme_cmd *c, void *page)
{
	(void)page;
	if (!is_nvm(c))
		return NVME_INVALID_FIELD;
	if (!nvme_ns_get(c->n, c->slot->sqe.nsid))
		return NVME_INVALID_NAMESPACE;
	return 0;
}

/* Limits of Verify, Write Zeroes and the like: zeros, none beyond NLB. */
static int identify_csi_ctrl(struct nvme_cmd *c, void *page)
{
	(void)page;
	return is_nvm(c) ? 0 : NVME_INVALID_FIELD;
}

static int identify_csi_active_list(struct nvme_cmd *c, void *page)
{
	return is_nvm(c) ? list_namespaces(c, page, false)
			 : NVME_INVALID_FIELD;
}

static int identify_independent_ns(struct nvme_cmd *c, void *page)
{
	const struct nvme_ns *ns = nvme_ns_get(c->n, c->slot->sqe.nsid);
	uint8_t *bytes = page;

	if (!ns)
		return NVME_INVALID_NAMESPACE;
	if (!nvme_ns_active(c->n, ns->nsid))
		return 0;
	bytes[0] = ns->info->rotational ? 1 << 4 : 0;	/* NSFEAT */
	bytes[8] = ns->info->readonly;			/* NSATTR */
	bytes[14] = 1;					/* NSTAT: ready */
	return 0;
}

static const struct cns {
	uint8_t cns;
	int (*fill)(struct nvme_cmd *c, void *page);
} cns_table[] = {
	{ NVME_CNS_NS, identify_ns },
	{ NVME_CNS_CTRL, identify_ctrl },
	{ NVME_CNS_ACTIVE_LIST, identify_active_list },
	{ NVME_CNS_NS_DESCRIPTORS, identify_descriptors },
	{ NVME_CNS_CSI_NS, identify_csi_ns },
	{ NVME_CNS_CSI_CTRL, identify_csi_ctrl },
	{ NVME_CNS_CSI_ACTIVE_LIST, identify_csi_active_list },
	{ NVME_CNS_CSI_INDEPENDENT_NS, identify_independent_ns },
	{ NVME_CNS_ALLOCATED_LIST, identify_allocated_list },
	{ NVME_CNS_ALLOCATED_NS, identify_allocated_ns },
	{ NVME_CNS_NS_CTRL_LIST, identify_ns_ctrl_list },
	{ NVME_CNS_CTRL_LIST, identify_ctrl_list },
};

int nvme_step_identify(struct nvme_cmd *c)
{
	uint8_t cns = c->slot->sqe.cdw10 & 0xff;

	memset(c->buf.data, 0, NVME_ID_SIZE);
	for (unsigned i = 0; i < sizeof(cns_table) / sizeof(*cns_table); i++)
		if (cns_table[i].cns == cns)
			return cns_table[i].fill(c, c->buf.data);
	return NVME_INVALID_FIELD;
}
