# SPDX-License-Identifier: BSD-3-Clause
"""A guest that does verified I/O moves to and fro between stock QEMUs.

OUTBOARD_SOAK=1: twenty migrations in each case, otherwise a few.
"""
import os
import re
import time
import xml.etree.ElementTree as ET

import pytest

from movers import SIZE, Traveller, complaints_of_a_traveller
from proxy import PASS, ControlProxy, MonitorProxy

MOVES = 20 if os.environ.get("OUTBOARD_SOAK") else 3

# Writes, reads back, and stops at the first wrong byte; on a file system.
FIO = ("fio --thread --name=v --directory={folder} --direct=1 --ioengine=libaio --rw=randrw "
       "--bs=4k --iodepth=8 --size=12M --verify=crc32c --verify_fatal=1 --verify_backlog=32 "
       "--time_based --runtime=3600")
FIO_ENDS = ("kill -INT $(pidof fio); i=0; while pidof fio > /dev/null && [ $i -lt 600 ]; "
            "do i=$((i + 1)); sleep 0.1; done; ! pidof fio")


def mount(guest, count):
    for n in range(count):
        guest.sh(f"mkfs.ext4 -q /dev/nvme{n}n1 && mkdir -p /mnt/{n} && "
                 f"mount /dev/nvme{n}n1 /mnt/{n}", timeout=300)


def start_io(guest, count):
    for n in range(count):
        fio = FIO.format(folder=f"/mnt/{n}")
        guest.sh(f"{fio} --create_only=1 > /dev/null; {fio} > /tmp/fio{n}.log 2>&1 &")
    for n in range(count):
        guest.sh(f"until [ $(awk '{{ print $1 }}' /sys/block/nvme{n}n1/stat) -gt 200 ]; do "
                 "sleep 0.1; done")


def check_io(guest, count):
    """It still runs, and has found nothing wrong."""
    assert len(guest.sh("pidof fio").split()) >= count
    guest.sh(FIO_ENDS, timeout=120)
    for n in range(count):
        log = guest.sh(f"cat /tmp/fio{n}.log")
        assert "err= 0" in log and "verify:" not in log, log


def unmount(guest, count):
    for n in range(count):
        guest.sh(f"umount /mnt/{n} && e2fsck -fn /dev/nvme{n}n1", timeout=300)


def traveller_with_io(shared_scene):
    """For a fixture: it verifies all the time, and in the end."""
    t = traveller(shared_scene)
    mount(t.guest, 1)
    start_io(t.guest, 1)
    yield t
    if t.guest.alive():
        check_io(t.guest, 1)
        unmount(t.guest, 1)


def lines(guest, n):
    """What interrupts there were of a disk, by line; it may share one."""
    rows = [row.split() for row in guest.sh(f"grep nvme{n}q /proc/interrupts").splitlines()]
    return {row[0].rstrip(":"): sum(int(word) for word in row[1:] if word.isdigit())
            for row in rows}


def given_up(guest):
    """Lines that the kernel polls instead, because of a level that nobody lowered
    (docs/live-migration.md); they are not counted any more."""
    return set(re.findall(r"irq (\d+): nobody cared", guest.sh("dmesg")))


def await_interrupts(guest, count, level):
    """Of each disk; it is in the middle of I/O."""
    for n in range(count):
        before = lines(guest, n)
        deadline = time.monotonic() + 60
        while lines(guest, n) == before:
            if level and set(before) & given_up(guest):
                break
            assert time.monotonic() < deadline, before


CASES = {
    "msix": {},
    "msix_two_disks_mapped": {"count": 2, "keys": "doorbells=mapped"},
    "msix_two_servers": {"count": 2, "together": False},
    "msix_behind_a_port": {"qemu": ["-device", "pcie-root-port,id=port0,chassis=1"],
                           "properties": {"bus": "port0"}},
    "msix_pc": {"machine": "pc"},
    "msix_memory": {"memory_drive": True},
    "msi": {"keys": "msix=off"},
    "msi_trapped_memory": {"keys": "msix=off,doorbells=trapped", "memory_drive": True},
    "intx": {"cmdline": "pci=nomsi"},
    "intx_two_disks": {"cmdline": "pci=nomsi", "count": 2},
    "intx_pc_mapped": {"cmdline": "pci=nomsi", "machine": "pc", "keys": "doorbells=mapped"},
}


