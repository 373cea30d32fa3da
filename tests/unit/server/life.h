/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device through several lives.  The test is its keeper and its client, and
 * each life is a child that is killed: nothing of it is left but what the keeper
 * has.
 */
#ifndef OB_TESTS_SERVER_LIFE_H
#define OB_TESTS_SERVER_LIFE_H

#include "rig.h"

#include "base/ring.h"
#include "fake_keep.h"

#define LIVES 256u

/* Where the model kills its process, once. */
enum die {
	DIE_NOT, DIE_BEFORE_WRITE, DIE_AFTER_WRITE, DIE_AFTER_RAISE,
	DIE_IN_MEMORY_CHANGED, DIE_IN_HALT, DIE_IN_RESET, DIE_IN_WORK,
	DIE_IN_LOADED,
};

/* Where the model's every process dies that takes the device over. */
enum taking { TAKING_WELL, TAKING_CRASHES, TAKING_IS_KILLED };

/* BAR0 of the model. */
enum {
	LIFE_ADD = 0x00,	/* adds; reads as the sum */
	LIFE_RAISE = 0x08,	/* raises that vector, or drives the pin */
	LIFE_POISON = 0x10,	/* kills while shared->poison */
	LIFE_HOT = 0x18,	/* a hot register */
	LIFE_WORK = 0x20,	/* adds in a step of its own, later */
	LIFE_SEND = 0x28,	/* writes 8 bytes of guest memory there */
	LIFE_SCRATCH = 0x40,
};

struct life_state {
	uint64_t sum, raised, work, send;
	uint8_t scratch[64];
};

struct life_hot {
	uint64_t value;
};

/* Memory that test and lives share. */
struct life_shared {
	enum die die;
	bool poison, poison_work;
	enum taking poison_taking;
	unsigned die_at_call;		/* of the keeper; 0: never */
	bool copy;			/* asks the life for ob_device_copy */
	unsigned runs, halts, sent, send_rc;
	char calls[64];
};

struct life {
	struct fake_keep keep;
	int told;			/* what the child tells its keeper */
	int given;			/* the child's end */
	int client, peer;		/* our end; the device's, until the next life */
	pid_t pid;			/* 0: dead */
	unsigned nr;			/* lives so far */
	int signal;			/* of the last death */
	struct ob_rings rings[LIVES];
	struct life_shared *shared;
	const struct ob_device_class *cls;
	bool last_try;			/* see struct ob_past */
	const char *options;		/* ",KEY=VALUE,...", or NULL */
	char dir[64], path[96];
	bool hold_rings;		/* the old rings are never over */
	void (*born)(void);		/* in the child, before its device */
	struct rig rig;			/* to talk with */
};

struct life *life_start(const struct ob_device_class *cls);
void life_end(struct life *life);
/* One of life_class that has agreed with its client; its registers. */
struct life *life_served(void);
uint64_t life_get(struct life *life, uint64_t offset);
int life_put(struct life *life, uint64_t offset, uint64_t value);
/* Another life, which finds the client if that is new. */
void life_begin(struct life *life);
/* The keeper has accepted one; takes fd. */
void life_comes(struct life *life, unsigned place, int fd);
/* A new client, in place of one that is gone. */
void life_connect(struct life *life);
void life_kill(struct life *life);
/* By a fault that would be its own. */
void life_crash(struct life *life);
/* It died, and nobody has waited for it yet. */
bool life_is_dead(const struct life *life);
/* Until it answers the message that waits; false: it died before. */
bool life_is_up(struct life *life);
/* The same of one that is to die at a call, after which the next begins. */
bool life_goes_on(struct life *life);
/* Waits for the child to die by itself. */
void life_wait(struct life *life);
/* Kills it after a moment; it may have refused to serve, no more. */
void life_judge(struct life *life);
/* Its options, parsed anew. */
struct ob_options *life_options(const struct life *life);
/* Both. */
void life_again(struct life *life);
extern const struct ob_device_class life_class;

#endif
