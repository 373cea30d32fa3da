// SPDX-License-Identifier: BSD-3-Clause
/*
 * INTx, unmasked by an eventfd.
 *
 * A client whose hypervisor tells of the end of an interrupt by an eventfd
 * (KVM's resampling irqfd) hands us that one, and need not send a message for
 * every interrupt.  The eventfd is the peer's, so its flags are not trusted:
 * the read says RWF_NOWAIT itself (R6).
 */
#include <errno.h>
#include <poll.h>
#include <sys/uio.h>

#include "base/fd.h"
#include "server/device_impl.h"

static bool is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/*
 * It is open before the event is taken: who dies between leaves one that a
 * successor takes.  The client is told of the pin after that, or its next event
 * might be taken with this one.
 */
static void unmask_ready(struct ob_watch *watch, uint32_t events)
{
	struct ob_device *dev = container_of(watch, struct ob_device,
					     irqs.unmask);
	uint64_t count;
	struct iovec iov = { &count, sizeof(count) };
	ssize_t n;

	(void)events;
	if (!is_readable(watch->fd))
		return;
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	dev->core->intx_masked = OB_INTX_OPEN;
	n = preadv2(watch->fd, &iov, 1, -1, RWF_NOWAIT);
	ob_intx_mask(dev, false);
	ob_dev_step_end(dev);
	if (n == sizeof(count) || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	ob_log(&dev->log, OB_LOG_GUEST, "INTx: what unmasks it is no eventfd");
	ob_irq_unmask_by(dev, NULL);
}

void ob_irq_unmask_drop(struct ob_device *dev)
{
	struct ob_watch *watch = &dev->irqs.unmask;

	if (!watch->ready)
		return;
	ob_watch_remove(dev->loop, watch);
	ob_fd_close(&watch->fd);
	watch->ready = NULL;
}

int ob_irq_unmask_watch(struct ob_device *dev, int fd)
{
	struct ob_watch *watch = &dev->irqs.unmask;
	int r;

	*watch = (struct ob_watch){
		.ready = unmask_ready, .fd = fd, .events = POLLIN,
	};
	r = ob_watch_add(dev->loop, watch);
	if (r) {
		ob_fd_close(&watch->fd);
		watch->ready = NULL;
	}
	return r;
}

int ob_irq_unmask_by(struct ob_device *dev, int *fd)
{
	int r = ob_irq_keep_unmask(dev, fd ? *fd : -1);

	if (r)
		return r;
	ob_irq_unmask_drop(dev);
	return fd ? ob_irq_unmask_watch(dev, ob_fd_take(fd)) : 0;
}
