# SPDX-License-Identifier: BSD-3-Clause
"""Every command in every shape: right, short, long, wrong, silent, in
pieces, in heaps, with fds that nobody asked for."""

import struct

import pytest

import catalog
import vfu

each = pytest.mark.parametrize("which", catalog.CASES, ids=catalog.NAMES)


@pytest.fixture
def zero_fd(tmp_path):
    with open("/dev/zero", "rb") as f:
        yield f.fileno()


@each
def test_r37_right(client, which):
    catalog.prepare(client, which)
    got = client.ok(which.cmd, which.payload)
    assert len(got.payload) == which.reply
    client.alive()


@each
def test_r2_short(client, which, error_size):
    """Every truncation of the fixed part, and of the data behind it."""
    for length in range(which.fixed):
        got = client.request(which.cmd, which.payload[:length])
        error_size(got, 16 if which.cmd == vfu.REGION_READ else which.error)
        client.alive()


@each
@pytest.mark.parametrize("extra", [1, 8, 4096])
def test_long(client, which, extra):
    """What may grow may be longer: SPDK's driver sends 4,064 bytes."""
    catalog.prepare(client, which)
    got = client.request(which.cmd, which.payload + bytes(extra))
    if which.long == "ok":
        assert not got.flags & vfu.ERROR
        assert len(got.payload) == which.reply
    elif which.long == "error":
        assert got.flags & vfu.ERROR
    client.alive()


@pytest.mark.parametrize("which,what", catalog.BAD, ids=catalog.BAD_NAMES)
def test_r2_r37_bad(client, which, what, error_size):
    """Wrong values are refused with a reply as long as the right one's."""
    catalog.prepare(client, which)
    error_size(client.request(which.cmd, which.bad[what]), which.error)
    client.alive()


@each
def test_r3_before_version(connect, which):
    """Refused, by an error or by hanging up; the next client is served."""
    early = connect()
    ident = early.post(which.cmd, which.payload)
    try:
        got = early.reply()
        vfu.check_echo(got, which.cmd, ident)
        assert got.flags & vfu.ERROR
    except vfu.Closed:
        pass
    early.close()
    later = connect()
    later.negotiate()
    later.alive()


@each
def test_r4_no_reply(client, which):
    """Silence, for what works and for what fails; then one reply for one
    request, which would be another's if anything had been sent."""
    catalog.prepare(client, which)
    client.post(which.cmd, which.payload, flags=vfu.NO_REPLY)
    client.alive()
    for payload in which.bad.values():
        client.post(which.cmd, payload, flags=vfu.NO_REPLY)
    for length in range(which.fixed):
        client.post(which.cmd, which.payload[:length], flags=vfu.NO_REPLY)
    client.alive()


@each
@pytest.mark.parametrize("count", [1, 2, 16, 64, 65, 253])
def test_r1_too_many_fds(client, which, count, zero_fd):
    """Taken or refused, the fds are closed: the server fixture counts."""
    catalog.prepare(client, which)
    client.request(which.cmd, which.payload, [zero_fd] * count)
    for payload in which.bad.values():
        client.request(which.cmd, payload, [zero_fd] * count)
    client.alive()


@each
def test_r1_fds_on_silent_and_short_messages(client, which, zero_fd):
    for length in range(which.fixed):
        client.post(which.cmd, which.payload[:length], [zero_fd] * 3,
                    vfu.NO_REPLY)
    client.post(which.cmd, which.payload, [zero_fd] * 3, vfu.NO_REPLY)
    client.alive()


@each
def test_r5_byte_at_a_time(client, which):
    catalog.prepare(client, which)
    data = vfu.message(which.cmd, which.payload, 7)
    for i in range(len(data)):
        client.send(data[i:i + 1])
    got = client.reply()
    vfu.check_echo(got, which.cmd, 7)
    assert not got.flags & vfu.ERROR
    assert len(got.payload) == which.reply


def test_r5_pipelined(client):
    """All commands in one send, twice; replies in the order of requests."""
    sequence = []
    for which in [c for c in catalog.CASES * 2
                  if catalog.possible(client, c)]:
        for request in which.before:
            sequence.append(request + (None,))
        sequence.append((which.cmd, which.payload, which.reply))
        for request in which.after:
            sequence.append(request + (None,))
    client.send(b"".join(vfu.message(cmd, payload, ident)
                         for ident, (cmd, payload, _) in enumerate(sequence)))
    for ident, (cmd, _, size) in enumerate(sequence):
        got = client.reply()
        vfu.check_echo(got, cmd, ident)
        assert not got.flags & vfu.ERROR
        assert size is None or len(got.payload) == size


