/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One client's connection: negotiated values, the reply under construction,
 * and the watch that drives it.
 */
#ifndef OB_SERVER_SESSION_H
#define OB_SERVER_SESSION_H

#include <sys/uio.h>

#include <outboard/loop.h>

#include "proto/caps.h"
#include "proto/proto.h"
#include "transport/conn.h"

struct ob_device;

#define OB_OUR_DATA_XFER (1u << 20)
#define OB_REPLY_FDS 8
#define OB_REPLY_MORE (UIO_MAXIOV - 2u)	/* beside buf and bulk */
#define OB_REPLY_ROOM 4352u	/* header, fixed part, 4 KiB of data */

/* The success reply of the request in hand, payload only. */
struct ob_reply {
	struct ob_writer wr;
	uint8_t buf[OB_REPLY_ROOM];
	uint8_t *bulk;			/* data that does not fit buf; owned */
	size_t bulk_len;
	/*
	 * What follows both, where it lies: borrowed until the handler's
	 * caller has sent the reply, the array too.  What the socket does
	 * not take at once is copied, so it may change afterwards.
	 */
	const struct iovec *more;
	unsigned nr_more;		/* OB_REPLY_MORE at most */
	bool lent;			/* more is large: not to be copied */
	uint8_t fill;			/* sent instead if we die before */
	int fds[OB_REPLY_FDS];		/* borrowed */
	uint8_t fd_names[OB_REPLY_FDS];	/* of them, for a successor (kept.h) */
	unsigned nr_fds;
};

struct ob_channel {			/* a socket with its watch */
	struct ob_conn *conn;
	struct ob_watch watch;
	bool watched;
};

struct ob_session {
	struct ob_device *dev;
	struct ob_channel main, twin;
	struct ob_caps caps;		/* as agreed */
	uint32_t peer_fds;		/* the client takes so many a message */
	bool negotiated;
	bool closing;			/* end it after the message in hand */
	bool spinning;			/* read by the poller, not the watch */
	bool hung_up;			/* read on until the end shows */
	int twin_peer;			/* the client's end, until it is sent */
	pid_t pid;			/* who it is, for the log */
	struct ob_deferred pump;	/* DMA messages to send */
	struct ob_deferred again;	/* input was left in the socket */
	/*
	 * The request in hand takes time: its handler returned -EINPROGRESS
	 * and whoever goes on with it calls ob_session_answer.  Until then no
	 * other message of this client is looked at, and none is sent to it.
	 */
	bool is_held;
	struct ob_request held;		/* without its data */
	struct ob_err err;		/* why the request in hand failed */
	struct ob_err why;		/* why the last one failed that did */
	struct ob_reply reply;
};

/* Takes fd. */
int ob_session_create(struct ob_device *dev, int fd, pid_t pid,
		      struct ob_session **out);
/* The twin socket: takes our end. */
int ob_session_open_twin(struct ob_session *s, int fd);
/*
 * One that a dead process had, as the state says; takes fd.  Talks to nobody yet:
 * ob_session_resume does, after the hand-over.
 */
int ob_session_adopt(struct ob_device *dev, int fd, struct ob_session **out,
		     struct ob_err *err);
void ob_session_resume(struct ob_session *s);
/* The state says that there is one, but it could not be adopted. */
void ob_session_lost(struct ob_device *dev);
/* Lets go of it without a trace: it goes on elsewhere. */
void ob_session_abandon(struct ob_session *s);
/* What was agreed goes into the state. */
void ob_session_record(struct ob_session *s);
/*
 * Ends it: memory unmapped, eventfds dropped, DMA operations failed; the
 * device's state stays.  why is for the log.
 */
void ob_session_destroy(struct ob_session *s, const char *why);
/* Reads what is there and answers it; true if there was anything. */
bool ob_session_run(struct ob_session *s);
/* The peer has hung up: work off what it left, if that is quick, then end. */
void ob_session_drain(struct ob_session *s);
/* Read from the poller instead of the watch. */
void ob_session_spin(struct ob_session *s, bool on);
/*
 * The request that is held is answered: s->reply as its handler left it, or an
 * error.  The first within the step that ends it, the second, with what the
 * first returned, from the loop after it; that may end the session.
 */
int ob_session_answer(struct ob_session *s, int r);
void ob_session_answered(struct ob_session *s, int r);
/* Have DMA messages sent once no answer is due. */
void ob_session_want_pump(struct ob_session *s);

/* Sends what is queued; 0, also when some is left, or the connection's end. */
int ob_session_flush(struct ob_session *s);

/* dispatch.c: one message, to its reply. */
int ob_dispatch(struct ob_session *s, struct ob_msg *msg);
/* The reply as it stands, header included. */
size_t ob_reply_len(const struct ob_reply *reply);

/* The answer to what is held; a result other than 0: the end. */
int ob_dispatch_held(struct ob_session *s, int r);

/*
 * Handlers fill s->reply and return 0, or return -errno for an error reply,
 * or -EINPROGRESS (is_held).  They take the fds they keep out of msg.
 */
int ob_do_version(struct ob_session *s, const struct ob_request *req,
		  struct ob_msg *msg);
int ob_do_device_info(struct ob_session *s, const struct ob_request *req,
		      struct ob_msg *msg);
int ob_do_region_info(struct ob_session *s, const struct ob_request *req,
		      struct ob_msg *msg);
int ob_do_region_io_fds(struct ob_session *s, const struct ob_request *req,
			struct ob_msg *msg);
int ob_do_feature(struct ob_session *s, const struct ob_request *req,
		  struct ob_msg *msg);
int ob_do_irq_info(struct ob_session *s, const struct ob_request *req,
		   struct ob_msg *msg);

#endif
