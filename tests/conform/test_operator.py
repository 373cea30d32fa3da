# SPDX-License-Identifier: BSD-3-Clause
"""An operator moves devices beside their clients, over the control socket."""

import json
import os
import signal
import socket
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


# -- states and who owns them ----------------------------------------------

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


def all_states(server):
    """Brings the device to each of the operator's states, and tells which."""
    yield "STOP", lambda: server.call("device.quiesce")

    def live():
        sink = control.Sink()
        server.stream = start(server.control, "device.save", sink.out, device="d0", live=True)
        assert vfu.wait_until(lambda: server.migration()["stream"] == "out")

    yield "PRE_COPY", live
    yield "STOP_COPY", lambda: collect(server.control, "device.save", device="d0")

    def load():
        read, server.writer = os.pipe()
        server.stream = start(server.control, "device.load", read, device="d0")
        assert vfu.wait_until(lambda: server.migration()["stream"] == "in")

    yield "RESUMING", load


STATES = ["STOP", "PRE_COPY", "STOP_COPY", "RESUMING"]


@pytest.fixture(params=STATES)
def owned(request, serve):
    """An edu device in a state to which the operator has brought it."""
    server = serve("edu")
    server.stream = server.writer = None
    dict(all_states(server))[request.param]()
    assert server.migration()["state"] == request.param
    assert server.migration()["owner"] == "operator"
    server.state = request.param
    yield server
    if server.stream:
        server.stream.close()
    if server.writer:
        os.close(server.writer)


def is_itself(server):
    """It runs, for whoever wants it."""
    client = server.clients[0]
    assert server.migration()["state"] == "RUNNING"
    assert server.migration()["owner"] == "nobody"
    edu.copy(client, 0x1000, 0x9000, PAGE)
    assert server.guests[0].view[0x9000:0xa000] == server.guests[0].view[0x1000:0x2000]
    client.set_state(vfu.STOP, vfu.RUNNING)


def test_the_client_is_refused_what_is_the_operators(owned):
    client = owned.clients[0]
    assert vfu.STATES[client.state()] == owned.state
    for state in range(1, 8):
        assert client.try_state(state).error == 16    # EBUSY
    for cmd, payload in ((vfu.MIG_READ, vfu.mig(4096)),
                         (vfu.MIG_WRITE, vfu.mig(4, b"1234"))):
        assert client.request(cmd, payload).error == 16
    assert owned.migration()["state"] == owned.state
    owned.call("device.resume")
    is_itself(owned)


def test_a_reset_leaves_the_operators_state(owned):
    """The device is reset, and its migration goes on."""
    client = owned.clients[0]
    client.write_int(0, edu.LIVENESS, 7, 4)
    client.ok(vfu.RESET)
    assert client.read_int(0, edu.LIVENESS) != ~7 & 0xffffffff
    client.write_int(vfu.CONFIG, 4, 6, 2)
    assert owned.migration()["state"] == owned.state
    assert owned.migration()["owner"] == "operator"
    if owned.state == "PRE_COPY":
        owned.call("device.quiesce")
        assert finish(owned.stream)["bytes"]
        owned.stream = None
    owned.call("device.resume")
    is_itself(owned)


def test_the_clients_hang_up_ends_it(owned):
    owned.clients[0].close()
    if owned.stream:
        with pytest.raises(Refused, match="the client has gone"):
            finish(owned.stream)
    assert vfu.wait_until(lambda: owned.migration()["state"] == "RUNNING")
    owned.clients[0] = owned.join(owned.paths[0], owned.guests[0])
    is_itself(owned)


def test_the_operators_hang_up_ends_no_state(owned):
    if owned.stream:
        owned.stream.close()
        assert vfu.wait_until(lambda: owned.migration()["stream"] == "none")
    # What is no stream any more is no reason to stay in RESUMING.
    after = "STOP" if owned.state == "RESUMING" else owned.state
    assert owned.migration()["state"] == after
    stream, answer = collect(owned.control, "device.save", device="d0")
    assert answer["bytes"] == len(stream)
    assert feed(owned.control, "device.load", stream, device="d0") == answer
    owned.call("device.resume")
    is_itself(owned)


def test_one_stream_at_a_time(owned):
    if not owned.stream:
        pytest.skip("there is none in this state")
    refused_stream(owned, "under way", "device.save", False)
    refused_stream(owned, "under way", "device.load", True)
    owned.call("device.resume")
    with pytest.raises(Refused, match="resumed"):
        finish(owned.stream)
    is_itself(owned)


