# SPDX-License-Identifier: BSD-3-Clause
"""A VM in a folder, and the guard against migrations that nobody conducts."""
import json
import os
import resource
import shutil
import stat
import subprocess
import time

import pytest

from guest import GuestError
from movers import call, complaints_of_a_traveller
from proxy import CUT, PASS, ControlProxy, StreamProxy
from test_lifecycle import CHECK, QUICK, WRITE, complaints
from test_vm_migrate import (CASES, check_io, mount, start_io, traveller, traveller_with_io,
                             unmount)
from test_vm_migrate_fails import Meddler, goes_on, kill_worker


def tool(t, verb, place, folder, *options, controls=None):
    words = ["--qmp", place.qmp]
    for control in controls or place.controls:
        words += ["--control", control]
    done = subprocess.run([t.scene.outboard, verb, "--json", *words, *options, folder],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120)
    return done.returncode, done.stderr


def save(t, folder, *options):
    status, said = tool(t, "vm-save", t.here, folder, *options)
    assert status == 0, said


def restore(t, folder):
    status, said = tool(t, "vm-restore", t.there, folder)
    assert status == 0, said


@pytest.mark.parametrize("case", ["msix", "intx_two_disks", "msix_memory", "msi"])
def test_saved_and_restored_elsewhere(scene, case):
    """In the middle of verified I/O; under other sockets, the images under other
    names."""
    made = dict(CASES[case])
    count = made.get("count", 1)
    t = traveller(scene, **made)
    usual = set(t.guest.kernel_complaints())
    mount(t.guest, count)
    start_io(t.guest, count)
    folder = scene.folder / "saved"
    for turn in range(2):
        t.guest.sh("sleep 0.5")
        save(t, folder)
        assert t.here.status() == "postmigrate"
        assert not stat.S_IMODE(folder.stat().st_mode) & 0o077
        names = sorted(file.name for file in folder.iterdir())
        assert names == [*(f"disk{n}.state" for n in range(count)), "memory", "vm.json"]
        t.here.end(scene)
        drives = []
        for n, drive in enumerate(t.drives):
            kind, name = drive.split(":", 1)
            if kind == "file":
                other = scene.folder / f"{n}-{turn}.img"
                shutil.move(name, other)
                drive = f"file:{other}"
            drives.append(drive)
        t.drives = drives
        t.prepare()
        restore(t, folder)
        t.here, t.there = t.there, None
        t.guest = t.here.guest
        shutil.rmtree(folder)
    t.guest.sh("sleep 0.5")
    check_io(t.guest, count)
    unmount(t.guest, count)
    assert complaints_of_a_traveller(t.guest, usual, "cmdline" in made) == []


def test_goes_on_after_it_was_saved(scene):
    t = traveller(scene)
    usual = set(t.guest.kernel_complaints())
    mount(t.guest, 1)
    start_io(t.guest, 1)
    for turn in range(3):
        save(t, scene.folder / f"saved{turn}", "--continue")
        assert t.here.guest.qmp("query-status")["running"]
        t.guest.sh("sleep 0.5")
    check_io(t.guest, 1)
    unmount(t.guest, 1)
    assert complaints(t.guest, usual) == []


def test_a_folder_that_cannot_be_written(scene):
    """The VM goes on, and nothing is left."""
    t = traveller(scene)
    mount(t.guest, 1)
    start_io(t.guest, 1)
    folder = scene.folder / "there"
    folder.mkdir()
    status, said = tool(t, "vm-save", t.here, folder)
    assert status == 1 and "nothing has begun" in said, said
    # A file of the memory's size does not fit.
    status, said = limited(t, scene.folder / "limited")
    assert status == 1 and "goes on" in said, said
    assert not (scene.folder / "limited").exists()
    assert t.here.guest.qmp("query-status")["running"]
    t.guest.sh("sleep 0.5")
    check_io(t.guest, 1)
    unmount(t.guest, 1)


def limited(t, folder):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))

    done = subprocess.run([t.scene.outboard, "vm-save", "--qmp", t.here.qmp, "--control",
                           t.here.controls[0], folder], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, preexec_fn=limit)
    return done.returncode, done.stderr


