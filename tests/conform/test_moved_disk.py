# SPDX-License-Identifier: BSD-3-Clause
"""Disks that stop and move with commands in flight, their content, their
images, and the log of what they write."""

import mmap
import os
import select
import subprocess

import pytest

import conftest
import edu
import nvme
import vfu
from vfu import RESUMING, RUNNING, STOP, STOP_COPY

MIB = 1 << 20

SLOW = "delay:%d:mem:16M"


@pytest.fixture
def serve(request, tmp_path, servers):
    """serve(options, ...): our server of NVMe disks; a client of each."""
    option = request.config.getoption
    if option("--socket") or option("--server-cmd"):
        pytest.skip("needs a server with drives of its own")
    usual = servers("nvme")
    usual.start()
    with vfu.Client(usual.path) as client:
        client.negotiate()
        if not client.offers():
            pytest.skip("the device offers no migration")
    ended = []

    def make(*devices):
        base = tmp_path / str(len(ended))
        base.mkdir()
        paths = [str(base / str(i)) for i in range(len(devices))]
        argv = conftest.model_argv(request.config, *(
            "nvme,socket=%s,%s" % pair for pair in zip(paths, devices)))
        with open(base / "log", "wb") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log)
        clients = []
        ended.append((process, clients))

        def up():
            assert process.poll() is None, (base / "log").read_text()
            return all(map(vfu.reachable, paths))

        assert vfu.wait_until(up)
        for path in paths:
            clients.append(vfu.Client(path))
            clients[-1].negotiate()
            clients[-1].flags = clients[-1].offers()
        return clients

    yield make
    for process, clients in ended:
        for client in clients:
            client.close()
        alive = process.poll() is None
        process.terminate()
        assert process.wait(vfu.PATIENCE) == 0 and alive


def disk(client, memory):
    guest = memory(2 * MIB)
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 * MIB), [guest.fd])
    return nvme.Disk(client, guest.view)


@pytest.fixture
def spread(request, tmp_path):
    """A client of a disk with two lanes, and of an edu device beside it."""
    option = request.config.getoption
    if option("--socket") or option("--server-cmd"):
        pytest.skip("needs a server of its own")
    paths = [str(tmp_path / name) for name in ("disk", "edu")]
    with subprocess.Popen([option("--outboard"), "serve", "--threads", "2",
                           "--device", "nvme,lanes=2,drive=mem:16M,socket=" +
                           paths[0], "--device", "edu,socket=" + paths[1]],
                          stderr=subprocess.DEVNULL) as process:
        assert vfu.wait_until(lambda: all(map(vfu.reachable, paths)))
        clients = [vfu.Client(path) for path in paths]
        for client in clients:
            client.negotiate()
        yield clients
        for client in clients:
            client.close()
        process.terminate()


def lose_memory(client, memory):
    """The owner of an edu device's memory cuts it while it is in use."""
    guest = memory()
    client.ok(vfu.RESET)
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [guest.fd])
    client.write_int(vfu.CONFIG, 4, 6, 2)
    os.ftruncate(guest.fd, 0)
    edu.start(client, 0, edu.BUFFER, 4096, edu.RUN)
    assert vfu.wait_until(lambda: edu.idle(client))
    client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, MIB))


def test_r7_another_guests_memory(spread, memory):
    """That it was truncated is nothing to a lane of this one; its own is."""
    one, other = spread
    lose_memory(other, memory)
    nvme.set_msix(one, True)
    guest = memory(2 * MIB)
    one.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 * MIB), [guest.fd])
    ours = nvme.Disk(one, guest.view)
    for _ in range(2):
        assert ours.completion_of(ours.read_block(0, 0x100000)) == 0
        lose_memory(other, memory)
    for _ in range(2):
        assert ours.completion_of(ours.read_block(0, 0x100000)) == 0
        assert one.read_int(0, nvme.CSTS) == 1
    os.ftruncate(guest.fd, 0x80000)
    ours.read_block(0, 0x100000)
    assert vfu.wait_until(lambda: one.read_int(0, nvme.CSTS) == 3)


