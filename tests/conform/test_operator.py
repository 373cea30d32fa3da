# SPDX-License-Identifier: BSD-3-Clause
"""An operator moves devices beside their clients, over the control socket."""

import json
import os
import socket
import subprocess

import pytest

import control
import edu
import nvme
import vfu
from control import Control, Refused, collect, feed, finish, start
from operated import MIB, PAGE, is_itself, kill_worker, pipe_between, refused, refused_stream


def test_a_device_moves(operate):
    """All of it, between two servers: state, and pages that only the device
    wrote, although what the VMM has is older."""
    a, b = operate("edu"), operate("edu")
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
def owned(request, operate):
    """An edu device in a state to which the operator has brought it."""
    server = operate("edu")
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


def test_the_operator_is_refused_what_is_the_clients(operate):
    server = operate("edu")
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


def test_what_is_done_already_is_no_error(operate):
    server = operate("edu")
    server.call("device.resume")
    server.call("device.quiesce")
    server.call("device.quiesce")
    server.call("device.resume")
    is_itself(server)


def test_a_loaded_state_is_lost_by_a_reset(operate):
    """... and that shows, before the VM runs."""
    server = operate("edu")
    stream, _ = collect(server.control, "device.save", device="d0")
    feed(server.control, "device.load", stream, device="d0")
    assert server.migration()["loaded"]
    server.clients[0].ok(vfu.RESET)
    assert not server.migration()["loaded"]
    assert server.migration()["state"] == "STOP"
    assert "its state was loaded, which is lost" in server.why()


def test_devices_are_strangers(operate):
    """What is done with one does not touch the other."""
    server = operate("edu", "edu")
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


def test_no_such_device(operate):
    server = operate("null")
    for method in ("device.quiesce", "device.resume", "device.config", "pages.finish",
                   "pages.apply"):
        refused(server, "no such device", method, device="d1")
    refused_stream(server, "no such device", "device.save", False, device="")
    refused(server, "no such device", "device.log", device="d" * 2000, on=True)


# -- descriptors -----------------------------------------------------------

def test_what_is_no_pipe_is_refused(operate, tmp_path):
    server = operate("null")
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


def test_datagrams_are_refused(operate):
    server = operate("null")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        refused(server, "stream socket", "device.save", [theirs.fileno()])


def test_sockets_will_do(operate):
    server = operate("edu")
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


def test_a_passed_pipe_keeps_its_flags(operate):
    server = operate("null")
    read, write = os.pipe()
    with Control(server.control) as link:
        link.send("device.save", [write], device="d0")
        link.answer()
    assert os.get_blocking(write)
    os.close(write)
    with open(read, "rb") as pipe:
        assert pipe.read()


def test_a_reader_that_goes(operate):
    """In every phase of the stream."""
    server = operate("nvme,drive=mem:4M")
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

def test_a_state_that_is_cut_short(operate):
    """At every length, and the device is what it was."""
    server = operate("edu")
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


def test_a_state_that_is_changed(operate):
    server = operate("edu")
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


def test_another_models_state(operate):
    a, b = operate("edu"), operate("null")
    stream, _ = collect(a.control, "device.save", device="d0")
    with pytest.raises(Refused, match="model"):
        feed(b.control, "device.load", stream, device="d0")
    b.call("device.resume")


# -- a worker that is killed -----------------------------------------------

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


def test_a_stream_ends_with_its_worker(operate):
    """... without END: its reader refuses it, and the second try is good."""
    a, b = operate("nvme,drive=mem:16M"), operate("nvme,drive=mem:16M")
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


def test_a_reader_that_is_killed(operate):
    a, b = operate("edu"), operate("edu")
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


def test_a_server_ends_in_the_middle(operate):
    """... with streams under way, and more asked for behind each."""
    server = operate("edu", "edu", options=["--no-keeper"])
    links = []
    for device in "d0", "d1":
        sink = control.Sink()
        links.append(start(server.control, "device.save", sink.out, device=device, live=True))
        for method in "device.resume", "device.quiesce", "device.config":
            links[-1].send(method, device=device)
        links.append(control.Control(server.control))
        links[-1].send("device.log", device=device, on=True)
    assert all(vfu.wait_until(lambda: server.migration(device)["stream"] == "out")
               for device in ("d0", "d1"))
    server.stop()
    server.process = None
    for link in links:
        link.close()


# -- drives ----------------------------------------------------------------

def image(tmp_path):
    path = tmp_path / "image"
    with open(path, "wb") as out:
        out.truncate(MIB)
    return path


