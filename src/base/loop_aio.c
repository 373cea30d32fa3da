// SPDX-License-Identifier: BSD-3-Clause
/*
 * Linux AIO signals any eventfd that a request names, when the request completes.
 * So a signal is a request that is complete at once: a poll of an eventfd of
 * ours that is always writable.
 *
 * A process with an AIO context takes 36 ms to be gone after SIGKILL, since
 * the kernel waits for a grace period of RCU, and its successor with it.  So
 * this is for where bells are not to be had, and begins when it is needed.
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

#define COMPLETIONS	128	/* nobody wants them, but they take room */

static void begin(struct ob_aio *aio)
{
	aio_context_t context = 0;

	aio->begun = true;
	aio->always_writable = eventfd(0, EFD_CLOEXEC);
	if (aio->always_writable < 0 ||
	    syscall(SYS_io_setup, COMPLETIONS, &context))
		ob_log(NULL, OB_LOG_WARN, "no AIO (%s): a hostile client can "
		       "stop this process through its eventfds",
		       strerror(errno));
	aio->context = context;
}

void ob_aio_end(struct ob_loop *loop)
{
	if (!loop->aio.begun)
		return;
	if (loop->aio.context)
		syscall(SYS_io_destroy, (aio_context_t)loop->aio.context);
	ob_fd_close(&loop->aio.always_writable);
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

static void make_room(struct ob_aio *aio)
{
	struct io_event events[COMPLETIONS];
	struct timespec now = { 0 };
	long n;

	if (aio->completions + OB_AIO_BATCH <= COMPLETIONS)
		return;
	n = syscall(SYS_io_getevents, (aio_context_t)aio->context, 0L,
		    (long)COMPLETIONS, events, &now);
	if (n > 0)
		aio->completions -= (unsigned)n;
}

/* An fd that is no eventfd has nobody to tell. */
static void submit(struct ob_aio *aio, struct iocb **list, long count)
{
	long n;

	for (; count; list += n, count -= n) {
		n = syscall(SYS_io_submit, (aio_context_t)aio->context, count,
			    list);
		if (n > 0) {
			aio->completions += (unsigned)n;
			continue;
		}
		if (errno == EAGAIN)
			write_now((int)list[0]->aio_resfd);
		n = 1;
	}
}

static void send_requests(struct ob_aio *aio)
{
	struct iocb requests[OB_AIO_BATCH], *list[OB_AIO_BATCH];

	for (unsigned i = 0; i < aio->count; i++) {
		list[i] = &requests[i];
		requests[i] = (struct iocb){
			.aio_lio_opcode = IOCB_CMD_POLL,
			.aio_fildes = (uint32_t)aio->always_writable,
			.aio_buf = POLLOUT,
			.aio_flags = IOCB_FLAG_RESFD,
			.aio_resfd = (uint32_t)aio->fds[i],
		};
	}
	make_room(aio);
	submit(aio, list, aio->count);
}

void ob_aio_send(struct ob_loop *loop)
{
	struct ob_aio *aio = &loop->aio;

	if (!aio->count)
		return;
	if (!aio->begun)
		begin(aio);
	if (aio->context)
		send_requests(aio);
	else
		for (unsigned i = 0; i < aio->count; i++)
			write_now(aio->fds[i]);
	aio->count = 0;
}

void ob_aio_signal(struct ob_loop *loop, int fd)
{
	loop->aio.fds[loop->aio.count++] = fd;
	if (loop->aio.count == OB_AIO_BATCH)
		ob_aio_send(loop);
}