def test_r8_a_slow_stop_holds_nobody_else(serve, memory):
    """One device waits for its drive; the one beside it answers meanwhile,
    which the order of the replies shows."""
    slow, other = serve("drive=%s,drain=900" % (SLOW % 2_000_000),
                        "drive=mem:16M")
    one = disk(slow, memory)
    two = disk(other, memory)
    one.read_block(1, 0x100000)
    ident = slow.post(vfu.FEATURE, vfu.state(STOP))
    for _ in range(10):
        other.alive()
        assert other.state() == RUNNING
    two.read_block(0, 0x100000)
    assert two.completion()[1] == 0
    assert not select.select([slow.sock], [], [], 0)[0], (
        "the slow one was not slow, or we were")
    other.set_state(STOP, STOP_COPY)
    assert other.stream(MIB)
    other.set_state(RUNNING)
    got = slow.reply()
    vfu.check_echo(got, vfu.FEATURE, ident)
    assert not got.flags & vfu.ERROR
    assert slow.state() == STOP


def test_r8_a_stop_is_bounded(serve, memory):
    """The drive answers much later; the device stands still nevertheless,
    and does it again when it runs."""
    client, = serve("drive=%s,drain=50" % (SLOW % 2_000_000))
    one = disk(client, memory)
    one.read_block(1, 0x100000)
    client.set_state(STOP)
    assert one.nothing_completed()
    client.set_state(RUNNING)
    assert one.nothing_completed()
    assert one.completion()[1] == 0
    assert one.nothing_completed()


def test_r8_requests_behind_a_slow_stop(serve, memory):
    """They are answered in their order, after it."""
    client, = serve("drive=%s,drain=900" % (SLOW % 300_000))
    one = disk(client, memory)
    one.read_block(1, 0x100000)
    idents = [(vfu.FEATURE, client.post(vfu.FEATURE, vfu.state(STOP)))]
    for _ in range(20):
        idents.append((vfu.GET_INFO, client.post(vfu.GET_INFO,
                                                 vfu.get_info())))
    idents.append((vfu.FEATURE, client.post(vfu.FEATURE,
                                            vfu.state(RUNNING))))
    for cmd, ident in idents:
        got = client.reply()
        vfu.check_echo(got, cmd, ident)
        assert not got.flags & vfu.ERROR
    assert one.completion()[1] == 0


def test_r4_a_slow_stop_in_silence(serve, memory):
    client, = serve("drive=%s,drain=900" % (SLOW % 300_000))
    one = disk(client, memory)
    one.read_block(1, 0x100000)
    client.post(vfu.FEATURE, vfu.state(STOP), flags=vfu.NO_REPLY)
    assert client.state() == STOP
    client.set_state(RUNNING)
    assert one.completion()[1] == 0


def test_gone_in_a_slow_stop(serve, memory):
    """The client does not wait for the answer; the next one is served."""
    client, = serve("drive=%s,drain=900" % (SLOW % 800_000))
    path = client.sock.getpeername()
    one = disk(client, memory)
    one.read_block(1, 0x100000)
    client.post(vfu.FEATURE, vfu.state(STOP))
    client.close()

    def served():
        with vfu.Client(path) as other:
            try:
                other.negotiate()
                return other.state() == RUNNING
            except (vfu.Closed, ConnectionError, AssertionError):
                return False

    assert vfu.wait_until(served)


def test_reset_behind_a_slow_stop(serve, memory):
    client, = serve("drive=%s,drain=900" % (SLOW % 500_000))
    one = disk(client, memory)
    one.read_block(1, 0x100000)
    client.post(vfu.FEATURE, vfu.state(STOP))
    ident = client.post(vfu.RESET)
    assert client.reply().cmd == vfu.FEATURE
    vfu.check_echo(client.reply(), vfu.RESET, ident)
    assert client.state() == RUNNING
    client.write_int(vfu.CONFIG, 4, 6, 2)
    nvme.Disk(client, one.memory).read_block(0, 0x100000)


