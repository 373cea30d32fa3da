/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The native stream: state written out for another process, another host,
 * another release, or a file.  Integers are little-endian.  docs/stream.md
 * is the prose; this is the list of numbers.
 *
 *	head		16 bytes: magic, major, minor, length of the head
 *	section...	16 bytes: type, flags, sequence, length, checksum;
 *			then the payload
 *
 * The checksum is CRC32C of the header with the checksum as 0, then of the
 * payload.  Sequence numbers count from 0, so that a section that is missing,
 * repeated or out of place is noticed where it happens.  A reader skips
 * sections of an unknown type unless flags say that it must understand them.
 *
 *	SCHEMA		once, first: the writer's tables, so that every field
 *			has a name, whoever reads it (schema.h)
 *	IDENTITY	once, second: records of struct ob_stream_identity
 *	OBJECTS		once, third: which content follows: u32 kind, u32
 *			index, u64 bytes, for each
 *	CONTENT		any number: u32 kind, u32 index, u64 offset, u64
 *			length; then length bytes, or none (flag ZEROS).
 *			Later ones replace earlier ones.
 *	PART		any number per part, after the device stood still: u16
 *			number of the part (its place among the schema's
 *			roots), u16 0; then records
 *	END		u64 sections before it, u64 bytes before it
 *	PAD		any number: bytes that mean nothing, so that a writer
 *			who has to give bytes now need not search for some
 *
 * A record is some elements of one field that differ from the default: u16
 * tag, u16 0, u32 first element, u32 bytes, then that many.  Elements have
 * the size that the schema says; of a structure there is one element in a
 * record, as records of its own.  What no record mentions has its default.
 */
#ifndef OB_STATE_STREAM_H
#define OB_STATE_STREAM_H

#include <outboard/state.h>

#define OB_STREAM_MAGIC 0x4452414f4254554full	/* "OUTBOARD" */
#define OB_STREAM_MAJOR 1u
#define OB_STREAM_MINOR 0u
#define OB_STREAM_HEAD 16u
#define OB_STREAM_SECTION 16u
#define OB_STREAM_RECORD 12u
#define OB_STREAM_CONTENT 24u

/* No section's payload is longer, so that a reader knows what to hold. */
#define OB_STREAM_PAYLOAD_MAX (1u << 20)
/* What a writer puts into one PART; a nested structure must fit. */
#define OB_STREAM_PART_MAX (64u << 10)

enum ob_stream_type {
	OB_STREAM_SCHEMA = 1, OB_STREAM_IDENTITY, OB_STREAM_OBJECTS,
	OB_STREAM_CONTENT_RUN, OB_STREAM_PART, OB_STREAM_END, OB_STREAM_PAD,
};
enum ob_stream_flags {
	OB_STREAM_MUST	= 1 << 0,	/* refuse the load if unknown */
	OB_STREAM_ZEROS	= 1 << 1,	/* CONTENT: length zeros, no bytes */
};

/* Who wrote it. */
struct ob_stream_identity {
	uint8_t model[32];
	uint8_t release[32];
	uint8_t id[64];			/* the device's name there */
};
extern const struct ob_table ob_stream_identity_table;

/* Content: bytes that are no fields. */
enum ob_content_kind {
	OB_CONTENT_DRIVE = 1,		/* index: of the drive */
	OB_CONTENT_BAR,			/* mappable memory of BAR index */
};

struct ob_content_id {
	uint32_t kind, index;
	uint64_t size;
};

/*
 * What is saved and loaded: the parts of a device's state.  base is the
 * structure that table describes.
 */
struct ob_part {
	const char *name;		/* "core", "plain", "hot" */
	const struct ob_table *table;
	void *base;			/* saving: read; loading: not used */
};
#define OB_PARTS_MAX 8u

/* CRC32C (Castagnoli); crc 0 to begin, else what the last call gave. */
uint32_t ob_crc32c(uint32_t crc, const void *data, size_t len);
/* crc64.c: for what is compared here, and does not travel. */
uint64_t ob_crc64(const void *data, size_t len);

#endif
