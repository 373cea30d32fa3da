# SPDX-License-Identifier: BSD-3-Clause
"""Many devices in one process, and many maps of one: what they cost, and that a death
and an upgrade lose none."""
import os
import pathlib
import signal
import sys

import pytest
import vfu

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

from benchlib.processes import memory   # noqa: E402

DEVICES = 300
# Bytes of one device more: 51,700 were measured, and a page more of each is too much.
LIMIT = 54 << 10
MAPS = 65535


def total(server):
    return memory(server.process.pid)


DISK = "nvme,drive=null:1G"


def all_answer(server):
    for number in range(DEVICES):
        with server.client(number) as client:
            client.ok(vfu.GET_INFO, vfu.get_info())


def test_an_idle_device_takes_few_pages(serve):
    one = serve(DISK)
    if b"__asan_init" in pathlib.Path(f"/proc/{one.process.pid}/exe").read_bytes():
        pytest.skip("a sanitizer takes memory of its own")
    alone = total(one)
    one.stop()
    many = serve(*[DISK] * DEVICES)
    assert (total(many) - alone) / (DEVICES - 1) < LIMIT
    all_answer(many)    # and what they took for that is given back
    assert (total(many) - alone) / (DEVICES - 1) < LIMIT
    before = many.status()["pid"]
    os.kill(before, signal.SIGKILL)
    all_answer(many)    # as it is after a death
    assert vfu.wait_until(lambda: (total(many) - alone) / (DEVICES - 1) < LIMIT)
    assert many.status()["pid"] != before
    # To say that took words, whose memory the allocator keeps, and nothing of the state.
    assert (total(many) - alone) / (DEVICES - 1) < LIMIT + (8 << 10)


def test_all_of_many_outlive_a_death_and_an_upgrade(serve, this):
    many = serve(*[DISK] * DEVICES)
    before = many.status()["pid"]
    os.kill(before, signal.SIGKILL)
    all_answer(many)
    assert many.status()["pid"] != before
    many.replace(this)
    all_answer(many)


def test_all_maps_outlive_a_death(serve):
    """In an order that is none, so that nothing depends on it."""
    server = serve(DISK)
    file = os.memfd_create("guest")
    os.ftruncate(file, MAPS * 4096)
    with server.client() as client:
        for number in range(MAPS):
            at = number * 7919 % MAPS
            client.ok(vfu.DMA_MAP, vfu.dma_map(at * 8192, 4096, offset=at * 4096), [file])
        full = vfu.dma_map(MAPS * 8192, 4096)
        assert client.request(vfu.DMA_MAP, full, [file]).flags & vfu.ERROR
        os.kill(server.status()["pid"], signal.SIGKILL)
        for at in (1, MAPS // 2, MAPS - 1):
            client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(at * 8192, 4096))
        assert client.request(vfu.DMA_UNMAP, vfu.dma_unmap(8192, 4096)).flags & vfu.ERROR
        # The same again is no conflict; another one is.
        client.ok(vfu.DMA_MAP, vfu.dma_map(0, 4096), [file])
        other = vfu.dma_map(0, 4096, offset=4096)
        assert client.request(vfu.DMA_MAP, other, [file]).flags & vfu.ERROR
        client.ok(vfu.DMA_MAP, full, [file])
    os.close(file)