def test_the_operator_is_refused_what_is_the_clients(serve):
    server = serve("edu")
    client = server.clients[0]
    for state in (vfu.STOP, vfu.STOP_COPY, vfu.RESUMING, vfu.PRE_COPY, vfu.RUNNING_P2P):
        client.set_state(state)
        before = client.state()
        assert server.migration()["owner"] == "client"
        refused(server, "the client has brought it", "device.quiesce")
        refused(server, "the client has brought it", "device.resume")
        refused_stream(server, "the client has brought it", "device.save", False, live=True)
        refused_stream(server, "the client has brought it", "device.load", True)
        assert client.state() == before
        client.ok(vfu.RESET)
        assert server.migration()["owner"] == "nobody"
    client.write_int(vfu.CONFIG, 4, 6, 2)
    is_itself(server)


def test_what_is_done_already_is_no_error(serve):
    server = serve("edu")
    server.call("device.resume")
    server.call("device.quiesce")
    server.call("device.quiesce")
    server.call("device.resume")
    is_itself(server)


def test_a_loaded_state_is_lost_by_a_reset(serve):
    """... and that shows, before the VM runs."""
    server = serve("edu")
    stream, _ = collect(server.control, "device.save", device="d0")
    feed(server.control, "device.load", stream, device="d0")
    assert server.migration()["loaded"]
    server.clients[0].ok(vfu.RESET)
    assert not server.migration()["loaded"]
    assert server.migration()["state"] == "STOP"
    assert "its state was loaded, which is lost" in server.why()


def test_devices_are_strangers(serve):
    """What is done with one does not touch the other."""
    server = serve("edu", "edu")
    other = server.clients[1]
    server.call("device.log", on=True)
    server.call("device.quiesce")
    edu.copy(other, 0x1000, 0x9000, PAGE)
    other.set_state(vfu.STOP, vfu.RUNNING)
    assert server.migration("d1") == {**server.migration("d1"), "state": "RUNNING",
                                      "owner": "nobody", "log": False}
    stream, _ = collect(server.control, "device.save", device="d0")
    feed(server.control, "device.load", stream, device="d1")
    assert server.migration("d1")["loaded"] and not server.migration("d0")["loaded"]
    other.close()
    assert vfu.wait_until(lambda: server.migration("d1")["state"] == "RUNNING")
    assert server.migration("d0")["state"] == "STOP_COPY"
    server.clients[1] = server.join(server.paths[1], server.guests[1])
    server.call("device.resume")
    is_itself(server)


def test_no_such_device(serve):
    server = serve("null")
    for method in ("device.quiesce", "device.resume", "device.config", "pages.finish",
                   "pages.apply"):
        refused(server, "no such device", method, device="d1")
    refused_stream(server, "no such device", "device.save", False, device="")
    refused(server, "no such device", "device.log", device="d" * 2000, on=True)


# -- descriptors -----------------------------------------------------------

def test_what_is_no_pipe_is_refused(serve, tmp_path):
    server = serve("null")
    server.call("device.log", on=True)
    (tmp_path / "file").write_bytes(b"")
    memory = os.memfd_create("memory")
    for name, word in (("file", "a file"), ("/dev/null", "character device"),
                       (".", "a directory")):
        fd = os.open(tmp_path / name, os.O_RDONLY)
        for method in ("device.save", "device.load", "pages.out", "pages.in"):
            refused(server, word, method, [fd])
            refused(server, "put cat", method, [memory])
        os.close(fd)
    os.close(memory)
    for method, reads in (("device.save", False), ("device.load", True),
                          ("pages.out", False), ("pages.in", True)):
        refused_stream(server, "the pipe's end", method, not reads)
    assert server.migration()["state"] == "RUNNING"


def test_datagrams_are_refused(serve):
    server = serve("null")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        refused(server, "stream socket", "device.save", [theirs.fileno()])


def test_sockets_will_do(serve):
    server = serve("edu")
    ours, theirs = socket.socketpair()
    with ours:
        link = start(server.control, "device.save", theirs.detach(), device="d0")
        stream = b""
        while more := ours.recv(65536):
            stream += more
    assert finish(link)["bytes"] == len(stream)
    ours, theirs = socket.socketpair()
    with ours:
        link = start(server.control, "device.load", theirs.detach(), device="d0")
        ours.sendall(stream)
        ours.shutdown(socket.SHUT_WR)
        assert finish(link)["bytes"] == len(stream)


def test_a_passed_pipe_keeps_its_flags(serve):
    server = serve("null")
    read, write = os.pipe()
    with Control(server.control) as link:
        link.send("device.save", [write], device="d0")
        link.answer()
    assert os.get_blocking(write)
    os.close(write)
    with open(read, "rb") as pipe:
        assert pipe.read()


