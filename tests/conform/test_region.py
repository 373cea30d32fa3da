# SPDX-License-Identifier: BSD-3-Clause
"""Region accesses, and resets."""

import struct

import pytest

import vfu


def test_config_in_one_message(client):
    """As QEMU reads it first."""
    size = client.region_size(vfu.CONFIG)
    config = client.read(vfu.CONFIG, 0, size)
    vendor, device = struct.unpack_from("<HH", config)
    assert vendor not in (0, 0xffff) and device != 0xffff


def test_widths(client):
    """All widths at all offsets give the same bytes."""
    config = client.read(vfu.CONFIG, 0, 64)
    for width in (1, 2, 4, 8, 16):
        for offset in range(0, 64, width):
            assert client.read(vfu.CONFIG, offset, width) == \
                config[offset:offset + width]
    assert client.read(vfu.CONFIG, 1, 3) == config[1:4]


def test_every_bar_in_every_width(client):
    """An access that a device does not define is no error (R37)."""
    for bar in range(6):
        size = client.region_size(bar)
        if not size:
            continue
        for width in (1, 2, 4, 8):
            client.read(bar, 0, width)
            client.read(bar, size - width, width)


def test_r2_ends(client, error_size):
    for region in range(client.info()[2]):
        size = client.region_size(region)
        for offset, count in ((size, 1), (size - 1, 2), (size - 4, 8),
                              (1 << 63, 4), ((1 << 64) - 1, 1),
                              ((1 << 64) - 8, 16)):
            offset &= (1 << 64) - 1
            got = client.request(vfu.REGION_READ,
                                 vfu.access(region, offset, count))
            error_size(got, 16 + count)
            got = client.request(
                vfu.REGION_WRITE,
                vfu.access(region, offset, count, bytes(count)))
            error_size(got, 16)
    client.alive()


def test_absent_regions(client, error_size):
    for region in range(client.info()[2]):
        if not client.region_size(region):
            got = client.request(vfu.REGION_READ, vfu.access(region, 0, 4))
            error_size(got, 20)


def test_count_0(client):
    got = client.request(vfu.REGION_READ, vfu.access(vfu.CONFIG, 0, 0))
    assert len(got.payload) in (0, 16)
    got = client.request(vfu.REGION_WRITE, vfu.access(vfu.CONFIG, 0, 0))
    assert len(got.payload) in (0, 16)
    client.alive()


@pytest.mark.parametrize("count", [(1 << 20) + 1, 1 << 26, (1 << 31),
                                   (1 << 32) - 16, (1 << 32) - 1])
def test_r2_more_than_was_agreed(client, count):
    """Refused without the memory for it; the stream stays in order."""
    got = client.request(vfu.REGION_READ, vfu.access(0, 0, count))
    assert got.flags & vfu.ERROR
    client.alive()


def test_r2_more_than_a_small_limit(connect):
    client = connect()
    client.negotiate({"max_data_xfer_size": 16})
    client.read(vfu.CONFIG, 0, 16)
    got = client.request(vfu.REGION_READ, vfu.access(vfu.CONFIG, 0, 17))
    assert got.flags & vfu.ERROR
    client.alive()


def test_writes_beyond_the_limit(client, connect):
    """An error, or the end of this connection."""
    size = client.caps.get("max_data_xfer_size", 1 << 20) + 1
    try:
        client.post(vfu.REGION_WRITE, vfu.access(0, 0, size, bytes(size)))
        assert client.reply().flags & vfu.ERROR
        client.alive()
    except (vfu.Closed, ConnectionError):
        pass
    client.close()
    other = connect()
    other.negotiate()
    other.alive()


def test_rom_is_not_writable(client, error_size):
    if not client.region_size(vfu.ROM):
        pytest.skip("no option ROM")
    before = client.read(vfu.ROM, 0, 16)
    client.request(vfu.REGION_WRITE, vfu.access(vfu.ROM, 0, 4, b"\1\2\3\4"))
    assert client.read(vfu.ROM, 0, 16) == before


