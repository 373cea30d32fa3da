#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Streams and memory as this release writes them, for all later ones to read.

    tests/golden/make.py [--outboard PATH] [--memory] [FOLDER]

makes FOLDER (tests/golden/RELEASE) with, for each state:

    NAME.stream   what a server gave to a client that saved the device
    NAME.qemu.gz  the same in QEMU's form, which has no defaults and many zeros
    NAME.json     what `outboard state show --json` says of both, see golden.py
    NAME.device   the --device line, without its socket, that loads both
    NAME.memory.gz    the state memory of the device, as it would be after its
                      process died there: what was under way still is
    NAME.memory.json  what is shown of that

With --memory only the last two and NAME.device.

Once released, a folder is never changed: a release that writes something else
adds a folder of its own, and tests/golden/test_golden.py reads all of them.
So the script refuses a folder that exists.

States are brought about through the protocol, by the client of the protocol's
tests, so a stream is what a guest's device was in.  What has to be under way
when the device stops is with a drive that takes a third of a second.  Two runs
differ in one thing, the clock of the nvme model (features.timestamp_*).
"""
import argparse
import gzip
import json
import mmap
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "conform"))

import edu          # noqa: E402
import golden       # noqa: E402
import memory       # noqa: E402
import nvme         # noqa: E402
import vfu          # noqa: E402

MIB = 1 << 20
DATA = 0x100000
SERIAL = "GOLDEN"
# Queue 2: completions that find no room.  4 entries hold 3.
nvme.RINGS[2] = (0x8000, 0x9000)
FEW = 4
(SET_FEATURES, GET_LOG, ASYNC_EVENT, CREATE_CQ, CREATE_SQ) = 9, 2, 12, 5, 1
ARBITRATION, TEMPERATURE, COALESCING, ATOMICITY, EVENTS = 1, 4, 8, 10, 11
FLUSH = 0


class Disk(nvme.Disk):
    """With a second queue, and commands that nobody waits for."""

    def __init__(self, client):
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, 2 * MIB)
        self.view = mmap.mmap(self.fd, 2 * MIB)
        client.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 * MIB), [self.fd])
        super().__init__(client, self.view)
        for cursor, value in ((self.tail, 0), (self.head, 0), (self.phase, 1)):
            cursor.append(value)

    def second_queue(self):
        sq, cq = nvme.RINGS[2]
        self.admin(CREATE_CQ, cq, 0, (FEW - 1) << 16 | 2, 2 << 16 | 3)
        self.admin(CREATE_SQ, sq, 0, (nvme.ENTRIES - 1) << 16 | 2, 2 << 16 | 1)

    def feature(self, number, value):
        self.admin(SET_FEATURES, 0, 0, number, value)

    def wait_for_events(self, count):
        for _ in range(count):
            self.submit(0, ASYNC_EVENT, 0, 0, 0)

    def mistakes(self):
        """Doorbells that are beyond their queues: error events."""
        self.client.write_int(0, nvme.DOORBELLS + 8 * self.stride, 3)
        self.client.write_int(0, nvme.DOORBELLS + 2 * self.stride, 1000)

    def put(self, block, text):
        """A block of 4 KiB, written and in its place."""
        self.view[DATA:DATA + 4096] = (text.encode() + b"\n") * (4096 // (len(text) + 1)) + \
            bytes(4096 % (len(text) + 1))
        self.write_block(8 * block, DATA, 8)
        assert self.completion()[1] == 0


def null_reset(client):
    del client


def null_written(client):
    client.write_int(vfu.CONFIG, 4, 6, 2)
    client.write_int(vfu.CONFIG, 0x10, 0xfebf1000)
    client.write(0, 0, b"golden")
    client.write(0, 0xffc, b"\1\2\3\4")


def edu_reset(client):
    del client


def edu_busy(client):
    """All that its registers and its buffer can hold, an interrupt that is
    not acknowledged, a factorial and a transfer that are owed."""
    guest = bytearray(b"what the guest had in its memory" * 128)
    client.ok(vfu.DMA_MAP, vfu.dma_map(MIB, 4096))
    client.write_int(vfu.CONFIG, 4, 6, 2)
    edu.start(client, MIB, edu.BUFFER, 128, edu.RUN)
    client.serve(guest, MIB)
    edu.done(client)
    client.write_int(0, edu.LIVENESS, 0x600d)
    client.write_int(0, edu.RAISE, 0x10)
    client.write_int(0, edu.STATUS, edu.IRQ_WHEN_DONE)
    client.set_state(vfu.STOP)
    client.write_int(0, edu.FACTORIAL, 12)
    edu.start(client, edu.BUFFER, MIB + 512, 128, edu.RUN | edu.TO_GUEST | edu.WITH_IRQ)


def nvme_reset(client):
    del client


def nvme_idle(client):
    Disk(client)


def nvme_busy(client):
    """Reads and writes that its drive never ends, four event requests, and
    completions for which a queue has no room."""
    disk = Disk(client)
    disk.second_queue()
    disk.wait_for_events(4)
    for lba in range(5):
        disk.read_block(lba * 8, DATA, 8)
        disk.write_block(1024 + lba, DATA + 4096 * lba + 512, 16)
    for _ in range(FEW + 2):
        disk.submit(2, FLUSH, 77, 0, 0)     # no such namespace
    assert vfu.wait_until(lambda: disk._entry(2)[2])
    client.alive()


def nvme_shadow(client):
    disk = Disk(client)
    disk.use_shadow()
    disk.read_block(0, DATA, 8)


def nvme_events(client):
    """Events that no request has taken, and the log of errors."""
    disk = Disk(client)
    disk.mistakes()
    disk.submit(1, 0xee, 1, 0, 0)
    assert disk.completion()[1] != 0


def nvme_features(client):
    disk = Disk(client)
    for number, value in ((ARBITRATION, 0x01020303), (TEMPERATURE, 300),
                          (COALESCING, 0x0203), (ATOMICITY, 1), (EVENTS, 0x1f)):
        disk.feature(number, value)
    client.write_int(0, 0x0c, 5)            # INTMS


def nvme_mapped(client):
    """Doorbells are memory, which goes along."""
    disk = Disk(client)
    reply = client.region(0, 4096)[1]
    size = client.region_size(0)
    view = mmap.mmap(reply.fds[0], size)
    disk.use_mapped(memoryview(view)[nvme.DOORBELLS:])
    disk.read_block(0, DATA, 8)
    disk.read_block(8, DATA, 8)


def nvme_failed(client):
    """Enabled with pages of 1 MiB, which it has not: CSTS.CFS."""
    client.write_int(vfu.CONFIG, 4, 6, 2)
    client.write_int(0, nvme.AQA, 31 << 16 | 31)
    client.write_int(0, nvme.ASQ, 0x1000, 8)
    client.write_int(0, nvme.ACQ, 0x2000, 8)
    client.write_int(0, nvme.CC, 4 << 20 | 6 << 16 | 8 << 7 | 1)
    assert vfu.wait_until(lambda: client.read_int(0, nvme.CSTS) & 2)


def nvme_broken(client):
    """Its queues are gone with the file behind them: CSTS.CFS and ready."""
    disk = Disk(client)
    disk.mistakes()
    os.ftruncate(disk.fd, 0)
    client.write_int(0, nvme.DOORBELLS, 5)
    assert vfu.wait_until(lambda: client.read_int(0, nvme.CSTS) & 2)


def nvme_content(client):
    disk = Disk(client)
    disk.put(0, "the first block")
    disk.put(17, "the eighteenth block")


def nvme_two(client):
    """Two namespaces, one of them with content."""
    disk = Disk(client)
    disk.put(3, "namespace 1")
    disk.submit(1, 1, 2, DATA, 0, 8, 0, 0)
    assert disk.completion()[1] == 0


# name: how it gets there, its options, its options where it is loaded
NVME = "nvme,serial=" + SERIAL + ",queues=4"
SLOW = NVME + ",drive=delay:300000:mem:1M,drain=10"
DISK = NVME + ",drive=mem:1M"
STATES = {
    "null-reset": (null_reset, "null", None),
    "null-written": (null_written, "null", None),
    "edu-reset": (edu_reset, "edu", None),
    "edu-busy": (edu_busy, "edu", None),
    "nvme-reset": (nvme_reset, DISK, None),
    "nvme-idle": (nvme_idle, DISK, None),
    "nvme-busy": (nvme_busy, SLOW, DISK),
    "nvme-shadow": (nvme_shadow, SLOW, DISK),
    "nvme-events": (nvme_events, DISK, None),
    "nvme-features": (nvme_features, DISK, None),
    "nvme-mapped": (nvme_mapped, SLOW + ",doorbells=mapped", DISK + ",doorbells=mapped"),
    "nvme-failed": (nvme_failed, DISK, None),
    "nvme-broken": (nvme_broken, DISK, None),
    "nvme-content": (nvme_content, DISK, None),
    "nvme-two": (nvme_two, NVME + ",lba=512,drive=mem:64K,drive=mem:1M,msi=off", None),
}


def saved(outboard, device, deed):
    """Its memory after the deed, and then its stream."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        model, *rest = device.split(",", 1)
        words = ",".join([model, "socket=" + path, "id=golden", *rest])
        server = subprocess.Popen([outboard, "serve", "--device", words])
        try:
            assert vfu.wait_until(lambda: vfu.reachable(path))
            with vfu.Client(path) as client:
                client.negotiate()
                deed(client)
                image = memory.copy(server.pid)
                client.set_state(vfu.STOP)
                return image, client.saved()
        finally:
            server.terminate()
            server.wait(vfu.PATIENCE)


