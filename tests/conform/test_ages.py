# SPDX-License-Identifier: BSD-3-Clause
"""How long a command has been in flight, as an operator is told: on a drive
that never answers, so that it only grows older."""

import contextlib
import json
import os
import re
import signal
import subprocess

import pytest

import conftest
import nvme
import vfu

MIB = 1 << 20
HUNG = "nvme,id=disk,drive=delay:hang:mem:16M,socket=%s"


class Operator:
    """What the outboard command tells of a server."""

    def __init__(self, config, control):
        self.outboard, self.control = config.getoption("--outboard"), control

    def ask(self, *words):
        made = subprocess.run([self.outboard, *words, self.control, "--json"],
                              stdout=subprocess.PIPE, timeout=vfu.PATIENCE)
        return json.loads(made.stdout) if made.returncode == 0 else None

    def writes(self):
        """Those of the guest that have not ended; none while nobody answers."""
        told = self.ask("inspect", "--inflight")
        return [command for device in (told or {"devices": []})["devices"]
                for command in device["commands"] if command["operation"] == "write"]

    def age(self):
        one, = self.writes()
        assert (one["queue"], one["bytes"]) == (1, 512)
        return one["age us"]

    def grown(self, than):
        assert vfu.wait_until(lambda: self.age() > than)
        return self.age()


def start_write(client, memory):
    client.negotiate()
    guest = memory(2 * MIB)
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 * MIB), [guest.fd])
    nvme.Disk(client, guest.view).write_block(1, 0x100000)


@contextlib.contextmanager
def hung(config, folder, memory, *options):
    """A server with a write in flight, its operator, its process."""
    control, path = str(folder / "control"), str(folder / "sock")
    argv = conftest.model_argv(config, HUNG % path) + ["--control", control, *options]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        assert vfu.wait_until(lambda: os.path.exists(control) and vfu.reachable(path))
        operator = Operator(config, control)
        with vfu.Client(path) as client:
            start_write(client, memory)
            assert vfu.wait_until(operator.writes)
            yield operator, process.pid
            client.ok(vfu.RESET)        # or the server would wait for the drive
    finally:
        process.terminate()
        process.wait(vfu.PATIENCE)


def own_only(request):
    option = request.config.getoption
    if option("--socket") or option("--server-cmd"):
        pytest.skip("needs a server with drives of its own")
    return request.config


@pytest.mark.parametrize("options", [[], ["--no-keeper"]])
def test_a_command_grows_older(request, tmp_path, memory, options):
    with hung(own_only(request), tmp_path, memory, *options) as (operator, _):
        operator.grown(operator.grown(0))


def test_r29_a_command_is_as_old_as_its_first_life(request, tmp_path, memory):
    """Who fetched it has died, and the flight recorder remembers when."""
    with hung(own_only(request), tmp_path, memory) as (operator, keeper):
        young = operator.grown(0)
        with open("/proc/%d/task/%d/children" % (keeper, keeper)) as children:
            os.kill(int(children.read().split()[0]), signal.SIGKILL)
        assert vfu.wait_until(operator.writes)
        assert operator.age() > young


def test_a_rehearsal_tells_the_longest_age(request, tmp_path, memory):
    with hung(own_only(request), tmp_path, memory) as (operator, _):
        operator.grown(0)
        told = operator.ask("upgrade", "--dry-run")
        assert told["outcome"] == "possible" and told["oldest command us"] > 0
    log = (tmp_path / "log").read_text()
    found = re.search(r"(\d+) drive requests in flight, the oldest for (\d+) us", log)
    assert found and int(found[1]) == 1 and int(found[2]) > 0, log