def moved(source, target, one):
    """All of source into target, which gets the same memory; the disk as
    the guest goes on to use it."""
    target.set_state(RESUMING)
    assert target.mig_write(source.saved(MIB), MIB)
    target.set_state(STOP)
    return one.on(target)


def pair(serve, memory, options):
    """Two disks with the same memory, the first of which a guest uses."""
    source, = serve(options)
    target, = serve("drive=mem:16M")
    guest = memory(2 * MIB)
    for client in (source, target):
        client.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 * MIB), [guest.fd])
    return source, target, nvme.Disk(source, guest.view), guest.view


@pytest.mark.parametrize("drain", [0, 1, 900])
def test_r26_reads_in_flight(serve, memory, drain):
    """What the source's drive still has when it stops is done by one of the
    two, once, and the guest's data are right."""
    source, target, one, view = pair(
        serve, memory, "drive=delay:200000:mem:16M,drain=%d" % drain)
    view[0x100000:0x101000] = pattern = os.urandom(4096)
    assert one.completion_of(one.write_block(3, 0x100000, 8)) == 0
    cids = [one.read_block(3, 0x110000 + 4096 * i, 8) for i in range(8)]
    two = moved(source, target, one)
    assert drain or two.nothing_completed()
    target.set_state(RUNNING)
    got = [two.completion() for _ in cids]
    assert sorted(got) == [(cid, 0) for cid in cids]
    assert two.nothing_completed()
    for i in range(8):
        assert view[0x110000 + 4096 * i:0x111000 + 4096 * i] == pattern


@pytest.mark.parametrize("drain", [0, 1, 900])
def test_r26_writes_in_flight(serve, memory, drain):
    """They are on the medium before anything that is asked later."""
    source, target, one, view = pair(
        serve, memory, "drive=delay:200000:mem:16M,drain=%d" % drain)
    view[0x100000:0x108000] = pattern = os.urandom(0x8000)
    cids = [one.write_block(8 * i, 0x100000 + 4096 * i, 8) for i in range(8)]
    two = moved(source, target, one)
    target.set_state(RUNNING)
    cids += [two.read_block(8 * i, 0x110000 + 4096 * i, 8) for i in range(8)]
    assert sorted(two.completion() for _ in cids) == [(c, 0) for c in cids]
    assert view[0x110000:0x118000] == pattern


def test_r26_commands_that_were_not_fetched(serve, memory):
    """Rung while the device stood still: fetched where it runs (R29)."""
    source, target, one, view = pair(serve, memory, "drive=mem:16M")
    source.set_state(STOP)
    cids = [one.read_block(i, 0x110000) for i in range(4)]
    assert one.nothing_completed()
    two = moved(source, target, one)
    assert two.nothing_completed()
    target.set_state(RUNNING)
    assert sorted(two.completion() for _ in cids) == [(c, 0) for c in cids]


def doorbells(client):
    """The page of doorbells, as a client maps it."""
    fields, got = client.region(0, 4096)
    if not got.fds:
        pytest.skip("doorbells cannot be mapped")
    return mmap.mmap(got.fds[0], 4096, offset=fields[5] + nvme.DOORBELLS)


def rung(one, source, lba, when):
    """A command whose doorbell is written in memory, which no message tells
    of, just before the device stands still or just after."""
    if when == "after":
        source.set_state(STOP)
    cid = one.read_block(lba, 0x110000)
    source.set_state(STOP)
    assert when == "before" or one.nothing_completed()
    return cid


before_and_after = pytest.mark.parametrize("when", ["before", "after"])


