# SPDX-License-Identifier: BSD-3-Clause
"""The states of a device that moves, its stream, and bad ones
[VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, MIG_DATA_READ, MIG_DATA_WRITE]."""

import functools
import random
import struct

import pytest

import marks
import vfu
from vfu import (FAILED, PRE_COPY, PRE_COPY_P2P, RESUMING, RUNNING,
                 RUNNING_P2P, STOP, STOP_COPY)

ALL = range(8)
BAD_VALUES = [8, 9, 16, 255, 256, 0x7fffffff, 0x80000002, 0x10002, 0xffffffff]

by_state = functools.partial(pytest.mark.parametrize,
                             ids=lambda value: vfu.STATES[value])


def exists(client, *states):
    """Skips the test where the device has not got one of the states."""
    for state in states:
        if not has(client, state):
            pytest.skip("the device has no " + vfu.STATES[state])


def has(client, state):
    need = {RUNNING_P2P: vfu.HAS_P2P, PRE_COPY: vfu.HAS_PRE_COPY,
            PRE_COPY_P2P: vfu.HAS_P2P | vfu.HAS_PRE_COPY}.get(state, 0)
    return client.flags & need == need


def break_it(client):
    """A refused load: to ERROR, where the server has it."""
    client.set_state(RESUMING)
    client.mig_write(b"nothing that a device has ever written" * 20)
    assert client.try_state(STOP).flags & vfu.ERROR
    assert client.state() in (FAILED, RESUMING)


def enter(client, state):
    """From RUNNING, the way that the state has."""
    exists(client, state)
    if state == FAILED:
        break_it(client)
        if client.state() != FAILED:
            pytest.skip("the server stays in RESUMING")
    elif state != RUNNING:
        client.set_state(state)


# Arcs.  By hand, not from anybody's table: rows are where from, columns are
# where to, in the order of the values: ERROR, STOP, RUNNING, STOP_COPY,
# RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P.  "y": it gets there.  "-":
# it is refused, and the device stays.  From RESUMING the way is through the
# end of the input, so it depends on that: a whole stream has been written.

ARCS = {
    FAILED:       "--------",
    STOP:         "-yyyyyyy",
    RUNNING:      "-yyyyyyy",
    STOP_COPY:    "-yyyyy--",
    RESUMING:     "-yyyyyyy",
    RUNNING_P2P:  "-yyyyyyy",
    PRE_COPY:     "-yyyyyyy",
    PRE_COPY_P2P: "-yyyyyyy",
}


@by_state("to", ALL)
@by_state("start", ALL)
def test_arc(mig, start, to):
    """A state that the device has not got is refused like an unknown one."""
    whole = b""
    if start == RESUMING:
        whole = mig.saved()
        mig.set_state(RUNNING)
    enter(mig, start)
    assert mig.mig_write(whole)
    got = mig.try_state(to)
    if ARCS[start][to] == "y" and has(mig, to):
        assert not got.flags & vfu.ERROR
        assert mig.state() == to
    else:
        assert got.flags & vfu.ERROR
        assert mig.state() == start
    mig.ok(vfu.RESET)
    assert mig.state() == RUNNING


@pytest.mark.parametrize("value", BAD_VALUES, ids=hex)
@by_state("start", ALL)
def test_r2_no_state(mig, start, value):
    """One above the last is as unknown as any."""
    enter(mig, start)
    assert mig.try_state(value).flags & vfu.ERROR
    assert mig.state() == start


@by_state("to", [STOP, RUNNING, STOP_COPY, RUNNING_P2P, PRE_COPY,
                 PRE_COPY_P2P])
def test_nothing_was_loaded(mig, to):
    """The end of an empty input is the end of an incomplete one."""
    exists(mig, to)
    mig.set_state(RESUMING)
    assert mig.try_state(to).flags & vfu.ERROR
    assert mig.state() in (FAILED, RESUMING)
    marks.works(mig)


@by_state("start", ALL)
def test_d9_reset_leads_to_running(mig, start):
    """From everywhere, and whatever was written or read before is over."""
    enter(mig, start)
    mig.ok(vfu.RESET)
    assert mig.state() == RUNNING
    for cmd, payload in ((vfu.MIG_READ, vfu.mig(1)),
                         (vfu.MIG_WRITE, vfu.mig(1, b"x"))):
        assert mig.request(cmd, payload).flags & vfu.ERROR
    marks.works(mig)


