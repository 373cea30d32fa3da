# SPDX-License-Identifier: BSD-3-Clause
"""A VM's migration that fails, at every step: the source goes on, nothing is lost,
and never do both run."""
import fcntl
import itertools
import json
import os
import signal
import socket
import threading
import time

import pytest

from movers import SIZE, call
from proxy import CUT, HANG, PASS, ControlProxy, LinkProxy, MonitorProxy
from test_lifecycle import CHECK, QUICK, WRITE
from test_vm_migrate import (check_io, mount, start_io, traveller, traveller_with_io,
                             unmount)

STEPS = [("from", "device.log"), ("to", "pages.in"), ("from", "pages.out"),
         ("to", "device.load"), ("from", "device.save"), ("from", "device.quiesce"),
         ("from", "device.config"), ("from", "pages.finish"), ("to", "pages.apply"),
         ("to", "device.resume")]
NAMES = [f"{side}_{method}" for side, method in STEPS]
# Those before QEMU's own migration begins, in it, and behind its end.
FEW = [STEPS[3], STEPS[5], STEPS[7], STEPS[9]]
FEW_NAMES = [f"{side}_{method}" for side, method in FEW]


class Meddler:
    """Proxies before both servers; at the step given, once, `deed` is done."""

    numbers = itertools.count()

    def __init__(self, t, step, deed):
        self.t = t
        self.step = step
        self.deed = deed
        self.done = False
        # Preflight has asked before.
        self.before = 1 if step == ("from", "device.config") else 0
        folder, number = t.scene.folder, next(self.numbers)
        self.proxies = {
            side: ControlProxy(folder / f"{side}-{number}.ctl", place.controls[0],
                               lambda request, side=side: self.rule(side, request["method"]))
            for side, place in (("from", t.here), ("to", t.there)) if place}

    def rule(self, side, method):
        if self.done or (side, method) != self.step:
            return PASS
        if self.before:
            self.before -= 1
            return PASS
        self.done = True
        return self.deed()

    def paths(self):
        return {f"{side}_control": [proxy.path] for side, proxy in self.proxies.items()}

    def close(self):
        for proxy in self.proxies.values():
            proxy.close()


def meddle(t, step, deed, *options, timeout=120, kind=Meddler):
    """(status, report, what was said) of a migration with this deed."""
    meddler = kind(t, step, deed)
    try:
        result = t.conduct(*options, timeout=timeout, **meddler.paths())
    finally:
        meddler.close()
    assert meddler.done, "the step never came"
    return result


def ended(guest, timeout=20):
    deadline = time.monotonic() + timeout
    while guest.alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not guest.alive()


def stayed(t, result):
    """It failed, the source runs, the destination has ended."""
    status, report, said = result
    assert status == 1 and report["outcome"] == "stayed", (report, said)
    assert "the source goes on" in said, said
    assert t.here.guest.qmp("query-status")["running"], said
    assert ended(t.there.guest), "the destination is there"


@pytest.fixture(scope="module")
def home(shared_scene):
    """A guest that stays where it is, whatever is tried with it."""
    yield from traveller_with_io(shared_scene)


def away(t):
    """What a failed try left of the other place."""
    t.give_up_there()


def goes_on(t):
    """The I/O that runs throughout has gone on, and is right."""
    read = "awk '{ print $3 + $7 }' /sys/block/nvme0n1/stat"
    before = int(t.guest.sh(read))
    deadline = time.monotonic() + 30
    while int(t.guest.sh(read)) <= before:
        assert time.monotonic() < deadline, "no I/O any more"
        time.sleep(0.1)
    t.guest.sh("pidof fio")
    assert "verify:" not in t.guest.sh("cat /tmp/fio0.log")


# -- a step is refused, hangs up, or loses somebody ------------------------------

@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_a_step_is_refused(home, step):
    home.prepare()
    result = meddle(home, step, lambda: "refused by the test")
    stayed(home, result)
    assert "refused by the test" in result[2]
    goes_on(home)
    away(home)


@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_the_destination_is_killed(home, step):
    home.prepare()

    def kill():
        home.there.guest.kill()
        return PASS

    stayed(home, meddle(home, step, kill))
    goes_on(home)
    away(home)


class OneSaveFails(Meddler):
    """... and the way back is cut short once."""

    saves = 0

    def rule(self, side, method):
        if (side, method) == ("to", "device.save"):
            self.saves += 1
            if self.saves == 1:
                return "the client has gone"
        return super().rule(side, method)