@before_and_after
def test_r29_doorbells_in_mapped_memory(serve, memory, when):
    """Seen when the device runs again, here as well as elsewhere."""
    source, = serve("drive=mem:16M,doorbells=mapped")
    target, = serve("drive=mem:16M,doorbells=mapped")
    guest = memory(2 * MIB)
    for client in (source, target):
        client.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 * MIB), [guest.fd])
    one = nvme.Disk(source, guest.view)
    one.use_mapped(doorbells(source))
    for lba in range(40):
        cid = rung(one, source, lba, when)
        source.set_state(RUNNING)
        assert one.completion_of(cid) == 0
    cid = rung(one, source, 2, when)
    two = moved(source, target, one)
    target.set_state(RUNNING)
    two.use_mapped(doorbells(target))
    assert two.completion_of(cid) == 0
    assert two.completion_of(two.read_block(3, 0x110000)) == 0


@before_and_after
def test_r29_doorbells_in_the_guests_memory(serve, memory, when):
    """Shadow doorbells."""
    source, target, one, _ = pair(serve, memory, "drive=mem:16M")
    one.use_shadow()
    assert one.completion_of(one.read_block(0, 0x110000)) == 0
    one.tell = False
    for lba in range(40):
        cid = rung(one, source, lba, when)
        source.set_state(RUNNING)
        assert one.completion_of(cid) == 0
    cid = rung(one, source, 1, when)
    two = moved(source, target, one)
    target.set_state(RUNNING)
    assert two.completion_of(cid) == 0
    two.tell = True
    assert two.completion_of(two.read_block(2, 0x110000)) == 0


def test_r28_commands_of_a_cancelled_move(serve, memory):
    """The source goes on with what it had in flight, each once."""
    source, _, one, view = pair(
        serve, memory, "drive=delay:100000:mem:16M,drain=0")
    view[0x100000:0x101000] = pattern = os.urandom(4096)
    for turn in range(5):
        cids = [one.write_block(8 * turn, 0x100000, 8),
                one.read_block(100, 0x110000)]
        source.set_state(STOP_COPY)
        source.mig_read(1000)
        assert one.nothing_completed()
        source.set_state(RUNNING)
        got = sorted(one.completion() for _ in cids)
        assert got == [(cid, 0) for cid in cids]
        assert one.nothing_completed()
    assert one.completion_of(one.read_block(32, 0x110000, 8)) == 0
    assert view[0x110000:0x111000] == pattern


def test_content_goes_along(serve, memory):
    """mem: is the device's own; both ends of it, and the holes."""
    source, target, one, view = pair(serve, memory, "drive=mem:16M")
    view[0x100000:0x101000] = pattern = os.urandom(4096)
    blocks = (0, 8, 1000, 16 * 2048 - 8)
    for lba in blocks:
        assert one.completion_of(one.write_block(lba, 0x100000, 8)) == 0
    two = moved(source, target, one)
    target.set_state(RUNNING)
    for lba in (*blocks, 512):
        assert two.completion_of(two.read_block(lba, 0x110000, 8)) == 0
        assert view[0x110000:0x111000] == (pattern if lba in blocks
                                           else bytes(4096))


def test_content_replaces_content(serve, memory):
    """What was at the destination before is gone, and not where a load
    fails."""
    source, target, _, view = pair(serve, memory, "drive=mem:16M")
    other = nvme.Disk(target, view)
    view[0x100000:0x101000] = b"there..." * 512
    assert other.completion_of(other.write_block(64, 0x100000, 8)) == 0
    nvme.Disk(source, view)
    whole = source.saved(MIB)
    target.set_state(RESUMING)
    target.mig_write(whole[:-1], MIB)
    assert target.try_state(STOP).flags & vfu.ERROR
    target.ok(vfu.RESET)
    other = nvme.Disk(target, view)
    assert other.completion_of(other.read_block(64, 0x110000, 8)) == 0
    assert view[0x110000:0x111000] == b"there..." * 512
    source.set_state(RUNNING)
    two = moved(source, target, nvme.Disk(source, view))
    target.set_state(RUNNING)
    assert two.completion_of(two.read_block(64, 0x110000, 8)) == 0
    assert view[0x110000:0x111000] == bytes(4096)


