# SPDX-License-Identifier: BSD-3-Clause
"""A machine that is short of memory: workers cannot be started, or are killed
for it.  The keeper lasts, tries now and then, and everything is there again when
there is memory."""

import os
import pathlib
import re
import resource
import signal
import time

import pytest

import nvme
import vfu
from test_kept import EDU, NVME, fields, keep   # noqa: F401  (a fixture)

MIB = 1 << 20
DEATHS = 6              # to wait for, in want
RINGS = 6 * MIB         # more than the rings of a storm take
BALLAST = 48 * MIB      # what others have: a score is a part of the whole


def write_blocks(disk):
    for lba in range(8):
        assert disk.completion_of(disk.write_block(lba, 0x100000 + lba * 512)) == 0


def read_blocks(disk, view):
    view[0x180000:0x181000] = bytes(0x1000)
    for lba in range(8):
        assert disk.completion_of(disk.read_block(lba, 0x180000 + lba * 512)) == 0
    assert view[0x180000:0x181000] == view[0x100000:0x101000]


@pytest.fixture
def filled(memory):
    """filled(client): its disk, with something on it, and the guest's memory."""
    def make(client):
        guest = memory(4 * MIB, 3)
        client.ok(vfu.DMA_MAP, vfu.dma_map(0, 4 * MIB), [guest.fd])
        disk = nvme.Disk(client, guest.view)
        write_blocks(disk)
        return disk, guest.view
    return make


def deaths(server):
    return len(re.findall("died: ", server.why()))


def test_no_worker_can_allocate(keep, filled):
    """Not even the loader at first, then less and less fails; each of them dies or
    refuses, and the next that may allocate has everything."""
    server, (client, other) = keep(NVME, EDU)
    disk, view = filled(client)
    usual = resource.prlimit(server.worker(), resource.RLIMIT_AS)
    hindered = 0
    for limit in (MIB, 3 * MIB, *range(8 * MIB, 40 * MIB, 2 * MIB)):
        before = deaths(server)
        for pid in server.midwives():
            resource.prlimit(pid, resource.RLIMIT_AS, (limit, usual[1]))
        served = server.why().count(", serves after")
        os.kill(server.worker(), signal.SIGKILL)
        assert vfu.wait_until(lambda: deaths(server) > before + 2 or
                              server.why().count(", serves after") > served)
        hindered += deaths(server) > before + 2
        for pid in server.midwives():
            resource.prlimit(pid, resource.RLIMIT_AS, usual)
        other.alive()
        read_blocks(disk, view)
    assert hindered > 5
    assert server.end() == 0


class Group:
    """A control group below our own, of either version, with a limit of memory."""

    def __init__(self, name):
        lines = [line.split(":", 2) for line in
                 pathlib.Path("/proc/self/cgroup").read_text().splitlines()]
        own = {controllers: path.lstrip("/") for _, controllers, path in lines}
        first = pathlib.Path("/sys/fs/cgroup")
        if "memory" in own:
            self.path = first / "memory" / own["memory"] / name
            self.names = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            self.path = first / own.get("", "") / name
            self.names = "memory.max", "memory.current"
        self.path.mkdir()
        if not (self.path / self.names[0]).exists():
            self.path.rmdir()
            raise OSError("no memory controller")

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def usage(self):
        return int((self.path / self.names[1]).read_text())

    def lingering(self):
        """Tasks that give a worker's memory back after its death."""
        for pid in (self.path / "cgroup.procs").read_text().split():
            if pathlib.Path(f"/proc/{pid}/comm").read_text() == "outboard-linger\n":
                yield int(pid)

    def settled(self):
        """The kernel gives the last of it back a little later."""
        lowest, since = self.usage(), time.monotonic()
        while time.monotonic() < since + 0.5:
            time.sleep(0.02)
            if self.usage() < lowest:
                lowest, since = self.usage(), time.monotonic()
        return lowest

    def limit(self, size):
        (self.path / self.names[0]).write_text(str(size))

    def charge(self, size):
        """Memory of the group that nobody in it has; a descriptor."""
        fd = os.memfd_create("ballast")
        pid = os.fork()
        if not pid:
            self.enter()
            os.write(fd, bytes(size))
            os._exit(0)
        os.waitpid(pid, 0)
        return fd

    def remove(self):
        assert vfu.wait_until(lambda: not (self.path / "cgroup.procs").read_text())
        self.path.rmdir()


@pytest.fixture
def group():
    try:
        made = Group(f"outboard-{os.getpid()}")
    except OSError as error:
        pytest.skip(f"no control group of memory can be made: {error}")
    yield made
    made.remove()


DISKS = 320     # a worker of so many needs more than a storm's rings


def is_over(pid):
    try:
        return fields(pid)["State"].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


def kill_all_of_it(server, group):
    """Returns when nobody has a worker's memory any more.  Who gives it back is a task
    that runs when nobody else wants to, which may take long, so here it is in a hurry."""
    pids = [server.worker(), *group.lingering()]
    for pid in pids[1:]:
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
    os.kill(pids[0], signal.SIGKILL)
    assert vfu.wait_until(lambda: all(map(is_over, pids)))


def test_workers_are_killed_for_memory(keep, group, filled):
    """By the kernel, one after another, and nobody else.  When there is memory again
    all disks are there."""
    ballast = group.charge(BALLAST)
    server, clients = keep(*[NVME.replace("16M", "1M")] * DISKS, inside=group.enter)
    disk, view = filled(clients[0])
    try:
        usual = server.midwives()
        os.kill(server.pid, signal.SIGSTOP)
        kill_all_of_it(server, group)
        group.limit(group.settled() + RINGS)
        before = deaths(server)
        os.kill(server.pid, signal.SIGCONT)
        assert vfu.wait_until(lambda: deaths(server) > before + DEATHS), server.why()
        assert "signal 9 (Killed)" in server.why().splitlines()[-1]
        group.limit(1 << 30)
        for client in clients:
            client.alive()
        read_blocks(disk, view)
        assert server.midwives() == usual
        assert server.end() == 0
    finally:
        server.process.send_signal(signal.SIGCONT)
        server.end()
        os.close(ballast)
