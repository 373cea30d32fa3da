# SPDX-License-Identifier: BSD-3-Clause
"""The server under test, and clients of it.

    pytest tests/conform                        build/outboard, every model
    pytest tests/conform --outboard PATH        another build of it
    pytest tests/conform --threads 2            devices that are not on the first thread
    pytest tests/conform --threads 2 --models nvme-lanes    ... or on both
    pytest tests/conform/test_moved_disk.py --threads 2 --lanes 2
                                            disks whose queues are on both, with MSI-X
    pytest tests/conform --server-cmd 'PROGRAM ... {socket} ...'
    pytest tests/conform --socket PATH          a server that runs already

Tests that need more than the protocol (a device with a DMA engine; a server
that we started) are skipped where that is missing.
"""

import mmap
import os
import random
import shlex
import signal
import socket
import subprocess
import time

import pytest

import nvme
import operated
import vfu

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

MODELS = {
    "edu": "edu,socket={socket}",
    "null": "null,socket={socket}",
    "nvme": "nvme,socket={socket},drive=mem:64M",
    "nvme-mapped": "nvme,socket={socket},drive=mem:64M,doorbells=mapped",
}
# Whoever asks for it, with --threads 2.
SPREAD = {"nvme-lanes": "nvme,socket={socket},drive=mem:64M,lanes=2"}


def pytest_addoption(parser):
    group = parser.getgroup("server under test")
    group.addoption("--outboard", default=os.path.join(TOP, "build/outboard"),
                    help="the outboard command")
    group.addoption("--models", default=",".join(MODELS),
                    help="which of its models: " + ", ".join(MODELS | SPREAD))
    group.addoption("--threads", type=int, default=1,
                    help="of its server; devices are on the last one")
    group.addoption("--lanes", type=int, default=1,
                    help="of disks; their drivers have MSI-X then")
    group.addoption("--server-cmd", help="command line, with {socket}")
    group.addoption("--socket", help="socket of a running server")
    group.addoption("--header-errors", action="store_true",
                    help="accept error replies of the header alone, which "
                         "the specification asks for and some clients wait "
                         "for ever behind")


