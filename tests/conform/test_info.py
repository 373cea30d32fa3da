# SPDX-License-Identifier: BSD-3-Clause
"""What a client asks before it uses a device."""

import os
import stat
import struct

import pytest

import vfu


def test_device(client):
    argsz, flags, regions, irqs = client.info()
    assert argsz == 16
    assert flags & 2, "not a PCI device"
    assert 8 <= regions <= 100 and irqs <= 50, "limits of QEMU"


def test_device_argsz_larger(client):
    got = client.ok(vfu.GET_INFO, vfu.get_info(4096))
    assert struct.unpack_from("<I", got.payload) == (16,)
    assert len(got.payload) == 16


def test_r37_every_region_is_answered(client):
    """An index without a region has size 0 and is no error."""
    for index in range(client.info()[2]):
        (argsz, flags, got_index, _, size, _), got = client.region(index)
        assert got_index == index
        assert argsz >= 32
        if size == 0:
            assert not flags and not got.fds
        if index == vfu.CONFIG:
            assert size in (256, 4096) and flags & 3 == 3


def test_caps_flag_only_with_the_caps(client):
    """QEMU refuses a device that sets the flag in a truncated answer."""
    for index in range(client.info()[2]):
        (argsz, flags, *_), got = client.region(index)
        assert len(got.payload) == 32
        assert not flags & vfu.REGION_CAPS
        assert (argsz > 32) <= bool(flags & vfu.REGION_MMAP)


def sparse_areas(payload, at):
    """(offset, size) of the sparse mmap capability in the chain from at."""
    areas = []
    while at:
        kind, version, at_next = struct.unpack_from("<HHI", payload, at)
        assert at_next == 0 or at_next > at
        if kind == 1:
            assert version == 1
            count, _ = struct.unpack_from("<II", payload, at + 8)
            areas += [struct.unpack_from("<QQ", payload, at + 16 + 16 * i)
                      for i in range(count)]
        at = at_next
    return areas


def mappable(client):
    """index, size, offset, areas, fd of the regions that can be mapped."""
    for index in range(client.info()[2]):
        (argsz, flags, _, _, size, offset), got = client.region(index)
        if not flags & vfu.REGION_MMAP:
            continue
        assert len(got.fds) == 1
        areas = [(0, size)]
        if argsz > 32:
            (_, flags, _, cap, *_), got = client.region(index, argsz)
            assert len(got.payload) == argsz
            assert flags & vfu.REGION_CAPS and cap >= 32
            areas = sparse_areas(got.payload, cap)
        yield index, size, offset, areas, got.fds[0]


def test_mappable_areas(client):
    found = False
    for _, size, offset, areas, fd in mappable(client):
        found = True
        end = 0
        for start, length in areas:
            assert start % 4096 == 0 and length % 4096 == 0 and length
            assert start >= end and start + length <= size
            end = start + length
        assert os.fstat(fd).st_size >= offset + end
        assert not stat.S_ISDIR(os.fstat(fd).st_mode)
    if not found:
        pytest.skip("nothing to map")


def test_asking_again_with_another_argsz(client):
    """Each time a whole answer, whatever was asked before."""
    for argsz in (32, 33, 63, 4064, 32, 0xffffffff, 32):
        (_, flags, *_), got = client.region(0, argsz)
        assert len(got.payload) <= max(argsz, 32)
        assert len(got.fds) == bool(flags & vfu.REGION_MMAP)


def test_spdk_region_info(client):
    """The request is as long as the buffer for the answer."""
    for index in range(min(10, client.info()[2])):
        got = client.ok(vfu.GET_REGION_INFO,
                        vfu.region_info(index, 4064) + bytes(4032))
        assert struct.unpack_from("<I", got.payload, 8) == (index,)
        argsz, = struct.unpack_from("<I", got.payload)
        assert len(got.payload) == argsz


def test_region_index_out_of_range(client, error_size):
    regions = client.info()[2]
    for index in (regions, regions + 1, 0x7fffffff, 0xffffffff):
        error_size(client.request(vfu.GET_REGION_INFO,
                                  vfu.region_info(index)), 32)
        error_size(client.request(vfu.GET_REGION_IO_FDS,
                                  vfu.region_io_fds(index)), 16)


def test_irqs(client, error_size):
    irqs = client.info()[3]
    for index in range(irqs):
        got = client.ok(vfu.GET_IRQ_INFO, vfu.irq_info(index))
        argsz, flags, got_index, count = struct.unpack("<IIII", got.payload)
        assert (argsz, got_index) == (16, index)
        assert not count or flags & 1, "no eventfd"
        assert not flags & ~15
    for index in (irqs, 0xffffffff):
        error_size(client.request(vfu.GET_IRQ_INFO, vfu.irq_info(index)), 16)


def test_region_io_fds(client):
    """An answer in the 40-byte form: as many sub-regions as it says."""
    for index in range(client.info()[2]):
        got = client.ok(vfu.GET_REGION_IO_FDS,
                        vfu.region_io_fds(index, 16 + 40 * 64))
        argsz, flags, got_index, count = struct.unpack_from(
            "<IIII", got.payload)
        assert (flags, got_index) == (0, index)
        assert len(got.payload) == argsz == 16 + 40 * count
        assert len(got.fds) <= count
