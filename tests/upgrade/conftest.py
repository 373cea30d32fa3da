# SPDX-License-Identifier: BSD-3-Clause
"""Upgrades between this release and outboard-next (tests/next), which lays the
state of the NVMe model out in another way.

    pytest tests/upgrade                             those of build/
    pytest tests/upgrade --outboard A --next B       two others
"""
import pathlib
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests" / "conform"), str(TOP / "tests" / "golden")]

import lab          # noqa: E402

BUILD = TOP / "build"


def pytest_addoption(parser):
    parser.addoption("--outboard", default=str(BUILD / "outboard"), help="this release")
    parser.addoption("--next", help="the other one (tests/next beside this release)")


@pytest.fixture(scope="session")
def this(request):
    return pathlib.Path(request.config.getoption("--outboard")).absolute()


@pytest.fixture(scope="session")
def following(request, this):
    path = request.config.getoption("--next") or this.parent / "tests" / "next" / "outboard-next"
    return pathlib.Path(path).absolute()


@pytest.fixture
def serve(this, tmp_path):
    """serve("nvme,drive=..."): a lab.Server, which has to end well."""
    servers = []

    def start(*devices, binary=this, **options):
        servers.append(lab.Server(binary, tmp_path, devices, **options))
        return servers[-1]
    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(bytes(lab.IMAGE))
    return path


@pytest.fixture
def disk(serve, image):
    """A server with a slow disk, its driver, and what it has been told."""
    server = serve(lab.SLOW.format(image))
    with server.client() as client:
        yield server, lab.Disk(client)