def test_content_that_changes_during_precopy(serve, memory):
    """The last write wins, whatever had been sent before it."""
    source, target, one, view = pair(serve, memory, "drive=mem:16M")
    if not source.flags & vfu.HAS_PRE_COPY:
        pytest.skip("the device has no PRE_COPY")
    want = {}
    source.set_state(vfu.PRE_COPY)
    stream = b""
    for turn in range(60):
        lba = turn * 37 % 50 * 8
        want[lba] = os.urandom(4096) if turn % 5 else bytes(4096)
        view[0x100000:0x101000] = want[lba]
        assert one.completion_of(one.write_block(lba, 0x100000, 8)) == 0
        stream += source.mig_read(10000)
    source.set_state(STOP_COPY)
    stream += source.stream(MIB)
    target.load(stream, MIB)
    two = one.on(target)
    target.set_state(RUNNING)
    for lba, data in want.items():
        assert two.completion_of(two.read_block(lba, 0x110000, 8)) == 0
        assert view[0x110000:0x111000] == data


def test_r28_a_disk_to_and_fro(serve, memory):
    """With writes in flight at each hop, and all of them there at the end."""
    source, target, disk, view = pair(
        serve, memory, "drive=delay:20000:mem:16M,drain=0")
    want = {}
    for turn in range(12):
        want[8 * turn] = os.urandom(4096)
        at = 0x100000 + 4096 * turn
        view[at:at + 4096] = want[8 * turn]
        cid = disk.write_block(8 * turn, at, 8)
        moved(source, target, disk)
        source.set_state(STOP)
        target.set_state(RUNNING)
        assert disk.completion_of(cid) == 0
        source, target = target, source
    for lba, data in want.items():
        assert disk.completion_of(disk.read_block(lba, 0x180000, 8)) == 0
        assert view[0x180000:0x181000] == data


# An image that both have: one of them at a time.

def shared(serve, memory, tmp_path, wrap=""):
    """As pair, on one image file."""
    image = tmp_path / "image"
    image.write_bytes(bytes(16 * MIB))
    source, = serve("drive=%sfile:%s,drain=0" % (wrap, image))
    target, = serve("drive=file:%s,incoming=on" % image)
    guest = memory(2 * MIB)
    for client in (source, target):
        client.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 * MIB), [guest.fd])
    return source, target, nvme.Disk(source, guest.view), guest.view


@pytest.mark.parametrize("wrap", ["", "delay:50000:"],
                         ids=["file", "slow_file"])
def test_r26_an_image_changes_hands(serve, memory, tmp_path, wrap):
    """With writes in flight; and the one that gave it away cannot run."""
    source, target, one, view = shared(serve, memory, tmp_path, wrap)
    view[0x100000:0x108000] = pattern = os.urandom(0x8000)
    cids = [one.write_block(8 * i, 0x100000 + 4096 * i, 8) for i in range(8)]
    two = moved(source, target, one)
    target.set_state(RUNNING)
    cids += [two.read_block(8 * i, 0x110000 + 4096 * i, 8) for i in range(8)]
    assert sorted(two.completion() for _ in cids) == [(c, 0) for c in cids]
    assert view[0x110000:0x118000] == pattern
    assert source.try_state(RUNNING).flags & vfu.ERROR
    assert source.state() == STOP
    assert two.completion_of(two.write_block(64, 0x100000, 8)) == 0


