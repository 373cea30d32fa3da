# SPDX-License-Identifier: BSD-3-Clause
"""Devices that can be moved: a VMM that does not know of it is not disturbed,
and a device that was saved is the same disk elsewhere."""
import os
import stat
import subprocess
import time

import pytest

from guest import GuestError, disk
from test_lifecycle import CHECK, LOAD, QUICK, WRITE, complaints

SIZE = 256 << 20
NOTE = "bs=4k count=1 seek=65535"       # the last block of the disk


def tool(scene, *arguments, timeout=120):
    """(status, what it said) of an outboard verb."""
    done = subprocess.run([scene.outboard, *map(str, arguments)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=timeout)
    return done.returncode, done.stdout


def works(scene, *arguments):
    """The kernel may close a killed QEMU's socket a moment after the wait for
    the process has ended, because its io_uring holds it."""
    deadline = time.monotonic() + 20
    status, said = tool(scene, *arguments)
    while status and "another client" in said and time.monotonic() < deadline:
        time.sleep(0.05)
        status, said = tool(scene, *arguments)
    assert status == 0, said


# A stock QEMU

def await_stream(guest, timeout=120):
    deadline = time.monotonic() + timeout
    while (status := guest.qmp("query-migrate")["status"]) != "completed":
        assert status != "failed" and time.monotonic() < deadline, status
        time.sleep(0.1)


def test_qemu_writes_its_own_stream(scene, baseline):
    """QEMU 11.1 neither refuses nor asks the device for its state, so what
    it writes is of no use with such a device; the source, which goes on as
    after a cancelled migration, is not disturbed.  A later one may refuse."""
    server = scene.nvme()
    guest = scene.guest(disk(scene.socket()), cpus=2)
    guest.sh(WRITE, timeout=300)
    guest.sh(LOAD)
    for _ in range(2):
        try:
            guest.qmp("migrate", uri=f"exec:cat > {scene.folder}/stream")
        except GuestError:
            break
        await_stream(guest)
        guest.qmp("cont")
    assert guest.qmp("query-status")["running"]
    guest.sh("test -d /proc/$(pidof -s fio) && kill $(pidof fio); wait")
    guest.sh(CHECK, timeout=300)
    guest.sh(QUICK, timeout=300)
    assert complaints(guest, baseline) == []
    assert server.alive()


def test_a_device_in_use_is_not_saved(scene, baseline):
    """The second client is told so; no file is left, and the guest's I/O
    goes on."""
    scene.nvme()
    guest = scene.guest(disk(scene.socket()), cpus=2)
    guest.sh(WRITE, timeout=300)
    guest.sh(LOAD)
    before = sorted(scene.folder.iterdir())
    state = scene.folder / "state"
    for arguments in (("save", scene.socket(), state),
                      ("load", scene.image("empty", 4096), scene.socket())):
        for _ in range(3):
            status, said = tool(scene, *arguments)
            assert status == 1 and "outboard" in said
    os.unlink(scene.folder / "empty")
    assert sorted(scene.folder.iterdir()) == before
    guest.sh("test -d /proc/$(pidof -s fio) && kill $(pidof fio); wait")
    guest.sh(CHECK, timeout=300)
    assert complaints(guest, baseline) == []


# Saved, and loaded elsewhere

def drive_of(scene, kind):
    return (f"mem:{SIZE}" if kind == "mem" else
            f"file:{scene.image('shared.img', SIZE)}")


def write_and_leave(scene, how):
    """A guest that writes the known pattern and goes: in good order, or
    killed in the middle of more."""
    guest = scene.guest(disk(scene.socket()), cpus=2)
    guest.sh(WRITE, timeout=300)
    guest.sh(f"echo hello from before | dd of=/dev/nvme0n1 {NOTE} conv=sync,fsync")
    if how == "killed":
        guest.sh(LOAD)
        guest.sh("sleep 1; test -d /proc/$(pidof -s fio)")
        guest.kill()
    else:
        guest.start_command("poweroff -f")
        assert guest.process.wait(60) == 0


def find_disk(scene, baseline, name):
    """The next guest has all of it, and no reason to complain."""
    guest = scene.guest(disk(scene.socket(name)), cpus=2)
    guest.sh(CHECK, timeout=300)
    assert "hello from before" in guest.sh(
        f"dd if=/dev/nvme0n1 {NOTE.replace('seek', 'skip')} | strings")
    guest.sh(QUICK, timeout=300)
    assert complaints(guest, baseline) == []
    return guest


@pytest.mark.parametrize("how", ["powered_off", "killed"])
@pytest.mark.parametrize("kind", ["mem", "file"])
def test_saved_and_loaded_into_a_new_server(scene, baseline, kind, how):
    drive = drive_of(scene, kind)
    old = scene.nvme(drive=drive)
    write_and_leave(scene, how)
    state = scene.folder / "state"
    works(scene, "save", scene.socket(), state)
    assert not stat.S_IMODE(state.stat().st_mode) & 0o077
    if kind == "file":
        assert state.stat().st_size < 1 << 20, "the image is not in it"
    # The old one is still there, and does not hold the drive any more.
    new = scene.nvme(keys="incoming=on", drive=drive, name="new")
    works(scene, "load", state, scene.socket("new"))
    old.close()
    find_disk(scene, baseline, "new")
    assert new.alive()


def test_loaded_after_the_old_server_was_killed(scene, baseline):
    """What was saved is enough."""
    old = scene.nvme(drive=f"mem:{SIZE}")
    write_and_leave(scene, "powered_off")
    state = scene.folder / "state"
    works(scene, "save", scene.socket(), state)
    old.kill()
    scene.parts.remove(old)
    scene.nvme(drive=f"mem:{SIZE}", name="new")
    works(scene, "load", state, scene.socket("new"))
    find_disk(scene, baseline, "new")


def test_loaded_into_the_same_server(scene, baseline):
    """A save is no farewell."""
    scene.nvme(drive=drive_of(scene, "file"))
    write_and_leave(scene, "powered_off")
    state = scene.folder / "state"
    works(scene, "save", scene.socket(), state)
    works(scene, "load", state, scene.socket())
    find_disk(scene, baseline, "disk")


def test_old_server_goes_on_after_a_save(scene, baseline):
    """Nobody has loaded it: the next VMM of the same server has its disk."""
    scene.nvme(drive=drive_of(scene, "file"))
    write_and_leave(scene, "killed")
    works(scene, "save", scene.socket(), scene.folder / "state")
    find_disk(scene, baseline, "disk")


def test_a_bad_file_is_refused_and_nothing_is_lost(scene, baseline):
    """Cut, garbled, for another disk: said, with a reason; the device that
    was asked to load it still serves what it had."""
    scene.nvme(drive=f"mem:{SIZE}")
    write_and_leave(scene, "powered_off")
    state = scene.folder / "state"
    works(scene, "save", scene.socket(), state)
    whole = state.read_bytes()
    garbled = bytearray(whole)
    garbled[len(whole) // 2] ^= 0x10
    scene.nvme(drive=f"mem:{SIZE // 2}", name="smaller")
    for data, name in ((whole[:-1], "disk"), (whole[:1000], "disk"),
                       (bytes(garbled), "disk"), (b"", "disk"),
                       (whole, "smaller")):
        state.write_bytes(data)
        status, said = tool(scene, "load", state, scene.socket(name))
        assert status == 1 and len(said.strip()) > 20, said
    find_disk(scene, baseline, "disk")
    guest = scene.guest(disk(scene.socket("smaller")))
    guest.sh(QUICK, timeout=300)
