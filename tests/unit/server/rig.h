/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A served device and a client that speaks raw bytes to it, in one thread on
 * one real loop.  The client builds its messages by hand, so that a mistake
 * in the codec is not made twice.
 */
#ifndef OB_TESTS_SERVER_RIG_H
#define OB_TESTS_SERVER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <outboard/device.h>

#include "server/server.h"

#include "../open_fds.h"

enum {
	VERSION = 1, DMA_MAP, DMA_UNMAP, GET_INFO, REGION_INFO, REGION_IO_FDS,
	IRQ_INFO, SET_IRQS, REGION_READ, REGION_WRITE, DMA_READ, DMA_WRITE,
	RESET, RETIRED, WRITE_MULTI, FEATURE, MIG_READ, MIG_WRITE,
};
enum { REPLY = 1, NO_REPLY = 0x10, ERROR = 0x20 };
enum { CONFIG = 7, ROM = 6 };

struct hdr {
	uint16_t id, cmd;
	uint32_t size, flags, error;
};

#define REPLY_MAX (2u << 20)

/* The model: 64 registers in BAR0 after a count of what happened to it. */
struct test_state {
	uint32_t regs[64];
	uint32_t resets, kind, reserved_word;
	uint8_t reserved[4];
};

struct test_seen {
	unsigned memory, gone, irqs, masters, reads, writes, polls, resets;
	bool finds;			/* what its polls tell */
	unsigned in_flight;
	bool master_on;
	uint64_t last_offset;
	size_t last_len;
	void (*on_write)(struct ob_device *dev, uint64_t offset);
	char calls[32];		/* run, stop, halt, check, loaded: "rshcl" */
	bool slow;		/* stop does not say that it has stopped */
	int refuse;		/* what check returns */
	bool grown;		/* ... until refresh has looked */
};

/* The model's cursors. */
struct test_hot {
	uint64_t cursor[3];
};

/* The loops of the lanes of every device that is begun, behind its own; NULL ends. */
extern struct ob_loop *rig_lanes[OB_LANES_MAX];
/* ob_device_begin with them. */
int rig_begin(struct ob_device **dev, struct ob_loop *loop,
	      const struct ob_past *past, struct ob_err *err);

/* The drives of every test model that is started; NULL-terminated. */
extern struct ob_drive *rig_drives[4];

extern const struct ob_table test_state_table;
extern const struct ob_pci test_pci;

struct rig {
	struct ob_loop *loop;
	struct ob_device *dev;
	struct ob_device_class cls;
	char dir[64], path[96];
	int fd;			/* the client */
	uint16_t id;
	struct hdr hdr;		/* of the last reply */
	uint8_t *reply;		/* its payload */
	size_t len;
	int fds[8];		/* that came with it */
	unsigned nr_fds;
	bool is_guest;		/* the loop is another rig's */
	bool is_alien;		/* the device is in another process */
};

/* Options after the socket's, "" for none; pci NULL: test_pci. */
struct rig *rig_start(const char *options, const struct ob_pci *pci);
/* As above with a loop that never sleeps. */
struct rig *rig_start_busy(const char *options);
/* Another device on the loop of one that ends later. */
struct rig *rig_start_beside(struct rig *host);
/* A model of this build, as "MODEL,KEY=VALUE,..." says. */
struct rig *rig_start_model(const struct ob_device_class *cls,
			    const char *words);
/* Connected and negotiated. */
struct rig *rig_ready(void);
void rig_end(struct rig *rig);
struct test_state *rig_state(struct rig *rig);
struct test_seen *rig_seen(struct rig *rig);

int rig_connect(struct rig *rig);
void rig_hang_up(struct rig *rig);
/* json may be NULL. */
int rig_version(struct rig *rig, const char *json);
/* Lets the server do what it can do now. */
void rig_settle(struct rig *rig);

/* Queues one message; flags beside "command". */
void rig_send(struct rig *rig, unsigned cmd, uint32_t flags, const void *body,
	      size_t len, const int *fds, unsigned nr_fds);
/* Waits for the next message into hdr, reply, len, fds; false: hung up. */
bool rig_receive(struct rig *rig);
/* Both; returns the reply's error (0: success). */
int rig_call(struct rig *rig, unsigned cmd, const void *body, size_t len);
int rig_call_fds(struct rig *rig, unsigned cmd, const void *body, size_t len,
		 const int *fds, unsigned nr_fds);
/* Nothing has come. */
bool rig_silent(struct rig *rig);
/* Messages that a server sends, answered. */
void rig_answer(struct rig *rig, int fd, const struct hdr *asked,
		uint32_t error, const void *body, size_t len);

/* Register access in the words of a test. */
int rig_read(struct rig *rig, unsigned region, uint64_t offset, void *buf,
	     uint32_t count);
int rig_write(struct rig *rig, unsigned region, uint64_t offset,
	      const void *buf, uint32_t count);
uint32_t rig_config(struct rig *rig, uint32_t offset, unsigned size);
void rig_set_config(struct rig *rig, uint32_t offset, uint32_t value,
		    unsigned size);
/* Offset of a capability in configuration space, 0 if there is none. */
uint32_t rig_find_cap(struct rig *rig, uint8_t id);

/* An eventfd's count since last asked. */
uint64_t rig_count(struct rig *rig, int eventfd);
int rig_set_irqs(struct rig *rig, uint32_t flags, uint32_t index,
		 uint32_t start, uint32_t count, const int *fds,
		 unsigned nr_fds);
int rig_map(struct rig *rig, uint64_t addr, uint64_t size, uint64_t offset,
	    uint32_t flags, int fd);
int rig_unmap(struct rig *rig, uint64_t addr, uint64_t size, uint32_t flags);
void rig_master(struct rig *rig, bool on);


#endif