def test_the_destination_is_killed_when_it_has_the_drives(home):
    """That they are taken back is cut short by the end of its QEMU."""
    home.prepare()
    control = home.there.controls[0]
    device = call(home.scene, control, "status")["devices"][0]["id"]

    def kill():
        call(home.scene, control, "device.resume", device=device)
        home.there.guest.kill()
        return "refused by the test"

    stayed(home, meddle(home, ("to", "device.resume"), kill, kind=OneSaveFails))
    goes_on(home)
    away(home)


@pytest.mark.parametrize("step", FEW, ids=FEW_NAMES)
def test_the_destinations_server_is_killed(home, step):
    home.prepare()

    def kill():
        home.there.servers[0].kill()
        return PASS

    stayed(home, meddle(home, step, kill))
    goes_on(home)
    server = home.there.servers[0]
    home.scene.parts.remove(server)
    home.there.servers = []
    away(home)


def kill_worker(place):
    os.kill(place.servers[0].workers()[0], signal.SIGKILL)


def arrived(t, result):
    """It went through: the destination runs, alone, with all of it."""
    status, report, said = result
    assert status == 0 and report["outcome"] == "moved", said
    assert t.there.guest.qmp("query-status")["running"]
    assert t.here.status() == "postmigrate"
    assert report["warnings"] == []
    t.arrive()
    goes_on(t)


@pytest.mark.parametrize("side", ["from", "to"])
@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_a_worker_is_killed(home, step, side):
    """The migration goes through all the same."""
    home.prepare()

    def kill():
        kill_worker(home.here if side == "from" else home.there)
        return PASS

    arrived(home, meddle(home, step, kill))


@pytest.mark.parametrize("step", [STEPS[7], STEPS[8]], ids=[NAMES[7], NAMES[8]])
@pytest.mark.parametrize("ms", [0.3, 1, 3])
def test_a_worker_is_killed_within(home, step, ms):
    """When it has begun with what it was asked for, or has just done it."""
    home.prepare()
    place = home.here if step[0] == "from" else home.there

    def kill():
        threading.Timer(ms / 1000, kill_worker, [place]).start()
        return PASS

    arrived(home, meddle(home, step, kill))


@pytest.mark.parametrize("step", [STEPS[5], STEPS[7], STEPS[8]],
                         ids=[NAMES[5], NAMES[7], NAMES[8]])
def test_a_worker_of_two_devices_is_killed(scene, step):
    """One has its pages in place, perhaps, when the other's are lost."""
    t = traveller(scene, count=2)
    mount(t.guest, 2)
    start_io(t.guest, 2)
    t.prepare()

    def kill():
        kill_worker(t.here if step[0] == "from" else t.there)
        return PASS

    arrived(t, meddle(t, step, kill))
    check_io(t.guest, 2)
    unmount(t.guest, 2)


def await_streams(t, place, process, names):
    """Its state and its pages are on their way, since some time."""
    deadline = time.monotonic() + 30
    while process.poll() is None:
        move = call(t.scene, place.controls[0], "status")["devices"][0]["migration"]
        if move["stream"] in names and move["pages"] in names:
            return
        assert time.monotonic() < deadline, move
        time.sleep(0.02)


@pytest.mark.parametrize("side", ["from", "to", "both"])
def test_workers_die_while_it_streams(home, side):
    """Again and again; each time the streams begin anew."""
    home.prepare()
    process = home.start("--bandwidth", "24M")
    for _ in range(2):
        await_streams(home, home.here, process, ["out"])
        await_streams(home, home.there, process, ["in"])
        assert process.poll() is None, process.communicate()
        if side != "to":
            kill_worker(home.here)
        if side != "from":
            kill_worker(home.there)
        time.sleep(0.3)
    arrived(home, result_of(process))


def test_no_worker_lives_long_enough(home):
    """There is an end of trying, and the source goes on."""
    home.prepare()
    process = home.start("--bandwidth", "2M")
    await_streams(home, home.there, process, ["in"])
    while process.poll() is None:
        for worker in home.there.servers[0].workers()[:1]:
            os.kill(worker, signal.SIGKILL)
        time.sleep(0.5)
    stayed(home, result_of(process))
    goes_on(home)
    away(home)


def test_the_drive_is_locked(home):
    """By a third party, in the moment when nobody has it."""
    home.prepare()
    image = home.made.get("image") or home.drives[0].split(":", 1)[1]
    held = []

    def lock():
        held.append(hold(image))
        return PASS

    result = None
    meddler = Meddler(home, ("to", "device.resume"), lock)
    inner = meddler.rule

    # It lets go when the destination has been refused.
    def rule(side, method):
        if held and side == "from" and method == "device.resume":
            held.pop().close()
        return inner(side, method)

    meddler.rule = rule
    try:
        result = home.conduct(**meddler.paths())
    finally:
        meddler.close()
        for file in held:
            file.close()
    stayed(home, result)
    assert "lock" in result[2] or "use" in result[2], result[2]
    goes_on(home)
    away(home)


