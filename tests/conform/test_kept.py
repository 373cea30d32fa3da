# SPDX-License-Identifier: BSD-3-Clause
"""The real server under a hostile worker, guest or machine: what the keeper
holds is damaged, its workers die of a message, want for descriptors or
memory, are stopped; and what the service manager hears of it."""

import mmap
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import time

import pytest

import conftest
import nvme
import vfu

SEEDS = 40
MIDWIFE = "outboard-births"
STATE = "memfd:outboard-state"


def fields(pid):
    """/proc/PID/status, by name."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


class Kept:
    """A keeper, and clients of its devices."""

    def __init__(self, argv, log, environment=None, inside=None):
        self.log = pathlib.Path(log)
        with open(log, "wb") as file:
            self.process = subprocess.Popen(
                argv, stdout=subprocess.DEVNULL, stderr=file,
                preexec_fn=inside, env=dict(os.environ, **(environment or {})))
        self.pid = self.process.pid
        self.clients = []

    def why(self):
        return self.log.read_text(errors="replace") if self.log.is_file() else "no log"

    def alive(self):
        return self.process.poll() is None

    def connect(self, path):
        def up():
            assert self.alive(), self.why()
            return vfu.reachable(str(path))

        assert vfu.wait_until(up), self.why()
        client = vfu.Client(str(path))
        client.path = path
        client.negotiate()
        self.clients.append(client)
        return client

    def children(self):
        """(pid, name) of those that live, the oldest first."""
        text = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        for pid in map(int, text.split()):
            try:
                child = fields(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            if not child["State"].startswith("Z"):
                yield pid, child["Name"]

    def midwives(self):
        return [pid for pid, name in self.children() if name == MIDWIFE]

    def worker(self):
        return [pid for pid, name in self.children() if name != MIDWIFE][-1]

    def kill(self):
        """The worker; returns when another one serves."""
        lives = self.why().count(", serves after")
        os.kill(self.worker(), signal.SIGKILL)
        assert vfu.wait_until(lambda: self.why().count(", serves after") > lives), self.why()

    def states(self):
        """Path, as we can open it, of each device's state."""
        seen = {}
        for fd in pathlib.Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                if STATE in os.readlink(fd):
                    seen.setdefault(fd.stat().st_ino, fd)
            except FileNotFoundError:
                pass
        return list(seen.values())

    def end(self):
        for client in self.clients:
            client.close()
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(vfu.PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


@pytest.fixture
def keep(request, tmp_path):
    """keep(devices, ...): each with {} for its socket; (server, clients)."""
    option = request.config.getoption
    if option("--socket") or option("--server-cmd"):
        pytest.skip("needs a server of ours")
    made = []

    def make(*devices, words=(), environment=None, log=None, command=None,
             inside=None):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        paths = [folder / str(i) for i in range(len(devices))]
        argv = conftest.model_argv(request.config, *(
            device.format(path) for device, path in zip(devices, paths)))
        argv[0] = str(command or argv[0])
        made.append(Kept([*argv, *words], log or folder / "log", environment, inside))
        return made[-1], [made[-1].connect(path) for path in paths]

    yield make
    for server in made:
        server.end()


NVME, EDU = "nvme,socket={},drive=mem:16M", "edu,socket={}"


def test_r34_filters_of_the_real_server(keep):
    server, _ = keep(EDU)
    if b"__asan_init" in pathlib.Path(f"/proc/{server.pid}/exe").read_bytes():
        pytest.skip("a sanitizer needs more")
    own = int(fields("self")["Seccomp_filters"])
    for pid, filters in ((server.pid, 2), *((pid, 1) for pid in server.midwives()),
                         (server.worker(), 1)):
        assert int(fields(pid)["Seccomp_filters"]) == own + filters
        assert fields(pid)["Seccomp"] == "2"
        assert fields(pid)["NoNewPrivs"] == "1"


def test_a_flood_of_one_way_messages(keep, request):
    """Each wakes the server: more completions than its ring holds.  Nobody is let go,
    and nobody dies of it."""
    server, (client,) = keep("null,socket={}")
    client.close()
    assert vfu.wait_until(lambda: "has gone" in server.why())
    worker = server.worker()
    done = subprocess.run(
        [request.config.getoption("--outboard"), "bench-mmio", str(client.path),
         "--mode", "block", "--rounds", "5", "--time", "3"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=vfu.PATIENCE + 60)
    assert done.returncode == 0, done.stdout + server.why()
    assert server.worker() == worker


def test_r18_doorbells_for_another_thread(keep, request, memory):
    """A doorbell that was answered is none that is lost, if its queue's thread has
    not seen it when the process dies, or when the queue leaves that thread."""
    threads = request.config.getoption("--threads")
    server, (client,) = keep("nvme,lanes=2,socket={},drive=mem:16M",
                             words=("--threads", "2") if threads < 2 else ())
    msix = client.read_int(vfu.CONFIG, 0x34, 1)
    while client.read_int(vfu.CONFIG, msix, 1) != 0x11:
        msix = client.read_int(vfu.CONFIG, msix + 1, 1)
    guest = memory()
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, 1 << 20), [guest.fd])
    client.write_int(vfu.CONFIG, msix + 2, 0x8000, 2)
    disk = nvme.Disk(client, guest.view)
    for i in range(40):
        cid = disk.read_block(i, 0x80000)
        if i % 4 == 0:
            server.kill()
        else:
            client.write_int(vfu.CONFIG, msix + 2, 0x8000 * (i % 2), 2)
        assert disk.completion_of(cid) == 0


