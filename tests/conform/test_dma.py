# SPDX-License-Identifier: BSD-3-Clause
"""Guest memory: the map, and a device that uses it."""

import os
import random
import struct

import pytest

import vfu
from edu import (BUFFER, COMMAND, COUNT, DEST, RUN, SOURCE, TO_GUEST, copy,
                 idle, start)

MIB = 1 << 20


def refused(client, cmd, payload, fds=()):
    got = client.request(cmd, payload, fds)
    assert got.flags & vfu.ERROR
    return got


def test_map_and_unmap(client, memory):
    m = memory()
    for _ in range(3):
        client.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [m.fd])
        got = client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, MIB))
        assert got.payload == vfu.dma_unmap(0, MIB)


def test_overlaps(client, memory):
    m = memory()
    client.ok(vfu.DMA_MAP, vfu.dma_map(MIB, MIB), [m.fd])
    for address, size in ((MIB, 4096), (MIB - 4096, 8192),
                          (2 * MIB - 4096, 8192), (0, 4 * MIB),
                          (MIB + 4096, 4096), (MIB, 2 * MIB)):
        refused(client, vfu.DMA_MAP, vfu.dma_map(address, size))
        refused(client, vfu.DMA_MAP, vfu.dma_map(address, size, offset=4096),
                [m.fd])
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [m.fd])
    client.ok(vfu.DMA_MAP, vfu.dma_map(2 * MIB, 4096))


def test_unmap_must_be_exact(client):
    client.ok(vfu.DMA_MAP, vfu.dma_map(MIB, MIB))
    for address, size in ((MIB, 4096), (MIB + 4096, MIB - 4096),
                          (MIB, 2 * MIB), (0, 2 * MIB), (MIB - 4096, MIB),
                          (8 * MIB, MIB)):
        refused(client, vfu.DMA_UNMAP, vfu.dma_unmap(address, size))
    client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(MIB, MIB))
    refused(client, vfu.DMA_UNMAP, vfu.dma_unmap(MIB, MIB))


def test_unmap_all(client, memory):
    m = memory()
    for i in range(20):
        client.ok(vfu.DMA_MAP, vfu.dma_map(i * MIB, MIB), [m.fd] * (i % 2))
    client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, 0, flags=2))
    for i in range(20):
        refused(client, vfu.DMA_UNMAP, vfu.dma_unmap(i * MIB, MIB))
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, 20 * MIB))
    refused(client, vfu.DMA_UNMAP, vfu.dma_unmap(0, 20 * MIB, flags=2))


def test_ends_of_the_address_space(client):
    top = (1 << 64) - 4096
    client.ok(vfu.DMA_MAP, vfu.dma_map(top, 4096))
    refused(client, vfu.DMA_MAP, vfu.dma_map(top, 4096, flags=1))
    client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(top, 4096))
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, 4096))


def test_offsets(client, memory):
    m = memory()
    refused(client, vfu.DMA_MAP, vfu.dma_map(0, 4096, offset=1), [m.fd])
    refused(client, vfu.DMA_MAP,
            vfu.dma_map(0, 8192, offset=(1 << 64) - 4096), [m.fd])
    refused(client, vfu.DMA_MAP,
            vfu.dma_map(0, 8192, offset=(1 << 63) - 4096), [m.fd])
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, 4096, offset=MIB - 4096), [m.fd])


def test_r1_fds_that_are_no_memory(client):
    """Refused, or taken and never usable; either way in good order."""
    ends = os.pipe()
    closed = os.open("/dev/null", os.O_RDONLY)
    for fd in (*ends, closed):
        client.request(vfu.DMA_MAP, vfu.dma_map(0, 4096), [fd])
        client.request(vfu.DMA_UNMAP, vfu.dma_unmap(0, 0, flags=2))
        os.close(fd)
    client.alive()