def hold(path):
    """QEMU's scheme: who writes has byte 101 and does not share byte 201."""
    file = open(path, "r+b")
    for byte in range(100, 104):
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, byte)
    for byte in range(200, 204):
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, byte)
    return file


@pytest.mark.parametrize("step", FEW, ids=FEW_NAMES)
def test_it_is_tried_again(home, step):
    """With the servers that have seen it fail, and a new QEMU."""
    home.prepare()
    stayed(home, meddle(home, step, lambda: "refused by the test"))
    place = home.there
    place.end_qemu(home.scene)
    place.start_qemu(home.scene, incoming=True)
    status, _, said = home.conduct()
    assert status == 0, said
    home.arrive()
    goes_on(home)


# -- the monitors --------------------------------------------------------------

COMMANDS = ["migrate-set-capabilities", "migrate", "migrate-continue"]


@pytest.mark.parametrize("how", ["cut", "refused"])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_sources_monitor_fails(home, command, how):
    home.prepare()
    path = home.scene.folder / f"from{home.moves}.qmp"
    done = []

    def rule(request):
        if request.get("execute") != command or done:
            return PASS
        done.append(command)
        return CUT if how == "cut" else "refused by the test"

    proxy = MonitorProxy(path, home.here.qmp, rule)
    result = home.conduct(from_qmp=[path])
    proxy.close()
    assert done
    stayed(home, result)
    goes_on(home)
    away(home)


@pytest.mark.parametrize("how", ["cut", "refused"])
@pytest.mark.parametrize("command", ["migrate-incoming", "query-pci", "cont"])
def test_the_destinations_monitor_fails(home, command, how):
    home.prepare()
    path = home.scene.folder / f"to{home.moves}.qmp"
    seen = []

    def rule(request):
        seen.append(request.get("execute"))
        # The first query-pci is preflight's.
        if request.get("execute") != command or \
                seen.count(command) != (2 if command == "query-pci" else 1):
            return PASS
        return CUT if how == "cut" else "refused by the test"

    proxy = MonitorProxy(path, home.there.qmp, rule)
    result = home.conduct(to_qmp=[path])
    proxy.close()
    stayed(home, result)
    goes_on(home)
    away(home)


def test_nobody_knows_whether_it_runs(scene):
    """The answer to "cont" is lost and so is the destination: the source stays
    stopped, and goes on when the operator says that he has looked."""
    t = traveller(scene)
    t.guest.sh(WRITE, timeout=300)
    t.prepare()
    path = scene.folder / "to.qmp"

    def rule(request):
        if request.get("execute") != "cont":
            return PASS
        t.there.guest.process.send_signal(signal.SIGSTOP)
        proxy.listener.close()
        return CUT

    proxy = MonitorProxy(path, t.there.qmp, rule)
    status, report, said = t.conduct(to_qmp=[path])
    proxy.close()
    assert status == 1 and report["outcome"] == "unknown", said
    assert "--abort" in said
    assert t.here.status() == "postmigrate"
    t.there.guest.kill()
    status, report, said = t.conduct("--abort", to_qmp=[])
    assert status == 1 and "in use by" in said, said
    t.there.servers[0].close()
    status, report, said = t.conduct("--abort", to_qmp=[], to_control=[])
    assert status == 0, said
    assert t.here.guest.qmp("query-status")["running"]
    t.guest.sh(CHECK, timeout=300)
    t.guest.sh(QUICK, timeout=300)


# -- the link ------------------------------------------------------------------

def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class OtherUri:
    """The destination listens at one port, the source is told of the proxy's."""

    def __init__(self, t):
        self.port = free_port()
        self.link = LinkProxy(self.port)
        self.path = t.scene.folder / f"uri{t.moves}.qmp"
        self.monitor = UriMonitor(self.path, t.here.qmp, self.port, self.link.port)

    def close(self):
        self.link.close()
        self.monitor.close()


class UriMonitor(MonitorProxy):
    def __init__(self, path, behind, old, new):
        self.ports = str(old).encode(), str(new).encode()
        super().__init__(path, behind, lambda request: PASS)

    def _line(self, client, server, line, fds):
        if b'"migrate"' in line:
            line = line.replace(*self.ports)
        return super()._line(client, server, line, fds)


def start_by_link(t, *options):
    uri = OtherUri(t)
    process = t.start("--uri", f"tcp:127.0.0.1:{uri.port}", *options, from_qmp=[uri.path])
    deadline = time.monotonic() + 60
    while uri.link.passed < 4 << 20:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    return uri, process