@pytest.mark.parametrize("piece", [1, 7, 15, 17, 100])
def test_r5_pieces_across_messages(client, piece):
    data = b"".join(
        vfu.message(vfu.REGION_READ, vfu.access(vfu.CONFIG, 4 * i, 4), i)
        for i in range(16))
    for at in range(0, len(data), piece):
        client.send(data[at:at + piece])
    for i in range(16):
        got = client.reply()
        vfu.check_echo(got, vfu.REGION_READ, i)
        assert got.payload[:16] == vfu.access(vfu.CONFIG, 4 * i, 4)


def test_equal_ids(client):
    """SPDK's driver gives every request the id 0."""
    for index in (0, 7, 0):
        client.send(vfu.message(vfu.GET_REGION_INFO, vfu.region_info(index)))
    for index in (0, 7, 0):
        got = client.reply()
        vfu.check_echo(got, vfu.GET_REGION_INFO, 0)
        assert struct.unpack_from("<I", got.payload, 8) == (index,)


@pytest.mark.parametrize("cmd", [0, vfu.DMA_READ, vfu.DMA_WRITE,
                                 vfu.DIRTY_PAGES, 19, 255, 0xffff])
def test_r3_unknown_command(client, cmd, error_size):
    error_size(client.request(cmd))
    error_size(client.request(cmd, bytes(64)))
    client.post(cmd, bytes(64), flags=vfu.NO_REPLY)
    client.alive()


@pytest.mark.parametrize("payload", [
    vfu.feature(1, vfu.FEATURE_PROBE | vfu.FEATURE_GET),
    vfu.feature(999, vfu.FEATURE_PROBE | vfu.FEATURE_GET),
    vfu.feature(999, vfu.FEATURE_GET),
    vfu.feature(2, vfu.FEATURE_SET, struct.pack("<II", 99, 0)),
    vfu.feature(2, vfu.FEATURE_SET),
    vfu.feature(6, vfu.FEATURE_SET),
    vfu.feature(8, vfu.FEATURE_GET),
    vfu.feature(8, vfu.FEATURE_GET, struct.pack("<QQQ", 0, 1 << 63, 1)),
    vfu.feature(1, 0),
    vfu.feature(1, 0xfff80000),
], ids=str)
def test_r2_feature(client, payload):
    """Known or not, short or not: an answer, and a server that lives."""
    got = client.request(vfu.FEATURE, payload)
    assert got.flags & vfu.ERROR or len(got.payload) >= 8
    client.alive()


def test_r2_feature_short(client, error_size):
    for length in range(8):
        error_size(client.request(vfu.FEATURE, bytes(length)), 8)
    client.alive()


@pytest.mark.parametrize("cmd,payload", [
    (vfu.MIG_READ, vfu.mig(4096)),
    (vfu.MIG_READ, vfu.mig(0)),
    (vfu.MIG_READ, vfu.mig(0xffffffff, argsz=8)),
    (vfu.MIG_READ, b""),
    (vfu.MIG_WRITE, vfu.mig(4, b"data")),
    (vfu.MIG_WRITE, vfu.mig(0xffffffff, b"data", argsz=8)),
    (vfu.MIG_WRITE, vfu.mig(4, b"dat")),
    (vfu.MIG_WRITE, b"1234567"),
], ids=str)
def test_r3_migration_data_of_a_running_device(client, cmd, payload):
    assert client.request(cmd, payload).flags & vfu.ERROR
    client.alive()


def test_r3_header_flags_of_the_future(client):
    """Unknown bits beside the type: an answer, of either kind."""
    for bit in range(6, 32):
        got = client.request(vfu.GET_INFO, vfu.get_info(), flags=1 << bit)
        assert got.flags & 0xf == vfu.REPLY
    client.alive()


@pytest.mark.parametrize("kind", list(range(1, 16)))
def test_r3_message_that_is_no_command(client, connect, kind):
    """A reply that nobody waits for, or a type that does not exist: ignored,
    refused or the end, but only of this connection."""
    client.post(vfu.GET_INFO, vfu.get_info(), flags=kind)
    client.close()
    other = connect()
    other.negotiate()
    other.alive()


@pytest.mark.parametrize("size", [0, 1, 15, (1 << 30), (1 << 31),
                                  (1 << 32) - 16, (1 << 32) - 1])
def test_r2_size_field(client, connect, size):
    """The stream is lost, so the connection ends, and nothing else."""
    client.send(vfu.message(vfu.GET_INFO, vfu.get_info(), size=size))
    client.expect_closed()
    other = connect()
    other.negotiate()
    other.alive()


def test_r1_fds_on_a_lost_stream(client, zero_fd):
    client.send(vfu.message(vfu.GET_INFO, vfu.get_info(), size=3),
                [zero_fd] * 100)
    client.expect_closed()


def test_r1_half_a_message_with_fds_then_gone(client, zero_fd):
    client.send(vfu.message(vfu.DMA_MAP, vfu.dma_map(0, 4096))[:20],
                [zero_fd] * 50)