def test_a_reader_that_goes(serve):
    """In every phase of the stream."""
    server = serve("nvme,drive=mem:4M")
    disk = nvme.Disk(server.clients[0], server.guests[0].view)
    for block in range(0, 8192, 16):
        disk.write_block(block, 0x100000, 16)
        disk.completion()
    for live in (False, True):
        for taken in (0, 1, 5000):
            read, write = os.pipe()
            link = start(server.control, "device.save", write, device="d0", live=live)
            if taken:
                assert os.read(read, taken)
            os.close(read)
            with pytest.raises(Refused, match="the reader has gone"):
                finish(link)
    stream, _ = collect(server.control, "device.save", device="d0")
    feed(server.control, "device.load", stream, device="d0")
    server.call("device.resume")
    assert server.migration()["state"] == "RUNNING"


# -- hostile states --------------------------------------------------------

def test_a_state_that_is_cut_short(serve):
    """At every length, and the device is what it was."""
    server = serve("edu")
    client = server.clients[0]
    client.write_int(0, edu.LIVENESS, 1, 4)
    stream, _ = collect(server.control, "device.save", device="d0")
    client.write_int(0, edu.LIVENESS, 2, 4)
    step = max(1, len(stream) // 200)
    lengths = [*range(64), *range(64, len(stream), step), *range(len(stream) - 64, len(stream))]
    for length in lengths:
        with pytest.raises(Refused):
            feed(server.control, "device.load", stream[:length], device="d0")
        assert server.migration()["state"] == "STOP"
        assert not server.migration()["loaded"]
    assert client.read_int(0, edu.LIVENESS) == ~2 & 0xffffffff
    with pytest.raises(Refused, match="behind the end"):
        feed(server.control, "device.load", stream + b"x", device="d0")
    feed(server.control, "device.load", stream, device="d0")
    assert client.read_int(0, edu.LIVENESS) == ~1 & 0xffffffff
    server.call("device.resume")
    is_itself(server)


def test_a_state_that_is_changed(serve):
    server = serve("edu")
    stream, _ = collect(server.control, "device.save", device="d0")
    minor = (10, 11)            # another one is no reason to refuse
    for at in [*range(0, 128), *range(128, len(stream), max(1, len(stream) // 150))]:
        if at in minor:
            continue
        wrong = bytearray(stream)
        wrong[at] ^= 0x10
        with pytest.raises(Refused):
            feed(server.control, "device.load", bytes(wrong), device="d0")
    server.call("device.resume")
    is_itself(server)


def test_another_models_state(serve):
    a, b = serve("edu"), serve("null")
    stream, _ = collect(a.control, "device.save", device="d0")
    with pytest.raises(Refused, match="model"):
        feed(b.control, "device.load", stream, device="d0")
    b.call("device.resume")


# -- pages -----------------------------------------------------------------

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


def test_pages_need_a_log(serve):
    server = serve("edu")
    refused_stream(server, "the log is off", "pages.out", False)
    refused(server, "no pages are going out", "pages.finish")
    server.call("device.log", on=True)
    refused(server, "no pages are going out", "pages.finish")
    refused(server, "no pages are kept", "pages.apply")
    server.call("device.log", on=False)
    server.call("device.log", on=False)


def test_pages_are_final_only_at_a_standstill(serve):
    server = serve("edu")
    link, sink = still_with_pages(server, 0x8000)
    refused(server, "it runs", "pages.finish")
    refused_stream(server, "already", "pages.out", False)
    refused(server, "are going out", "device.log", on=True)
    server.call("device.quiesce")
    server.call("pages.finish")
    server.call("device.resume")
    try:
        finish(link)
    except Refused as why:      # it had no time to end
        assert "resumed" in str(why)
    sink.all()


def test_a_page_that_the_cpu_wrote_since_is_dropped(serve):
    server = serve("edu")
    link, sink = still_with_pages(server, 0x8000, 0x9000, 0xa000)
    assert vfu.wait_until(lambda: sent(server) == 3)
    server.guests[0].view[0x9010:0x9011] = b"!"
    edu.copy(server.clients[0], 0x2000, 0xa000, PAGE)
    server.call("device.quiesce")
    server.call("pages.finish")
    answer = finish(link)
    assert answer["pages"] == 2 and answer["dropped"] == 1
    records = control.parse_pages(sink.all())
    pages = {}
    for kind, iova, length, data in records[:-1]:
        for i in range(0, length, PAGE):
            pages[iova + i] = data[i:i + PAGE] if kind == control.PAGES else None
    view = server.guests[0].view
    assert pages == {0x8000: view[0x8000:0x9000], 0x9000: None, 0xa000: view[0xa000:0xb000]}
    assert records[-1][:2] == (control.END, 2)


def test_the_clients_log_is_another_one(serve):
    server = serve("edu")
    client = server.clients[0]
    client.ok(vfu.FEATURE, vfu.log_start())
    link, sink = still_with_pages(server, 0x8000)
    assert vfu.wait_until(lambda: sent(server) == 1)
    assert client.report(0, 2 * MIB) == {8}
    client.ok(vfu.FEATURE, vfu.log_stop())
    edu.copy(client, 0x1000, 0xb000, PAGE)
    assert vfu.wait_until(lambda: sent(server) == 2)
    server.call("device.quiesce")
    server.call("pages.finish")
    assert finish(link)["pages"] == 2
    sink.all()


def test_what_a_broken_stream_took_comes_with_the_next(serve):
    server = serve("edu")
    link, sink = still_with_pages(server, 0x8000, 0x9000)
    assert vfu.wait_until(lambda: sent(server) == 2)
    link.close()
    sink.all()
    assert vfu.wait_until(lambda: server.migration()["pages"] == "none")
    assert server.migration()["pages left"] == 2
    sink = control.Sink()
    link = start(server.control, "pages.out", sink.out, device="d0")
    server.call("device.quiesce")
    server.call("pages.finish")
    assert finish(link)["pages"] == 2
    sink.all()


def test_the_log_goes_and_its_stream_with_it(serve):
    server = serve("edu")
    link, sink = still_with_pages(server, 0x8000)
    server.call("device.log", on=False)
    with pytest.raises(Refused, match="switched off"):
        finish(link)
    sink.all()
    assert not server.migration()["log"]


def test_memory_that_is_gone(serve):
    """Cut under the device's feet: the stream fails, nobody dies."""
    server = serve("edu")
    server.call("device.log", on=True)
    edu.copy(server.clients[0], 0x1000, 0x100000, PAGE)
    os.ftruncate(server.guests[0].fd, 0x80000)
    with pytest.raises(Refused, match="is gone"):
        collect(server.control, "pages.out", device="d0")
    assert server.migration()["state"] == "RUNNING"


def test_memory_that_is_mapped_no_more(serve):
    """What cannot be read is not sent; it may come back before the end."""
    server = serve("edu")
    client = server.clients[0]
    server.call("device.log", on=True)
    edu.copy(client, 0x1000, 0x8000, PAGE)
    client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, 2 * MIB))
    sink = control.Sink()
    link = start(server.control, "pages.out", sink.out, device="d0")
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 * MIB), [server.guests[0].fd])
    assert vfu.wait_until(lambda: sent(server) == 1)
    edu.copy(client, 0x1000, 0x9000, PAGE)
    client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, 2 * MIB))
    server.call("device.quiesce")
    server.call("pages.finish")
    assert finish(link)["pages"] == 0
    sink.all()


