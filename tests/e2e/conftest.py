# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: the prepared machine, servers and guests that end with the test.

Environment: OUTBOARD, the command under test (default build/outboard);
OUTBOARD_ACCEL, to not probe for KVM; OUTBOARD_LOGS, where consoles and logs of
failed tests stay (default build/e2e-logs).
"""
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from guest import Guest, GuestError
from server import Server

TOP = pathlib.Path(__file__).resolve().parents[2]


class Lab:
    """What scripts/prepare-vm made."""

    def __init__(self, folder):
        self.folder = folder
        self.qemu = folder / "qemu"
        self.kernel = folder / "vmlinuz"
        self.initrd = folder / "initrd"
        self.boot_image = folder / "boot.img"
        self.ovmf_code = folder / "ovmf" / "OVMF_CODE_4M.fd"
        self.ovmf_vars = folder / "ovmf" / "OVMF_VARS_4M.fd"
        self.accel = "tcg"

    def probe(self, logs):
        """KVM if a guest really boots with it: some hosts offer it and fail."""
        self.accel = os.environ.get("OUTBOARD_ACCEL", "")
        if self.accel or not os.access("/dev/kvm", os.R_OK | os.W_OK):
            self.accel = self.accel or "tcg"
            return
        self.accel = "kvm"
        guest = Guest(self, logs)
        try:
            guest.boot(timeout=8)
        except GuestError:
            self.accel = "tcg"
        finally:
            guest.kill()
            guest.close()


@pytest.fixture(scope="session")
def outboard():
    path = pathlib.Path(os.environ.get("OUTBOARD", TOP / "build" / "outboard"))
    assert path.exists(), f"{path} is not built"
    return path.resolve()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    made = subprocess.run([TOP / "scripts" / "prepare-vm", "--print"], check=True,
                          stdout=subprocess.PIPE, text=True, timeout=900)
    lab = Lab(pathlib.Path(made.stdout.strip()).resolve())
    lab.probe(tmp_path_factory.mktemp("probe"))
    return lab


@pytest.fixture(scope="session")
def baseline(lab, tmp_path_factory):
    """What the kernel complains of without any device of ours."""
    guest = Guest(lab, tmp_path_factory.mktemp("baseline"), cpus=2)
    try:
        return set(guest.boot().kernel_complaints())
    finally:
        guest.close()


class Scene:
    """Everything that one test starts, and where it keeps its files."""

    def __init__(self, lab, outboard, logs):
        self.lab = lab
        self.outboard = outboard
        self.logs = logs
        # A socket's path is at most 107 bytes; the log folder may be deep.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="outboard-"))
        self.parts = []
        self.numbers = {Server: itertools.count(), Guest: itertools.count()}

    def socket(self, name="disk"):
        return self.folder / f"{name}.sock"

    def image(self, name="disk.img", size=256 << 20):
        path = self.folder / name
        with open(path, "xb") as file:
            file.truncate(size)
        return path

    def server(self, *devices, **keys):
        number = next(self.numbers[Server])
        server = Server(self.outboard, self.logs / f"server{number}.log",
                        *devices, **keys)
        self.parts.append(server)
        return server

    def nvme(self, keys="", drive=None, name="disk", options=()):
        """A server with one NVMe disk; its socket is socket(name)."""
        drive = drive or f"file:{self.image(name + '.img')}"
        return self.server(f"nvme,socket={self.socket(name)},drive={drive}"
                           + (f",{keys}" if keys else ""), options=options)

    def guest(self, *devices, boot=True, **keys):
        number = next(self.numbers[Guest])
        logs = self.logs / f"guest{number}"
        logs.mkdir(parents=True)
        guest = Guest(self.lab, logs, devices, **keys)
        self.parts.append(guest)
        return guest.boot() if boot else guest

    def close(self):
        """Guests first; then every server has to end well."""
        problems = []
        for part in sorted(self.parts, key=lambda p: isinstance(p, Server)):
            try:
                part.close()
            except Exception as error:  # the others must still be ended
                problems.append(f"{type(error).__name__}: {error}")
        shutil.rmtree(self.folder)
        assert not problems, "\n".join(problems)


def make_scene(lab, outboard, request):
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", request.node.name)
    logs = pathlib.Path(os.environ.get("OUTBOARD_LOGS", TOP / "build" / "e2e-logs"))
    logs = logs / name
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    return Scene(lab, outboard, logs)


@pytest.fixture
def scene(lab, outboard, request):
    scene = make_scene(lab, outboard, request)
    yield scene
    scene.close()
    if not getattr(request.node, "failed", False):
        shutil.rmtree(scene.logs)


@pytest.fixture(scope="module")
def shared_scene(lab, outboard, request):
    """One for all tests of a file."""
    scene = make_scene(lab, outboard, request)
    yield scene
    scene.close()
    if not request.session.testsfailed:
        shutil.rmtree(scene.logs)


@pytest.fixture
def tell(capsys, record_property):
    """A number for the reader of the log and of the report."""
    def say(name, value):
        record_property(name, value)
        with capsys.disabled():
            print(f"\n  {name}: {value}")
    return say


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    if outcome.get_result().failed:
        item.failed = True
