# SPDX-License-Identifier: BSD-3-Clause
"""State that a guest sees, on each device that we know, so that a test can
say whether it went along.  A device that we do not know has its
configuration space."""

import edu
import vfu

LINE = 0x3c             # interrupt line: a byte that is the guest's own

# NVMe registers that a guest may write while the controller is off
NVME_CLASS = b"\x02\x08\x01"
AQA, ASQ, ACQ = 0x24, 0x28, 0x30


def kind(client):
    if client.read(vfu.CONFIG, 0, 4) == b"\x34\x12\xe8\x11":
        return "edu"
    if client.read(vfu.CONFIG, 9, 3) == NVME_CLASS:
        return "nvme"
    return "other"


def leave(client, seed):
    """Marks a running device; wanted() of the same seed is what it shows."""
    client.write_int(vfu.CONFIG, LINE, seed & 0xff, 1)
    which = kind(client)
    if which == "edu":
        client.write_int(0, edu.LIVENESS, seed)
        client.write_int(0, edu.RAISE, seed & 0xff)
        client.write_int(0, edu.DEST, 4096 * seed, 8)
    elif which == "nvme":
        client.write_int(0, AQA, (seed & 0xff) << 16 | seed & 0xff)
        client.write_int(0, ASQ, 4096 * seed, 8)
        client.write_int(0, ACQ, 8192 * seed, 8)
    return found(client)


def found(client):
    """Everything that leave() may have written."""
    which = kind(client)
    out = [client.read_int(vfu.CONFIG, LINE, 1)]
    if which == "edu":
        out += [client.read_int(0, edu.LIVENESS),
                client.read_int(0, edu.IRQ_STATUS),
                client.read_int(0, edu.DEST, 8)]
    elif which == "nvme":
        out += [client.read_int(0, AQA), client.read_int(0, ASQ, 8),
                client.read_int(0, ACQ, 8)]
    return out


def works(client):
    """A reset device that does what a device does."""
    client.ok(vfu.RESET)
    client.write_int(vfu.CONFIG, 4, 6, 2)
    one = leave(client, 17)
    two = leave(client, 42)
    assert one != two
    which = kind(client)
    if which == "edu":
        client.write_int(0, edu.FACTORIAL, 10)
        assert vfu.wait_until(lambda: not client.read_int(0, edu.STATUS)
                              & edu.COMPUTING)
        assert client.read_int(0, edu.FACTORIAL) == 3628800
    client.ok(vfu.RESET)
    client.alive()
