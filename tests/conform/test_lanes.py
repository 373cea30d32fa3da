# SPDX-License-Identifier: BSD-3-Clause
"""A disk whose I/O queue is on another thread than the device, as its driver sees it."""

import os

import pytest

import nvme
import operated
import vfu
from control import Control
from vfu import RUNNING, STOP

MIB = 1 << 20


@pytest.fixture
def lanes(request, tmp_path, memory, monkeypatch):
    """A disk with two lanes, and its driver, which has MSI-X."""
    option = request.config.getoption
    if option("--socket") or option("--server-cmd"):
        pytest.skip("needs a server of its own")
    monkeypatch.setattr(nvme.Disk, "messages", True)
    threads = () if option("--threads") > 1 else ("--threads", "2")
    server = operated.Served(request.config, tmp_path / "served",
                             ["nvme,drive=mem:16M,lanes=2"], memory, threads)
    yield server, nvme.Disk(server.clients[0], server.guests[0].view)
    server.stop()


def is_spread(server):
    with Control(server.control) as link:
        device, = link.call("status")["devices"]
    assert device["lanes"] == 2
    return device["spread"]


def write_and_read(disk, lba):
    view = disk.memory
    view[0x100000:0x101000] = pattern = os.urandom(4096)
    assert disk.completion_of(disk.write_block(lba, 0x100000, 8)) == 0
    assert disk.completion_of(disk.read_block(lba, 0x102000, 8)) == 0
    assert view[0x102000:0x103000] == pattern


@pytest.mark.parametrize("shadow", [False, True], ids=["registers", "shadow"])
def test_commands_on_another_thread(lanes, shadow):
    server, disk = lanes
    if shadow:
        disk.use_shadow()
    assert is_spread(server)
    for lba in range(0, 200, 8):
        write_and_read(disk, lba)
    assert is_spread(server)


def test_gathered_without_messages_and_spread_again(lanes):
    """Commands under way meanwhile end, with the interrupt that there is then."""
    server, disk = lanes
    client = server.clients[0]
    for _ in range(20):
        ids = [disk.read_block(8 * i, 0x100000 + 4096 * i, 8) for i in range(8)]
        nvme.set_msix(client, False)
        assert not is_spread(server)
        nvme.set_msix(client, True)
        for cid in ids:
            assert disk.completion_of(cid) == 0
        assert vfu.wait_until(lambda: is_spread(server))
    write_and_read(disk, 8)


def test_stands_still_and_goes_on(lanes):
    server, disk = lanes
    client = server.clients[0]
    if not client.offers():
        pytest.skip("the device offers no migration")
    for i in range(20):
        cid = disk.write_block(8 * i, 0x100000, 8)
        client.set_state(STOP)
        assert not is_spread(server)
        client.set_state(RUNNING)
        assert disk.completion_of(cid) == 0
        assert vfu.wait_until(lambda: is_spread(server))
    write_and_read(disk, 0)


def test_deaths_with_commands_under_way(lanes):
    server, disk = lanes
    for i in range(5):
        ids = [disk.write_block(8 * k, 0x100000, 8) for k in range(8)]
        operated.kill_worker(server)
        assert {disk.completion()[0] for _ in ids} == set(ids)
        assert vfu.wait_until(lambda: is_spread(server))
        write_and_read(disk, 8 * i)