def test_a_drive_is_handed_over(operate, tmp_path):
    """One at a time has it, whoever is asked to run."""
    path = image(tmp_path)
    a = operate(f"nvme,drive=file:{path}")
    b = operate(f"nvme,drive=file:{path},incoming=on")
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


def test_the_source_takes_its_drive_back(operate, tmp_path):
    path = image(tmp_path)
    a = operate(f"nvme,drive=file:{path}")
    b = operate(f"nvme,drive=file:{path},incoming=on")
    stream = pipe_between(a, b, "device.save", "device.load")
    assert finish(stream[0]) == finish(stream[1])
    a.call("device.resume")
    refused(b, "lock", "device.resume")
    assert a.migration()["state"] == "RUNNING" and b.migration()["state"] == "STOP"


def test_memory_that_changes_travels(operate):
    """A drive's content, written again and again while it leaves."""
    a, b = operate("nvme,drive=mem:8M"), operate("nvme,drive=mem:8M")
    disk = nvme.Disk(a.clients[0], a.guests[0].view)
    stream = pipe_between(a, b, "device.save", "device.load", live=True)
    content = {}
    for n in range(3):
        before = a.migration()["bytes"]
        for block in range(n, 16384, 512):
            content[block] = os.urandom(512)
            a.guests[0].view[0x100000:0x100200] = content[block]
            disk.write_block(block, 0x100000)
            disk.completion()
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


def test_ctl_calls_methods(operate, ctl):
    server = operate("edu")
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


def test_ctl_moves_files(operate, ctl, tmp_path):
    server = operate("edu")
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


def test_ctl_says_what_is_wrong(operate, ctl, tmp_path):
    server = operate("null")
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


# -- the guard -------------------------------------------------------------

def qemu_starts(client, guest):
    """What QEMU says at its start, after its maps."""
    client.write_int(vfu.CONFIG, 4, 0, 2)
    client.ok(vfu.RESET)
    for bar in range(0x10, 0x28, 4):
        client.write_int(vfu.CONFIG, bar, 0, 4)


def remap(client, guest):
    """The guest's view of its first MiB changes."""
    client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, 2 * MIB))
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [guest.fd])
    client.ok(vfu.DMA_MAP, vfu.dma_map(MIB, MIB, offset=MIB), [guest.fd])


def test_a_bare_migration_is_noticed(operate, manager):
    """Five VMs come at once: three have a reason to be silent."""
    server = operate(*["edu,incoming=on"] * 4, "edu", environment=manager.environment)
    for client, guest in zip(server.clients, server.guests):
        qemu_starts(client, guest)
        remap(client, guest)
    bare, boots, loads, reloads, other = server.clients
    boots.write_int(vfu.CONFIG, 0x10, 0xfe000000, 4)
    stream, _ = collect(server.control, "device.save", device="d4")
    for device in "d2", "d3":
        feed(server.control, "device.load", stream, device=device)
        server.call("device.resume", device)
    assert vfu.wait_until(lambda: server.migration("d0")["alarm"])
    assert "without this device's state" in server.migration("d0")["alarm"]
    assert "d0: its VM seems to have been migrated" in server.why()
    for device in "d1", "d2", "d3", "d4":
        assert server.migration(device)["alarm"] is None
    assert manager.hears() == {"READY": "1"}
    assert manager.hears()["STATUS"].startswith("d0: its VM seems")
    # A driver that tries to revive it ends no alarm; a new start does.
    kill_worker(server)
    assert "without this device's state" in server.migration("d0")["alarm"]
    assert server.migration("d1")["alarm"] is None
    bare.write_int(vfu.CONFIG, 4, 6, 2)
    assert server.migration("d0")["alarm"]
    bare.ok(vfu.RESET)
    assert server.migration("d0")["alarm"] is None
    assert manager.hears() == {"STATUS": ""}


def test_a_bare_migration_is_noticed_by_a_successor(operate):
    """Of one that died while nothing was clear; what was loaded is not forgotten."""
    server = operate("edu,incoming=on", "edu,incoming=on", "edu,incoming=on", "edu")
    bare, loaded, boots, _ = zip(server.clients, server.guests)
    stream, _ = collect(server.control, "device.save", device="d3")
    feed(server.control, "device.load", stream, device="d1")
    server.call("device.resume", "d1")
    for who in bare, loaded, boots:
        qemu_starts(*who)
    kill_worker(server)
    for who in bare, loaded, boots:
        remap(*who)
    kill_worker(server)
    boots[0].write_int(vfu.CONFIG, 0x10, 0xfe000000, 4)
    assert vfu.wait_until(lambda: server.migration("d0")["alarm"])
    for device in "d1", "d2", "d3":
        assert server.migration(device)["alarm"] is None