def test_read_only_fd(client, memory, tmp_path):
    """Firmware comes read-only: right for reading, not for writing."""
    path = tmp_path / "rom"
    path.write_bytes(bytes(8192))
    with open(path, "rb") as f:
        client.ok(vfu.DMA_MAP, vfu.dma_map(0, 8192, flags=vfu.READ),
                  [f.fileno()])
        refused(client, vfu.DMA_MAP, vfu.dma_map(MIB, 8192), [f.fileno()])


def test_own_bars(client):
    """QEMU maps and unmaps them, without an fd, for every COMMAND write."""
    for _ in range(50):
        client.ok(vfu.DMA_MAP, vfu.dma_map(0xfebd0000, 0x4000))
        client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0xfebd0000, 0x4000))


def test_a_thousand_maps_of_one_file(client, memory):
    """In the worst orders; the same file comes by a new fd each time."""
    m = memory()
    order = list(range(1000))
    random.Random(1).shuffle(order)
    for i in order:
        client.ok(vfu.DMA_MAP,
                  vfu.dma_map(i * 8192, 4096, offset=i % 256 * 4096), [m.fd])
    for i in reversed(range(1000)):
        client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(i * 8192, 4096))


def test_stray_fd_on_unmap(client, memory):
    """SPDK's driver leaves one there."""
    m = memory()
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [m.fd])
    client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, MIB), [m.fd])


def test_shadow_ram_storm(client, memory):
    """All of memory taken away and given back in pieces, pipelined."""
    m = memory(16 * MIB)
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, 16 * MIB), [m.fd])
    pieces = [(0, 0xc3000), (0xc3000, 0x2d000), (0xf0000, 16 * MIB - 0xf0000)]
    whole = [(0, 16 * MIB)]
    for old, new in ((whole, pieces), (pieces, pieces), (pieces, whole)):
        idents = []
        for address, size in old:
            idents.append((vfu.DMA_UNMAP, client.post(
                vfu.DMA_UNMAP, vfu.dma_unmap(address, size))))
        for i, (address, size) in enumerate(new):
            idents.append((vfu.DMA_MAP, client.post(
                vfu.DMA_MAP, vfu.dma_map(address, size, 3, address),
                [m.fd])))
        for cmd, ident in idents:
            got = client.reply()
            vfu.check_echo(got, cmd, ident)
            assert not got.flags & vfu.ERROR


# With a device that does DMA

def test_dma_through_a_mapping(edu, memory):
    m = memory()
    edu.ok(vfu.DMA_MAP, vfu.dma_map(MIB, MIB), [m.fd])
    for count, source, dest in ((4096, 0, 8192), (1, 5, 7), (100, 4090, 70000),
                                (4096, MIB - 4096, 1234)):
        want = bytes(m.view[source:source + count])
        copy(edu, MIB + source, MIB + dest, count)
        assert m.view[dest:dest + count] == want


def test_dma_across_two_mappings(edu, memory):
    a, b = memory(seed=1), memory(seed=2)
    edu.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [a.fd])
    edu.ok(vfu.DMA_MAP, vfu.dma_map(MIB, MIB), [b.fd])
    want = a.view[MIB - 1000:] + b.view[:1000]
    copy(edu, MIB - 1000, 0, 2000)
    assert a.view[:2000] == want


def test_dma_through_file_access(edu, memory):
    """DMA_MAP flag 8: read and write the file, do not map it."""
    m = memory()
    got = edu.request(vfu.DMA_MAP, vfu.dma_map(MIB, MIB, flags=3 | 8), [m.fd])
    if got.flags & vfu.ERROR:
        pytest.skip("the server has no access by file I/O")
    want = bytes(m.view[77:77 + 3000])
    copy(edu, MIB + 77, MIB + 50000, 3000)
    assert m.view[50000:53000] == want


def test_r14_dma_to_what_is_not_mapped(edu, memory):
    """Nothing is read or written, and the device goes on."""
    m = memory()
    edu.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [m.fd])
    before = bytes(m.view)
    for address in (MIB, MIB - 10, 0x8000000):
        start(edu, BUFFER, address, 100, RUN | TO_GUEST)
        assert vfu.wait_until(lambda: idle(edu))
    assert m.view[:MIB - 10] == before[:MIB - 10]
    copy(edu, 0, 4096, 64)
    assert m.view[4096:4160] == before[:64]


