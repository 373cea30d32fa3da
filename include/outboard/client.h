/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client side of vfio-user: for VMMs, drivers in user space, and tools.
 *
 * A client is one connection to one device.  All functions block until the
 * server has answered, up to the client's timeout; one thread at a time may
 * use a client.  Event loops watch ob_client_fd (and ob_client_twin_fd) and
 * call ob_client_poll when it is readable.
 *
 * Errors.  0 or -errno; err (may be NULL) says what failed and why.
 *   -ETIMEDOUT    no answer in time.  The connection stays usable; the late
 *                 answer is recognised and dropped.
 *   -ECONNRESET   the server closed the connection.
 *   -EPROTO       the server broke the protocol.
 *   -ENOTCONN     the connection ended earlier, by one of the last two.
 *   -EOPNOTSUPP   the server did not offer this.
 * Any other value is the server's own errno from its error reply, or a local
 * one (-EINVAL for an argument, -ENOMEM).
 *
 * Addresses, sizes and offsets are bytes.  Section names in brackets are
 * those of QEMU's docs/interop/vfio-user.rst.
 */
#ifndef OUTBOARD_CLIENT_H
#define OUTBOARD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/error.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct ob_client;

#define OB_CLIENT_TIMEOUT_MS 5000	/* the default */
#define OB_CLIENT_FOREVER (-1)

/*
 * Serves the server's accesses to guest memory that it cannot map itself
 * [VFIO_USER_DMA_READ, VFIO_USER_DMA_WRITE].  Called from inside any function
 * of this header that waits; must not call one.  Returns 0 or -errno, which
 * goes to the server.  addr + len does not wrap.
 */
struct ob_client_dma_ops {
	int (*read)(void *arg, uint64_t addr, void *buf, size_t len);
	int (*write)(void *arg, uint64_t addr, const void *buf, size_t len);
};

/* Zero-initialise; 0 means the default everywhere. */
struct ob_client_params {
	int timeout_ms;		/* to some ms; OB_CLIENT_FOREVER: no limit */
	bool spin;		/* never sleep while a reply is due */
	bool twin_socket;	/* offer it; see ob_client_twin_fd */
	uint32_t max_data_xfer_size;	/* accepted by us; 1 MiB, <= 64 MiB */
	const struct ob_client_dma_ops *dma_ops;	/* outlives the client */
	void *dma_arg;
};

/*
 * Connects and negotiates [VFIO_USER_VERSION].  ob_client_attach takes fd, a
 * connected Unix stream socket, also when it fails.  -EBUSY: the server says
 * that it serves another client.
 */
int ob_client_connect(const char *path, const struct ob_client_params *params,
		      struct ob_client **out, struct ob_err *err);
int ob_client_attach(int fd, const struct ob_client_params *params,
		     struct ob_client **out, struct ob_err *err);
/* Closes everything the client owns.  Accepts NULL. */
void ob_client_destroy(struct ob_client *client);

/* What was agreed; lives as long as the client. */
struct ob_client_version {
	uint16_t major, minor;
	uint32_t max_msg_fds;		/* the server takes per message */
	uint32_t max_data_xfer_size;	/* per access, both sides' minimum */
	uint32_t max_dma_maps;
	uint64_t pgsizes;		/* bit n: pages of 2^n bytes */
	bool write_multiple;
	bool twin_socket;
	const char *json;		/* the server's text, may be empty */
};
const struct ob_client_version *ob_client_version(const struct ob_client *c);

void ob_client_set_timeout(struct ob_client *client, int timeout_ms);
void ob_client_set_spin(struct ob_client *client, bool spin);

/* For event loops; owned by the client.  -1: no twin socket was agreed. */
int ob_client_fd(const struct ob_client *client);
int ob_client_twin_fd(const struct ob_client *client);

/*
 * Serves what the server asks for, waiting up to timeout_ms for the first
 * request (0: does not wait, OB_CLIENT_FOREVER).  The number of requests
 * served, or an error; -ECONNRESET when the server went away.
 */
int ob_client_poll(struct ob_client *client, int timeout_ms,
		   struct ob_err *err);

/* [VFIO_USER_DEVICE_GET_INFO] */
struct ob_client_device {
	bool resettable, pci;
	uint32_t nr_regions, nr_irqs;
};
int ob_client_device_info(struct ob_client *client,
			  struct ob_client_device *info, struct ob_err *err);

/* Region numbers of a PCI device; regions 0 to 5 are its BARs. */
enum ob_client_region_index {
	OB_CLIENT_BAR0 = 0, OB_CLIENT_ROM = 6, OB_CLIENT_CONFIG = 7,
	OB_CLIENT_VGA = 8,
};

struct ob_client_area {
	uint64_t offset, size;		/* within the region */
};

/* [VFIO_USER_DEVICE_GET_REGION_INFO] */
struct ob_client_region {
	uint32_t index;
	bool readable, writable, mappable;
	uint64_t size;			/* 0: no such region */
	uint64_t offset;		/* of the region in fd */
	int fd;				/* the client's; -1: cannot be mapped */
	/* What may be mapped; a mappable region without areas: all of it. */
	uint32_t nr_areas;
	const struct ob_client_area *areas;
};