def traveller(scene, count=1, memory_drive=False, **made):
    drives = [f"mem:{SIZE}" if memory_drive else f"file:{scene.image(f'{n}.img', SIZE)}"
              for n in range(count)]
    return Traveller(scene, drives, **made)


@pytest.mark.parametrize("case", CASES)
def test_to_and_fro(scene, tell, case):
    made = dict(CASES[case])
    count, level = made.get("count", 1), "cmdline" in made
    t = traveller(scene, **made)
    usual = set(t.guest.kernel_complaints())
    mount(t.guest, count)
    start_io(t.guest, count)
    reports = []
    for _ in range(MOVES):
        reports.append(t.move())
        # A disk may have a moment without I/O just then; that they arrive is seen below.
        assert {device["interrupts"] for device in reports[-1]["devices"]} <= {
            "taken", "none due"}
        assert reports[-1]["warnings"] == []
        await_interrupts(t.guest, count, level)
    check_io(t.guest, count)
    unmount(t.guest, count)
    assert complaints_of_a_traveller(t.guest, usual, level) == []
    if level:
        tell("lines that the kernel gave up", len(given_up(t.guest)))
    for name in ("total_ms", "blackout_ms", "ours_ms"):
        tell(name, sorted(round(report[name], 1) for report in reports))


def test_to_and_fro_between_the_same_servers(scene):
    """Who gave the VM away gets it back, again and again."""
    t = traveller(scene, count=2)
    mount(t.guest, 2)
    start_io(t.guest, 2)
    places = [t.here, t.prepare()]
    t.there.end_qemu(scene)
    for turn in range(1, 2 * MOVES + 1):
        t.move_to(places[turn % 2])
        t.guest.sh("sleep 0.5")
    check_io(t.guest, 2)
    unmount(t.guest, 2)


