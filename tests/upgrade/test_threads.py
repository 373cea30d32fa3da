# SPDX-License-Identifier: BSD-3-Clause
"""Devices of one process on several threads: what the first thread asks of the others,
under load, through deaths, upgrades and moves."""
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
import vfu

DISK = "nvme,queues=2,drive=mem:64M"
KILLS = 8


class Load:
    """outboard bench, which verifies all that it has written."""

    def __init__(self, binary, server, number, ios, *more):
        self.process = subprocess.Popen(
            [binary, "bench", server.socket(number), "--rw", "randrw", "--bs", "4K/90:64K",
             "--ios", str(ios), "--queues", "2", "--qd", "8", "--rate", "20k", "--verify",
             "--json", *more],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def is_running(self):
        return self.process.poll() is None

    def ends_well(self):
        said, _ = self.process.communicate(timeout=60 + vfu.PATIENCE)
        assert self.process.returncode == 0, said


def thread_names(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sorted((task / "comm").read_text().strip() for task in tasks)


def ask(binary, server, method, *words, **streams):
    made = subprocess.run([binary, "ctl", server.control, method, *words], timeout=60,
                          stderr=subprocess.PIPE, **streams)
    assert made.returncode == 0, made.stderr
    return made


def spread(serve, *more, disks=2, **options):
    return serve(*[DISK] * disks, options=["--threads", "2", *more], **options)


def test_devices_go_where_they_are_told_and_where_the_fewest_are(serve, this):
    server = serve(DISK + ",thread=2", DISK, DISK, DISK, options=["--threads", "3"])
    names = thread_names(server.status()["pid"])
    assert {"outboard/1", "outboard/2"} <= set(names)
    told = subprocess.run([this, "serve", "--threads", "2", "--device",
                           f"{DISK},thread=2,socket={server.socket(9)}"],
                          capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "thread=2: --threads 2 are 0 to 1" in told.stderr


@pytest.mark.parametrize("device, why", [
    ("null,lanes=3", "lanes=3: there are --threads 2"),
    ("null,lanes=2", "lanes=2: this model has one"),
])
def test_lanes_that_cannot_be_are_refused(this, tmp_path, device, why):
    told = subprocess.run([this, "serve", "--no-keeper", "--threads", "2", "--device",
                           f"{device},socket={tmp_path}/s"],
                          capture_output=True, text=True, check=False)
    assert told.returncode and why in told.stderr


@pytest.mark.parametrize("more", [(), ("--no-keeper",), ("--io-engine", "threads")])
def test_the_control_socket_asks_all_threads_under_load(serve, this, more):
    server = spread(serve, *more)
    loads = [Load(this, server, number, 10000) for number in range(2)]
    while any(load.is_running() for load in loads):
        assert len(server.status()["devices"]) == 2
        assert len(server.ask("inflight")["devices"]) == 2
        for number in range(2):
            said = ask(this, server, "device.config", f"device=dev{number}",
                       stdout=subprocess.PIPE)
            assert json.loads(said.stdout)["model"] == "nvme"
        os.kill(server.process.pid, signal.SIGUSR1)
    for load in loads:
        load.ends_well()


@pytest.mark.parametrize("more", [(), ("--standby",), ("--io-engine", "threads")])
def test_all_threads_outlive_deaths_under_load(serve, this, more):
    server = spread(serve, *more)
    loads = [Load(this, server, number, 30000) for number in range(2)]
    for _ in range(KILLS):
        time.sleep(0.1)
        os.kill(server.status()["pid"], signal.SIGKILL)
    for load in loads:
        load.ends_well()
    assert server.status()["keeper"]["deaths"] == KILLS


def test_all_threads_are_upgraded_under_load(serve, this, following):
    server = spread(serve)
    loads = [Load(this, server, number, 30000) for number in range(2)]
    for binary in (following, this, following, this):
        server.replace(binary)
    assert "outboard/1" in thread_names(server.status()["pid"])
    for load in loads:
        load.ends_well()


@pytest.mark.parametrize("more", [("--standby",), ("--io-engine", "threads")])
def test_a_disk_on_two_threads_outlives_all_of_this(serve, this, following, tmp_path, more):
    """Its first queue is on the second thread, its second on the first."""
    with open(tmp_path / "image", "wb") as image:
        image.truncate(64 << 20)
    server = serve(f"nvme,queues=2,lanes=2,thread=1,drive=file:{tmp_path}/image",
                   options=["--threads", "2", *more])
    load = Load(this, server, 0, 20000, "--interrupts")
    seen = set()
    for turn in range(8):
        time.sleep(0.1)
        device, = server.status()["devices"]
        seen.add((device["lanes"], device["spread"]))
        if turn % 4 == 3:
            server.replace(following if turn == 3 else this)
        else:
            os.kill(server.status()["pid"], signal.SIGKILL)
    load.ends_well()
    assert (2, True) in seen


def test_a_disk_on_all_threads_is_reset(serve, this):
    """A reset saves what it changes, and lanes have used many places by then."""
    server = serve("nvme,queues=16,lanes=16,drive=mem:64M", options=["--threads", "16"])
    for _ in range(2):
        subprocess.run([this, "bench", server.socket(0), "--queues", "16", "--qd", "4",
                        "--ios", "20000", "--interrupts"], check=True, timeout=60,
                       stdout=subprocess.DEVNULL)
    assert server.status()["keeper"]["deaths"] == 0


def test_who_hangs_up_cancels_what_a_thread_does(serve, this):
    """The pipe is not read, so the operation is under way when its asker goes."""
    server = spread(serve)
    with server.client(1):
        for _ in range(5):
            read, write = os.pipe()
            asker = subprocess.Popen([this, "ctl", server.control, "device.save", "device=dev1"],
                                     stdout=write, stderr=subprocess.DEVNULL)
            os.close(write)
            os.read(read, 1)
            asker.kill()
            asker.wait()
            os.close(read)
        ask(this, server, "device.resume", "device=dev1", stdout=subprocess.PIPE)
        assert server.status()["devices"][1]["migration"]["state"] == "RUNNING"


def test_a_start_that_fails_tells_why_though_others_serve_already(this, tmp_path):
    """Devices of other threads may have clients before the last part fails."""
    first = tmp_path / "first.sock"
    devices = [f"null,thread=2,socket={tmp_path}/{number}.sock" for number in range(200)]
    words = [word for device in [f"{DISK},thread=1,socket={first}", *devices]
             for word in ("--device", device)]
    with subprocess.Popen([this, "serve", "--no-keeper", "--threads", "3", "--control",
                           f"{tmp_path}/no/such", *words], stderr=subprocess.PIPE,
                          stdout=subprocess.DEVNULL, text=True) as server:
        while not first.exists() and server.poll() is None:
            time.sleep(0.001)
        with subprocess.Popen([this, "bench", str(first), "--time", "5"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            _, said = server.communicate(timeout=vfu.PATIENCE)
    assert server.returncode == 1
    assert "no/such" in said


def test_the_queues_of_an_uneven_load_are_parted(serve, this):
    """By their numbers the first and the third queue belong to one lane."""
    server = serve("nvme,queues=4,lanes=2,drive=mem:64M",
                   options=["--threads", "2", "--log-level", "debug"])
    subprocess.run([this, "bench", server.socket(0), "--queues", "2", "--spare", "2",
                    "--threads", "2", "--qd", "16", "--ios", "600000", "--interrupts"],
                   check=True, timeout=60, stdout=subprocess.DEVNULL)
    assert "goes from lane 1 to 0" in server.log.read_text()