def test_bar_sizing(client):
    """All ones read back as the mask of the BAR's size; then 0."""
    saved = client.read(vfu.CONFIG, 4, 2)
    client.write_int(vfu.CONFIG, 4, 0, 2)
    bar = 0
    while bar < 6:
        at, wide = 0x10 + 4 * bar, False
        kind = client.read_int(vfu.CONFIG, at) & 0xf
        if not kind & 1:
            wide = kind & 6 == 4
        width = 8 if wide else 4
        client.write(vfu.CONFIG, at, b"\xff" * width)
        mask = client.read_int(vfu.CONFIG, at, width)
        mask &= ~(0x3 if kind & 1 else 0xf)
        size = client.region_size(bar)
        assert (-mask & (1 << 8 * width) - 1) == size
        client.write(vfu.CONFIG, at, bytes(width))
        assert client.read_int(vfu.CONFIG, at, width) == kind
        bar += 2 if wide else 1
    client.write(vfu.CONFIG, 4, saved)


def test_read_only_config(client):
    before = client.read(vfu.CONFIG, 0, 4), client.read(vfu.CONFIG, 8, 4)
    client.write(vfu.CONFIG, 0, b"\xff\xff\xff\xff")
    client.write(vfu.CONFIG, 8, b"\0\0\0\0")
    after = client.read(vfu.CONFIG, 0, 4), client.read(vfu.CONFIG, 8, 4)
    assert before == after


def test_capability_list_ends(client):
    if not client.read_int(vfu.CONFIG, 6, 2) & 0x10:
        pytest.skip("no capabilities")
    at, seen = client.read_int(vfu.CONFIG, 0x34, 1), []
    while at:
        assert at >= 0x40 and at % 4 == 0 and at not in seen
        seen.append(at)
        at = client.read_int(vfu.CONFIG, at + 1, 1)


def test_reset_twice(client):
    """As QEMU does at a system reset; configuration is cleared."""
    client.write_int(vfu.CONFIG, 4, 6, 2)
    assert client.read_int(vfu.CONFIG, 4, 2) & 6 == 6
    client.ok(vfu.RESET)
    client.ok(vfu.RESET)
    assert client.read_int(vfu.CONFIG, 4, 2) & 6 == 0


def test_r4_posted_writes(client):
    """A burst, among it some that fail; then all in order again."""
    good = vfu.access(vfu.CONFIG, 0x3c, 1, b"\5")
    bad = vfu.access(99, 0, 4, bytes(4))
    for i in range(2000):
        client.post(vfu.REGION_WRITE, bad if i % 100 == 7 else good,
                    flags=vfu.NO_REPLY)
    client.write_int(vfu.CONFIG, 0x3c, 11, 1)
    assert client.read_int(vfu.CONFIG, 0x3c, 1) == 11


def needs_write_multi(client):
    if not client.caps.get("write_multiple", False):
        pytest.skip("write_multiple was not agreed")


def test_write_multi(client):
    needs_write_multi(client)
    entries = [(vfu.CONFIG, 0x3c, bytes([i])) for i in range(200)]
    got = client.ok(vfu.WRITE_MULTI, vfu.write_multi(entries))
    assert struct.unpack("<Q", got.payload) == (200,)
    assert client.read_int(vfu.CONFIG, 0x3c, 1) == 199
    got = client.ok(vfu.WRITE_MULTI, vfu.write_multi([]))
    assert struct.unpack("<Q", got.payload) == (0,)


def test_r4_write_multi_posted(client):
    """QEMU sends them so."""
    needs_write_multi(client)
    client.post(vfu.WRITE_MULTI, vfu.write_multi([(vfu.CONFIG, 0x3c, b"\7")]),
                flags=vfu.NO_REPLY)
    assert client.read_int(vfu.CONFIG, 0x3c, 1) == 7


@pytest.mark.parametrize("entry", [
    (vfu.CONFIG, 0x3c, b"\1", 0), (vfu.CONFIG, 0x3c, b"\1", 9),
    (vfu.CONFIG, 0x3c, b"\1", 0xffffffff), (99, 0, b"\1"),
    (vfu.CONFIG, (1 << 64) - 1, b"\1\2"), (vfu.CONFIG, 1 << 20, b"\1"),
], ids=str)
def test_r2_write_multi_bad_entry(client, entry):
    """An error, or a count that says how far it came."""
    needs_write_multi(client)
    good = (vfu.CONFIG, 0x3c, b"\x21")
    got = client.request(vfu.WRITE_MULTI, vfu.write_multi([good, entry]))
    if not got.flags & vfu.ERROR:
        assert struct.unpack("<Q", got.payload) == (1,)
    client.alive()