def test_read_only_memory_is_not_written(edu, memory):
    m = memory()
    before = bytes(m.view)
    edu.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB, flags=vfu.READ), [m.fd])
    start(edu, BUFFER, 0, 4096, RUN | TO_GUEST)
    assert vfu.wait_until(lambda: idle(edu))
    assert m.view[:] == before


def test_bus_master_off_means_no_dma(edu, memory):
    m = memory()
    before = bytes(m.view)
    edu.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [m.fd])
    edu.write_int(vfu.CONFIG, 4, 2, 2)
    start(edu, BUFFER, 0, 4096, RUN | TO_GUEST)
    edu.alive()
    assert m.view[:] == before


def test_r10_nothing_is_written_after_unmap(edu, memory):
    m = memory()
    edu.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [m.fd])
    for _ in range(50):
        edu.post(vfu.REGION_WRITE, vfu.access(0, SOURCE, 8, (
            BUFFER).to_bytes(8, "little")), flags=vfu.NO_REPLY)
        edu.post(vfu.REGION_WRITE, vfu.access(0, DEST, 8, bytes(8)),
                 flags=vfu.NO_REPLY)
        edu.post(vfu.REGION_WRITE, vfu.access(0, COUNT, 8, (
            4096).to_bytes(8, "little")), flags=vfu.NO_REPLY)
        edu.post(vfu.REGION_WRITE, vfu.access(0, COMMAND, 4, b"\3\0\0\0"),
                 flags=vfu.NO_REPLY)
        edu.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, MIB))
        m.view[:4096] = b"canary.." * 512
        edu.alive()
        assert vfu.wait_until(lambda: idle(edu))
        assert m.view[:4096] == b"canary.." * 512
        edu.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [m.fd])


def test_r7_truncated_memory(edu, memory):
    """The memfd shrinks under the mapping: DMA fails, the server lives."""
    m = memory()
    edu.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [m.fd])
    copy(edu, 0, 4096, 64)
    os.ftruncate(m.fd, 0)
    for command in (RUN, RUN | TO_GUEST):
        start(edu, BUFFER if command & TO_GUEST else 0,
              0 if command & TO_GUEST else BUFFER, 4096, command)
        assert vfu.wait_until(lambda: idle(edu))
    edu.alive()
    other = memory(seed=3)
    edu.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, MIB))
    edu.ok(vfu.RESET)
    edu.write_int(vfu.CONFIG, 4, 6, 2)
    edu.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [other.fd])
    want = bytes(other.view[:100])
    copy(edu, 0, 8192, 100)
    assert other.view[8192:8292] == want


def test_r1_fds_of_pipelined_maps(edu, memory):
    """UNMAP, MAP, UNMAP, MAP in one go: each map has its own memory, as
    the device finds when it reads there."""
    a, b = memory(seed=1), memory(seed=2)
    c, d = memory(seed=3), memory(seed=4)
    edu.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [a.fd])
    edu.ok(vfu.DMA_MAP, vfu.dma_map(MIB, MIB), [b.fd])
    for first, second in ((c, d), (a, b), (b, a)) * 5:
        posts = [
            edu.post(vfu.DMA_UNMAP, vfu.dma_unmap(0, MIB)),
            edu.post(vfu.DMA_MAP, vfu.dma_map(0, MIB), [first.fd]),
            edu.post(vfu.DMA_UNMAP, vfu.dma_unmap(MIB, MIB)),
            edu.post(vfu.DMA_MAP, vfu.dma_map(MIB, MIB), [second.fd]),
        ]
        for ident in posts:
            got = edu.reply()
            assert got.ident == ident and not got.flags & vfu.ERROR
        one, two = bytes(first.view[:256]), bytes(second.view[:256])
        copy(edu, 0, 8192, 256)
        copy(edu, MIB, MIB + 8192, 256)
        assert first.view[8192:8448] == one
        assert second.view[8192:8448] == two


