# SPDX-License-Identifier: BSD-3-Clause
"""Enough of an NVMe driver to have commands in flight: one I/O queue, one
page of data a command, completions found by their phase in memory.

The rings are in the guest's memory: 0x1000 admin submission, 0x2000 admin
completion, 0x3000 and 0x4000 the same for I/O.  Data go behind 1 MiB.
"""

import struct

import vfu

CAP, CC, CSTS, AQA, ASQ, ACQ = 0x00, 0x14, 0x1c, 0x24, 0x28, 0x30
DOORBELLS = 0x1000
RINGS = {0: (0x1000, 0x2000), 1: (0x3000, 0x4000)}
ENTRIES = 32
CREATE_SQ, CREATE_CQ, WRITE, READ = 1, 5, 1, 2


class Disk:
    """The controller of a client, whose memory at 0 is the view."""

    def __init__(self, client, view):
        self.client, self.memory = client, view
        self.tail, self.head, self.phase = [0, 0], [0, 0], [1, 1]
        self.cid = 0
        view[:0x10000] = bytes(0x10000)
        client.write_int(vfu.CONFIG, 4, 6, 2)
        client.write_int(0, CC, 0)
        assert vfu.wait_until(lambda: not client.read_int(0, CSTS) & 1)
        client.write_int(0, AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1))
        client.write_int(0, ASQ, RINGS[0][0], 8)
        client.write_int(0, ACQ, RINGS[0][1], 8)
        client.write_int(0, CC, 4 << 20 | 6 << 16 | 1)
        assert vfu.wait_until(lambda: client.read_int(0, CSTS) & 1)
        self.stride = 4 << (client.read_int(0, CAP, 8) >> 32 & 15)
        size = (ENTRIES - 1) << 16 | 1
        for opcode, ring, flags in ((CREATE_CQ, 1, 1),
                                    (CREATE_SQ, 0, 1 << 16 | 1)):
            self.submit(0, opcode, 0, RINGS[1][ring], size, flags)
            assert self.completion(0)[1] == 0

    def on(self, client):
        """The same controller, after it has moved."""
        self.client = client
        return self

    def submit(self, queue, opcode, nsid, prp, *cdw):
        self.cid += 1
        entry = struct.pack("<BBHIQQQQ", opcode, 0, self.cid, nsid, 0, 0, prp,
                            0) + struct.pack("<6I", *cdw, *[0] * (
                                6 - len(cdw)))
        at = RINGS[queue][0] + self.tail[queue] * 64
        self.memory[at:at + 64] = entry
        self.tail[queue] = (self.tail[queue] + 1) % ENTRIES
        self.client.write_int(0, DOORBELLS + 2 * queue * self.stride,
                              self.tail[queue])
        return self.cid

    def read_block(self, lba, address, blocks=1):
        return self.submit(1, READ, 1, address, lba, 0, blocks - 1)

    def write_block(self, lba, address, blocks=1):
        return self.submit(1, WRITE, 1, address, lba, 0, blocks - 1)

    def _entry(self, queue):
        at = RINGS[queue][1] + self.head[queue] * 16
        cid, status = struct.unpack_from("<HH", self.memory, at + 12)
        return cid, status >> 1, status & 1 == self.phase[queue]

    def nothing_completed(self, queue=1):
        """As the rings say; the server has been given a chance to write."""
        self.client.alive()
        return not self._entry(queue)[2]

    def completion(self, queue=1):
        """The next (command id, status)."""
        assert vfu.wait_until(lambda: self._entry(queue)[2])
        cid, status, _ = self._entry(queue)
        self.head[queue] = (self.head[queue] + 1) % ENTRIES
        if not self.head[queue]:
            self.phase[queue] ^= 1
        self.client.write_int(0, DOORBELLS + (2 * queue + 1) * self.stride,
                              self.head[queue])
        return cid, status

    def completion_of(self, cid):
        """Its status; it must be the next one."""
        got, status = self.completion()
        assert got == cid
        return status
