# SPDX-License-Identifier: BSD-3-Clause
"""The disk that never goes away: its process is killed again and again, and
replaced by another release, under a guest that must not notice.

OUTBOARD_SOAK=1 makes it long: a minute of kills, twenty upgrades and back.
"""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from guest import disk
from killer import Killer
from test_lifecycle import PORT, QUICK, complaints

SOAK = bool(os.environ.get("OUTBOARD_SOAK"))
SECONDS = 60 if SOAK else 12
HOPS = 20 if SOAK else 4
PLUGS = 10 if SOAK else 1
SIZE = 256 << 20
GRACE_MS = 100

# 16 MiB, of which each 4 KiB say where they belong: written once, then mixed up.
BLOCKS = ("fio --name=mixed --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio --iodepth=16 "
          "--offset=32M --size=16M --verify=crc32c --verify_interval=4k --verify_fatal=1 "
          "--output-format=json ")
LAY = BLOCKS + "--rw=write --bs=64k --do_verify=0"
MIX = BLOCKS + "--rw=randrw --bssplit=4k/70:16k/20:64k/10 --time_based --runtime={seconds}"
LOOK = BLOCKS + "--rw=read --bs=64k --verify_only --verify_header_seed=0"


def fio(guest, command):
    """Runs it to its good end; how many requests that were."""
    text = guest.sh(command, timeout=600)
    job, = json.loads(text[text.index("{"):])["jobs"]
    assert job["error"] == 0, text
    return job["read"]["total_ios"] + job["write"]["total_ios"]


class Watched:
    """A guest with known content, in which nothing may happen."""

    def __init__(self, guest, baseline):
        self.guest = guest
        self.baseline = baseline
        fio(guest, LAY)
        self.said = self._nvme_said()

    def _nvme_said(self):
        """Without the times: it has to be the same after a reboot."""
        lines = self.guest.sh("dmesg").splitlines()
        return [line.split("] ", 1)[1] for line in lines if "nvme" in line]

    def mix(self, seconds):
        return fio(self.guest, MIX.format(seconds=seconds))

    def mix_during(self, work):
        """Until work(), which runs beside it, is done: (I/Os, its value)."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            done = pool.submit(work)
            ios = self.mix(2)
            while not done.done():
                ios += self.mix(2)
            return ios, done.result()

    def noticed_nothing(self):
        """All data is there, the driver said nothing, QEMU said nothing."""
        fio(self.guest, LOOK)
        assert self._nvme_said() == self.said
        assert complaints(self.guest, self.baseline) == []
        assert self.guest.alive()
        assert self.guest.qemu_said() == ""


def drive_of(scene, kind):
    return f"mem:{SIZE}" if kind == "mem" else f"file:{scene.image(size=SIZE)}"


@pytest.mark.parametrize("kind, options, seconds", [
    ("file", [], SECONDS), ("mem", ["--standby"], SECONDS // 2)], ids=["file", "mem_standby"])
def test_r29_killed_every_200_ms(scene, baseline, tell, kind, options, seconds):
    server = scene.nvme(drive=drive_of(scene, kind), options=options)
    watched = Watched(scene.guest(disk(scene.socket()), cpus=2), baseline)
    with Killer(server) as killer:
        ios = watched.mix(seconds)
    tell(f"kills and I/Os, {kind} {options}", (killer.kills, ios))
    assert killer.kills >= 5    # on the busiest machine
    watched.noticed_nothing()


# Upgrades

def other_binary(scene):
    """The next release, which lays its states out otherwise (tests/next), if it was
    built beside this one; else this one once more, as another file."""
    following = scene.outboard.parents[1] / "tests" / "next" / "outboard-next"
    if following.exists():
        return following
    return pathlib.Path(shutil.copy(scene.outboard, scene.folder / "outboard-next"))


class Upgrader:
    """A server, and the command that lets it go on in another binary."""

    def __init__(self, scene, **keys):
        self.outboard = scene.outboard
        self.control = scene.folder / "control"
        self.server = scene.nvme(
            options=["--control", self.control, "--grace", GRACE_MS], **keys)

    def attempt(self, binary):
        return subprocess.run(
            [self.outboard, "upgrade", self.control, "--to", binary], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)

    def serving(self):
        return os.stat(f"/proc/{self.server.workers()[0]}/exe").st_ino

    def to(self, binary):
        done = self.attempt(binary)
        assert done.returncode == 0, done.stdout
        assert self.serving() == binary.stat().st_ino

    def refuses(self, binary):
        before = self.serving()
        done = self.attempt(binary)
        assert done.returncode == 1, done.stdout
        assert self.serving() == before


def test_r30_upgraded_and_rolled_back(scene, baseline, tell):
    """To another release, and back to the former one."""
    upgrader = Upgrader(scene)
    following = other_binary(scene)
    watched = Watched(scene.guest(disk(scene.socket()), cpus=2), baseline)

    def hop():
        for _ in range(HOPS):
            upgrader.to(following)
            upgrader.to(scene.outboard)

    ios, _ = watched.mix_during(hop)
    tell(f"upgrades and rollbacks with {following.name}, I/Os", (2 * HOPS, ios))
    watched.noticed_nothing()


def test_r31_upgrades_that_fail(scene, baseline, tell):
    """Refused, dead in rehearsal, killed while they begin: the guest has its disk."""
    upgrader = Upgrader(scene)
    following = other_binary(scene)
    watched = Watched(scene.guest(disk(scene.socket()), cpus=2), baseline)

    def fail():
        upgrader.refuses("/bin/false")
        upgrader.refuses(scene.folder)
        with Killer(upgrader.server) as killer:
            return killer, [upgrader.attempt(binary).returncode
                            for binary in (following, scene.outboard) * HOPS]

    ios, (killer, outcomes) = watched.mix_during(fail)
    done = outcomes.count(0)
    tell("kills, upgrades that went well between them and not, I/Os",
         (killer.kills, done, len(outcomes) - done, ios))
    watched.noticed_nothing()


# What happens to the guest meanwhile

def test_r28_guest_reboots_and_qemu_dies_while_killed(scene, baseline, tell):
    server = scene.nvme()
    guest = scene.guest(disk(scene.socket()), cpus=2)
    watched = Watched(guest, baseline)
    with Killer(server) as killer:
        guest.start_command("reboot -f")
        guest.await_agent()
        watched.noticed_nothing()
        guest.sh(MIX.format(seconds=600) + " > /tmp/mix 2>&1 &")
        guest.sh("sleep 1; test -d /proc/$(pidof -s fio)")
        guest.kill()
        watched.guest = scene.guest(disk(scene.socket()), cpus=2)
        watched.noticed_nothing()
    tell("kills", killer.kills)
    watched.noticed_nothing()


def test_unplugged_and_plugged_while_killed(scene, baseline, tell):
    """Without MSI-X, for the sake of QEMU 11.1 (test_lifecycle.py)."""
    server = scene.nvme(keys="msix=off")
    guest = scene.guest(PORT)
    with Killer(server) as killer:
        for _ in range(PLUGS):
            guest.plug(disk(scene.socket(), bus="port0"))
            guest.sh("for i in $(seq 300); do test -b /dev/nvme0n1 && exit 0; sleep 0.1; done; "
                     "exit 1")
            guest.sh(QUICK, timeout=300)
            guest.unplug("disk0")
    tell("kills", killer.kills)
    assert guest.alive() and guest.qemu_said() == ""
    assert complaints(guest, baseline) == []
