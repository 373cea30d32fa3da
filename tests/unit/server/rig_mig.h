/* SPDX-License-Identifier: BSD-3-Clause */
/* Migration in the words of a test, as raw as the rest of the rig. */
#ifndef OB_TESTS_SERVER_RIG_MIG_H
#define OB_TESTS_SERVER_RIG_MIG_H

#include "rig.h"

/* linux/vfio.h, enum vfio_device_mig_state */
enum { S_ERROR, S_STOP, S_RUNNING, S_COPY, S_RESUMING, S_P2P, S_PRE, S_PRE_P2P,
       NR_S };

enum { GET = 1 << 16, SET = 1 << 17, PROBE = 1 << 18 };

/* Any feature; what follows argsz and flags is in rig->reply + 8. */
int rig_feature(struct rig *rig, uint32_t argsz, uint32_t flags,
		const void *data, size_t len);
/* Both return an errno; get asserts that GET works. */
int rig_mig_set(struct rig *rig, uint32_t state);
uint32_t rig_mig_get(struct rig *rig);
/* Sends the request alone. */
void rig_mig_ask(struct rig *rig, uint32_t state);
/* One message; *got is the size in the answer, whose data is copied to buf. */
int rig_mig_read(struct rig *rig, uint32_t size, void *buf, uint32_t *got);
int rig_mig_write(struct rig *rig, const void *bytes, uint32_t len);
/* The text of the last failure, where it was agreed. */
const char *rig_why(struct rig *rig);

/* A stream, read in pieces until its end. */
struct stream {
	uint8_t *bytes;
	size_t len, room;
};
void rig_read_all(struct rig *rig, struct stream *stream, uint32_t piece);
int rig_write_all(struct rig *rig, const struct stream *stream,
		  uint32_t piece);
/* To STOP_COPY, all of it, to STOP. */
void rig_save(struct rig *rig, struct stream *stream);
/* To RESUMING, all of it; the caller goes on from there. */
void rig_load(struct rig *rig, const struct stream *stream);
void stream_free(struct stream *stream);

/* VERSION's text that agrees on all extensions. */
#define RIG_EXTENSIONS "{\"capabilities\":{\"outboard_precopy_info\":true," \
	"\"outboard_error_text\":true}}"

/* Starts with the extensions agreed. */
struct rig *rig_mig_start(const char *options);

#endif
