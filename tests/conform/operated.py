# SPDX-License-Identifier: BSD-3-Clause
"""Servers with a control socket, for tests of an operator."""

import os
import signal
import subprocess

import pytest

import conftest
import control
import edu
import vfu
from control import Control, Refused, feed, start

MIB = 1 << 20
PAGE = 4096


class Served:
    """A server of ours with a control socket, and a client of each device."""

    def __init__(self, config, folder, devices, memory, options=(), environment=None):
        folder.mkdir()
        self.control, self.log = str(folder / "ctl"), folder / "log"
        self.paths = [str(folder / f"s{i}") for i in range(len(devices))]
        argv = conftest.model_argv(config, *(
            f"{device},id=d{i},socket={path}"
            for i, (device, path) in enumerate(zip(devices, self.paths))))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*argv, "--control", self.control, *options], stdout=log, stderr=log,
                env=dict(os.environ, **(environment or {})))
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
        if not self.process:    # it has been
            return
        for client in self.clients:
            client.close()
        alive = self.process.poll() is None
        self.process.terminate()
        assert self.process.wait(vfu.PATIENCE) == 0 and alive, self.why()


def pipe_between(source, target, out, into, device="d0", **params):
    """The stream of one method goes to another server's; both links."""
    read, write = os.pipe()
    reader = start(target.control, into, read, device=device)
    return start(source.control, out, write, device=device, **params), reader


def refused(server, word, method, fds=(), device="d0", **params):
    """It is, and the words say why."""
    with Control(server.control) as link, pytest.raises(Refused) as why:
        link.call(method, fds, device=device, **params)
    assert word in str(why.value)
    assert why.value.code == -32000


def a_pipe():
    """Two ends; those that are not taken away are closed by the caller."""
    return os.pipe()


def refused_stream(server, word, method, reads, device="d0", **params):
    """The same for a method that gets one end of a pipe."""
    ends = a_pipe()
    try:
        refused(server, word, method, [ends[0 if reads else 1]], device, **params)
    finally:
        for end in ends:
            os.close(end)


def is_itself(server):
    """It runs, for whoever wants it."""
    client = server.clients[0]
    assert server.migration()["state"] == "RUNNING"
    assert server.migration()["owner"] == "nobody"
    edu.copy(client, 0x1000, 0x9000, PAGE)
    assert server.guests[0].view[0x9000:0xa000] == server.guests[0].view[0x1000:0x2000]
    client.set_state(vfu.STOP, vfu.RUNNING)


def kill_worker(server):
    """Another one serves; what hung on the dead one has gone with it."""
    old = server.worker()
    os.kill(old, signal.SIGKILL)

    def again():
        try:
            return server.worker() != old
        except (ConnectionError, TimeoutError):
            return False

    assert vfu.wait_until(again)


def still_with_pages(server, *writes):
    """The log is on, the device wrote these pages, and its stream goes out.
    A link, and what comes of it."""
    server.call("device.log", on=True)
    for at in writes:
        edu.copy(server.clients[0], 0x1000, at, PAGE)
    sink = control.Sink()
    return start(server.control, "pages.out", sink.out, device="d0"), sink


def sent(server):
    return server.migration()["pages moved"]


def ready_for_pages(operate):
    server = operate("edu")
    server.call("device.quiesce")
    return server


def put(server, stream):
    return feed(server.control, "pages.in", stream.bytes, device="d0")