@by_state("start", ALL)
def test_next_client_finds_it_running(mig, connect, start):
    """The state after open is RUNNING, wherever the last one left it."""
    want = marks.leave(mig, 77)
    enter(mig, start)
    flags = mig.flags
    mig.close()
    client = connect()
    client.negotiate()
    assert client.offers() == flags
    assert client.state() == RUNNING
    if start not in (FAILED, RESUMING):
        assert marks.found(client) == want
    marks.works(client)


def test_many_times(mig):
    """Round and round, without a leak or a drift."""
    want = marks.leave(mig, 5)
    whole = mig.saved()
    for _ in range(50):
        mig.set_state(STOP, STOP_COPY)
        assert mig.mig_read(len(whole) // 2) == whole[:len(whole) // 2]
        mig.set_state(RUNNING, STOP, RESUMING)
        assert mig.mig_write(whole)
        mig.set_state(RUNNING)
        assert marks.found(mig) == want


# Reading

@by_state("where", [FAILED, STOP, RUNNING, RESUMING, RUNNING_P2P])
def test_read_where_nothing_is_read(mig, where, error_size):
    enter(mig, where)
    for size in (0, 1, 8, 4096, 1 << 20, 0xffffffff):
        error_size(mig.request(vfu.MIG_READ, vfu.mig(size)), 8)
    assert mig.state() == where


@pytest.mark.parametrize("size", [1, 7, 16, 17, 4096, 65536, 1 << 20])
def test_read_in_pieces(mig, size):
    """The cut of the stream is the reader's; a stopped device tells the same
    each time, from the beginning, to those who cut it alike: a server may make
    its sections as long as it is read."""
    marks.leave(mig, 99)
    want = mig.saved(max(size, 7))
    assert want
    mig.set_state(STOP, STOP_COPY)
    if size == 1:           # many at a time, or it takes long
        got = b""
        for _ in range(0, len(want) + vfu.BATCH, vfu.BATCH):
            idents = [mig.post(vfu.MIG_READ, vfu.mig(1))
                      for _ in range(vfu.BATCH)]
            for ident in idents:
                reply = mig.reply()
                vfu.check_echo(reply, vfu.MIG_READ, ident)
                count = struct.unpack_from("<I", reply.payload, 4)[0]
                got += reply.payload[8:8 + count]
    else:
        got = mig.stream(size)
    assert got == want
    for _ in range(3):
        assert mig.mig_read(4096) == b"", "the end is the end"
    assert mig.state() == STOP_COPY


def test_read_of_the_exact_length(mig):
    """Then the end is a read of 0 bytes."""
    want = mig.saved()
    if len(want) > mig.caps.get("max_data_xfer_size", 1 << 20):
        pytest.skip("more than fits into a message")
    mig.set_state(STOP, STOP_COPY)
    assert mig.mig_read(len(want)) == want
    assert mig.mig_read(1) == b""


def test_read_nothing(mig):
    """Size 0: an error or nothing, and nothing is lost."""
    size = 2048
    want = mig.saved(size)
    mig.set_state(STOP, STOP_COPY)
    got = b""
    while len(got) < len(want):
        reply = mig.request(vfu.MIG_READ, vfu.mig(0))
        if not reply.flags & vfu.ERROR:
            assert reply.payload == vfu.mig(0, argsz=8)
        got += mig.mig_read(size)
    assert got == want


def test_r2_read_sizes(mig, error_size):
    """Up to what was agreed; above it an error, and nothing is lost."""
    want = mig.saved()
    mig.set_state(STOP, STOP_COPY)
    most = mig.caps.get("max_data_xfer_size", 1 << 20)
    for size in (most + 1, most * 2, 1 << 31, 0xfffffff8, 0xffffffff):
        error_size(mig.request(vfu.MIG_READ, vfu.mig(size)), 8)
    assert mig.stream(most) == want


@pytest.mark.parametrize("most", [1, 100, 4096])
def test_r2_read_sizes_of_a_small_client(mig, connect, most):
    """What a client cannot take it is not sent."""
    mig.close()
    client = connect()
    client.negotiate({"max_data_xfer_size": most})
    client.ok(vfu.RESET)
    client.set_state(STOP_COPY)
    got = client.request(vfu.MIG_READ, vfu.mig(most + 1))
    assert got.flags & vfu.ERROR or len(got.payload) <= 8 + most
    client.set_state(STOP, STOP_COPY)
    whole = client.stream(most)
    assert whole
    client.load(whole, most)


def test_r2_read_argsz(mig, error_size):
    """Never more than argsz; and what did not fit is not lost."""
    want = mig.saved()
    mig.set_state(STOP, STOP_COPY)
    for argsz in range(8):
        error_size(mig.request(vfu.MIG_READ, vfu.mig(100, argsz=argsz)), 8)
    for argsz in (8, 9, 15, 16, 107):
        got = mig.request(vfu.MIG_READ, vfu.mig(100, argsz=argsz))
        assert len(got.payload) == 8
        if not got.flags & vfu.ERROR:
            assert struct.unpack_from("<I", got.payload)[0] > argsz
    assert mig.stream() == want
    mig.set_state(STOP, STOP_COPY)
    got = mig.ok(vfu.MIG_READ, vfu.mig(100, argsz=0xffffffff))
    assert got.payload == struct.pack("<II", 108, 100) + want[:100]


def test_read_short_requests(mig, error_size):
    want = mig.saved()
    mig.set_state(STOP, STOP_COPY)
    for length in range(8):
        error_size(mig.request(vfu.MIG_READ, vfu.mig(100)[:length]), 8)
    assert mig.stream() == want


def test_r4_read_silently(mig):
    """Silly, but the stream of messages has to stay in order."""
    mig.set_state(STOP_COPY)
    mig.post(vfu.MIG_READ, vfu.mig(100), flags=vfu.NO_REPLY)
    mig.post(vfu.MIG_READ, vfu.mig(1 << 31), flags=vfu.NO_REPLY)
    mig.alive()


@by_state("away", [STOP, RUNNING, RESUMING])
@pytest.mark.parametrize("part", [0, 1, 16, 1000])
def test_session_ends_when_it_is_left(mig, away, part):
    """Reading again is reading from the beginning."""
    marks_left = marks.leave(mig, 14)
    want = mig.saved()
    mig.set_state(STOP, STOP_COPY)
    if part:
        assert mig.mig_read(part) == want[:part]
    mig.set_state(away)
    if away == RESUMING:
        assert mig.mig_write(want)
    mig.set_state(STOP_COPY)
    again = mig.stream()
    assert again == want or away != STOP
    mig.set_state(STOP)
    assert mig.request(vfu.MIG_READ, vfu.mig(1)).flags & vfu.ERROR
    mig.load(again)
    assert marks.found(mig) == marks_left


def test_same_state_changes_nothing(mig):
    """STOP_COPY -> STOP_COPY goes on where it was, and so does RESUMING."""
    want = mig.saved()
    mig.set_state(STOP, STOP_COPY)
    got = mig.mig_read(100)
    mig.set_state(STOP_COPY)
    assert got + mig.stream() == want
    mig.set_state(RESUMING)
    assert mig.mig_write(want[:100])
    mig.set_state(RESUMING)
    assert mig.mig_write(want[100:])
    mig.set_state(RUNNING)


# Writing

@by_state("where", [FAILED, STOP, RUNNING, STOP_COPY, RUNNING_P2P, PRE_COPY,
                    PRE_COPY_P2P])
def test_write_where_nothing_is_written(mig, where, error_size):
    enter(mig, where)
    for data in (b"", b"x", bytes(4096)):
        error_size(mig.request(vfu.MIG_WRITE, vfu.mig(len(data), data)), 0)
    assert mig.state() == where


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_write_in_pieces(mig, twin, size):
    """The cut is the writer's as well."""
    want = marks.leave(mig, 1234)
    whole = mig.saved()
    twin.load(whole, size)
    assert marks.found(twin) == want
    twin.set_state(RUNNING)
    assert marks.found(twin) == want


def test_write_in_pieces_of_any_size(mig):
    rng = random.Random(7)
    want = marks.leave(mig, 4321)
    whole = mig.saved()
    for _ in range(5):
        mig.ok(vfu.RESET)
        mig.set_state(RESUMING)
        at = 0
        while at < len(whole):
            size = rng.choice((0, 1, 2, 15, 16, 17, 100, 5000))
            assert mig.mig_write(whole[at:at + size], max(size, 1))
            at += size
        mig.set_state(STOP)
        assert marks.found(mig) == want


def test_r2_write_sizes(mig, error_size):
    """A size that is not that of the data, or above what was agreed: nothing
    of it is taken, and the right ones before and after make a whole."""
    want = marks.leave(mig, 3)
    whole = mig.saved()
    most = mig.caps.get("max_data_xfer_size", 1 << 20)
    mig.set_state(RESUMING)
    half = len(whole) // 2
    assert mig.mig_write(whole[:half])
    for payload in (vfu.mig(2, b"1"), vfu.mig(1, b"12"), vfu.mig(1),
                    vfu.mig(0, b"1"), vfu.mig(0xffffffff, b"1234"),
                    vfu.mig(0xfffffff8, b"1234", argsz=0),
                    vfu.mig(most + 1, b"1234")):
        error_size(mig.request(vfu.MIG_WRITE, payload), 0)
    for length in range(8):
        error_size(mig.request(vfu.MIG_WRITE, vfu.mig(0)[:length]), 0)
    mig.ok(vfu.MIG_WRITE, vfu.mig(0))
    assert mig.mig_write(whole[half:])
    mig.set_state(STOP)
    assert marks.found(mig) == want


def test_r2_write_of_more_than_was_agreed(mig, connect):
    """All of it there, and still too much: an error, or the end of this
    connection alone."""
    most = mig.caps.get("max_data_xfer_size", 1 << 20)
    mig.set_state(RESUMING)
    try:
        got = mig.request(vfu.MIG_WRITE, vfu.mig(most + 1, bytes(most + 1)))
        assert got.flags & vfu.ERROR
    except (vfu.Closed, ConnectionError):
        pass
    mig.close()
    other = connect()
    other.negotiate()
    marks.works(other)


@pytest.mark.parametrize("argsz", [0, 8, 100, 0xffffffff])
def test_write_argsz(mig, argsz):
    """The text calls it the size of a reply that has no payload; clients
    leave different things there."""
    whole = mig.saved()
    mig.set_state(RESUMING)
    for at in range(0, len(whole), 4096):
        part = whole[at:at + 4096]
        mig.request(vfu.MIG_WRITE, vfu.mig(len(part), part, argsz))
    mig.alive()
    if argsz in (8, 100, 0xffffffff):
        mig.set_state(STOP)


# Wrong streams

def refused(client, data):
    """Not loaded: neither by a write, nor by the end of the input."""
    client.set_state(RESUMING)
    client.mig_write(data)
    got = client.try_state(STOP)
    assert got.flags & vfu.ERROR, "%d bytes were loaded" % len(data)
    state = client.state()
    assert state in (FAILED, RESUMING)
    if state == FAILED:
        for to in (STOP, RUNNING, RESUMING, STOP_COPY):
            assert client.try_state(to).flags & vfu.ERROR
        assert client.state() == FAILED
    client.ok(vfu.RESET)
    assert client.state() == RUNNING


def some_lengths(whole):
    rng = random.Random(len(whole))
    near = [n for n in (*range(0, 70), len(whole) - 1, len(whole) - 2,
                        len(whole) - 16, len(whole) - 17, len(whole) // 2)
            if 0 <= n < len(whole)]
    return sorted(set(near + [rng.randrange(len(whole)) for _ in range(40)]))


def test_r25_truncated(mig):
    marks.leave(mig, 8)
    whole = mig.saved()
    for length in some_lengths(whole):
        refused(mig, whole[:length])
    marks.works(mig)


def test_r25_garbage(mig):
    rng = random.Random(1)
    for data in (b"\0", bytes(16), bytes(100000), b"\xff" * 4096,
                 rng.randbytes(1), rng.randbytes(40), rng.randbytes(1 << 20),
                 b"QEVM\0\0\0\3" + bytes(200)):
        refused(mig, data)
    marks.works(mig)


def test_r25_doubled(mig):
    """Two streams are none; nor is one with something behind it."""
    whole = mig.saved()
    for data in (whole + whole, whole + b"\0", whole + whole[:16],
                 whole + bytes(4096), b"\0" + whole, whole[:16] + whole):
        refused(mig, data)
    marks.works(mig)


def test_r25_pieces_lost_repeated_and_swapped(mig):
    marks.leave(mig, 9)
    whole = mig.saved()
    rng = random.Random(2)
    for _ in range(30):
        a, b = sorted(rng.sample(range(len(whole)), 2))
        for data in (whole[:a] + whole[b:],
                     whole[:b] + whole[a:b] + whole[b:]):
            refused(mig, data)
    marks.works(mig)


def test_r25_bits(mig):
    """A bit that is wrong is noticed, or it made no difference: then the
    device saves what the right stream makes it save, unless it has a clock
    and never saves the same."""
    want = marks.leave(mig, 11)
    whole = mig.saved()

    def saved_again():
        mig.ok(vfu.RESET)
        mig.load(whole)
        return mig.saved()

    again = saved_again()
    steady = again == saved_again()
    rng = random.Random(3)
    places = [*range(0, min(48, len(whole)))]
    places += [rng.randrange(len(whole)) for _ in range(100)]
    for at in places:
        data = bytearray(whole)
        data[at] ^= 1 << rng.randrange(8)
        mig.ok(vfu.RESET)
        mig.set_state(RESUMING)
        mig.mig_write(bytes(data))
        if mig.try_state(STOP).flags & vfu.ERROR:
            assert mig.state() in (FAILED, RESUMING)
        else:
            assert marks.found(mig) == want
            assert mig.saved() == again or not steady, "byte %d" % at
    mig.ok(vfu.RESET)
    marks.works(mig)


def test_r25_of_another_device(mig, servers, request):
    """A right stream of the wrong model."""
    kinds = request.config.getoption("--models").split(",")
    here = request.node.callspec.params["server"]
    if here == "given":
        pytest.skip("needs a server of another model")
    for kind in kinds:
        if kind.split("-")[0] == here.split("-")[0]:
            continue
        server = servers(kind)
        server.start()
        with vfu.Client(server.path) as other:
            other.negotiate()
            refused(mig, other.saved())
            other.ok(vfu.RESET)
    marks.works(mig)


def test_r31_refused_load_leaves_the_device_alone(mig):
    """ERROR is the state's name; behind it is the device that was there, and
    its registers can be read."""
    want = marks.leave(mig, 13)
    whole = mig.saved()
    mig.set_state(RESUMING)
    mig.mig_write(whole[:-1])
    assert mig.try_state(RUNNING).flags & vfu.ERROR
    if mig.state() != FAILED:
        pytest.skip("the server stays in RESUMING")
    assert marks.found(mig) == want


def test_r31_load_once_more_after_a_refusal(mig, twin):
    want = marks.leave(mig, 21)
    whole = mig.saved()
    for bad in (whole[:100], whole[:-1], whole + b"\0"):
        refused(twin, bad)
        twin.load(whole)
        assert marks.found(twin) == want
        twin.set_state(RUNNING)


# Cancelling

@pytest.mark.parametrize("way", [
    (PRE_COPY, RUNNING), (PRE_COPY, STOP_COPY, RUNNING),
    (PRE_COPY, STOP_COPY, STOP, RUNNING), (STOP, RUNNING),
    (STOP_COPY, RUNNING), (STOP_COPY, STOP, RUNNING),
    (STOP, STOP_COPY, STOP, STOP_COPY, RUNNING), (PRE_COPY, STOP, RUNNING),
    (RUNNING_P2P, RUNNING), (RUNNING_P2P, STOP, RUNNING_P2P, RUNNING),
    (PRE_COPY, PRE_COPY_P2P, PRE_COPY, RUNNING),
    (PRE_COPY_P2P, STOP_COPY, RUNNING), (PRE_COPY_P2P, RUNNING_P2P, RUNNING),
], ids=lambda way: "-".join(vfu.STATES[s].lower() for s in way))
@pytest.mark.parametrize("read", [0, 1, 1000, 1 << 20])
def test_r28_cancel(mig, way, read):
    """At every arc, with nothing, some or all of the stream read: the device
    is what it was, and a whole move succeeds afterwards."""
    exists(mig, *way)
    want = marks.leave(mig, 31)
    for state in way:
        mig.set_state(state)
        if read and state in (STOP_COPY, PRE_COPY, PRE_COPY_P2P):
            mig.mig_read(read)
    assert marks.found(mig) == want
    marks.leave(mig, 32)
    want = marks.leave(mig, 33)
    whole = mig.saved()
    mig.ok(vfu.RESET)
    mig.load(whole)
    mig.set_state(RUNNING)
    assert marks.found(mig) == want


@pytest.mark.parametrize("part", [0, 1, 16, 500, -1])
def test_r28_cancel_a_load(mig, part):
    """By reset, which is the only way, at any point of the stream."""
    whole = mig.saved()
    mig.set_state(RESUMING)
    mig.mig_write(whole[:part])
    mig.ok(vfu.RESET)
    assert mig.state() == RUNNING
    marks.works(mig)
    want = marks.leave(mig, 50)
    assert marks.found(mig) == want


def test_r28_there_and_back(mig, twin):
    """A, B, A, B: each hop as good as the first."""
    want = marks.leave(mig, 61)
    here, there = mig, twin
    for hop in range(10):
        there.load(here.saved())
        here.set_state(STOP)
        there.set_state(RUNNING)
        assert marks.found(there) == want
        want = marks.leave(there, 62 + hop)
        here, there = there, here


# Pre-copy

def test_precopy_is_one_session_with_stop_copy(mig, twin):
    """What was read while it ran belongs to what comes after the stop."""
    exists(mig, PRE_COPY)
    marks.leave(mig, 70)
    mig.set_state(PRE_COPY)
    whole = mig.stream()
    want = marks.leave(mig, 71)     # it runs
    whole += mig.stream()
    mig.set_state(STOP_COPY)
    whole += mig.stream()
    twin.load(whole)
    assert marks.found(twin) == want


@pytest.mark.parametrize("most", [0, 1, 16, 17, 1000])
def test_precopy_left_early(mig, twin, most):
    """Between any two bytes."""
    exists(mig, PRE_COPY)
    want = marks.leave(mig, 72)
    mig.set_state(PRE_COPY)
    whole = mig.mig_read(most) if most else b""
    mig.set_state(STOP_COPY)
    whole += mig.stream()
    twin.load(whole)
    assert marks.found(twin) == want


def test_precopy_is_not_the_whole(mig):
    """Nobody can run what has not been stopped."""
    exists(mig, PRE_COPY)
    mig.set_state(PRE_COPY)
    part = mig.stream()
    mig.set_state(RUNNING)
    refused(mig, part)


def test_no_way_back_to_precopy(mig):
    """STOP_COPY -> PRE_COPY is refused, and the stream goes on."""
    exists(mig, PRE_COPY)
    want = mig.saved()
    mig.set_state(STOP, STOP_COPY)
    got = mig.mig_read(10)
    for state in (PRE_COPY, PRE_COPY_P2P):
        assert mig.try_state(state).flags & vfu.ERROR
    assert got + mig.stream() == want


def test_precopy_info(connect):
    """Initial bytes only shrink; outside PRE_COPY it is an error."""
    client = connect()
    client.negotiate(dict(vfu.QEMU_CAPS, outboard_precopy_info=True))
    if not client.caps.get("outboard_precopy_info", False):
        pytest.skip("the server has no outboard_precopy_info")
    client.flags = client.offers()
    exists(client, PRE_COPY)
    client.ok(vfu.RESET)
    ask = vfu.feature(0xfb00, vfu.FEATURE_GET, argsz=24)
    for state in (RUNNING, STOP, STOP_COPY):
        client.set_state(state)
        assert client.request(vfu.FEATURE, ask).flags & vfu.ERROR
    client.set_state(RUNNING, PRE_COPY)
    before = (1 << 64) - 1
    for _ in range(20):
        got = client.ok(vfu.FEATURE, ask)
        initial, _ = struct.unpack_from("<QQ", got.payload, 8)
        assert initial <= before
        before = initial
        client.mig_read(64)
    client.stream()
    got = client.ok(vfu.FEATURE, ask)
    assert struct.unpack_from("<QQ", got.payload, 8) == (0, 0)