/*
 * Asked once, then remembered: *info lives as long as the client.  Indexes
 * above OB_CLIENT_MAX_REGIONS are -EINVAL.
 */
#define OB_CLIENT_MAX_REGIONS 64
int ob_client_region_info(struct ob_client *client, uint32_t index,
			  const struct ob_client_region **info,
			  struct ob_err *err);

/*
 * Maps a range that lies inside one area; offset and size are multiples of
 * the page size, prot as in mmap(2).  The caller ends it with munmap(2) and
 * may keep it beyond the client.
 */
int ob_client_region_map(struct ob_client *client, uint32_t index,
			 uint64_t offset, size_t size, int prot, void **addr,
			 struct ob_err *err);

/*
 * Register access [VFIO_USER_REGION_READ, VFIO_USER_REGION_WRITE].  Longer
 * ones than the agreed maximum are split; all of len was transferred when
 * the result is 0.
 */
int ob_client_read(struct ob_client *client, uint32_t region, uint64_t offset,
		   void *buf, size_t len, struct ob_err *err);
int ob_client_write(struct ob_client *client, uint32_t region,
		    uint64_t offset, const void *buf, size_t len,
		    struct ob_err *err);

/* Small writes, 1 to 8 bytes each, value in the host's byte order. */
struct ob_client_reg_write {
	uint64_t offset;
	uint32_t region, len;
	uint64_t value;
};

/*
 * Posted writes: the server sends no answer, so errors stay unknown; any
 * later answered call is a barrier.  Several are packed into few sends.
 */
int ob_client_post(struct ob_client *client,
		   const struct ob_client_reg_write *writes, unsigned count,
		   struct ob_err *err);
/*
 * Several writes in one message [VFIO_USER_REGION_WRITE_MULTI], answered or
 * posted; -EOPNOTSUPP when version.write_multiple is false.  At most
 * OB_CLIENT_MAX_MULTI.  *done (may be NULL) counts those that the server did.
 */
#define OB_CLIENT_MAX_MULTI 200
int ob_client_write_multi(struct ob_client *client,
			  const struct ob_client_reg_write *writes,
			  unsigned count, bool posted, uint64_t *done,
			  struct ob_err *err);

/*
 * Guest memory [VFIO_USER_DMA_MAP].  With fd: the server maps it; the fd
 * stays the caller's and may be closed afterwards.  With fd -1 and memory:
 * the client serves the server's accesses from there, until the unmap.  With
 * neither: dma_ops serves them.
 */
struct ob_client_dma {
	uint64_t addr, size;		/* multiples of a page size */
	bool readable, writable;	/* by the device */
	int fd;
	uint64_t offset;		/* in fd */
	void *memory;			/* size bytes, the caller's */
};
int ob_client_dma_map(struct ob_client *client,
		      const struct ob_client_dma *map, struct ob_err *err);
/*
 * [VFIO_USER_DMA_UNMAP]  Exactly one mapping.  The device touches none of it
 * any more when this returns 0.
 */
int ob_client_dma_unmap(struct ob_client *client, uint64_t addr,
			uint64_t size, struct ob_err *err);
int ob_client_dma_unmap_all(struct ob_client *client, struct ob_err *err);

/* Interrupt kinds of a PCI device. */
enum ob_client_irq_index {
	OB_CLIENT_INTX, OB_CLIENT_MSI, OB_CLIENT_MSIX, OB_CLIENT_ERR,
	OB_CLIENT_REQ,
};

/* [VFIO_USER_DEVICE_GET_IRQ_INFO] */
struct ob_client_irq {
	uint32_t index, count;		/* vectors; 0: no such interrupt */
	bool eventfd, maskable, automasked, noresize;
};
int ob_client_irq_info(struct ob_client *client, uint32_t index,
		       struct ob_client_irq *info, struct ob_err *err);

/*
 * Interrupts [VFIO_USER_DEVICE_SET_IRQS].  The server adds 1 to eventfd
 * fds[i] for vector start + i; -1 detaches a vector.  The fds stay the
 * caller's.  disable detaches all of an index.  An automasked interrupt
 * (INTx) fires once and waits for unmask.
 */
int ob_client_irq_attach(struct ob_client *client, uint32_t index,
			 uint32_t start, const int *fds, uint32_t count,
			 struct ob_err *err);
int ob_client_irq_disable(struct ob_client *client, uint32_t index,
			  struct ob_err *err);
int ob_client_irq_mask(struct ob_client *client, uint32_t index,
		       uint32_t start, uint32_t count, struct ob_err *err);
int ob_client_irq_unmask(struct ob_client *client, uint32_t index,
			 uint32_t start, uint32_t count, struct ob_err *err);
/* Makes the server signal the eventfds, as if the device had: a loopback. */
int ob_client_irq_trigger(struct ob_client *client, uint32_t index,
			  uint32_t start, uint32_t count, struct ob_err *err);