def test_the_picture(scene):
    t = traveller(scene)
    picture = scene.folder / "move.svg"
    t.move("--plot", picture)
    words = [text.text for text in ET.parse(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert any(word.startswith("Moved") for word in words)
    assert "The blackout alone" in words


# -- do interrupts arrive? ---------------------------------------------------------

@pytest.mark.parametrize("keys", ["", "doorbells=mapped", "doorbells=trapped"])
def test_an_idle_guest_misses_nothing(scene, keys):
    """It may have taken its last interrupt without coming to the device."""
    t = traveller(scene, keys=keys)
    t.guest.sh("dd if=/dev/nvme0n1 of=/dev/null bs=4k count=64 iflag=direct")
    for _ in range(2):
        t.guest.sh("sleep 1")
        report = t.move()
        assert report["warnings"] == []
        assert report["devices"][0]["interrupts"] in ("taken", "none due")
        t.guest.sh("dd if=/dev/nvme0n1 of=/dev/null bs=4k count=64 iflag=direct")


def test_interrupts_that_nobody_takes_are_told(scene):
    """The destination's QEMU says that the VM runs, and it stands.  On a slow drive
    something is always in flight when the guest is stopped, so something is due."""
    t = Traveller(scene, [f"delay:20000:mem:{SIZE}"])
    t.guest.sh("for i in 1 2 3 4; do (while [ ! -e /tmp/enough ]; do dd if=/dev/nvme0n1 "
               "of=/dev/null bs=4k count=50 iflag=direct; done) > /dev/null 2>&1 & done")
    t.prepare()
    path = scene.folder / "to.qmp"
    proxy = MonitorProxy(path, t.there.qmp,
                         lambda request: {} if request.get("execute") == "cont" else PASS)
    status, report, said = t.conduct(to_qmp=[path])
    proxy.close()
    assert status == 0 and report["outcome"] == "moved", said
    assert report["devices"][0]["interrupts"] == "not taken", report
    assert report["devices"][0]["signalled"]["msix"] > 0
    assert "disk0: the guest does not take its interrupts" in report["warnings"][0]
    assert report["warnings"][0] in said
    t.there.guest.qmp("cont")
    t.arrive()
    t.guest.sh("touch /tmp/enough; wait; dd if=/dev/nvme0n1 of=/dev/null bs=4k count=8 "
               "iflag=direct")


def test_interrupts_that_cannot_leave_are_told(scene):
    t = traveller(scene)
    t.prepare()
    path = scene.folder / "proxy.ctl"
    deaf = {"devices": [{"id": "p1-disk0", "visits": 7, "commands": [],
                         "interrupts": {"waiting": 3}}]}
    proxy = ControlProxy(path, t.there.controls[0],
                         lambda request: deaf if request["method"] == "inflight" else PASS)
    status, report, said = t.conduct(to_control=[path])
    proxy.close()
    assert status == 0, said
    assert report["devices"][0]["interrupts"] == "cannot leave"
    assert "disk0: 3 interrupts are due" in report["warnings"][0]
    t.arrive()


# -- pages that only a device wrote -----------------------------------------------

READ = 24 << 20

# Keeps QEMU's pre-copy from its end, at this bandwidth.
RESTLESS = ("(while :; do dd if=/dev/zero of=/dev/shm/busy bs=1M count=16 2> /dev/null; done) "
            "> /dev/null 2>&1 & echo $! > /tmp/busy")


def await_rounds(place, rounds):
    deadline = time.monotonic() + 60
    while True:
        ram = place.guest.qmp("query-migrate").get("ram", {})
        if ram.get("dirty-sync-count", 0) >= rounds:
            return
        assert time.monotonic() < deadline, ram
        time.sleep(0.05)


def read_in_flight(scene, **instead):
    """The guest reads a file, by DMA into its page cache, when QEMU has sent all of
    memory twice; the sums of the file before, and of the cache after the move.  A
    kernel that fills each page with zeros first would have QEMU see it."""
    t = traveller(scene, cmdline="init_on_alloc=0")
    mount(t.guest, 1)
    t.guest.sh(f"dd if=/dev/urandom of=/mnt/0/file bs=1M count={READ >> 20} && sync")
    before = t.guest.sh("md5sum < /mnt/0/file")
    # What was in memory that is free now is written over.
    t.guest.sh("echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/zero of=/dev/shm/fill bs=1M "
               "count=90; rm /dev/shm/fill")
    t.guest.sh(RESTLESS)
    t.prepare()
    process = t.start("--downtime-limit", 1, "--bandwidth", "24M",
                      **{name: make(t) for name, make in instead.items()})
    await_rounds(t.here, 3)
    assert t.guest.sh("md5sum < /mnt/0/file") == before
    t.guest.sh("kill $(cat /tmp/busy); rm -f /dev/shm/busy")
    t.here.guest.qmp("migrate-set-parameters", **{"downtime-limit": 500,
                                                  "max-bandwidth": 1 << 30})
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    t.arrive()
    read = "cat /sys/block/nvme0n1/stat | awk '{ print $3 }'"
    sectors = int(t.guest.sh(read))
    after = t.guest.sh("md5sum < /mnt/0/file")
    assert int(t.guest.sh(read)) - sectors < READ // 512 // 4, "it was read again"
    return before, after


def test_pages_that_only_a_device_wrote(scene):
    before, after = read_in_flight(scene)
    assert before == after


def test_without_those_pages_memory_is_old(scene):
    """So the test above sees them."""
    path = scene.folder / "proxy.ctl"
    proxies = []

    def swallow(request):
        return {} if request["method"] == "pages.apply" else PASS

    def make(t):
        proxies.append(ControlProxy(path, t.there.controls[0], swallow))
        return [path]

    before, after = read_in_flight(scene, to_control=make)
    assert "pages.apply" in proxies[0].seen
    proxies[0].close()
    assert before != after
