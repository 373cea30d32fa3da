# SPDX-License-Identifier: BSD-3-Clause
"""Connections: one at a time, gone without a word, back at once, deaf."""

import errno
import os
import stat
import subprocess

import pytest

import conftest
import vfu


def test_gone_without_a_word(connect):
    for _ in range(20):
        client = connect()
        client.negotiate()
        client.alive()
        client.close()


def test_gone_before_the_first_word(connect):
    for _ in range(20):
        connect().close()
    client = connect()
    client.negotiate()
    client.alive()


def test_gone_in_the_middle_of_a_message(connect):
    data = vfu.message(vfu.VERSION, vfu.version(vfu.QEMU_CAPS))
    for length in (1, 8, 15, 16, 17, len(data) - 1):
        client = connect()
        client.send(data[:length])
        client.close()
    client = connect()
    client.negotiate()
    client.alive()


def test_r1_gone_with_our_socket_in_half_a_message(connect):
    """The server holds an fd for a message that will never be whole; it must
    not be the one that keeps the connection open.  Until it has taken that
    fd from the socket it cannot know, so we may be refused at first."""
    client = connect()
    client.negotiate()
    data = vfu.message(vfu.DMA_MAP, vfu.dma_map(0, 4096))
    client.send(data[:20], [client.sock.fileno()])
    client.close()

    def served():
        other = connect()
        try:
            other.negotiate()
        except (vfu.Closed, ConnectionError, AssertionError):
            return False
        return True

    assert vfu.wait_until(served)


def test_gone_with_requests_unanswered(connect):
    for _ in range(20):
        client = connect()
        client.negotiate()
        for _ in range(100):
            client.post(vfu.REGION_READ, vfu.access(vfu.CONFIG, 0, 256))
        client.close()


def test_gone_by_halves(client):
    """Our sending side is closed: what was asked is answered still."""
    for _ in range(10):
        client.post(vfu.REGION_READ, vfu.access(vfu.CONFIG, 0, 4))
    client.sock.shutdown(1)
    for _ in range(10):
        assert client.reply().cmd == vfu.REGION_READ
    client.expect_closed()


def test_r11_second_client(client, connect):
    """Refused at once; the first one does not notice. The refusal is the answer
    to its VERSION, because QEMU may abort at an end of the stream there."""
    for _ in range(12):
        second = connect()
        reply = second.request(vfu.VERSION, vfu.version(vfu.QEMU_CAPS))
        assert reply.error == errno.EBUSY
        second.expect_closed()
        client.alive()
    client.write_int(vfu.CONFIG, 0x3c, 9, 1)
    assert client.read_int(vfu.CONFIG, 0x3c, 1) == 9


def test_r11_second_client_that_says_nothing(client, connect):
    """Nobody waits for it for long, however many come."""
    silent = [connect() for _ in range(20)]
    client.alive()
    for second in silent:
        second.expect_closed()
    client.alive()


def test_r11_second_client_byte_at_a_time(client, connect):
    second = connect()
    for byte in vfu.message(vfu.VERSION, vfu.version(vfu.QEMU_CAPS), 77, 0):
        try:
            second.sock.sendall(bytes([byte]))
        except (BrokenPipeError, ConnectionResetError):
            break       # sixteen bytes are enough for an answer
        client.alive()
    second.expect_closed()


def test_r11_storm(client, connect):
    for i in range(300):
        vfu.Client(client.sock.getpeername()).close()
        if i % 10 == 0:
            client.alive()
    client.alive()


def test_r11_back_at_once(connect):
    """Closed and connected in one breath, as QEMU does within 35 ms when it
    executes itself anew: the old connection is not in the way."""
    for _ in range(100):
        client = connect()
        client.negotiate()
        client.ok(vfu.RESET)
        client.close()


def test_state_is_kept_and_memory_is_not(connect):
    first = connect()
    first.negotiate()
    first.write_int(vfu.CONFIG, 0x3c, 10, 1)
    first.ok(vfu.DMA_MAP, vfu.dma_map(0, 1 << 20))
    first.close()
    second = connect()
    second.negotiate()
    assert second.read_int(vfu.CONFIG, 0x3c, 1) == 10
    got = second.request(vfu.DMA_UNMAP, vfu.dma_unmap(0, 1 << 20))
    assert got.flags & vfu.ERROR
    second.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 << 20))


def send_until_full(client, data, limit):
    """How many times data went out before the socket took no more."""
    client.sock.setblocking(False)
    out = b""
    for count in range(limit):
        out = data
        try:
            while out:
                out = out[client.sock.send(out):]
        except BlockingIOError:
            break
    client.sock.settimeout(vfu.PATIENCE)
    return count, out


def test_r5_a_client_that_never_reads(client, connect):
    """What waits for it is bounded: at some point no more is taken."""
    size = client.region_size(vfu.CONFIG)
    data = vfu.message(vfu.REGION_READ, vfu.access(vfu.CONFIG, 0, size)) * 32
    count, _ = send_until_full(client, data, 100000)
    assert count < 99999
    client.close()
    other = connect()
    other.negotiate()
    other.alive()


def test_r5_a_client_that_reads_late(client):
    """Everything arrives, in order and whole."""
    data = vfu.message(vfu.REGION_READ, vfu.access(vfu.CONFIG, 0, 256)) * 32
    count, rest = send_until_full(client, data, 100000)
    whole = (count + 1) * 32 - -(-len(rest) // 32)
    for _ in range(whole):
        got = client.reply()
        assert got.cmd == vfu.REGION_READ and len(got.payload) == 272
    if rest:
        client.send(rest)
    for _ in range((count + 1) * 32 - whole if rest else 0):
        client.reply()
    client.alive()


@pytest.fixture
def two_servers(request, tmp_path):
    """Two devices in one process."""
    option = request.config.getoption
    if option("--socket") or option("--server-cmd"):
        pytest.skip("needs a server of two devices")
    paths = [str(tmp_path / name) for name in ("a", "b")]
    argv = conftest.model_argv(request.config,
                               *("edu,socket=" + path for path in paths))
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    assert vfu.wait_until(lambda: all(map(vfu.reachable, paths)))
    yield paths
    assert process.poll() is None
    process.terminate()
    assert process.wait(vfu.PATIENCE) == 0


def test_r5_other_devices_do_not_notice(two_servers):
    deaf, other = map(vfu.Client, two_servers)
    with deaf, other:
        deaf.negotiate()
        other.negotiate()
        size = deaf.region_size(vfu.CONFIG)
        send_until_full(deaf, vfu.message(
            vfu.REGION_READ, vfu.access(vfu.CONFIG, 0, size)) * 32, 100000)
        for _ in range(1000):
            other.read(vfu.CONFIG, 0, 64)


def test_r3_a_bad_client_of_another_device(two_servers):
    bad, other = map(vfu.Client, two_servers)
    with bad, other:
        bad.negotiate()
        other.negotiate()
        bad.send(vfu.message(vfu.GET_INFO, size=1))
        bad.expect_closed()
        other.alive()


def test_r33_socket_permissions(server):
    if not server.process:
        pytest.skip("not our server")
    mode = os.stat(server.path).st_mode
    assert stat.S_ISSOCK(mode) and not mode & 0o117
