# SPDX-License-Identifier: BSD-3-Clause
"""The parts of the table of targets.  Each prints what it finds and returns
it, all rounds of it, for the page."""
import contextlib
import json
import statistics
import time

from . import guest
from . import harness
from .harness import (IMAGE, ROUNDS, SOCKET, TWIN, Missing, alternate, fio, line, load,
                      make_image, output, scaled, served, spread)
from .processes import SETTLED

SIZE = "1G"
DEPTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
DEVICES = 1000


def fill(cpus):
    """Every block of a drive: what nobody wrote is one page of zeros."""
    load("--rw", "write", "--bs", "512K", "--ios", 2048, "--qd", 4, cpus=cpus)


def figures(report, kind="read"):
    """What the page needs of one run."""
    latency = report[kind]["latency_us"]
    return {"iops": report[kind]["iops"], "p50": latency["p50"], "p99": latency["p99"],
            "server": report["server_cpus"], "empty": report["client"]["empty_share"],
            "found": report["client"]["found_per_look"]}


def of_fio(job, kind="read"):
    times = job[kind]["clat_ns"]["percentile"]
    return {"iops": job[kind]["iops"], "p50": times["50.000000"] / 1e3,
            "p99": times["99.000000"] / 1e3, "server": (job["usr_cpu"] + job["sys_cpu"]) / 100}


def values(rounds, key):
    return [entry[key] for entry in rounds]


def read(depth, seconds, cpus, *options):
    return figures(load("--qd", depth, "--time", scaled(seconds), "--ramp", 0.1, *options,
                        cpus=cpus))


# --- the wall ---------------------------------------------------------------

def floor(what, cpus, depth=32):
    return load("--floor", what, "--size", SIZE, "--qd", depth, "--time", scaled(2),
                "--ramp", 0.1, cpus=cpus, socket=None)["read"]["iops"]


def disk(drive, way, server, client):
    """At depth 32 and at depth 1, of one server."""
    with served(f"nvme,drive={drive}:{SIZE},doorbells={way}", cpus=server):
        if drive == "mem":
            fill(client)
        return {"32": read(32, 2, client), "1": read(1, 2, client)}


def line_between(server, client):
    """There and back, in nanoseconds: no command at depth 1 is faster than that."""
    program = harness.tests_program("bench_line")
    if server == client:
        raise Missing("a line goes between two CPUs")
    return lambda: float(json.loads(output([program, *server, *client]))["median"])


def measure_wall(server, client):
    print("\nOne core of a server against the memory of one core: million/s\n")
    steps = {what: lambda what=what: floor(what, server) for what in ("memcpy", "memcpy-huge")}
    with contextlib.suppress(Missing):
        steps["line"] = line_between(server, client)
    steps["client"] = lambda: floor("client", client)
    steps["client, one by one"] = lambda: floor("client", client, 1)
    for drive in ("mem", "null"):
        for way in ("mapped", "adaptive"):
            steps[f"{drive} {way}"] = lambda drive=drive, way=way: disk(
                drive, way, server, client)
    found = alternate(ROUNDS, **steps)
    for name, rounds in found.items():
        if name == "line":
            line("a word from core to core and back, ns", spread(rounds))
            continue
        if isinstance(rounds[0], float):
            line(f"{name} alone", spread(rounds, 1e6))
            continue
        at32, at1 = values(rounds, "32"), values(rounds, "1")
        line(f"{name}, depth 32", spread(values(at32, "iops"), 1e6))
        line("  of the client's looks in vain", spread(values(at32, "empty")))
        line(f"{name}, depth 1, p50 µs", spread(values(at1, "p50")))
    return found


# --- depth ------------------------------------------------------------------

def measure_depth(server, client):
    print("\n4-KiB random reads by depth: thousand/s, p50 and p99 in µs\n")
    make_image()
    drives = {"mem": f"mem:{SIZE},doorbells=mapped", "null": f"null:{SIZE},doorbells=mapped",
              "file": f"file:{IMAGE}"}
    found = {name: {str(depth): [] for depth in DEPTHS} for name in (*drives, "fio")}
    for _ in range(3 if harness.SCALE > 0.5 else 1):
        for name, drive in drives.items():
            with served(f"nvme,drive={drive}", cpus=server):
                if name == "mem":
                    fill(client)
                for depth in DEPTHS:
                    found[name][str(depth)].append(read(depth, 1.2, client))
        with contextlib.suppress(Missing):
            for depth in DEPTHS:
                found["fio"][str(depth)].append(of_fio(fio(IMAGE, depth, scaled(1.2))))
    for name, depths in found.items():
        for depth, rounds in depths.items():
            if rounds:
                line(f"{name}, depth {depth}", "  ".join(
                    f"{statistics.median(values(rounds, key)) / unit:9,.1f}"
                    for key, unit in (("iops", 1e3), ("p50", 1), ("p99", 1))))
    return found


