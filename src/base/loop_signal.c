// SPDX-License-Identifier: BSD-3-Clause
/*
 * Signals to a peer's eventfd.
 *
 * The peer owns the same open file.  It can clear O_NONBLOCK and fill the
 * counter at any instant, also between a look at either and the write that
 * relies on it, be that our own look or the one that io_uring takes inside a
 * request; and a write that waits stops the whole loop (RULES R6).  What never
 * waits is the kernel's own signalling, which adds to the counter or leaves it
 * full.  Linux AIO does that to any eventfd that a request names, when the
 * request completes.  So a signal is a request that is complete at once: a
 * poll of an eventfd of ours that is always writable.
 *
 * What is raised within a turn leaves with one call at its end.
 */
#include <base/loop_private.h>

#include <base/fd.h>
#include <base/log.h>

#include <errno.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BATCH		32
#define COMPLETIONS	128	/* nobody wants them, but they take room */

void ob_signals_open(struct ob_loop *loop)
{
	aio_context_t aio = 0;

	loop->always_writable = eventfd(0, EFD_CLOEXEC);
	if (loop->always_writable < 0 ||
	    syscall(SYS_io_setup, COMPLETIONS, &aio))
		ob_log(NULL, OB_LOG_WARN, "no AIO (%s): a hostile client can "
		       "stop this process through its eventfds",
		       strerror(errno));
	loop->aio = aio;
}

void ob_signals_close(struct ob_loop *loop)
{
	ob_signals_send(loop);
	if (loop->aio)
		syscall(SYS_io_destroy, (aio_context_t)loop->aio);
	ob_fd_close(&loop->always_writable);
}

/*
 * Where the kernel has no AIO, or no memory for a request: better a moment in
 * which the peer can stop us than a lost interrupt.
 */
static void write_now(int fd)
{
	static const uint64_t one = 1;
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };

	if (poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLOUT) &&
	    write(fd, &one, sizeof(one)) < 0)
		return;		/* a full counter: the peer is signalled */
}

static void make_room(struct ob_loop *loop)
{
	struct io_event events[COMPLETIONS];
	struct timespec now = { 0 };
	long n;

	if (loop->completions + BATCH <= COMPLETIONS)
		return;
	n = syscall(SYS_io_getevents, (aio_context_t)loop->aio, 0L,
		    (long)COMPLETIONS, events, &now);
	if (n > 0)
		loop->completions -= (unsigned)n;
}

/* An fd that is no eventfd has nobody to tell. */
static void submit(struct ob_loop *loop, struct iocb **list, long count)
{
	long n;

	for (; count; list += n, count -= n) {
		n = syscall(SYS_io_submit, (aio_context_t)loop->aio, count,
			    list);
		if (n > 0) {
			loop->completions += (unsigned)n;
			continue;
		}
		if (errno == EAGAIN)
			write_now((int)list[0]->aio_resfd);
		n = 1;
	}
}

static void send_batch(struct ob_loop *loop)
{
	struct iocb requests[BATCH], *list[BATCH];
	struct ob_signal *signal;
	long n = 0;

	for (; n < BATCH && (signal = loop->raised); n++) {
		loop->raised = signal->next;
		signal->raised = false;
		list[n] = &requests[n];
		requests[n] = (struct iocb){
			.aio_lio_opcode = IOCB_CMD_POLL,
			.aio_fildes = (uint32_t)loop->always_writable,
			.aio_buf = POLLOUT,
			.aio_flags = IOCB_FLAG_RESFD,
			.aio_resfd = (uint32_t)signal->fd,
		};
	}
	make_room(loop);
	submit(loop, list, n);
}

void ob_signals_send(struct ob_loop *loop)
{
	while (loop->raised) {
		if (loop->aio) {
			send_batch(loop);
			continue;
		}
		write_now(loop->raised->fd);
		loop->raised->raised = false;
		loop->raised = loop->raised->next;
	}
}

void ob_signal_raise(struct ob_loop *loop, struct ob_signal *signal)
{
	if (signal->raised)
		return;
	signal->raised = true;
	signal->next = loop->raised;
	loop->raised = signal;
}

void ob_signal_close(struct ob_loop *loop, struct ob_signal *signal)
{
	struct ob_signal **at = &loop->raised;

	if (!signal->raised)
		return;
	while (*at != signal)
		at = &(*at)->next;
	*at = signal->next;
	signal->raised = false;
}