class Server:
    """A process of ours, or a socket of someone's."""

    def __init__(self, argv, path, log):
        self.argv, self.path, self.log = argv, path, log
        self.process = None
        self.baseline = None

    def start(self):
        if self.argv is None or self.running():
            return
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log)
        assert vfu.wait_until(self.reachable), self.why()
        self.baseline = self.settled_fds()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def reachable(self):
        if not self.running():
            raise RuntimeError(self.why())
        return vfu.reachable(self.path)

    def why(self):
        with open(self.log, errors="replace") as log:
            return "%s: %s" % (" ".join(self.argv), log.read()[-3000:])

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def settled_fds(self):
        """Our own first connection is still being closed over there."""
        count = None
        for _ in range(50):
            before, count = count, self.fds()
            if before == count:
                break
            time.sleep(0.05)
        return count

    def stop(self):
        if not self.running():
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(vfu.PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def pytest_configure(config):
    nvme.Disk.messages = config.getoption("--lanes") > 1


def with_lanes(config, device):
    lanes = config.getoption("--lanes")
    if lanes > 1 and device.startswith("nvme,") and ",lanes=" not in device:
        device += f",lanes={lanes}"
    return device


def model_argv(config, *devices):
    argv = [config.getoption("--outboard"), "serve"]
    devices = [with_lanes(config, device) for device in devices]
    threads = config.getoption("--threads")
    if threads > 1:
        argv += ["--threads", str(threads)]
        devices = [f"{device},thread={threads - 1}" for device in devices]
    for device in devices:
        argv += ["--device", device]
    return argv


def pytest_generate_tests(metafunc):
    if "server" not in metafunc.fixturenames:
        return
    option = metafunc.config.getoption
    if option("--socket") or option("--server-cmd"):
        kinds = ["given"]
    else:
        kinds = option("--models").split(",")
    metafunc.parametrize("server", kinds, indirect=True)


def make_server(kind, folder, config):
    path, log = str(folder / "cntrl"), str(folder / "log")
    if config.getoption("--socket"):
        return Server(None, config.getoption("--socket"), log)
    if config.getoption("--server-cmd"):
        line = config.getoption("--server-cmd").format(socket=path)
        return Server(shlex.split(line), path, log)
    device = (MODELS | SPREAD)[kind].format(socket=path)
    return Server(model_argv(config, device), path, log)


@pytest.fixture(scope="session")
def servers(request, tmp_path_factory):
    """servers(kind): one of each kind for the whole run, and another one
    for another role."""
    made = {}

    def get(kind, role=""):
        key = kind + role
        if key not in made:
            made[key] = make_server(kind, tmp_path_factory.mktemp(key),
                                    request.config)
        return made[key]

    yield get
    for server in made.values():
        server.stop()


@pytest.fixture
def server(request, servers):
    """Alive before and after, with as many open fds as when it began (R1)."""
    yield from watched(servers(request.param))


def watched(one):
    one.start()
    yield one
    if not one.process:
        return
    assert one.running(), one.why()
    if not vfu.wait_until(lambda: one.fds() <= one.baseline):
        left = one.fds() - one.baseline
        one.stop()
        pytest.fail("R1: %d fds left open" % left)


@pytest.fixture
def twin_server(request, server, servers):
    """A second one of the same kind, watched like the first."""
    if not server.process:
        pytest.skip("needs a second server")
    yield from watched(servers(request.node.callspec.params["server"],
                               "-twin"))


def connector(path):
    clients = []

    def make(where=None):
        clients.append(vfu.Client(where or path))
        return clients[-1]

    def no_more():
        for client in clients:
            client.close()

    make.no_more = no_more
    yield make
    no_more()


@pytest.fixture
def connect(server):
    """connect(): a new connection; connect.no_more() closes all of them, as
    the end of the test does."""
    yield from connector(server.path)


@pytest.fixture
def client(connect):
    """A client that has agreed on a version with the server."""
    made = connect()
    made.negotiate()
    return made


def is_edu(client):
    return client.read(vfu.CONFIG, 0, 4) == b"\x34\x12\xe8\x11"


@pytest.fixture
def edu(client):
    """A client whose device is edu, which has registers that DMA."""
    if not is_edu(client):
        pytest.skip("needs the edu device")
    client.ok(vfu.RESET)
    client.write_int(vfu.CONFIG, 4, 6, 2)
    yield client


def migrating(client):
    """As after a reset; skips without migration."""
    client.flags = client.offers()
    if not client.flags:
        pytest.skip("the device offers no migration")
    client.ok(vfu.RESET)
    client.write_int(vfu.CONFIG, 4, 6, 2)
    return client


@pytest.fixture
def mig(client):
    """A client whose device offers migration, in RUNNING.  client.flags:
    what of it."""
    return migrating(client)


@pytest.fixture
def twin(mig, twin_server):
    """Another device like it."""
    for connect in connector(twin_server.path):
        made = connect()
        made.negotiate()
        yield migrating(made)


@pytest.fixture
def edu_mig(mig):
    if not is_edu(mig):
        pytest.skip("needs the edu device")
    return mig


@pytest.fixture
def log(client):
    """A client whose device offers a dirty log."""
    if not client.logs():
        pytest.skip("the device offers no dirty log")
    return client


@pytest.fixture
def edu_log(log, edu):
    return edu


@pytest.fixture
def eventfd():
    made = []

    def make():
        made.append(os.eventfd(0, os.EFD_NONBLOCK))
        return made[-1]

    yield make
    for fd in made:
        os.close(fd)


class Memory:
    """A memfd, and our view of it."""

    def __init__(self, size=1 << 20, seed=0):
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, size)
        self.view = mmap.mmap(self.fd, size)
        self.view[:] = random.Random(seed).randbytes(size)

    def close(self):
        self.view.close()
        os.close(self.fd)


@pytest.fixture
def memory():
    made = []

    def make(size=1 << 20, seed=0):
        made.append(Memory(size, seed))
        return made[-1]

    yield make
    for m in made:
        m.close()


@pytest.fixture
def error_size(request):
    """error_size(reply, size): is an error, as long as the success (R37)."""
    short = request.config.getoption("--header-errors")

    def check(got, size=0):
        assert got.flags & vfu.ERROR
        assert got.error, "an error without a number"
        sizes = (0, size) if short else (size,)
        assert len(got.payload) in sizes
        return got

    return check


class Manager:
    """A socket where notifications come in."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.settimeout(vfu.PATIENCE)
        self.environment = {"NOTIFY_SOCKET": str(path)}

    def hears(self):
        """One notification, as a dictionary."""
        return dict(line.split("=", 1) for line in self.sock.recv(4096).decode().split("\n"))


@pytest.fixture
def manager(tmp_path):
    made = Manager(tmp_path / "notify")
    yield made
    made.sock.close()


@pytest.fixture
def operate(request, tmp_path, memory):
    """operate(device, ...): a server of them, with a control socket."""
    option = request.config.getoption
    if option("--socket") or option("--server-cmd"):
        pytest.skip("needs a server with a control socket")
    made = []

    def make(*devices, **more):
        made.append(operated.Served(request.config, tmp_path / str(len(made)), devices,
                           memory, **more))
        return made[-1]

    yield make
    for server in made:
        server.stop()