def ready_for_pages(serve):
    server = serve("edu")
    server.call("device.quiesce")
    return server


def put(server, stream):
    return feed(server.control, "pages.in", stream.bytes, device="d0")


def test_pages_come_and_are_applied(serve):
    server = ready_for_pages(serve)
    before = server.guests[0].view[:]
    stream = control.PageStream().pages(0x5000, b"a" * PAGE + b"b" * PAGE)
    stream.pages(0x100000, b"c" * PAGE).pages(0x5000, b"d" * PAGE)
    stream.drop(0x6000).end(2)
    assert put(server, stream) == {"bytes": len(stream.bytes), "pages": 2, "dropped": 1}
    assert server.guests[0].view[:] == before
    assert server.migration()["pages"] == "kept"
    assert server.call("pages.apply")["pages"] == 2
    view = server.guests[0].view
    assert view[0x5000:0x6000] == b"d" * PAGE
    assert view[0x6000:0x7000] == before[0x6000:0x7000]
    assert view[0x100000:0x101000] == b"c" * PAGE
    refused(server, "no pages are kept", "pages.apply")


def test_a_page_that_was_dropped_may_come_again(serve):
    server = ready_for_pages(serve)
    stream = control.PageStream().pages(0x5000, b"a" * PAGE).drop(0x5000)
    stream.pages(0x5000, b"b" * PAGE).end(1)
    put(server, stream)
    server.call("pages.apply")
    assert server.guests[0].view[0x5000:0x6000] == b"b" * PAGE