def test_what_is_no_vm_is_refused(scene):
    """Before anything begins where that can be known; and it can be tried again."""
    t = traveller(scene)
    t.guest.sh(WRITE, timeout=300)
    folder, broken = scene.folder / "saved", scene.folder / "broken"
    save(t, folder)
    t.here.end(scene)

    def refused(words, began):
        t.prepare()
        status, said = tool(t, "vm-restore", t.there, broken)
        assert status == 1 and words in said, said
        assert ("nothing has begun" in said) != began, said
        if not began:
            assert t.there.status() == "inmigrate"
        t.there.guest.kill()
        t.there.end(scene)
        shutil.rmtree(broken)

    shutil.copytree(folder, broken)
    os.unlink(broken / "vm.json")
    refused("vm.json", began=False)
    for change in ({"machine": "pc"}, {"memory": 1}, {"devices": []},
                   {"devices": [{"id": "../disk0"}]}, {"format": 2}):
        shutil.copytree(folder, broken)
        vm = json.loads((broken / "vm.json").read_text())
        (broken / "vm.json").write_text(json.dumps(dict(vm, **change)))
        refused("outboard vm-restore", began=False)
    for name, keep in (("disk0.state", 100), ("memory", 1 << 20)):
        shutil.copytree(folder, broken)
        os.truncate(broken / name, keep)
        refused("outboard vm-restore", began=True)
    t.prepare()
    restore(t, folder)
    t.there.guest.sh(CHECK, timeout=300)
    t.there.guest.sh(QUICK, timeout=300)


# -- a worker dies ---------------------------------------------------------------

@pytest.fixture(scope="module")
def resident(shared_scene):
    """A guest with verified I/O that outlives all that is tried with it."""
    yield from traveller_with_io(shared_scene)


def by_way_of(t, verb, folder, *options, step=None):
    """vm-save of what is here, vm-restore to there; before the step the worker dies."""
    side, place = ("from", t.here) if verb == "vm-save" else ("to", t.there)

    def kill():
        kill_worker(place)
        return PASS

    meddler = Meddler(t, (side, step), kill)
    status, said = tool(t, verb, place, folder, *options,
                        controls=[meddler.proxies[side].path])
    meddler.close()
    assert meddler.done == bool(step), "the step never came"
    assert status == 0, said


def moves_into(t):
    t.here, t.there = t.there, None
    t.guest = t.here.guest


@pytest.mark.parametrize("saving, restoring", [
    ("device.quiesce", None), ("device.config", None), ("device.save", None),
    (None, "device.load"), (None, "device.resume"), (None, "inflight")])
def test_a_worker_is_killed(resident, saving, restoring):
    """What is saved is whole, and is restored, all the same."""
    t = resident
    folder = t.scene.folder / f"saved{t.moves}"
    by_way_of(t, "vm-save", folder, step=saving)
    t.here.end(t.scene)
    t.prepare()
    by_way_of(t, "vm-restore", folder, step=restoring)
    moves_into(t)
    goes_on(t)


@pytest.mark.parametrize("step", ["device.save", "device.log", "device.resume"])
def test_a_worker_is_killed_and_the_vm_goes_on(resident, step):
    t = resident
    folder = t.scene.folder / f"continued-{step}"
    by_way_of(t, "vm-save", folder, "--continue", step=step)
    assert (folder / "vm.json").exists()
    assert t.here.guest.qmp("query-status")["running"]
    goes_on(t)


def test_no_worker_lives_long_enough(resident):
    """There is an end of trying: the VM goes on, and nothing is left."""
    t = resident
    folder = t.scene.folder / "never"
    proxy = ControlProxy(t.scene.folder / "never.ctl", t.here.controls[0],
                         lambda request: CUT if request["method"] == "device.save" else PASS)
    status, said = tool(t, "vm-save", t.here, folder, controls=[proxy.path])
    proxy.close()
    assert proxy.seen.count("device.save") > 1
    assert status == 1 and "goes on" in said, said
    assert not folder.exists()
    assert t.here.guest.qmp("query-status")["running"]
    goes_on(t)


