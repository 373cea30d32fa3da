# SPDX-License-Identifier: BSD-3-Clause
"""An idle disk costs little memory and no wake-ups, and is ready at once."""
import pathlib
import re
import statistics
import time

import pytest

from guest import disk
from server import children

IDLE_SECONDS = 10
SETTLE_SECONDS = 3      # the keeper's watchdog looks on for two
MAX_RESIDENT = 10 << 20


def processes(pid):
    """The keeper and what it started."""
    return [pid, *children(pid)]


def resident(pid):
    """Bytes resident in both, private and shared, without the guest's memory."""
    return sum(resident_of(each) for each in processes(pid))


def resident_of(pid):
    total, ours = 0, True
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = "/memfd:memory-backend" not in line
        elif line.startswith("Rss:") and ours:
            total += int(line.split()[1]) * 1024
    return total


def switches(pid):
    """Context switches so far: (of our threads, of the kernel's workers).

    The kernel starts workers for what io_uring cannot do without waiting, such
    as fsync.  The last one stays, and looks up every five seconds; no setting
    ends that."""
    ours = kernels = 0
    for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        lines = status.read_text().splitlines()
        count = sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
        if lines[0].split()[1].startswith("iou-"):
            kernels += count
        else:
            ours += count
    return ours, kernels


def all_switches(pid):
    return [sum(column) for column in zip(*map(switches, processes(pid)))]


def wakeups_while_idle(pid):
    time.sleep(SETTLE_SECONDS)
    before = all_switches(pid)
    time.sleep(IDLE_SECONDS)
    return tuple(now - then for now, then in zip(all_switches(pid), before))


def test_idle_without_client(scene, tell):
    server = scene.nvme()
    woken = wakeups_while_idle(server.pid)
    tell("context switches in 10 s (ours, the kernel's), no client", woken)
    tell("resident KiB, no client", (used := resident(server.pid)) >> 10)
    assert woken == (0, 0)
    assert used <= MAX_RESIDENT


@pytest.mark.parametrize("doorbells", ["adaptive", "trapped"])
def test_idle_with_guest(scene, tell, doorbells):
    """After real work: what spun has to stop, what grew is counted."""
    server = scene.nvme(keys=f"doorbells={doorbells}")
    guest = scene.guest(disk(scene.socket()), cpus=2)
    guest.sh("dd if=/dev/zero of=/dev/nvme0n1 bs=64k count=512 oflag=direct", timeout=120)
    guest.sh("dd if=/dev/nvme0n1 of=/dev/null bs=4k count=2048 iflag=direct", timeout=120)
    woken = wakeups_while_idle(server.pid)
    tell(f"context switches in 10 s (ours, the kernel's), idle guest, {doorbells}", woken)
    tell(f"resident KiB after work, {doorbells}", (used := resident(server.pid)) >> 10)
    assert woken[0] == 0
    assert used <= MAX_RESIDENT


def test_ready_at_once(scene, tell):
    """The goal is 50 ms; a busy machine decides nothing, so the bound is far."""
    times = []
    for number in range(5):
        server = scene.server(f"nvme,socket={scene.socket(f's{number}')},"
                              f"drive=file:{scene.image(f'{number}.img')}")
        times.append(server.ready_after)
    tell("milliseconds from exec to ready, median of 5",
         round(statistics.median(times) * 1000, 1))
    assert statistics.median(times) < 1