def test_r28_an_image_that_nobody_took(serve, memory, tmp_path):
    """All of the stream was read, and the source goes on all the same; from
    then on the other one cannot."""
    source, target, one, view = shared(serve, memory, tmp_path)
    view[0x100000:0x101000] = pattern = os.urandom(4096)
    whole = source.saved(MIB)
    target.load(whole, MIB)
    source.set_state(RUNNING)
    assert one.completion_of(one.write_block(0, 0x100000, 8)) == 0
    assert target.try_state(RUNNING).flags & vfu.ERROR
    assert target.state() == STOP
    assert one.completion_of(one.read_block(0, 0x110000, 8)) == 0
    assert view[0x110000:0x111000] == pattern


def test_an_image_without_the_whole_stream(serve, memory, tmp_path):
    """Who has not got the end has not got the image: the source holds it."""
    source, target, one, _ = shared(serve, memory, tmp_path)
    whole = source.saved(MIB)
    source.set_state(STOP, STOP_COPY)
    part = source.mig_read(len(whole) - 1)
    target.set_state(RESUMING)
    target.mig_write(part, MIB)
    assert target.try_state(RUNNING).flags & vfu.ERROR
    source.set_state(RUNNING)
    assert one.completion_of(one.read_block(0, 0x110000)) == 0


# Every page that a disk writes is in the log, whichever way it takes.

@pytest.fixture(params=["mem", "file", "delay", "file_slow"])
def drive(request, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(os.urandom(16 * MIB))
    return {"mem": "mem:16M", "file": "file:%s" % image,
            "delay": SLOW % 20000,
            "file_slow": "delay:20000:file:%s" % image}[request.param]


def changed(before, after):
    return {at // 4096 for at in range(0, len(before), 4096)
            if before[at:at + 4096] != after[at:at + 4096]}


@pytest.mark.parametrize("shadow", [False, True],
                         ids=["doorbells", "shadow_doorbells"])
def test_log_of_a_disk(serve, memory, drive, shadow):
    """What differs and was not written by us was written by the device."""
    client, = serve("drive=" + drive)
    if not client.logs():
        pytest.skip("the device offers no dirty log")
    one = disk(client, memory)
    if shadow:
        one.use_shadow()
    client.ok(vfu.FEATURE, vfu.log_start())
    ours = {at // 4096 for at in (nvme.RINGS[0][0], nvme.RINGS[1][0],
                                  nvme.LIST, nvme.SHADOW)}
    for lba, address, blocks in ((0, 0x100000, 8), (9, 0x110200, 1),
                                 (100, 0x120e00, 16), (1000, 0x130000, 256),
                                 (5, 0x15f800, 100)):
        one.memory[0x100000:] = os.urandom(MIB)
        before = bytes(one.memory)
        assert one.completion_of(one.read_block(lba, address, blocks)) == 0
        one.admin(nvme.IDENTIFY, 0x1f0000, 0, 1)
        after = bytes(one.memory)
        assert changed(before[MIB:], after[MIB:])
        got = client.report(0, 2 * MIB)
        assert changed(before, after) - ours <= got
        pages = set(range(address // 4096,
                          (address + blocks * 512 - 1) // 4096 + 1))
        assert pages <= got
        assert len(got) <= len(pages) + 8, "much that is clean"


def test_log_of_a_disk_that_stops(serve, memory):
    """With reads under way, in rounds, to the last report after the stop."""
    client, = serve("drive=delay:5000:mem:16M,drain=900")
    if not client.logs():
        pytest.skip("the device offers no dirty log")
    one = disk(client, memory)
    client.ok(vfu.FEATURE, vfu.log_start())
    one.memory[0x100000:] = os.urandom(MIB)
    before, seen = bytes(one.memory), set()
    for i in range(20):
        one.read_block(8 * i, 0x100000 + 8192 * i, 8)
        seen |= client.report(0, 2 * MIB)
    client.set_state(STOP)
    after = bytes(one.memory)
    seen |= client.report(0, 2 * MIB)
    ours = {at // 4096 for at in (nvme.RINGS[1][0], nvme.LIST)}
    assert changed(before, after) - ours <= seen
    assert client.report(0, 2 * MIB) == set()
    assert bytes(one.memory) == after
