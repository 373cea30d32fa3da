# SPDX-License-Identifier: BSD-3-Clause
"""A drive that is an NVMe namespace (/dev/ngXnY).

There is none on the machines that run this, so the server itself runs in the guest,
on the NVMe disks that QEMU emulates, and so do its clients.  What they wrote is
then looked at from outside, in QEMU's files.
"""
import hashlib
import json
import re
import struct
import subprocess
import tarfile
import zlib

import pytest

SIZE = 64 << 20
MAGIC = b"OuBodBlk"
FOLDER = "/run/outboard"
OUTBOARD = f"{FOLDER}/outboard"
# Serial: keys of the controller and of the namespace.
DISKS = {
    "small": ("mdts=3", "logical_block_size=512"),
    "large": ("mdts=7", "logical_block_size=4096,physical_block_size=4096"),
    "paths": ("subsys=several", "logical_block_size=512"),
    "meta": ("", "logical_block_size=512,ms=8"),
    "zones": ("", "logical_block_size=4096,physical_block_size=4096,zoned=on,zoned.zone_size=1M"),
}


def libraries(program):
    """Those that the guest may not have: it has its own C library."""
    listed = subprocess.run(["ldd", program], check=True, stdout=subprocess.PIPE,
                            text=True).stdout
    for words in map(str.split, listed.splitlines()):
        if "=>" in words and not words[0].startswith(("libc.", "libm.")):
            yield words[2], "lib/x86_64-linux-gnu/" + words[0]


def pack(programs, path):
    """A disk that is an archive."""
    files = {(str(program), f"{FOLDER[1:]}/{program.name}") for program in programs}
    files |= {library for program in programs for library in libraries(program)}
    with tarfile.open(path, "w", dereference=True) as tar:
        for name, inside in sorted(files):
            tar.add(name, inside)
    with open(path, "r+b") as file:
        file.truncate((path.stat().st_size + 0xfffff) & ~0xfffff)


def attach(serial, path, controller="", namespace=""):
    comma = "," if controller else ""
    return ["-drive", f"id={serial},file={path},format=raw,if=none,cache=unsafe",
            "-device", f"nvme,id=c-{serial},serial={serial}{comma}{controller}",
            "-device", f"nvme-ns,bus=c-{serial},drive={serial},{namespace}"]


class Machine:
    def __init__(self, scene, outboard):
        tools = scene.folder / "tools"
        self.unit_test = outboard.parents[1] / "tests/unit/block/test_block_nvme"
        pack([outboard, self.unit_test], tools)
        extra = attach("tools", tools, namespace="logical_block_size=512")
        extra += ["-device", "nvme-subsys,id=several"]
        self.images = {}
        for serial, keys in DISKS.items():
            self.images[serial] = scene.image(serial, SIZE)
            extra += attach(serial, self.images[serial], *keys)
        self.guest = scene.guest(extra=extra, cpus=2)
        self.complaints = set(self.guest.kernel_complaints())
        self.names = {}
        for line in self.guest.sh("cd /sys/class/nvme; for n in *; do "
                                  "echo $n $(cat $n/serial); done").splitlines():
            name, serial = line.split()
            self.names[serial] = name.removeprefix("nvme")
        self.guest.sh(f"tar xf {self.block('tools')} -C /")

    def block(self, serial):
        return f"/dev/nvme{self.names[serial]}n1"

    def char(self, serial):
        return f"/dev/ng{self.names[serial]}n1"

    def slow_down(self, serial, writes):
        """So many writes a second; 0: as fast as it can."""
        nothing = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd"), 0)
        self.guest.qmp("block_set_io_throttle", device=serial, iops_wr=writes, **nothing)

    def serve(self, name, serial):
        """Begins, and waits until it listens; its number is $server."""
        return (f"{OUTBOARD} serve --control {FOLDER}/{name}.ctl "
                f"--device nvme,socket={FOLDER}/{name},drive={self.char(serial)} "
                f">{FOLDER}/{name}.log 2>&1 & server=$!\n"
                f"while ! [ -S {FOLDER}/{name} ]; do usleep 50000; done\n")

    def outboard(self, arguments):
        return self.guest.run(f"{OUTBOARD} {arguments}")


@pytest.fixture(scope="module")
def machine(shared_scene, outboard):
    return Machine(shared_scene, outboard)


def written(image):
    """How many sectors a client wrote; each has to be whole, and at its place."""
    data, count = image.read_bytes(), 0
    for at in range(0, len(data), 512):
        sector = data[at:at + 512]
        if not any(sector):
            continue
        magic, _, lba, _, crc = struct.unpack("<8sQQII", sector[:32])
        assert magic == MAGIC and lba == at // 512
        assert crc == zlib.crc32(sector[:28] + bytes(4) + sector[32:])
        count += 1
    return count


def test_nothing_is_lost_under_deaths(machine):
    """And upgrades.  Small commands only (MDTS), in a ring, on the second thread; the
    block device has the same bytes."""
    status, said = machine.outboard(
        f"torture --drive {machine.char('small')} --io-engine uring --threads 2 "
        "--upgrade --kills 4 --every 300ms --for 60s --seed 4 --queues 2 --depth 16 --json")
    assert status == 0, said
    told = json.loads(said[said.index("{"):])
    assert told["kills"] and told["upgrades"], told
    assert told["reads"] > 0 and told["writes"] > 0
    assert told["errors"] == told["lost"] == told["stale"] == told["damaged"] == 0
    data = machine.images["small"].read_bytes()
    assert machine.guest.sh(f"md5sum < {machine.block('small')}").split()[0] == \
        hashlib.md5(data).hexdigest()
    assert written(machine.images["small"]) > 100