def test_a_worker_is_killed_in_the_middle_of_a_stream(scene):
    """Of a drive's content, which is long."""
    t = traveller(scene, memory_drive=True)
    mount(t.guest, 1)
    t.guest.sh("dd if=/dev/urandom of=/mnt/0/file bs=1M count=24 && sync")
    before = t.guest.sh("md5sum < /mnt/0/file")
    folder = scene.folder / "saved"

    def cut_short(verb, place, method):
        died = []
        proxy = StreamProxy(scene.folder / f"{verb}.ctl", place.controls[0], method, 8 << 20,
                            lambda: died.append(kill_worker(place)))
        status, said = tool(t, verb, place, folder, controls=[proxy.path])
        proxy.close()
        assert died and proxy.seen.count(method) == 2
        assert status == 0, said

    cut_short("vm-save", t.here, "device.save")
    t.here.end(scene)
    t.prepare()
    cut_short("vm-restore", t.there, "device.load")
    moves_into(t)
    t.guest.sh("echo 3 > /proc/sys/vm/drop_caches")
    assert t.guest.sh("md5sum < /mnt/0/file") == before
    unmount(t.guest, 1)


# -- the guard -------------------------------------------------------------------

def guard(scene):
    """A block node that QEMU does not migrate, made by QEMU itself."""
    path = scene.folder / "guard.vdi"
    return path, ["-blockdev", json.dumps({
        "driver": "vdi", "node-name": "outboard-guard", "read-only": True,
        "file": {"driver": "file", "filename": str(path)}})]


def make_vdi(scene, path):
    guest = scene.guest(boot=False)
    guest.qmp.greet()
    for job, options in (("file", {"driver": "file", "filename": str(path), "size": 0}),
                         ("vdi", {"driver": "vdi", "size": 1 << 20, "file": {
                             "driver": "file", "filename": str(path)}})):
        guest.qmp("blockdev-create", **{"job-id": job, "options": options})
        while guest.qmp("query-jobs")[0]["status"] != "concluded":
            pass
        guest.qmp("job-dismiss", id=job)
    guest.close()
    scene.parts.remove(guest)


def bare_migrate(t):
    t.here.guest.qmp("migrate", uri=f"exec:cat > {t.scene.folder}/bare")


def test_a_bare_migrate_is_refused(scene):
    """And ours is not: the guard is taken away, and comes back when it fails."""
    path, qemu = guard(scene)
    make_vdi(scene, path)
    t = traveller(scene, qemu=qemu)
    usual = set(t.guest.kernel_complaints())
    mount(t.guest, 1)
    start_io(t.guest, 1)

    def is_guarded():
        with pytest.raises(GuestError, match="outboard-guard"):
            bare_migrate(t)
        said = t.here.guest.qmp("human-monitor-command", **{"command-line": "savevm x"})
        assert "outboard-guard" in said

    is_guarded()
    t.prepare()
    t.there.guest.kill()
    assert t.conduct()[0] == 1
    is_guarded()
    t.give_up_there()
    t.prepare()
    status, _, said = t.conduct("--uri", "exec:false")
    assert status == 1 and "goes on" in said, said
    is_guarded()
    t.give_up_there()
    t.move()
    is_guarded()
    check_io(t.guest, 1)
    unmount(t.guest, 1)
    assert complaints(t.guest, usual) == []


def test_a_bare_migrate_is_noticed(scene):
    """Without a guard: the destination's server says that its device did not come."""
    t = traveller(scene)
    t.prepare()
    bare_migrate(t)
    while t.here.guest.qmp("query-migrate")["status"] != "completed":
        time.sleep(0.1)
    t.there.guest.qmp("migrate-incoming", uri=f"exec:cat {scene.folder}/bare")
    deadline = time.monotonic() + 60
    while not (alarm := call(scene, t.there.controls[0], "status")
               ["devices"][0]["migration"]["alarm"]):
        assert time.monotonic() < deadline, "the server says nothing"
        time.sleep(0.5)
    assert alarm in t.there.servers[0].log_text()


def test_only_migratable_forbids_nothing(scene):
    """QEMU takes the device for one that migrates; a later one may refuse."""
    t = traveller(scene, qemu=["-only-migratable"])
    assert "blocked-reasons" not in t.here.guest.qmp("query-migrate")