# --- a file -----------------------------------------------------------------

def measure_file_target(server, client):
    """Both may use both CPUs: fio's one process has no other side.  Ours has a client
    that polls, hence takes a whole CPU, which what serves a virtual disk may be in want of.
    So there is also a fio beside somebody who does as much."""
    print("\nA file, direct, depth 32, against fio with io_uring on it\n")
    make_image()

    def ours():
        with served(f"nvme,drive=file:{IMAGE}"):
            return read(32, 4, ())

    def beside():
        with harness.busy_core(client):
            return of_fio(fio(IMAGE, 32, scaled(4)))

    found = alternate(ROUNDS, ours=ours, beside=beside,
                      fio=lambda: of_fio(fio(IMAGE, 32, scaled(4))))
    print_file_target(found)
    compare_to_copying(ours, client)
    return found | {f"sequential {kind}": sequential(kind) for kind in ("read", "write")}


def sequential(kind):
    def ours():
        with served(f"nvme,drive=file:{IMAGE}"):
            return figures(load("--rw", kind, "--qd", 32, "--time", scaled(2), "--ramp", 0.1),
                           kind)

    found = alternate(ROUNDS, ours=ours,
                      fio=lambda: of_fio(fio(IMAGE, 32, scaled(2), rw=kind), kind))
    print(f"\nThe same, {kind} in order\n")
    print_file_target(found)
    return found


def compare_to_copying(ours, client):
    """A bare ring that copies what it has read, as we have to and fio does not."""
    program = harness.OUTBOARD.parents[1] / "tests/bench/bench_copy"
    if not program.exists():
        return

    def ring():
        with harness.busy_core(client):
            return {"iops": float(harness.output([program, IMAGE, 32, scaled(4)]))}

    found = alternate(ROUNDS, ours=ours, ring=ring)
    line("a bare ring that copies, beside a busy core, iops",
         spread(values(found["ring"], "iops"), 1e3))
    line("  ratio", spread(ratios(found, "ours", "ring", "iops")))


def print_file_target(found):
    for key, unit in (("iops", 1e3), ("p99", 1)):
        for name, rounds in found.items():
            line(f"{name}, {key}", spread(values(rounds, key), unit))
        line("  ratio to fio", spread(ratios(found, "ours", "fio", key)))
        if "beside" in found:
            line("  ratio to fio beside a busy core",
                 spread(ratios(found, "ours", "beside", key)))
    for name, rounds in found.items():
        line(f"{name}, processor time for one, µs",
             spread([entry["server"] / entry["iops"] * 1e6 for entry in rounds]))


def ratios(found, a, b, key):
    return [x[key] / y[key] for x, y in zip(found[a], found[b])]


# --- idle -------------------------------------------------------------------

def resting(device, client):
    with served(device, cpus=()) as server:
        unused = server.memory_kib()
        report = load("--time", 0.3, "--idle", scaled(8), cpus=client)
        return {"ready_ms": server.ready_ms, "memory_kib": unused,
                "used_kib": server.memory_kib(), "server_cpus": report["idle"]["server_cpus"],
                "wakeups": report["idle"]["server_wakeups"],
                "seconds": report["idle"]["seconds"]}


def many(count):
    folder = harness.FOLDER
    others = [f"nvme,drive=null:1G,socket={folder}/bench-{n}.sock" for n in range(1, count)]
    with served("nvme,drive=null:1G", more=others) as server:
        time.sleep(SETTLED)
        return {"ready_ms": server.ready_ms, "memory_kib": server.memory_kib()}


def measure_idle(server, client):
    print("\nA device at rest, with a client that did I/O before: and its memory\n")
    found = {}
    for name, device in (("null, adaptive", "nvme,drive=null:1G"),
                         ("mem:64M, adaptive", "nvme,drive=mem:64M"),
                         ("null, mapped", "nvme,drive=null:1G,doorbells=mapped")):
        found[name] = at_rest = resting(device, client)
        line(name, f"{at_rest['server_cpus'] * 100:.3f} % of a CPU, woken "
             f"{at_rest['wakeups']} times in {at_rest['seconds']:.1f} s, "
             f"{at_rest['memory_kib'] / 1024:.1f} MiB, ready in {at_rest['ready_ms']:.1f} ms")
    one, all_of_them = many(1), many(DEVICES)
    found["each more"] = {
        "memory_kib": (all_of_them["memory_kib"] - one["memory_kib"]) / (DEVICES - 1),
        "ready_ms": (all_of_them["ready_ms"] - one["ready_ms"]) / (DEVICES - 1)}
    line(f"each of {DEVICES - 1} more devices of the process",
         f"{found['each more']['memory_kib']:.1f} KiB, {found['each more']['ready_ms']:.2f} ms")
    return found