def test_every_request_on_a_real_device(machine):
    """What the drive's own test does to a device that is a file; in a ring and with
    threads, with sectors that are parts of the namespace's blocks."""
    said = machine.guest.sh(f"OUTBOARD_NVME={machine.char('large')} TMPDIR=/tmp "
                            f"{FOLDER}/{machine.unit_test.name}")
    assert "data_survives_on_a_real_one (uring)" in said
    assert "SKIPPED" not in said and "FAILED" not in said


@pytest.mark.parametrize("serial, reason", [
    ("meta", "its blocks have 8 bytes of metadata"),
    ("zones", "it is a namespace of zones")])
def test_what_cannot_be_served_is_named(machine, serial, reason):
    status, said = machine.outboard(
        f"serve --no-keeper --device nvme,socket={FOLDER}/x,drive={machine.char(serial)}")
    assert status != 0
    assert reason in said


def test_nobody_else_has_it(machine):
    """Neither another server, by the same device or the block device, nor the system;
    also when the worker has just been killed."""
    one = f"{OUTBOARD} serve --device nvme,socket={FOLDER}/"
    char, block = machine.char("small"), machine.block("small")
    said = machine.guest.sh(
        f"{machine.serve('a', 'small')}"
        "worker=$(grep -l OUTBOARD_KEEPER= /proc/[0-9]*/environ | cut -d/ -f3)\n"
        "kill -9 $worker || exit\n"
        f"{one}b,drive={char}; {one}c,drive={block}; mkswap {block}; swapon {block}\n"
        "kill $server; wait $server\n"
        f"mkswap {block}; swapon {block} && {one}d,drive={char}; swapoff {block}")
    assert len(re.findall("in use by pid .* holds a lock on", said)) == 2
    assert re.search("swapon: .*busy", said)
    assert "the system uses its block device" in said


def test_a_reset_of_the_controller_is_survived(machine):
    """Of a namespace that may have several controllers, of which none is left then."""
    reset = f"/sys/class/nvme/nvme{machine.names['paths']}/reset_controller"
    machine.guest.sh(
        f"{machine.serve('paths', 'paths')}"
        f"{OUTBOARD} bench {FOLDER}/paths --rw randwrite --qd 16 --time 2 & bench=$!\n"
        f"sleep 1; echo 1 >{reset}; echo 1 >{reset}; wait $bench; status=$?\n"
        f"kill $server; wait $server; cat {FOLDER}/paths.log; exit $status")


def test_commands_of_the_dead_are_waited_for(machine):
    """The device has writes of a server that was killed, with its keeper: the next one
    begins nothing, not even a read, which would be quick."""
    machine.slow_down("large", 1)
    machine.guest.sh(
        f"{machine.serve('dead', 'large')}"
        f"{OUTBOARD} bench {FOLDER}/dead --rw randwrite --qd 32 >/dev/null 2>&1 &\n"
        "while ! grep -q ' 300 300$' /proc/locks; do usleep 50000; done\n"
        "sleep 1; kill -9 $server; wait $server\n"
        "while grep -q OUTBOARD_KEEPER= /proc/[0-9]*/environ; do usleep 50000; done")
    assert " 300 300" in machine.guest.sh("cat /proc/locks")
    machine.guest.sh(
        f"{machine.serve('heir', 'large')} echo $server >{FOLDER}/heir.pid\n"
        f"{OUTBOARD} bench {FOLDER}/heir --ios 1 >{FOLDER}/heir.said 2>&1 &\n"
        f"bench=$!; echo $bench >{FOLDER}/bench.pid\n"
        f"held() {{ {OUTBOARD} inspect --inflight {FOLDER}/heir.ctl | grep operation=read; }}\n"
        "until held; do kill -0 $bench || exit 1; done; sleep 1; held")
    machine.slow_down("large", 0)
    said = machine.guest.sh(
        f"while [ -d /proc/$(cat {FOLDER}/bench.pid) ]; do usleep 50000; done\n"
        f"cat {FOLDER}/heir.said; kill $(cat {FOLDER}/heir.pid)")
    assert "IOPS" in said or "iops" in said


def test_the_guest_kernel_has_no_complaint(machine):
    """None that it had not before: of all tests above."""
    assert set(machine.guest.kernel_complaints()) - machine.complaints == set()


def test_a_disk_that_came_back_is_claimed_too(machine):
    """To a subsystem that was still there, since its device was open: then the two devices
    of a namespace have different numbers.  The last test, since names change."""
    old = machine.names["small"]
    said = machine.guest.sh(
        f"exec 9<>/dev/ng{old}n1; cd /sys/class/nvme\n"
        f"echo 1 >nvme{old}/device/remove; echo 1 >/sys/bus/pci/rescan\n"
        "until cd $(grep -l small */serial | cut -d/ -f1) && ls -d ng* nvme*n*; do "
        "usleep 50000; done\n"
        "number=$(ls -d ng*); block=$(ls -d nvme*n*); echo ${number#ng} ${block#nvme}\n"
        "mkswap /dev/$block; swapon /dev/$block\n"
        f"timeout 30 {OUTBOARD} serve --no-keeper "
        f"--device nvme,socket={FOLDER}/y,drive=/dev/$number; swapoff /dev/$block")
    numbers = re.search(r"^(\d+n\d+) (\d+n\d+)$", said, re.M)
    assert numbers[1] != numbers[2]
    assert "the system uses its block device" in said