# By messages

def message_memory(edu, flags=3):
    edu.ok(vfu.DMA_MAP, vfu.dma_map(MIB, MIB, flags))
    return bytearray(random.Random(5).randbytes(MIB))


def test_dma_by_messages(edu):
    guest = message_memory(edu)
    want = bytes(guest[16:16 + 4096])
    start(edu, MIB + 16, BUFFER, 4096, RUN)
    assert edu.serve(guest, MIB).cmd == vfu.DMA_READ
    assert vfu.wait_until(lambda: idle(edu))
    start(edu, BUFFER, MIB + 99999, 4096, RUN | TO_GUEST)
    assert edu.serve(guest, MIB).cmd == vfu.DMA_WRITE
    assert vfu.wait_until(lambda: idle(edu))
    assert guest[99999:99999 + 4096] == want


def test_r9_replies_deferred(edu):
    """The server asks for memory; we answer that only after our own requests
    have been answered."""
    guest = message_memory(edu)
    start(edu, MIB, BUFFER, 4096, RUN)
    for _ in range(50):
        assert not idle(edu)
        edu.read(vfu.CONFIG, 0, 64)
    edu.serve(guest, MIB)
    assert vfu.wait_until(lambda: idle(edu))


def test_r9_no_request_inside_a_pending_reply(edu):
    """The reply to the write that starts the transfer comes first: QEMU
    cannot serve memory while it waits."""
    message_memory(edu)
    edu.write_int(0, SOURCE, MIB, 8)
    edu.write_int(0, DEST, BUFFER, 8)
    edu.write_int(0, COUNT, 64, 8)
    ident = edu.post(vfu.REGION_WRITE,
                     vfu.access(0, COMMAND, 4, b"\1\0\0\0"))
    vfu.check_echo(edu.receive(), vfu.REGION_WRITE, ident)
    assert edu.command().cmd == vfu.DMA_READ


def test_dma_refused_by_the_client(edu):
    """As QEMU does for what it has not got: ENODEV, header only."""
    message_memory(edu)
    start(edu, MIB, BUFFER, 4096, RUN)
    edu.answer(edu.command(), error=19)
    assert vfu.wait_until(lambda: idle(edu))
    start(edu, BUFFER, MIB, 4096, RUN | TO_GUEST)
    edu.answer(edu.command(), error=19)
    assert vfu.wait_until(lambda: idle(edu))


def test_write_answered_by_the_header_alone(edu):
    """As some QEMUs do."""
    message_memory(edu)
    start(edu, BUFFER, MIB, 64, RUN | TO_GUEST)
    got = edu.command()
    assert got.cmd == vfu.DMA_WRITE and len(got.payload) == 16 + 64
    edu.answer(got)
    assert vfu.wait_until(lambda: idle(edu))


@pytest.mark.parametrize("error", [0, 1, 115, 4096, 0x7fffffff, 0xffffffff])
def test_any_error_number(edu, error):
    """The transfer fails, whatever the number is, and another succeeds."""
    guest = message_memory(edu)
    start(edu, MIB, BUFFER, 64, RUN)
    got = edu.command()
    edu.send(vfu.HEADER.pack(got.ident, got.cmd, 16, vfu.REPLY | vfu.ERROR,
                             error))
    assert vfu.wait_until(lambda: idle(edu))
    start(edu, MIB, BUFFER, 64, RUN)
    edu.serve(guest, MIB)
    assert vfu.wait_until(lambda: idle(edu))


def test_r2_dma_in_messages_of_the_agreed_size(edu, connect):
    """No message asks for more than we said we take; the answers may come in
    any order."""
    edu.close()
    client = connect()
    client.negotiate({"max_data_xfer_size": 512})
    client.write_int(vfu.CONFIG, 4, 6, 2)
    guest = message_memory(client)
    start(client, MIB + 3, BUFFER, 4096, RUN)
    left = 4096
    while left:
        asked = [client.command()]
        while client.waiting():
            asked.append(client.command())
        for got in reversed(asked):
            address, count = struct.unpack("<QQ", got.payload)
            assert 0 < count <= 512
            left -= count
            at = address - MIB
            client.answer(got, got.payload + bytes(guest[at:at + count]))
    assert vfu.wait_until(lambda: idle(client))
    want = bytes(guest[3:3 + 4096])
    start(client, BUFFER, MIB + 65536, 4096, RUN | TO_GUEST)
    left = 4096
    while left:
        got = client.serve(guest, MIB)
        left -= len(got.payload) - 16
    assert vfu.wait_until(lambda: idle(client))
    assert guest[65536:65536 + 4096] == want


def test_answers_that_nobody_waits_for(edu):
    """Before, between and after the right one: no harm."""
    guest = message_memory(edu)
    stray = vfu.HEADER.pack(0x5a5a, vfu.DMA_READ, 16, vfu.REPLY, 0)
    edu.send(stray * 3)
    start(edu, MIB, BUFFER, 64, RUN)
    got = edu.command()
    edu.answer(got._replace(cmd=vfu.DMA_WRITE))
    edu.send(stray)
    edu.answer(got, got.payload + bytes(guest[:64]))
    edu.answer(got, got.payload + bytes(guest[:64]))
    assert vfu.wait_until(lambda: idle(edu))
    edu.alive()


@pytest.mark.parametrize("change", [
    lambda p: b"", lambda p: p[:8], lambda p: p[:16], lambda p: p[:-1],
    lambda p: p + b"x", lambda p: b"\xff" * 16 + p[16:],
    lambda p: p[:8] + b"\xff" * 8 + p[16:],
], ids=["empty", "half", "no_data", "short", "long", "other", "huge"])
def test_r2_bad_dma_replies(edu, connect, change):
    """The transfer fails or the connection ends; the server lives."""
    message_memory(edu)
    start(edu, MIB, BUFFER, 4096, RUN)
    got = edu.command()
    try:
        edu.answer(got, change(got.payload + bytes(4096)))
        edu.alive()
    except (vfu.Closed, ConnectionError):
        pass
    edu.close()
    other = connect()
    other.negotiate()
    other.ok(vfu.RESET)


def test_gone_while_the_server_waits_for_memory(edu, connect):
    message_memory(edu)
    start(edu, MIB, BUFFER, 4096, RUN)
    edu.command()
    edu.close()
    other = connect()
    other.negotiate()
    other.ok(vfu.RESET)
    assert idle(other)


def test_unmapped_while_the_server_waits_for_memory(edu):
    """The reply to UNMAP does not wait for the reply to DMA_WRITE (R9)."""
    message_memory(edu)
    start(edu, BUFFER, MIB, 4096, RUN | TO_GUEST)
    got = edu.command()
    edu.ok(vfu.DMA_UNMAP, vfu.dma_unmap(MIB, MIB))
    edu.answer(got, got.payload[:16], error=19)
    assert vfu.wait_until(lambda: idle(edu))


def test_twin_socket(edu, connect):
    """With it, the server's commands come there and nowhere else."""
    edu.close()
    client = connect()
    got = client.negotiate(dict(vfu.QEMU_CAPS,
                                twin_socket={"supported": True}))
    twin = client.caps.get("twin_socket", {})
    if not twin.get("supported", False):
        pytest.skip("the server has no twin socket")
    other = connect(os.dup(got.fds[twin["fd_index"]]))
    client.write_int(vfu.CONFIG, 4, 6, 2)
    guest = message_memory(client)
    want = bytes(guest[:512])
    start(client, MIB, BUFFER, 512, RUN)
    assert other.serve(guest, MIB).cmd == vfu.DMA_READ
    assert vfu.wait_until(lambda: idle(client))
    start(client, BUFFER, MIB + 8192, 512, RUN | TO_GUEST)
    assert other.serve(guest, MIB).cmd == vfu.DMA_WRITE
    assert vfu.wait_until(lambda: idle(client))
    assert guest[8192:8704] == want
    assert not client.commands
