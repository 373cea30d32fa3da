# SPDX-License-Identifier: BSD-3-Clause
"""Enough of an NVMe driver to have commands in flight: one I/O queue,
completions found by their phase in memory.

The rings are in the guest's memory: 0x1000 admin submission, 0x2000 admin
completion, 0x3000 and 0x4000 the same for I/O, 0x5000 a list of pages, 0x6000
and 0x7000 shadow doorbells and event indexes.  Data go behind 1 MiB.

With Disk.messages it has MSI-X, a vector for each queue, and waits for completions
as a driver does: by its interrupt.  Only so does a device with lanes have the I/O queue
on another thread (--lanes).
"""

import os
import select
import struct
import weakref

import vfu

CAP, CC, CSTS, AQA, ASQ, ACQ = 0x00, 0x14, 0x1c, 0x24, 0x28, 0x30
DOORBELLS = 0x1000
RINGS = {0: (0x1000, 0x2000), 1: (0x3000, 0x4000)}
ENTRIES = 32
LIST, SHADOW, EVENTS = 0x5000, 0x6000, 0x7000
PAGE = 4096
CREATE_SQ, CREATE_CQ, IDENTIFY, DOORBELL_BUFFER = 1, 5, 6, 0x7c
WRITE, READ = 1, 2
MSIX_CAP, MSIX_ENABLE = 0x11, 0x8000