# State that was damaged

def state_of(server, disk, chance):
    """The file that has what was just written to the disk's registers; None: a
    flipped bit has made them read-only, by switching the controller on, say."""
    mark = chance.getrandbits(48) << 12
    disk.write_int(0, nvme.ACQ, mark, 8)
    for path in server.states():
        if mark.to_bytes(8, "little") in path.read_bytes():
            return path
    return None


def flip(path, chance, bits):
    """In what is not zero, where something is; and here and there."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        used = [at for at in range(0, len(view), 8) if view[at:at + 8] != bytes(8)]
        for _ in range(bits):
            at = chance.choice(used) + chance.randrange(8)
            if not chance.randrange(8):
                at = chance.randrange(len(view))
            view[at] ^= 1 << chance.randrange(8)


def outcome(client):
    """Of a device whose state was damaged: served, failed or refused."""
    try:
        status = client.read_int(0, nvme.CSTS)
        return "failed" if status & 2 else "served"
    except (vfu.Closed, ConnectionError, AssertionError):
        return "refused"


# The whole state, or what it says about the connection.
NAMED = re.compile(r"nvme0: (begins anew|client \d+: )")


def test_r25_state_of_a_dead_worker_is_hostile(keep, memory):
    """Bits of a live disk's state change, and its worker dies.  The keeper and
    the other device of the process go on; a disk that is refused is named, and
    begins anew for the next client."""
    chance, seen, server = random.Random(25), {}, None
    for _ in range(SEEDS):
        if not server:
            server, (disk, other) = keep(NVME, EDU)
            m = memory()
            disk.ok(vfu.DMA_MAP, vfu.dma_map(0, 1 << 20), [m.fd])
            nvme.Disk(disk, m.view)
            disk.write_int(0, nvme.CC, 0)
        path = state_of(server, disk, chance)
        if not path:
            assert seen
            assert server.end() == 0
            server = None
            continue
        flip(path, chance, chance.choice((1, 1, 3, 30)))
        os.kill(server.worker(), signal.SIGKILL)
        other.alive()
        how = outcome(disk)
        seen[how] = seen.get(how, 0) + 1
        if how != "served":
            assert how == "failed" or NAMED.search(server.why()), server.why()
            server.connect(disk.path).alive()
            other.alive()
            assert server.end() == 0
            server = None
    assert seen["served"] and seen["refused"], seen


# A message that kills

CRASHER = "sample_crashes"


def module_of(request, name):
    """A model of tests/unit/devices, where the command is built."""
    path = pathlib.Path(request.config.getoption("--outboard")).parent
    path = path / "tests" / "unit" / "devices" / f"{name}.so"
    if not path.exists():
        pytest.skip(f"{path} is not built")
    return str(path)


def test_r31_a_message_that_kills_three_workers(keep, request):
    """It is answered with an error; its device fails, and the other goes on."""
    server, (victim, other) = keep("sample,socket={}", EDU, words=(
        "--load", module_of(request, CRASHER)))
    ident = victim.post(vfu.REGION_WRITE, vfu.access(0, 0, 4, b"\xad\xde\0\0"))
    got = victim.reply()
    assert got.ident == ident and got.flags & vfu.ERROR and got.error == 5
    assert server.why().count("died: signal") == 3
    assert "killed 3 processes in a row and is not tried again" in server.why()
    other.alive()
    victim.alive()
    assert server.end() == 0


def test_r25_a_state_that_kills_its_takers(keep, request):
    """Three in a row died of it: the device begins anew, its client is hung up
    on, and the other one goes on."""
    server, (victim, other) = keep("sample,socket={}", EDU, words=(
        "--load", module_of(request, CRASHER)))
    victim.ok(vfu.REGION_WRITE, vfu.access(0, 4, 4, b"\xad\xde\0\0"))
    server.kill()
    assert server.why().count("died: signal 6") == 3
    assert "sample0: begins anew, without its client: 3 processes in a row" in server.why()
    with pytest.raises((vfu.Closed, ConnectionError)):
        victim.alive()
    other.alive()
    server.connect(victim.path).alive()
    server.kill()
    assert server.why().count("died: signal 6") == 3
    assert server.end() == 0


# The end, while a worker dies

ENDS = 40


def test_asked_to_end_while_a_worker_dies(keep, memory, tmp_path):
    """At some moment after the death, with writes in flight: somebody ends in order,
    and what a client was told is on the disk."""
    chance = random.Random(5)
    image = tmp_path / "image"
    for turn in range(ENDS):
        image.write_bytes(bytes(1 << 20))
        server, (client,) = keep(f"nvme,socket={{}},drive=file:{image}")
        guest = memory(4 << 20, turn)
        client.ok(vfu.DMA_MAP, vfu.dma_map(0, 4 << 20), [guest.fd])
        disk = nvme.Disk(client, guest.view)
        for lba in range(4):
            assert disk.completion_of(disk.write_block(lba, 0x100000 + lba * 512)) == 0
        for lba in range(4, 8):
            disk.write_block(lba, 0x100000 + lba * 512)
        os.kill(server.worker(), signal.SIGKILL)
        time.sleep(chance.random() * 0.008)
        assert server.end() == 0, server.why()
        assert image.read_bytes()[:2048] == guest.view[0x100000:0x100800]
        assert not client.path.exists()


# Want

@pytest.mark.parametrize("limit,low", [(resource.RLIMIT_NOFILE, 3), (resource.RLIMIT_AS, 1 << 20)])
def test_worker_in_want(keep, memory, limit, low):
    """Of descriptors or memory.  It may fail what it is asked for, or die of
    it; its successor has what the keeper has."""
    server, (disk, other) = keep(NVME, EDU)
    m = memory()
    worker = server.worker()
    usual = resource.prlimit(worker, limit)
    resource.prlimit(worker, limit, (low, usual[1]))
    for at in range(4):
        got = disk.request(vfu.DMA_MAP, vfu.dma_map(at << 20, 1 << 20), [m.fd])
        assert got.flags & vfu.ERROR and got.error
    other.alive()
    server.kill()
    assert resource.prlimit(server.worker(), limit) == usual
    for at in range(4, 8):
        disk.ok(vfu.DMA_MAP, vfu.dma_map(at << 20, 1 << 20), [m.fd])
    disk.alive()
    other.alive()
    assert server.end() == 0


def test_stopped_worker(keep):
    server, (client,) = keep(EDU, words=("--watchdog", "200"))
    os.kill(server.worker(), signal.SIGSTOP)
    client.alive()
    assert "stopped for too long" in server.why()
    assert server.end() == 0


def test_midwives_that_die(keep):
    """One after the other; there is always somebody who starts workers."""
    server, (client,) = keep(EDU)
    for turn in range(6):
        first = server.midwives()
        os.kill(first[turn % 2], signal.SIGKILL)
        server.kill()
        client.alive()
        assert vfu.wait_until(lambda: len(set(server.midwives()) - {first[turn % 2]}) == 2)
    assert server.end() == 0


def test_full_disk(keep):
    """The log cannot be written; what it would say happens all the same."""
    server, (client,) = keep(EDU, log="/dev/full")
    for _ in range(5):
        os.kill(server.worker(), signal.SIGKILL)
        client.alive()
    assert server.end() == 0


# The service manager

def now_us():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_notifications_of_an_upgrade(keep, manager):
    server, (client,) = keep(EDU, environment=manager.environment)
    assert manager.hears() == {"READY": "1"}
    before = now_us()
    server.process.send_signal(signal.SIGHUP)
    told = manager.hears()
    assert told["RELOADING"] == "1"
    assert before <= int(told["MONOTONIC_USEC"]) <= now_us()
    assert manager.hears() == {"READY": "1"}
    assert "upgrade done" in server.why()
    client.alive()
    server.process.terminate()
    assert manager.hears() == {"STOPPING": "1"}
    assert server.process.wait(vfu.PATIENCE) == 0


def test_notifications_of_an_upgrade_that_fails(keep, manager, request, tmp_path):
    """The binary's path is gone, or is no program: both words come all the same."""
    copy = tmp_path / "outboard"
    shutil.copy(request.config.getoption("--outboard"), copy)
    server, (client,) = keep(EDU, environment=manager.environment, command=copy)
    assert manager.hears() == {"READY": "1"}
    copy.unlink()
    for reason in ("No such file", "the new binary died"):
        server.process.send_signal(signal.SIGHUP)
        assert manager.hears()["RELOADING"] == "1"
        assert manager.hears() == {"READY": "1"}
        assert reason in server.why()
        copy.write_text("not a program")
        copy.chmod(0o755)
    client.alive()
    assert server.end() == 0


def test_manager_that_watches(keep, manager):
    server, _ = keep(EDU, environment={**manager.environment, "WATCHDOG_USEC": "40000"})
    told = [manager.hears() for _ in range(6)]
    assert told.count({"READY": "1"}) == 1 and told.count({"WATCHDOG": "1"}) == 5
    assert server.end() == 0