/* [VFIO_USER_DEVICE_RESET] */
int ob_client_reset(struct ob_client *client, struct ob_err *err);

/*
 * Migration, one device's part of it [VFIO_USER_DEVICE_FEATURE,
 * VFIO_USER_MIG_DATA_READ, VFIO_USER_MIG_DATA_WRITE].  The order in which a
 * VMM uses these is in outboard/migrate.h, which also does it for you.
 */
enum ob_client_mig_state {
	OB_CLIENT_ERROR, OB_CLIENT_STOP, OB_CLIENT_RUNNING,
	OB_CLIENT_STOP_COPY, OB_CLIENT_RESUMING, OB_CLIENT_RUNNING_P2P,
	OB_CLIENT_PRE_COPY, OB_CLIENT_PRE_COPY_P2P,
	OB_CLIENT_NR_MIG_STATES
};
const char *ob_client_mig_state_name(enum ob_client_mig_state state);

/* Which states there are besides RUNNING; all false: no migration. */
struct ob_client_mig {
	bool stop_copy, p2p, pre_copy;
	bool logging;			/* the dirty log is offered */
	bool precopy_info;		/* ob_client_mig_precopy works */
};
int ob_client_mig_info(struct ob_client *client, struct ob_client_mig *info,
		       struct ob_err *err);
int ob_client_mig_get(struct ob_client *client,
		      enum ob_client_mig_state *state, struct ob_err *err);
/*
 * Returns when the new state is reached, and waits for that at least
 * OB_CLIENT_MIG_TIMEOUT_MS, as do read and write: a device ends what is under
 * way, and flushes.  After a failure ask for the state: it may be the old one,
 * one on the way, or ERROR.  err has the server's own words where it gives
 * them; so it has for the functions below, as far as mig_write.
 */
#define OB_CLIENT_MIG_TIMEOUT_MS 10000
int ob_client_mig_set(struct ob_client *client,
		      enum ob_client_mig_state state, struct ob_err *err);
/*
 * The device's stream, of which len is at most version.max_data_xfer_size.
 * read: *got < len: nothing more, in PRE_COPY for now, in STOP_COPY for good.
 * -EBUSY: the device's drives are not free yet, and nothing is lost; the next
 * read goes on where this one stopped.
 */
int ob_client_mig_read(struct ob_client *client, void *buf, size_t len,
		       size_t *got, struct ob_err *err);
/* The same without a copy: *data is the client's, until its next call. */
int ob_client_mig_read_view(struct ob_client *client, size_t len,
			    const void **data, size_t *got,
			    struct ob_err *err);
/* Longer ones than the agreed maximum are split. */
int ob_client_mig_write(struct ob_client *client, const void *buf, size_t len,
			struct ob_err *err);
/* Bytes that STOP_COPY would have to send now, an estimate. */
int ob_client_mig_size(struct ob_client *client, uint64_t *bytes,
		       struct ob_err *err);
/*
 * In PRE_COPY: bytes never sent yet (only shrinks), and sent ones that have
 * changed since.  -EOPNOTSUPP where the server has no such extension.
 */
int ob_client_mig_precopy(struct ob_client *client, uint64_t *initial,
			  uint64_t *dirty, struct ob_err *err);

/*
 * The log of guest memory that the device writes.  count 0: all of it.
 * *page (may be NULL) is the size that the server keeps account in.  report
 * ORs into bitmap, bit n for the page at iova + n * page, and takes what it
 * tells out of the log; page is any power of two, bitmap has one bit for
 * each begun page, in whole 64-bit words.  Long ranges take several messages.
 * After a failed report some bits may be lost: take every page as dirty.
 */
struct ob_client_range {
	uint64_t iova, length;
};
int ob_client_log_start(struct ob_client *client, uint64_t page_hint,
			const struct ob_client_range *ranges, uint32_t count,
			uint64_t *page, struct ob_err *err);
int ob_client_log_stop(struct ob_client *client, struct ob_err *err);
int ob_client_log_report(struct ob_client *client, uint64_t iova,
			 uint64_t length, uint64_t page, uint64_t *bitmap,
			 struct ob_err *err);

/*
 * Any command, as bytes: for tests and for commands that have no function
 * here.  Payloads exclude the 16-byte header, which the client makes.  An
 * error reply gives the server's -errno and still fills the reply members.
 */
struct ob_client_raw {
	uint16_t command;
	bool no_reply;
	const void *request;
	size_t request_len;
	const int *fds;			/* stay the caller's */
	unsigned nr_fds;
	void *reply;			/* reply_size bytes of room */
	size_t reply_size;
	size_t reply_len;		/* of the whole; may exceed the room */
	int *reply_fds;			/* room for reply_fds_max; caller's */
	unsigned reply_fds_max, nr_reply_fds;	/* more are closed */
};
int ob_client_raw(struct ob_client *client, struct ob_client_raw *call,
		  struct ob_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