def result_of(process, timeout=120):
    out, said = process.communicate(timeout=timeout)
    return process.returncode, json.loads(out), said


def test_the_link_is_cut(home):
    home.prepare()
    uri, process = start_by_link(home, "--bandwidth", "8M")
    uri.link.cut()
    stayed(home, result_of(process))
    uri.close()
    goes_on(home)
    away(home)


def test_the_link_is_full(home):
    """Nothing moves any more; the operator interrupts it."""
    home.prepare()
    uri, process = start_by_link(home, "--bandwidth", "8M")
    uri.link.full.set()
    time.sleep(1)
    assert process.poll() is None
    goes_on(home)
    process.send_signal(signal.SIGINT)
    stayed(home, result_of(process))
    uri.close()
    goes_on(home)
    away(home)


# -- the conductor -------------------------------------------------------------

@pytest.mark.parametrize("step", STEPS, ids=NAMES)
def test_the_conductor_is_killed(home, step):
    """--abort finds out what there is and puts it right."""
    home.prepare()
    processes = []

    def kill():
        processes[0].kill()
        return HANG

    meddler = Meddler(home, step, kill)
    processes.append(home.start(**meddler.paths()))
    processes[0].communicate(timeout=120)
    meddler.close()
    assert meddler.done
    status, _, said = home.conduct("--abort")
    assert status == 0, said
    assert home.here.guest.qmp("query-status")["running"]
    assert ended(home.there.guest)
    goes_on(home)
    away(home)


def test_abort_is_refused_when_it_has_moved(scene):
    t = traveller(scene)
    t.guest.sh(WRITE, timeout=300)
    t.prepare()
    assert t.conduct()[0] == 0
    status, _, said = t.conduct("--abort")
    assert status == 1 and "runs" in said, said
    assert t.there.guest.qmp("query-status")["running"]
    assert t.here.status() == "postmigrate"
    t.arrive()
    t.guest.sh(CHECK, timeout=300)


# -- preflight -----------------------------------------------------------------

MISFITS = {
    "machine": ({"machine": "pc"}, "the destination a pc"),
    "memory": ({"memory": 320}, "bytes of memory"),
    "cpus": ({"cpus": 1}, "CPUs"),
    "address": ({"properties": {"addr": "0x9"}}, "is at"),
    "keys": ({"keys": "msix=off"}, "has msix=on"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_preflight_refuses(home, misfit):
    changes, words = MISFITS[misfit]
    home.prepare(**changes)
    status, report, said = home.conduct()
    assert status == 1 and report["outcome"] == "stayed"
    assert words in said and "nothing has begun" in said, said
    assert home.there.status() == "inmigrate"
    goes_on(home)
    home.there.end(home.scene)
    home.there = None


def refused_for_its_drive(t, words):
    status, report, said = t.conduct()
    assert status == 1 and report["outcome"] == "stayed"
    assert words in said and "disk0" in said and "nothing has begun" in said, said
    assert t.there.status() == "inmigrate"
    t.there.end(t.scene)
    t.there = None


def test_preflight_looks_at_the_drives(home):
    """Whose name may lead elsewhere, or nowhere, by now."""
    folder = home.scene.folder
    home.prepare(drives=[f"file:{home.scene.image('other.img', SIZE)}"])
    refused_for_its_drive(home, "is another one")
    home.prepare(drives=[f"mem:{SIZE}"])
    refused_for_its_drive(home, "only one side")
    link = folder / "link.img"
    link.symlink_to(home.drives[0].split(":", 1)[1])
    home.prepare(drives=[f"file:{link}"])
    link.unlink()
    refused_for_its_drive(home, "No such file")
    link.symlink_to(home.drives[0].split(":", 1)[1])
    home.prepare(drives=[f"delay:1:file:{link}"], keys="incoming=on")
    status, _, said = home.conduct("--dry-run")
    assert status == 0, said
    goes_on(home)
    home.there.end(home.scene)
    home.there = None


def test_preflight_refuses_another_size(scene):
    t = traveller(scene, memory_drive=True)
    t.prepare(drives=[f"mem:{SIZE // 2}"])
    refused_for_its_drive(t, f"has {SIZE} bytes")


def test_preflight_refuses_who_does_not_serve(home):
    home.prepare()
    status, _, said = home.conduct(to_control=home.here.controls)
    assert status == 1 and "served by none" in said
    status, _, said = home.conduct(to_qmp=[home.here.qmp])
    assert status == 1
    status, _, said = home.conduct("--dry-run")
    assert status == 0
    goes_on(home)
    home.there.end(home.scene)
    home.there = None