def store(view, at, value):
    """At once, as a guest's driver does: struct.pack_into stores zeros first,
    and a device that polls can see them."""
    with memoryview(view) as plain, plain.cast("I") as words:
        words[at // 4] = value


def set_msix(client, on):
    at = client.read_int(vfu.CONFIG, 0x34, 1)
    while client.read_int(vfu.CONFIG, at, 1) != MSIX_CAP:
        at = client.read_int(vfu.CONFIG, at + 1, 1)
    client.write_int(vfu.CONFIG, at + 2, MSIX_ENABLE if on else 0, 2)


def close_all(fds):
    for fd in fds:
        os.close(fd)


class Disk:
    """The controller of a client, whose memory at 0 is the view."""

    messages = False        # of all of them, if a test is not particular

    def __init__(self, client, view):
        self.client, self.memory = client, view
        self.tail, self.head, self.phase = [0, 0], [0, 0], [1, 1]
        self.cid = 0
        self.shadow = self.mapped = None
        self.tell = True        # of shadow doorbells, by the register
        self.signals = None     # eventfds of the queues
        view[:0x10000] = bytes(0x10000)
        client.write_int(vfu.CONFIG, 4, 6, 2)
        if self.messages:
            self.use_messages()
        client.write_int(0, CC, 0)
        assert vfu.wait_until(lambda: not client.read_int(0, CSTS) & 1)
        client.write_int(0, AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1))
        client.write_int(0, ASQ, RINGS[0][0], 8)
        client.write_int(0, ACQ, RINGS[0][1], 8)
        client.write_int(0, CC, 4 << 20 | 6 << 16 | 1)
        assert vfu.wait_until(lambda: client.read_int(0, CSTS) & 1)
        self.stride = 4 << (client.read_int(0, CAP, 8) >> 32 & 15)
        size = (ENTRIES - 1) << 16 | 1
        interrupts = 1 << 16 | 2 if self.signals else 0
        for opcode, ring, flags in ((CREATE_CQ, 1, interrupts | 1),
                                    (CREATE_SQ, 0, 1 << 16 | 1)):
            self.admin(opcode, RINGS[1][ring], 0, size, flags)

    def on(self, client):
        """The same controller, after it has moved."""
        self.client = client
        if self.signals:
            self.give_signals()
        return self

    def use_messages(self):
        set_msix(self.client, True)
        self.signals = [os.eventfd(0, os.EFD_NONBLOCK) for _ in RINGS]
        weakref.finalize(self, close_all, self.signals)
        self.give_signals()

    def give_signals(self):
        for vector, fd in enumerate(self.signals):
            self.client.ok(vfu.SET_IRQS, vfu.set_irqs(
                vfu.DATA_EVENTFD | vfu.TRIGGER, vfu.MSIX, vector, 1), [fd])

    def admin(self, opcode, prp1=0, prp2=0, *cdw):
        """One that has to succeed, to its end."""
        cid = self.submit(0, opcode, 0, prp1, prp2, *cdw)
        assert self.completion(0) == (cid, 0)

    def use_shadow(self):
        """Doorbells in the guest's memory; the device says in other memory
        which changes it wants to be told of."""
        self.admin(DOORBELL_BUFFER, SHADOW, EVENTS)
        self.shadow = SHADOW

    def use_mapped(self, view):
        """Doorbells in the BAR's own memory, of which this is a map."""
        self.mapped = view

    def ring(self, queue, completion, value):
        at = (2 * queue + completion) * self.stride
        if self.mapped is not None:
            store(self.mapped, at, value)
        elif self.shadow and queue:
            store(self.memory, self.shadow + at, value)
            if self.tell:
                self.client.write_int(0, DOORBELLS + at, value)
        else:
            self.client.write_int(0, DOORBELLS + at, value)

    def submit(self, queue, opcode, nsid, prp1, prp2, *cdw):
        self.cid += 1
        entry = struct.pack("<BBHIQQQQ", opcode, 0, self.cid, nsid, 0, 0,
                            prp1, prp2)
        entry += struct.pack("<6I", *cdw, *[0] * (6 - len(cdw)))
        at = RINGS[queue][0] + self.tail[queue] * 64
        self.memory[at:at + 64] = entry
        self.tail[queue] = (self.tail[queue] + 1) % ENTRIES
        self.ring(queue, 0, self.tail[queue])
        return self.cid

    def block_io(self, opcode, lba, address, blocks):
        """Over as many pages as it takes, from any address."""
        first = PAGE - address % PAGE
        rest = range(address + first, address + blocks * 512, PAGE)
        prp2 = rest[0] if len(rest) == 1 else LIST if rest else 0
        if prp2 == LIST:
            self.memory[LIST:LIST + 8 * len(rest)] = struct.pack(
                "<%dQ" % len(rest), *rest)
        return self.submit(1, opcode, 1, address, prp2, lba, 0, blocks - 1)

    def read_block(self, lba, address, blocks=1):
        return self.block_io(READ, lba, address, blocks)

    def write_block(self, lba, address, blocks=1):
        return self.block_io(WRITE, lba, address, blocks)

    def _entry(self, queue):
        at = RINGS[queue][1] + self.head[queue] * 16
        cid, status = struct.unpack_from("<HH", self.memory, at + 12)
        return cid, status >> 1, status & 1 == self.phase[queue]

    def nothing_completed(self, queue=1):
        """As the rings say; the server has been given a chance to write."""
        self.client.alive()
        return not self._entry(queue)[2]

    def wait_for_entry(self, queue):
        """Whoever has interrupts looks again when there was one, and not before."""
        if not self.signals:
            assert vfu.wait_until(lambda: self._entry(queue)[2])
            return
        while not self._entry(queue)[2]:
            fd = self.signals[queue]
            assert select.select([fd], [], [], vfu.PATIENCE)[0], "no interrupt"
            os.eventfd_read(fd)

    def completion(self, queue=1):
        """The next (command id, status)."""
        self.wait_for_entry(queue)
        cid, status, _ = self._entry(queue)
        self.head[queue] = (self.head[queue] + 1) % ENTRIES
        if not self.head[queue]:
            self.phase[queue] ^= 1
        self.ring(queue, 1, self.head[queue])
        return cid, status

    def completion_of(self, cid):
        """Its status; it must be the next one."""
        got, status = self.completion()
        assert got == cid
        return status
