# SPDX-License-Identifier: BSD-3-Clause
"""R30: what devices of every release were saved as, and what they left behind
when their process died, is taken over by the very binaries: that of this
release and outboard-next.

What is taken over is tests/golden/RELEASE, and what the two binaries leave in
the same states now (tests/golden/make.py).
"""
import collections
import contextlib
import gzip
import json
import os
import pathlib
import random
import socket
import struct
import subprocess
import tempfile

import pytest

import keeper
import lab
import make
import memory
import nvme
import vfu

GOLDEN = pathlib.Path(make.__file__).parent
WIRE = 1 << 30          # more than any release divides into its parts; sparse
SESSION_SIZE = 112 + 16 * 4 + 8

Left = collections.namedtuple("Left", "device stream state bar guest")


def matrix(kind):
    """Of each release what it has; releases to come may have more states."""
    written = [(path.parent.name, path.name.removesuffix(kind))
               for path in sorted(GOLDEN.glob("*/*" + kind))]
    written += [(writer, name) for writer in ("this", "next") for name in make.STATES]

    def mark(test):
        test = pytest.mark.parametrize("writer, name", written)(test)
        return pytest.mark.parametrize("reader", ["this", "next"])(test)
    return mark


@contextlib.contextmanager
def served(binary, device):
    """(pid, client) of one device; its process is killed in the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        model, *rest = device.split(",", 1)
        server = subprocess.Popen([binary, "serve", "--device", ",".join(
            [model, "socket=" + path, "id=golden", *rest])], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            assert vfu.wait_until(lambda: vfu.reachable(path))
            with vfu.Client(path) as client:
                client.negotiate()
                yield server.pid, client
        finally:
            server.kill()
            server.wait()


def of_release(folder, name):
    def there(end):
        path = folder / (name + end)
        return path.read_bytes() if path.exists() else b""
    state = there(".memory.gz")
    return Left(there(".device").decode().strip(), there(".stream"),
                gzip.decompress(state) if state else b"", b"", b"")


def leave(binary, name):
    deed, device, target = STATES[name]
    with served(binary, device) as (pid, client):
        deed(client)
        state = memory.copy(pid)
        bar, guest = (b"".join(fd.read_bytes() for fd in memory.files(pid, kind))
                      for kind in (memory.BAR, memory.GUEST))
        client.set_state(vfu.STOP)
        return Left(target or device, client.saved(), state, bar, guest)


def nvme_burst(client):
    """To outboard-next, a field that has to be understood."""
    make.Disk(client).feature(make.ARBITRATION, lab.BURST_OF_32)


STATES = dict(make.STATES, **{"nvme-burst": (nvme_burst, make.DISK, None)})
FIELD = "plain.features.burst_of_32: has to be understood, and is not known here"
LEFT = {}               # each is made once


@pytest.fixture
def left(this, following, writer, name):
    if (writer, name) not in LEFT:
        binary = {"this": this, "next": following}.get(writer)
        LEFT[writer, name] = (leave(binary, name) if binary
                              else of_release(GOLDEN / writer, name))
    return LEFT[writer, name]


@pytest.fixture
def binary(this, following, reader):
    return {"this": this, "next": following}[reader]


def shown(binary, data):
    made = subprocess.run([binary, "state", "show", "--json", "-"], input=data, check=True,
                          capture_output=True)
    return json.loads(made.stdout)


# What a life changes by itself, and what only one of the two has.
OWN = {"timestamp_ns", "timestamp_ms", "timestamp_live", "changes", "burst_of_32"}


def bare(value):
    """Bytes of which one release has more, zeros, are the same."""
    return value.rstrip("0") if isinstance(value, str) and value.startswith("0x") else value


def differences(ours, theirs, but, where=""):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [path for name in (ours.keys() | theirs.keys()) - but
                for path in differences(ours.get(name), theirs.get(name), but, f"{where}.{name}")]
    return [] if bare(ours) == bare(theirs) else [f"{where}: {ours} -> {theirs}"]


def same(binary, before, after, but=frozenset()):
    """Registers, features, queues, configuration."""
    before, after = shown(binary, before), shown(binary, after)
    for part in ("core", "plain"):
        assert not differences(before["parts"][part], after["parts"][part], OWN | but)
    return before, after


# --- streams --------------------------------------------------------------------

@matrix(".stream")
def test_r30_a_stream_is_loaded(binary, left):
    with served(binary, left.device + ",incoming=on") as (_, client):
        client.load(left.stream)
        same(binary, left.stream, client.saved())
        client.set_state(vfu.STOP, vfu.RUNNING)
        client.alive()


# --- memory -----------------------------------------------------------------------

def file_of(data, size):
    fd = os.memfd_create("left")
    os.truncate(fd, size)
    for at in range(0, len(data), 4096):
        page = data[at:at + 4096]
        if page.strip(b"\0"):
            os.pwrite(fd, page, at)
    return fd


def table_of(left, client):
    held = {"golden/state": file_of(left.state, len(left.state)),
            "golden/wire": file_of(b"", WIRE),
            "golden/dma/1": file_of(left.guest, 2 * make.MIB),
            "golden/client": client}
    if left.bar:
        held["golden/bar/0"] = file_of(left.bar, len(left.bar))
    return held


@contextlib.contextmanager
def succeeded(binary, left, folder):
    """(keeper, the client that has noticed nothing).  What drives hold is
    elsewhere: a `null:` of their size is in the place of content."""
    ours, theirs = socket.socketpair()
    model, *rest = left.device.replace("mem:", "null:").split(",", 1)
    device = ",".join([model, f"socket={folder}/s", "id=golden", *rest])
    kept = keeper.Keeper(binary, device, table_of(left, theirs.detach()), folder / "log")
    try:
        with vfu.Client(ours.detach()) as client:
            yield kept, client
    finally:
        kept.close()


@matrix(".memory.gz")
def test_r30_memory_of_the_dead_is_taken_over(binary, left, tmp_path):
    """The client is answered, and finds everything as it was.  Before there were
    successors, a session was not in the state: that is refused, and named."""
    with succeeded(binary, left, tmp_path) as (kept, client):
        if not struct.unpack_from("<Q", left.state, SESSION_SIZE)[0]:
            with pytest.raises(keeper.Refused, match="session"):
                kept.ready()
            return
        kept.ready()
        client.alive()
        # What was in flight may have been counted by now.
        before, after = same(binary, left.state, kept.read("golden/state"), {"counters"})
        assert after["life"]["generation"] == before["life"]["generation"] + 1


@pytest.mark.parametrize("name", ["nvme-busy"])
@pytest.mark.parametrize("writer", ["this", "next"])
@pytest.mark.parametrize("reader", ["this", "next"])
def test_r30_commands_of_the_dead_end_once(binary, left, tmp_path):
    """Ten reads and writes were with its drive; the guest has each of them back."""
    with succeeded(binary, left, tmp_path) as (kept, client):
        kept.ready()
        guest = os.dup(kept.held["golden/dma/1"])
        entries = lambda: [struct.unpack("<HH", os.pread(   # noqa: E731
            guest, 4, nvme.RINGS[1][1] + 16 * at + 12)) for at in range(nvme.ENTRIES)]
        kept.until(lambda: entries()[9][1])
        client.alive()
        ended = [one for one in entries() if any(one)]
        os.close(guest)
        assert len({cid for cid, _ in ended}) == len(ended) == 10
        assert {status for _, status in ended} == {1}       # phase, and no error


# --- what is refused ----------------------------------------------------------------

def judged(binary, data):
    made = subprocess.run([binary, "state", "check", "-"], input=data, capture_output=True,
                          check=False)
    return made.returncode, (made.stdout + made.stderr).decode()


@pytest.mark.parametrize("name", ["nvme-burst"])
@pytest.mark.parametrize("writer", ["next"])
def test_r30_what_has_to_be_understood_is_named(this, following, left, tmp_path):
    """In streams, in files, and when a successor is to take it over."""
    for data in (left.stream, left.state):
        assert judged(following, data)[0] == 0
        code, said = judged(this, data)
        assert code == 1 and FIELD in said
    with succeeded(this, left, tmp_path) as (kept, _), pytest.raises(keeper.Refused, match=FIELD):
        kept.ready()
    with succeeded(following, left, tmp_path) as (kept, client):
        kept.ready()
        client.alive()


@pytest.mark.parametrize("name", ["nvme-busy"])
@pytest.mark.parametrize("writer", ["next"])
def test_r25_any_bit_of_another_layout_may_be_wrong(this, left, tmp_path):
    """Its description included.  What is not refused with a reason is taken over."""
    chance = random.Random(3)
    places = [at for at in range(len(left.state)) if left.state[at]]
    refused = 0
    for _ in range(60):
        data = bytearray(left.state)
        data[chance.choice(places)] ^= 1 << chance.randrange(8)
        with succeeded(this, left._replace(state=bytes(data)), tmp_path) as (kept, _):
            try:
                kept.ready()
            except keeper.Refused as refusal:
                assert str(refusal)
                refused += 1
    assert refused
