# SPDX-License-Identifier: BSD-3-Clause
"""Files with the state of devices, and the command that reads them.

    pytest tests/stream                     build/outboard
    pytest tests/stream --outboard PATH     another build of it
"""
import json
import pathlib
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


def pytest_addoption(parser):
    parser.addoption("--outboard", default=str(TOP / "build" / "outboard"),
                     help="the outboard command")


class Outboard:
    def __init__(self, path):
        self.path = pathlib.Path(path)

    def run(self, *words, **options):
        return subprocess.run([self.path, *map(str, words)], capture_output=True,
                              timeout=60, **options)

    def ok(self, *words, **options):
        """Its standard output, as bytes."""
        made = self.run(*words, **options)
        assert made.returncode == 0, made.stderr.decode()
        return made.stdout

    def fails(self, *words, code=1, **options):
        """What it says, on either output."""
        made = self.run(*words, **options)
        text = (made.stdout + made.stderr).decode(errors="replace")
        assert made.returncode == code, text
        return text

    def show(self, *paths):
        return json.loads(self.ok("state", "show", *paths, "--json"))


@pytest.fixture(scope="session")
def outboard(request):
    return Outboard(pathlib.Path(request.config.getoption("--outboard")).absolute())


@pytest.fixture
def make_stream(outboard, tmp_path):
    """make_stream(name, "--fill", 1, ...): a file with a stream."""
    program = outboard.path.parent / "tests" / "stream" / "make_stream"

    def make(name, *words):
        path = tmp_path / name
        with open(path, "wb") as out:
            subprocess.run([program, *map(str, words)], stdout=out, check=True, timeout=60)
        return path
    return make


@pytest.fixture
def serve(outboard, tmp_path):
    """serve("a", "null"): the path of the socket of a device served."""
    servers = []

    def start(name, device):
        path = tmp_path / f"{name}.sock"
        server = subprocess.Popen(
            [outboard.path, "serve", "--device", f"{device},socket={path}"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        servers.append(server)
        assert b"ready" in server.stdout.readline()
        return path
    yield start
    for server in servers:
        server.terminate()
        assert server.wait(20) == 0
        server.stdout.close()