# --- registers --------------------------------------------------------------

REGISTER_ROWS = (("both spin", ["--busy-poll"], "spin", (0, 1)),
                 ("both sleep, one core", [], "block", (0, 0)),
                 ("both sleep, two cores", [], "block", (0, 1)))


def register_report(options, mode, server, client):
    with served("nvme,drive=mem:64M", *options, cpus=server):
        return json.loads(output([harness.OUTBOARD, "bench-mmio", SOCKET, "--mode", mode,
                                  "--time", max(4, scaled(8)), "--json"], cpus=client))


def saturated(server, client):
    """A register's answer while the queue is never empty."""
    with served(f"nvme,drive=mem:{SIZE},doorbells=mapped", cpus=server):
        fill(client)
        return load("--qd", 128, "--registers", "2k", "--time", scaled(4), "--ramp", 0.1,
                    cpus=client)["registers"]["latency_us"]


def beside_copies(server, client):
    """The same of somebody who does nothing but copy: the machine's own part of it."""
    program = harness.tests_program("bench_beside")
    if server == client:
        raise Missing("a copy beside a client needs two CPUs")
    return lambda: json.loads(output([program, *server, *client, scaled(4)]))


def measure_saturated(server, client):
    steps = {"ours": lambda: saturated(server, client)}
    with contextlib.suppress(Missing):
        steps["bare"] = beside_copies(server, client)
    found = alternate(ROUNDS, **steps)
    for name, what in (("ours", "4-byte read while I/O saturates the core"),
                       ("bare", "  a message to who only copies")):
        for key in ("p50", "p99"):
            if name in found:
                line(f"{what}, {key} µs", spread(values(found[name], key)))
    return found


def measure_registers(server, client):
    print("\nRegisters: the ratio to bare messages of the same size\n")
    found = {"rows": {}}
    for title, options, mode, which in REGISTER_ROWS:
        ends = [(server, client)[n] for n in which]
        if mode == "spin" and server == client:
            line(title, "needs two CPUs")
            continue
        rows = {row["name"]: row for row in register_report(options, mode, *ends)["rows"]}
        found["rows"][title] = entry = rows["read 4 B"]
        line(f"4-byte read, {title}", f"{entry['ratio']['median']:.2f}   "
             f"{entry['server']['rate']['median'] / 1e3:,.0f} thousand/s, "
             f"p50 {entry['server']['p50_ns'] / 1e3:.1f} µs, "
             f"p99 {entry['server']['p99_ns'] / 1e3:.1f} µs")
    found["posted"] = rows["posted, batched"]["server"]["rate"]
    line("posted writes, many in one receive", f"{found['posted']['median'] / 1e6:.1f} million/s")
    beside = measure_saturated(server, client)
    return found | {"saturated": beside["ours"], "beside copies": beside.get("bare", [])}


# --- the dirty log, and a guest ---------------------------------------------

def measure_log_rate(server, client):
    print("\nWith the dirty log on, to without: 4-KiB random reads, depth 32, thousand/s\n")
    with served(f"nvme,drive=mem:{SIZE},doorbells=mapped", cpus=server):
        fill(client)
        found = alternate(2 * ROUNDS - 1, on=lambda: read(32, 1.5, client, "--dirty-log"),
                          off=lambda: read(32, 1.5, client))
    for name, rounds in found.items():
        line(name, spread(values(rounds, "iops"), 1e3))
    line("  ratio", spread(ratios(found, "on", "off", "iops")))
    return found


def measure_guest(server, client):
    print("\nIn a Linux guest: our disk, and QEMU's own nvme on the same content\n")
    make_image()
    make_image(TWIN)
    found = guest.measure(ROUNDS, max(2, round(scaled(4))))
    for name, rounds in found["runs"].items():
        line(f"{name}, IOPS", spread(values(rounds, "iops")))
        line(f"{name}, p99 µs", spread(values(rounds, "p99")))
    return found
