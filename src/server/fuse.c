// SPDX-License-Identifier: BSD-3-Clause
/*
 * What kills again (docs/crash-safety.md).
 *
 * Of a device that served: a successor that finds a step open in the place in
 * which the one before it died, too, counts.  The place of a message is its
 * position in the stream.  Other steps have none, so there it is their kind, and
 * it counts only if the life ended by a fault of its own, a turn that does not end
 * included: whoever is killed from outside is hit in some step or other all the
 * time.
 *
 * The third death is the last: the message is answered with EIO, and the device
 * goes to its failed state.  The others of the process go on.
 *
 * Of state that is taken over: whoever takes it writes so into it, and counts the
 * faults of those before.  After the third the state is refused, and the device
 * begins anew (device.c).
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "server/device_impl.h"
#include "state/old.h"

#define DEATHS 3u

static uint64_t place_of(const struct ob_device *dev,
			 const struct ob_state_header *old)
{
	return old->step_kind == OB_STEP_MESSAGE ? dev->ss->main.done :
		~(uint64_t)old->step_kind;
}

static bool was_fault(const struct ob_device *dev)
{
	int signal = dev->past ? dev->past->signal : 0;

	return signal && signal != SIGKILL;
}

static bool counts(const struct ob_device *dev,
		   const struct ob_state_header *old)
{
	return old->step & 1 &&
	       (old->step_kind == OB_STEP_MESSAGE || was_fault(dev));
}

/* Lanes do the same in all of their steps. */
#define PLACE_OF_LANES ~(uint64_t)OB_STEP_POLL

/*
 * Is there a place to blame?  Of two, since lanes may have been in steps of their own,
 * theirs, unless the last death was in the other.  Who is blamed in vain does not go on
 * after the third, and leaves the other alone.
 */
static bool find_place(const struct ob_device *dev,
		       const struct ob_state_header *old, uint64_t *place)
{
	bool found = counts(dev, old);

	if (found)
		*place = place_of(dev, old);
	if (!dev->lane_was_open || !was_fault(dev) ||
	    (found && *place == old->died_at))
		return found;
	*place = PLACE_OF_LANES;
	return true;
}

static void tell(struct ob_device *dev, const struct ob_state_header *old)
{
	int signal = dev->past ? dev->past->signal : 0;

	ob_log(&dev->log, OB_LOG_INFO, "goes on after the death of its process"
	       " (%s) %s a %s step, life %llu",
	       signal ? strsignal(signal) : "no signal known",
	       old->step & 1 ? "in" : "after",
	       ob_step_kind_name(old->step_kind),
	       (unsigned long long)old->generation);
}

void ob_fuse_judge(struct ob_device *dev)
{
	const struct ob_state_header *old = ob_old_state_header(dev->old);
	struct ob_state_header *hdr = ob_state_header(&dev->mem);
	bool message;

	tell(dev, old);
	if (!find_place(dev, old, &hdr->died_at))
		return;
	message = old->step_kind == OB_STEP_MESSAGE &&
		  hdr->died_at == place_of(dev, old);
	hdr->deaths = old->died_at == hdr->died_at && old->deaths < UINT32_MAX ?
		      old->deaths + 1 : 1;
	if (hdr->deaths < DEATHS)
		return;
	if (message && dev->session) {
		dev->fused = true;	/* it is the next one */
		return;
	}
	ob_log(&dev->log, OB_LOG_ERROR, "%u processes in a row died in a %s step",
	       hdr->deaths, ob_step_kind_name(message ? OB_STEP_MESSAGE :
					      (unsigned)~hdr->died_at));
	ob_fuse_fail(dev);
}

int ob_fuse_message(struct ob_device *dev, const struct ob_hdr *hdr)
{
	struct ob_state_header *state = ob_state_header(&dev->mem);

	ob_log(&dev->log, OB_LOG_ERROR, "%s (%u), id %u, killed %u processes "
	       "in a row and is not tried again", ob_cmd_name(hdr->cmd),
	       hdr->cmd, hdr->id, state->deaths);
	state->deaths = 0;
	ob_fuse_fail(dev);
	return -EIO;
}

void ob_fuse_fail(struct ob_device *dev)
{
	if (dev->cls->fail) {
		dev->cls->fail(dev);
		return;
	}
	dev->failed = true;
	dev->mig.halted = true;
	ob_poll_update(dev);
}

/* A step that was open after the hand-over is judged as any other. */
static bool died_of_taking(const struct ob_device *dev,
			   const struct ob_state_header *old)
{
	return was_fault(dev) &&
	       (old->taking == OB_TAKING ||
		(old->taking == OB_TAKEN && !(old->step & 1)));
}

int ob_fuse_taking(struct ob_device *dev, int fd, struct ob_err *err)
{
	const off_t at = offsetof(struct ob_state_header, taking);
	struct ob_state_header old = { 0 };
	uint32_t words[2] = { OB_TAKING };

	if (pread(fd, &old, sizeof(old), 0) != sizeof(old))
		return 0;	/* refused for that, later */
	words[1] = old.takers + died_of_taking(dev, &old);
	if (pwrite(fd, words, sizeof(words), at) != sizeof(words))
		ob_log(&dev->log, OB_LOG_WARN, "the state that is kept cannot be"
		       " written: %s", strerror(errno));
	if (words[1] < DEATHS || !dev->past || !dev->past->last_try)
		return 0;
	return ob_fail(err, ENOTRECOVERABLE, "%u processes in a row died (%s) of"
		       " taking over the state that is kept", words[1],
		       strsignal(dev->past->signal));
}

void ob_fuse_taken(struct ob_device *dev, bool serves)
{
	struct ob_state_header *hdr = ob_state_header(&dev->mem);

	hdr->taking = serves ? OB_TAKING_NOT : OB_TAKEN;
	hdr->takers = serves ? 0 : ob_old_state_header(dev->old)->takers;
}