WRONG = {
    "no length": (lambda s: s.record(control.PAGES, 0x5000, 0), "0 bytes at"),
    "half a page": (lambda s: s.record(control.PAGES, 0x5000, 2048, bytes(2048)), "2048 bytes at"),
    "too long": (lambda s: s.record(control.PAGES, 0, MIB + PAGE), "bytes at"),
    "longest": (lambda s: s.record(control.PAGES, 0, 0xfffff000), "bytes at"),
    "not aligned": (lambda s: s.pages(0x5010, bytes(PAGE)), "bytes at 0x5010"),
    "wraps": (lambda s: s.record(control.PAGES, (1 << 64) - PAGE, 2 * PAGE), "bytes at"),
    "far away": (lambda s: s.pages(1 << 40, bytes(PAGE)), "no memory is mapped about"),
    "at the end": (lambda s: s.pages((1 << 64) - PAGE, bytes(PAGE)), "no memory is mapped about"),
    "kind 0": (lambda s: s.record(0, 0x5000, PAGE), "kind 0"),
    "kind 4": (lambda s: s.record(4, 0x5000, PAGE), "kind 4"),
    "dropped never": (lambda s: s.drop(0x5000), "has not come"),
    "dropped twice": (lambda s: s.pages(0x5000, bytes(PAGE)).drop(0x5000).drop(0x5000),
                      "has not come"),
    "dropped in part": (lambda s: s.pages(0x5000, bytes(PAGE)).drop(0x5000, 2 * PAGE),
                        "has not come"),
    "too few": (lambda s: s.pages(0x5000, bytes(PAGE)).end(2), "END of 2 pages, 1"),
    "too many": (lambda s: s.pages(0x5000, bytes(PAGE)).end(0), "END of 0 pages, 1"),
    "a long end": (lambda s: s.record(control.END, 0, PAGE), "END of"),
    "no end": (lambda s: s.pages(0x5000, bytes(PAGE)), "without END"),
    "nothing": (lambda s: s, "without END"),
    "more than the end": (lambda s: s.end(0).end(0), "after END"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_pages_are_refused(serve, name):
    server = ready_for_pages(serve)
    make, word = WRONG[name]
    with pytest.raises(Refused, match=word):
        put(server, make(control.PageStream()))
    refused(server, "no pages are kept", "pages.apply")
    assert put(server, control.PageStream().end(0))["pages"] == 0
    server.call("pages.apply")


def test_more_pages_than_memory(serve):
    """2 MiB are mapped, and a little more is tolerated."""
    server = ready_for_pages(serve)
    stream = control.PageStream()
    for at in range(0, 4 * MIB, MIB // 2):
        stream.pages(at, bytes(MIB // 2))
    with pytest.raises(Refused, match="record 7: more pages than are mapped"):
        put(server, stream.end(1024))


def test_every_byte_of_a_stream_counts(serve):
    """All of heads and sums, some of the data."""
    server = ready_for_pages(serve)
    right = control.PageStream().pages(0x5000, os.urandom(PAGE)).pages(0x7000, bytes(PAGE))
    right = right.drop(0x5000).end(1).bytes
    spots = [at for at in range(len(right)) if not 40 < at < 4080 and not 4160 < at < 8200]
    for at in spots + list(range(40, 4080, 97)):
        wrong = bytearray(right)
        wrong[at] ^= 1 << at % 8
        with pytest.raises(Refused, match="record|without END"):
            feed(server.control, "pages.in", bytes(wrong), device="d0")
    for at in spots:
        with pytest.raises(Refused, match="without END"):
            feed(server.control, "pages.in", right[:at], device="d0")
    assert feed(server.control, "pages.in", right, device="d0")["pages"] == 1


def test_records_cannot_be_left_out_or_moved(serve):
    server = ready_for_pages(serve)
    stream = control.PageStream()
    cuts = [0]
    for at in (0x5000, 0x6000, 0x7000):
        stream.pages(at, bytes(PAGE))
        cuts.append(len(stream.bytes))
    stream.end(3)
    a, b, c = (stream.bytes[x:y] for x, y in zip(cuts, cuts[1:]))
    end = stream.bytes[cuts[-1]:]
    for wrong in (b + a + c + end, a + c + end, a + a + b + c + end, a + b + end, end):
        with pytest.raises(Refused, match="checksum|END"):
            feed(server.control, "pages.in", wrong, device="d0")


def test_where_pages_may_not_go(serve, memory):
    """Judged as a whole, before the first is put."""
    server = ready_for_pages(serve)
    client, extra = server.clients[0], memory(MIB)
    client.ok(vfu.DMA_MAP, vfu.dma_map(4 * MIB, MIB, vfu.READ), [extra.fd])
    client.ok(vfu.DMA_MAP, vfu.dma_map(8 * MIB, MIB))
    for at, word in ((4 * MIB, "0x400000 is mapped to be read only"),
                     (8 * MIB, "0x800000 is memory without a file"),
                     (12 * MIB, "0xc00000 is not mapped")):
        before = server.guests[0].view[:]
        put(server, control.PageStream().pages(0x5000, b"x" * PAGE).pages(at, bytes(PAGE)).end(2))
        refused(server, word, "pages.apply")
        assert server.guests[0].view[:] == before


def test_a_map_goes_away_and_comes_back(serve):
    server = ready_for_pages(serve)
    client = server.clients[0]
    put(server, control.PageStream().pages(0x5000, b"x" * PAGE).end(1))
    client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, 2 * MIB))
    refused(server, "0x5000 is not mapped", "pages.apply")
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 * MIB), [server.guests[0].fd])
    server.call("pages.apply")
    assert server.guests[0].view[0x5000:0x6000] == b"x" * PAGE


def test_pages_into_memory_that_is_gone(serve):
    server = ready_for_pages(serve)
    put(server, control.PageStream().pages(0x100000, b"x" * PAGE).end(1))
    os.ftruncate(server.guests[0].fd, 0x80000)
    refused(server, "is gone", "pages.apply")
    assert server.migration()["pages"] == "kept"


def test_pages_are_not_put_under_a_running_device(serve):
    server = serve("edu")
    put(server, control.PageStream().end(0))
    refused(server, "it runs", "pages.apply")


def test_pages_in_is_one_at_a_time(serve):
    server = ready_for_pages(serve)
    read, write = os.pipe()
    link = start(server.control, "pages.in", read, device="d0")
    refused_stream(server, "are coming in", "pages.in", True)
    refused(server, "no pages are kept", "pages.apply")
    link.close()
    os.close(write)
    assert vfu.wait_until(lambda: server.migration()["pages"] == "none")
    put(server, control.PageStream().end(0))
    put(server, control.PageStream().pages(0, bytes(PAGE)).end(1))
    assert server.call("pages.apply")["pages"] == 1


def test_many_pages(serve):
    """All of memory, in both directions, more than a turn of the loop takes."""
    a, b = serve("edu"), serve("edu")
    a.call("device.log", on=True)
    for at in range(0x10000, 2 * MIB, PAGE):
        edu.start(a.clients[0], edu.BUFFER, at, PAGE, edu.RUN | edu.TO_GUEST)
    links = pipe_between(a, b, "pages.out", "pages.in")
    a.call("device.quiesce")
    b.call("device.quiesce")
    a.call("pages.finish")
    assert [finish(link)["pages"] for link in links] == [(2 * MIB - 0x10000) // PAGE] * 2
    b.call("pages.apply")
    assert a.guests[0].view[0x10000:] == b.guests[0].view[0x10000:]


# -- a worker that is killed -----------------------------------------------

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


def test_a_state_survives_the_worker_and_its_stream_does_not(owned):
    kill_worker(owned)
    if owned.stream:
        with pytest.raises(ConnectionError):
            finish(owned.stream)
    assert owned.migration() == {**owned.migration(), "state": owned.state,
                                 "owner": "operator", "stream": "none"}
    assert vfu.STATES[owned.clients[0].state()] == owned.state
    assert owned.clients[0].try_state(vfu.RUNNING).error == 16
    stream, _ = collect(owned.control, "device.save", device="d0")
    feed(owned.control, "device.load", stream, device="d0")
    kill_worker(owned)
    assert owned.migration()["loaded"]
    owned.call("device.resume")
    assert not owned.migration()["loaded"]
    is_itself(owned)


@pytest.mark.parametrize("method", ["device.resume", "device.quiesce"])
def test_a_state_that_a_dead_one_left_leads_on(owned, method):
    kill_worker(owned)
    owned.call(method)
    if method == "device.quiesce":
        assert owned.clients[0].state() in (vfu.STOP, vfu.STOP_COPY, vfu.RESUMING)
        owned.call("device.resume")
    is_itself(owned)


def test_a_stream_ends_with_its_worker(serve):
    """... without END: its reader refuses it, and the second try is good."""
    a, b = serve("nvme,drive=mem:16M"), serve("nvme,drive=mem:16M")
    disk = nvme.Disk(a.clients[0], a.guests[0].view)
    b.call("device.quiesce")
    for block in range(0, 8192, 16):
        disk.write_block(block, 0x100000, 16)
        disk.completion()
    links = pipe_between(a, b, "device.save", "device.load", live=True)
    assert vfu.wait_until(lambda: a.migration()["bytes"])
    kill_worker(a)
    with pytest.raises(ConnectionError):
        finish(links[0])
    with pytest.raises(Refused):
        finish(links[1])
    assert a.migration()["state"] == "PRE_COPY"
    disk.read_block(0, 0x180000)
    disk.completion()
    links = pipe_between(a, b, "device.save", "device.load", live=True)
    assert vfu.wait_until(lambda: a.migration()["bytes"])
    a.call("device.quiesce")
    assert finish(links[0]) == finish(links[1])
    kill_worker(b)
    assert b.migration()["loaded"]


def test_a_reader_that_is_killed(serve):
    a, b = serve("edu"), serve("edu")
    state = pipe_between(a, b, "device.save", "device.load", live=True)
    a.call("device.log", on=True)
    pages = pipe_between(a, b, "pages.out", "pages.in")
    assert vfu.wait_until(lambda: b.migration()["bytes"])
    kill_worker(b)
    for link in state[1], pages[1]:
        with pytest.raises(ConnectionError):
            finish(link)
    for link in state[0], pages[0]:
        with pytest.raises(Refused, match="the reader has gone"):
            finish(link)
    assert b.migration()["state"] == "RESUMING" and b.migration()["pages"] == "none"
    state = pipe_between(a, b, "device.save", "device.load")
    assert finish(state[0]) == finish(state[1])
    b.call("device.resume")
    is_itself(b)


def test_a_dead_ones_log_says_that_all_is_dirty(serve):
    """Nobody knows what it had sent: the stream begins anew, with everything."""
    server = serve("edu")
    link, sink = still_with_pages(server, 0x8000)
    assert vfu.wait_until(lambda: sent(server) == 1)
    kill_worker(server)
    with pytest.raises(ConnectionError):
        finish(link)
    sink.all()
    assert server.migration() == {**server.migration(), "log": True, "pages": "none",
                                  "pages left": 2 * MIB // PAGE}
    sink = control.Sink()
    link = start(server.control, "pages.out", sink.out, device="d0")
    server.call("device.quiesce")
    server.call("pages.finish")
    assert finish(link)["pages"] == 2 * MIB // PAGE
    records = control.parse_pages(sink.all())
    data = b"".join(data for kind, _, _, data in records if kind == control.PAGES)
    assert data == server.guests[0].view[:]


def test_pages_kept_aside_go_with_the_worker(serve):
    server = ready_for_pages(serve)
    put(server, control.PageStream().pages(0x5000, bytes(PAGE)).end(1))
    kill_worker(server)
    refused(server, "no pages are kept", "pages.apply")
    put(server, control.PageStream().pages(0x5000, b"y" * PAGE).end(1))
    server.call("pages.apply")
    assert server.guests[0].view[0x5000:0x6000] == b"y" * PAGE


# -- drives ----------------------------------------------------------------

def image(tmp_path):
    path = tmp_path / "image"
    with open(path, "wb") as out:
        out.truncate(MIB)
    return path


def test_a_drive_is_handed_over(serve, tmp_path):
    """One at a time has it, whoever is asked to run."""
    path = image(tmp_path)
    a = serve(f"nvme,drive=file:{path}")
    b = serve(f"nvme,drive=file:{path},incoming=on")
    disk = nvme.Disk(a.clients[0], a.guests[0].view)
    a.guests[0].view[0x100000:0x100200] = b"z" * 512
    disk.write_block(3, 0x100000)
    disk.completion()
    b.guests[0].view[:] = a.guests[0].view[:]
    stream = pipe_between(a, b, "device.save", "device.load", live=True)
    assert vfu.wait_until(lambda: b.migration()["bytes"])
    a.call("device.quiesce")
    assert finish(stream[0]) == finish(stream[1])
    assert a.migration()["given"] and b.migration()["loaded"]
    b.call("device.resume")
    refused(a, "lock", "device.resume")
    assert a.migration()["state"] == "STOP"
    refused_stream(a, "lock", "device.save", False)
    disk.memory = b.guests[0].view
    disk.on(b.clients[0]).read_block(3, 0x110000)
    disk.completion()
    assert b.guests[0].view[0x110000:0x110200] == b"z" * 512
    # And back again.
    a.guests[0].view[:] = b.guests[0].view[:]
    stream = pipe_between(b, a, "device.save", "device.load")
    assert finish(stream[0]) == finish(stream[1])
    a.call("device.resume")
    refused(b, "lock", "device.resume")
    disk.memory = a.guests[0].view
    disk.on(a.clients[0]).read_block(3, 0x120000)
    disk.completion()


def test_the_source_takes_its_drive_back(serve, tmp_path):
    path = image(tmp_path)
    a = serve(f"nvme,drive=file:{path}")
    b = serve(f"nvme,drive=file:{path},incoming=on")
    stream = pipe_between(a, b, "device.save", "device.load")
    assert finish(stream[0]) == finish(stream[1])
    a.call("device.resume")
    refused(b, "lock", "device.resume")
    assert a.migration()["state"] == "RUNNING" and b.migration()["state"] == "STOP"


def test_memory_that_changes_travels(serve):
    """A drive's content, written again and again while it leaves."""
    a, b = serve("nvme,drive=mem:8M"), serve("nvme,drive=mem:8M")
    disk = nvme.Disk(a.clients[0], a.guests[0].view)
    stream = pipe_between(a, b, "device.save", "device.load", live=True)
    content = {}
    for n in range(3):
        for block in range(n, 16384, 512):
            content[block] = os.urandom(512)
            a.guests[0].view[0x100000:0x100200] = content[block]
            disk.write_block(block, 0x100000)
            disk.completion()
        before = a.migration()["bytes"]
        assert vfu.wait_until(lambda: a.migration()["bytes"] > before)
    a.call("device.quiesce")
    assert finish(stream[0]) == finish(stream[1])
    b.guests[0].view[:] = a.guests[0].view[:]
    b.call("device.resume")
    disk.memory = b.guests[0].view
    disk.on(b.clients[0])
    for block, data in content.items():
        disk.read_block(block, 0x100000)
        disk.completion()
        assert b.guests[0].view[0x100000:0x100200] == data


# -- outboard ctl ----------------------------------------------------------

@pytest.fixture
def ctl(request):
    """ctl(word, ...): what it prints, and what it complains of."""
    def run(*words, code=0, **options):
        options.setdefault("stdout", subprocess.PIPE)
        made = subprocess.run([request.config.getoption("--outboard"), "ctl",
                               *map(str, words)], stderr=subprocess.PIPE, timeout=60, **options)
        assert made.returncode == code, made.stderr
        return made.stdout, made.stderr.decode()
    return run


def test_ctl_calls_methods(serve, ctl):
    server = serve("edu")
    status = json.loads(ctl(server.control, "status")[0])
    assert status["devices"][0]["migration"]["state"] == "RUNNING"
    ctl(server.control, "device.log", "device=d0", "on=on")
    assert server.migration()["log"]
    config = json.loads(ctl(server.control, "device.config", "device=d0")[0])
    assert config["config"].startswith("3412e811") and len(config["config"]) == 512
    assert config["options"]["id"] == ["d0"] and config["model"] == "edu"
    assert config["msix"] is None or config["msix"]["vectors"]
    assert any(bar == {"bar": 0, "size": MIB, "64 bit": False, "io": False, "prefetch": False}
               for bar in config["bars"])


def test_ctl_moves_files(serve, ctl, tmp_path):
    server = serve("edu")
    path = tmp_path / "state"
    with open(path, "wb") as out:
        _, told = ctl(server.control, "device.save", "device=d0", stdout=out)
    assert json.loads(told)["bytes"] == path.stat().st_size
    with open(path, "rb") as stream:
        told, _ = ctl(server.control, "device.load", "device=d0", stdin=stream)
    assert json.loads(told)["bytes"] == path.stat().st_size
    piped, _ = ctl(server.control, "device.save", "device=d0")
    ctl(server.control, "device.load", "device=d0", input=piped)
    with open("/dev/full", "wb") as full:
        _, why = ctl(server.control, "device.save", "device=d0", stdout=full, code=1)
    assert "standard output: No space" in why
    _, why = ctl(server.control, "device.load", "device=d0", input=b"nonsense", code=1)
    assert "outboard ctl: " in why
    with open(path, "wb") as empty:
        empty.truncate(0)
    with open(path, "rb") as stream:
        ctl(server.control, "device.load", "device=d0", stdin=stream, code=1)
    ctl(server.control, "device.resume", "device=d0")
    is_itself(server)


def test_ctl_says_what_is_wrong(serve, ctl, tmp_path):
    server = serve("null")
    for words, code, word in (
            ([], 2, "a CONTROL and a METHOD"), (["--no"], 2, "a CONTROL"),
            ([server.control], 2, "a CONTROL and a METHOD"),
            ([server.control, "status", "x"], 2, "'x' is not KEY=VALUE"),
            ([server.control, "status", "=x"], 2, "'=x' is not KEY=VALUE"),
            ([server.control, "status", "x=1"], 1, "no parameter x"),
            ([server.control, "device.log", "device=d0", "on=maybe"], 1, "on is a boolean"),
            ([server.control, "device.log", "device=1", "on=true"], 1, "no such device"),
            ([server.control, "nothing", "x=1", "y=true", "z=text"], 1, "no such method"),
            ([server.control, "upgrade", "ticket=-1"], 1, "a number of 31 bits"),
            ([tmp_path / "nowhere", "status"], 1, "nowhere: No such file"),
            ([tmp_path / ("x" * 110), "status"], 1, "too long a path")):
        _, told = ctl(*words, code=code)
        assert word in told
