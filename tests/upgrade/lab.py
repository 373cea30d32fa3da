# SPDX-License-Identifier: BSD-3-Clause
"""A served disk, a driver that is never told what goes on, and who replaces
the server's binary under it."""
import functools
import json
import mmap
import os
import random
import socket
import struct
import subprocess
import threading
import time

import memory
import nvme
import vfu

MIB = 1 << 20
IMAGE = 4 * MIB
MEMORY = 4 * MIB
DATA = MIB
BLOCKS = IMAGE // 4096
SLOW = "nvme,serial=UPGRADE,queues=4,drive=delay:5000:file:{}"
GRACE_MS = 200
(SET_FEATURES, GET_FEATURES, ASYNC_EVENT) = 9, 10, 12
(ARBITRATION, POWER, TEMPERATURE, ERROR_RECOVERY, CACHE, QUEUES, COALESCING, VECTOR, ATOMICITY,
 EVENTS, TIMESTAMP) = 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 14
UNDER = 1 << 20
BURST_OF_32 = 0x04030205
OTHER_BURST = 0x04030203


@functools.cache
def version_of(binary):
    made = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True)
    return made.stdout.split()[1]


class Server:
    """outboard serve, which may be another binary after a while."""

    def __init__(self, binary, folder, devices, grace=GRACE_MS, options=()):
        self.binary, self.folder = binary, folder
        self.control, self.log = str(folder / "control"), folder / "log"
        words = [binary, "serve", "--control", self.control, "--grace", str(grace), *options]
        for number, device in enumerate(devices):
            words += ["--device", f"{device},id=dev{number},socket={self.socket(number)}"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log)
        line = self.process.stdout.readline()
        assert b"ready" in line, self.log.read_text()

    def socket(self, number=0):
        return str(self.folder / f"socket{number}")

    def client(self, number=0):
        client = vfu.Client(self.socket(number))
        client.negotiate()
        return client

    def ask(self, method):
        """While processes are replaced, the answer may be lost."""
        deadline = time.monotonic() + vfu.PATIENCE
        while True:
            try:
                return self._ask(method)
            except (ConnectionError, json.JSONDecodeError):
                assert time.monotonic() < deadline

    def _ask(self, method):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(vfu.PATIENCE)
            sock.connect(self.control)
            sock.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode() + b"\n")
            with sock.makefile() as lines:
                return json.loads(lines.readline())["result"]

    def status(self):
        return self.ask("status")

    def is_served_by(self, binary):
        """As both say themselves."""
        return self.status()["version"] == version_of(binary)

    def upgrade_begin(self, binary, *words):
        """By the tool, which waits for the outcome."""
        return subprocess.Popen(
            [self.binary, "upgrade", self.control, "--to", binary, *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def upgrade(self, binary, *words):
        """(exit status, what is said)"""
        tool = self.upgrade_begin(binary, *words)
        said, _ = tool.communicate(timeout=90)
        return tool.returncode, said

    def replace(self, binary):
        """An upgrade that has to succeed."""
        status, said = self.upgrade(binary)
        assert status == 0, said + self.log.read_text()
        assert self.is_served_by(binary)

    def state(self):
        """A copy of the only device's state memory, for `outboard state`."""
        path = self.folder / "memory"
        path.write_bytes(memory.copy(self.status()["pid"]))
        return path

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            assert self.process.wait(vfu.PATIENCE) == 0, self.log.read_text()
        finally:
            self.process.kill()
            self.process.stdout.close()


class Disk(nvme.Disk):
    """With features, and commands that nobody waits for."""

    def __init__(self, client):
        self.file = os.memfd_create("guest")
        os.ftruncate(self.file, MEMORY)
        self.view = mmap.mmap(self.file, MEMORY)
        client.ok(vfu.DMA_MAP, vfu.dma_map(0, MEMORY), [self.file])
        super().__init__(client, self.view)
        os.close(self.file)

    def result(self, queue=0):
        """The next completion: (command id, status, result)."""
        assert vfu.wait_until(lambda: self._entry(queue)[2])
        at = nvme.RINGS[queue][1] + self.head[queue] * 16
        value = struct.unpack_from("<I", self.memory, at)[0]
        return (*self.completion(queue), value)

    def feature(self, number, value=None, word=0):
        """Sets it, or says what it is."""
        opcode = GET_FEATURES if value is None else SET_FEATURES
        cid = self.submit(0, opcode, 0, DATA, 0, number, word if value is None else value)
        got, status, result = self.result()
        assert (got, status) == (cid, 0)
        return result

    def wait_for_events(self, count):
        return [self.submit(0, ASYNC_EVENT, 0, 0, 0) for _ in range(count)]

    def timestamp(self, value=None):
        """In milliseconds, and who set it."""
        if value is not None:
            struct.pack_into("<Q", self.memory, DATA, value)
            self.feature(TIMESTAMP, 0)
        self.feature(TIMESTAMP)
        word = struct.unpack_from("<Q", self.memory, DATA)[0]
        return word & (1 << 48) - 1, word >> 49 & 7


def doorbell_page(client):
    """The memory of the BAR that has the doorbells."""
    fds = client.region(0, 4096)[1].fds
    return memoryview(mmap.mmap(fds[0], client.region_size(0)))[nvme.DOORBELLS:]


# What a guest sets: number, what is written, what is read with
WANTED = (
    (ARBITRATION, OTHER_BURST, 0), (POWER, 0x40, 0), (TEMPERATURE, 350, 0),
    (TEMPERATURE, UNDER | 290, UNDER), (ERROR_RECOVERY, 0x1234, 0), (CACHE, 0, 0),
    (COALESCING, 0x0203, 0), (VECTOR, 1 << 16 | 3, 3), (ATOMICITY, 1, 0), (EVENTS, 0x11f, 0),
)
CLOCK = 0x123456789ab


def set_features(disk, cache=True):
    """What check_features will want: a drive may have no cache."""
    wanted = [one for one in WANTED if cache or one[0] != CACHE]
    for number, value, _ in wanted:
        disk.feature(number, value)
    disk.timestamp(CLOCK)
    return wanted


def check_features(disk, wanted):
    for number, value, word in wanted:
        want = value & 0xffff if number == TEMPERATURE else value
        assert disk.feature(number, word=word) == want, number
    assert disk.feature(QUEUES) == 3 << 16 | 3
    now, origin = disk.timestamp()
    assert CLOCK <= now < CLOCK + 1000 * 600 and origin == 1


class Load(threading.Thread):
    """Writes and reads on a disk, eight at a time, and knows what was written."""

    DEPTH = 8

    def __init__(self, disk, seed=1):
        super().__init__()
        self.disk, self.chance = disk, random.Random(seed)
        self.versions = {}
        self.count = 0
        self.problem = None
        self.ending = threading.Event()

    def run(self):
        try:
            while not self.ending.is_set():
                self.round()
        except BaseException as problem:    # the main thread asks
            self.problem = problem

    def page(self, slot):
        return DATA + 4096 * slot

    def round(self):
        blocks = self.chance.sample(range(BLOCKS), self.DEPTH)
        for slot, block in enumerate(blocks):
            self.versions[block] = self.versions.get(block, 0) + 1
            at = self.page(slot)
            self.disk.memory[at:at + 4096] = self.content(block)
        self.all(self.disk.write_block, blocks)
        read = self.chance.sample(sorted(self.versions), self.DEPTH)
        for slot, block in enumerate(read):
            at = self.page(slot)
            self.disk.memory[at:at + 4096] = bytes(4096)
        self.all(self.disk.read_block, read)
        for slot, block in enumerate(read):
            self.check(block, self.disk.memory[self.page(slot):self.page(slot + 1)])

    def all(self, issue, blocks):
        """Each ends once, and well."""
        waiting = {issue(8 * block, self.page(slot), 8) for slot, block in enumerate(blocks)}
        while waiting:
            cid, status = self.disk.completion()
            assert status == 0 and cid in waiting
            waiting.remove(cid)
            self.count += 1

    def content(self, block):
        return struct.pack("<QQ", block, self.versions[block]) * 256

    def check(self, block, found):
        if found != self.content(block):
            raise AssertionError(f"block {block}: {found[:16].hex()}, version "
                                 f"{self.versions[block]} was written")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.ending.set()
        self.join()
        if kind is None and self.problem:
            raise self.problem

    def goes_on(self):
        """There is I/O, now."""
        before = self.count
        assert vfu.wait_until(lambda: self.problem or self.count > before + 2 * self.DEPTH)
        assert not self.problem, self.problem

    def check_all(self, drive):
        """What lies there, without us."""
        with open(drive, "rb") as file:
            for block in self.versions:
                file.seek(4096 * block)
                self.check(block, file.read(4096))
