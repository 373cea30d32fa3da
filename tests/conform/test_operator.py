# SPDX-License-Identifier: BSD-3-Clause
"""An operator moves devices beside their clients, over the control socket."""

import os
import subprocess

import pytest

import conftest
import control
import edu
import nvme
import vfu
from control import Control, Refused, collect, feed, finish, start

MIB = 1 << 20
PAGE = 4096


class Served:
    """A server of ours with a control socket, and a client of each device."""

    def __init__(self, config, folder, devices, memory, options=()):
        folder.mkdir()
        self.control, self.log = str(folder / "ctl"), folder / "log"
        self.paths = [str(folder / f"s{i}") for i in range(len(devices))]
        argv = conftest.model_argv(config, *(
            f"{device},id=d{i},socket={path}"
            for i, (device, path) in enumerate(zip(devices, self.paths))))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*argv, "--control", self.control, *options], stdout=log, stderr=log)
        assert vfu.wait_until(lambda: os.path.exists(self.control) and
                              all(map(vfu.reachable, self.paths))), self.why()
        self.clients, self.guests = [], []
        for path in self.paths:
            self.guests.append(memory(2 * MIB))
            self.clients.append(self.join(path, self.guests[-1]))

    def join(self, path, guest):
        client = vfu.Client(path)
        client.negotiate()
        client.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 * MIB), [guest.fd])
        client.write_int(vfu.CONFIG, 4, 6, 2)
        return client

    def why(self):
        return self.log.read_text(errors="replace")

    def call(self, method, device="d0", **params):
        with Control(self.control) as link:
            return link.call(method, device=device, **params)

    def migration(self, device="d0"):
        with Control(self.control) as link:
            return link.status(device)

    def worker(self):
        with Control(self.control) as link:
            return link.call("status")["pid"]

    def stop(self):
        for client in self.clients:
            client.close()
        alive = self.process.poll() is None
        self.process.terminate()
        assert self.process.wait(vfu.PATIENCE) == 0 and alive, self.why()


@pytest.fixture
def serve(request, tmp_path, memory):
    """serve(device, ...): a server of them."""
    option = request.config.getoption
    if option("--socket") or option("--server-cmd"):
        pytest.skip("needs a server with a control socket")
    made = []

    def make(*devices, options=()):
        made.append(Served(request.config, tmp_path / str(len(made)), devices,
                           memory, options))
        return made[-1]

    yield make
    for server in made:
        server.stop()


def pipe_between(source, target, out, into, device="d0", **params):
    """The stream of one method goes to another server's; both links."""
    read, write = os.pipe()
    reader = start(target.control, into, read, device=device)
    return start(source.control, out, write, device=device, **params), reader


def test_a_device_moves(serve):
    """All of it, between two servers: state, and pages that only the device
    wrote, although what the VMM has is older."""
    a, b = serve("edu"), serve("edu")
    here, there = a.clients[0], b.clients[0]
    here.write_int(0, edu.LIVENESS, 0x12345678, 4)
    a.call("device.log", on=True)
    pages = pipe_between(a, b, "pages.out", "pages.in")
    state = pipe_between(a, b, "device.save", "device.load", live=True)
    edu.copy(here, 0x1000, 0x8000, 2 * PAGE)
    b.guests[0].view[:] = b"o" * (2 * MIB)
    assert state[0].waits() and pages[0].waits()
    assert a.migration()["state"] == "PRE_COPY"
    assert a.migration()["owner"] == "operator"
    a.call("device.quiesce")
    a.call("pages.finish")
    assert finish(state[0])["bytes"] == finish(state[1])["bytes"] > 0
    assert finish(pages[0]) == finish(pages[1])
    assert b.migration()["loaded"] and b.migration()["pages"] == "kept"
    assert b.guests[0].view[0x8000:0x8010] == b"o" * 16
    assert b.call("pages.apply")["pages"] == 2
    assert b.guests[0].view[0x8000:0xa000] == a.guests[0].view[0x8000:0xa000]
    assert b.guests[0].view[0x7000:0x8000] == b"o" * PAGE
    b.call("device.resume")
    assert b.migration()["state"] == "RUNNING"
    assert there.read_int(0, edu.LIVENESS) == ~0x12345678 & 0xffffffff
    edu.copy(there, 0x8000, 0x20000, PAGE)
    assert b.guests[0].view[0x20000:0x21000] == a.guests[0].view[0x8000:0x9000]