def shown(outboard, path):
    made = subprocess.run([outboard, "state", "show", "--json", path], check=True,
                          capture_output=True)
    return golden.fold(json.loads(made.stdout))


def packed(path):
    """Under its name with .gz only."""
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    path.unlink()


def keep_memory(outboard, base, image):
    path = base.with_suffix(".memory")
    path.write_bytes(image)
    golden.write(base.with_suffix(".memory.json"), shown(outboard, path))
    packed(path)


def keep_stream(outboard, base, data):
    stream, form = base.with_suffix(".stream"), base.with_suffix(".qemu")
    stream.write_bytes(data)
    subprocess.run([outboard, "state", "convert", "--to", "qemu", stream, form], check=True)
    golden.write(base.with_suffix(".json"), shown(outboard, stream))
    packed(form)


def make(outboard, folder, name, memory_only):
    deed, device, target = STATES[name]
    base = folder / name
    image, stream = saved(outboard, device, deed)
    keep_memory(outboard, base, image)
    if not memory_only:
        keep_stream(outboard, base, stream)
    base.with_suffix(".device").write_text((target or device) + "\n")
    print(f"{name:<16} {len(stream):7}")


def release(outboard):
    words = subprocess.run([outboard, "--version"], check=True, capture_output=True).stdout
    return words.decode().split()[1].rsplit(".", 1)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outboard", default=str(HERE.parents[1] / "build" / "outboard"))
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("folder", nargs="?", type=pathlib.Path)
    args = parser.parse_args()
    folder = args.folder or HERE / release(args.outboard)
    folder.mkdir()
    for name in STATES:
        make(args.outboard, folder, name, args.memory)


if __name__ == "__main__":
    main()
