# SPDX-License-Identifier: BSD-3-Clause
"""The edu device: registers in BAR0, and the buffer that they name by its
address (QEMU's docs/specs/edu.rst)."""

import vfu

LIVENESS, FACTORIAL, STATUS, IRQ_STATUS, RAISE, ACK = (
    0x04, 0x08, 0x20, 0x24, 0x60, 0x64)
SOURCE, DEST, COUNT, COMMAND = 0x80, 0x88, 0x90, 0x98
RUN, TO_GUEST, WITH_IRQ = 1, 2, 4
COMPUTING, IRQ_WHEN_DONE = 0x01, 0x80
BUFFER = 0x40000


def start(client, source, dest, count, command):
    client.write_int(0, SOURCE, source, 8)
    client.write_int(0, DEST, dest, 8)
    client.write_int(0, COUNT, count, 8)
    client.write_int(0, COMMAND, command, 4)


def idle(client):
    return not client.read_int(0, COMMAND) & RUN


def done(client):
    assert vfu.wait_until(lambda: idle(client))


def fetch(client, source, count):
    """Guest memory to the buffer."""
    start(client, source, BUFFER, count, RUN)
    done(client)


def store(client, dest, count):
    """The buffer to guest memory, again and again if that is longer."""
    for at in range(0, count, 4096):
        start(client, BUFFER, dest + at, min(4096, count - at),
              RUN | TO_GUEST)
        done(client)


def copy(client, source, dest, count):
    """Guest memory to guest memory."""
    fetch(client, source, count)
    store(client, dest, count)
