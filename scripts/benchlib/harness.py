# SPDX-License-Identifier: BSD-3-Clause
"""Processes on chosen CPUs, servers, rounds that alternate, and figures."""
import contextlib
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

from . import processes

TOP = pathlib.Path(__file__).resolve().parents[2]
FOLDER = pathlib.Path("run")
SOCKET = FOLDER / "bench.sock"
OTHER = FOLDER / "other.sock"
LOG = FOLDER / "bench.log"
IMAGE = FOLDER / "bench.img"
TWIN = FOLDER / "bench2.img"    # the same bytes, for whoever locks the first
IMAGE_SIZE = 1 << 30
ROUNDS = 5

# 1: about twenty minutes for all of it; 0.15: a quick look, about three.
SCALE = float(os.environ.get("OB_BENCH_SCALE", "1"))
OUTBOARD = pathlib.Path("build/outboard")


class Bench(Exception):
    pass


class Missing(Bench):
    """What is needed for a part is not there: the others go on."""


def use(outboard):
    global OUTBOARD
    OUTBOARD = pathlib.Path(outboard).resolve()


def tests_program(name):
    program = OUTBOARD.parents[1] / "tests/bench" / name
    if not program.exists():
        raise Missing(f"{name} is a program of the tests, which are not built")
    return program


def scaled(seconds):
    """Never so short that starting is what is measured."""
    return round(max(0.3, seconds * SCALE), 2)


def pinned(cpus, command):
    """The command on these CPUs; on all if there are none to choose from."""
    words = [str(word) for word in command]
    if not cpus:
        return words
    return ["taskset", "--cpu-list", ",".join(map(str, cpus)), *words]


def output(command, cpus=(), timeout=120):
    made = subprocess.run(pinned(cpus, command), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True, timeout=timeout)
    if made.returncode:
        raise Bench(f"{' '.join(map(str, command))}: status {made.returncode}")
    return made.stdout


def cpus():
    """(the server's, the client's); nothing where they cannot be chosen."""
    all_of_them = sorted(os.sched_getaffinity(0))
    if not shutil.which("taskset"):
        return (), ()
    return [all_of_them[0]], [all_of_them[-1]]


class Served:
    def __init__(self, process, ready_ms):
        self.process, self.ready_ms = process, ready_ms

    def memory_kib(self):
        return processes.memory(self.process.pid) / 1024


@contextlib.contextmanager
def served(device, *options, cpus=(), socket=SOCKET, more=()):
    """One server with one device, or with more of them."""
    command = [OUTBOARD, "serve", *options, "--device", f"{device},socket={socket}"]
    for other in more:
        command += ["--device", other]
    start = time.monotonic()
    with open(LOG, "a") as log:
        server = subprocess.Popen(pinned(cpus, command), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        if not server.stdout.readline():
            raise Bench(f"the server did not start: {LOG.read_text().strip()}")
        yield Served(server, (time.monotonic() - start) * 1e3)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()


def load(*options, cpus=(), socket=SOCKET, timeout=120):
    """The report of one `outboard bench`; socket None: a floor."""
    words = [OUTBOARD, "bench", *([socket] if socket else []), "--json", *options]
    return json.loads(output(words, cpus, timeout))


def fio(image, depth, seconds, cpus=(), rw="randread"):
    """Its own report: one process is both sides."""
    if not shutil.which("fio"):
        raise Missing("fio is not installed (scripts/install-deps bench)")
    text = output(["fio", "--name=disk", f"--filename={image}", "--ioengine=io_uring",
                   "--direct=1", f"--rw={rw}", "--bs=4k", f"--iodepth={depth}",
                   "--time_based", f"--runtime={max(1, round(seconds))}",
                   "--output-format=json"], cpus)
    return json.loads(text[text.index("{"):])["jobs"][0]


@contextlib.contextmanager
def busy_core(cpus):
    """Somebody who spins, as a client does that polls."""
    spins = subprocess.Popen(pinned(cpus, [sys.executable, "-c", "while True: pass"]))
    try:
        yield
    finally:
        spins.kill()
        spins.wait()


def alternate(rounds, **steps):
    """Each step's results, as a list; who is first changes, so that none
    profits from it."""
    found = {name: [] for name in steps}
    for number in range(rounds):
        for name in list(steps)[::1 if number % 2 else -1]:
            found[name].append(steps[name]())
    return found


def make_image(path=IMAGE):
    """Data in every block: holes would be read without the disk."""
    if path.exists() and path.stat().st_size == IMAGE_SIZE:
        return
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for number in range(IMAGE_SIZE >> 20):
            file.write(number.to_bytes(8, "little") + block[8:])
        file.flush()
        os.fsync(file.fileno())


def remove_images():
    for path in (IMAGE, TWIN, LOG):
        path.unlink(missing_ok=True)


def spread(values, unit=1):
    low, middle, high = (value / unit for value in (
        min(values), statistics.median(values), max(values)))
    return f"{middle:9,.2f} ({low:,.2f} to {high:,.2f})"


def line(title, text):
    print(f"  {title:<46} {text}", flush=True)


def filesystem(path):
    made = subprocess.run(["stat", "-f", "-c", "%T", path], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return made.stdout.strip() or "unknown"


def sysfs(path):
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return "unknown"


def machine():
    """What figures depend on, as a dictionary of texts."""
    model = [text.split(":", 1)[1].strip() for text in
             pathlib.Path("/proc/cpuinfo").read_text().splitlines()
             if text.startswith("model name")] or [platform.machine()]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    virtual = "hypervisor" in pathlib.Path("/proc/cpuinfo").read_text().split()
    return {
        "outboard": output([OUTBOARD, "--version"]).strip(),
        "CPUs": f"{len(model)} ({model[0]}{', of a virtual machine' if virtual else ''})",
        "memory": f"{pages / (1 << 30):.1f} GiB",
        "kernel": f"Linux {os.uname().release}",
        "huge pages": sysfs("/sys/kernel/mm/transparent_hugepage/enabled"),
        "clock": sysfs("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "file system of the files": filesystem("."),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }
