#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""neighbours.py OUTBOARD [ROUNDS [SECONDS [THREADS]]]: does a busy disk slow another one?

One process serves two disks in memory.  A client of the first reads 4 KiB at a time, at
a steady and low rate; one of the second keeps it full with reads of 512 KiB, or there is
none.  That with one thread and with two, all in turn.  Prints, for each, the first
client's latency in microseconds and what the second one moved: medians of the rounds,
and least and most.
"""
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

QUIET = ["--rw", "randread", "--bs", "4K", "--qd", "1", "--rate", "2k", "--interrupts"]
LOUD = ["--rw", "randread", "--bs", "512K", "--qd", "16", "--interrupts"]


def bench(outboard, sock, words, seconds):
    return subprocess.Popen(
        [outboard, "bench", sock, *words, "--time", str(seconds), "--ramp", "0.5", "--json"],
        stdout=subprocess.PIPE, text=True)


def result(client):
    said, _ = client.communicate()
    if client.returncode:
        sys.exit("neighbours: a client failed")
    return json.loads(said)


def measure(outboard, folder, threads, loud, seconds):
    """(p50, p99, p99.9 of the quiet one in us, MiB/s of the loud one)"""
    socks = [str(pathlib.Path(folder) / name) for name in ("quiet", "loud")]
    devices = [word for sock in socks
               for word in ("--device", f"nvme,drive=mem:256M,socket={sock}")]
    with subprocess.Popen([outboard, "serve", "--threads", str(threads), "--log-level", "error",
                           *devices], stdout=subprocess.PIPE) as server:
        server.stdout.readline()
        other = bench(outboard, socks[1], LOUD, seconds) if loud else None
        told = result(bench(outboard, socks[0], QUIET, seconds))
        moved = result(other) if loud else None
        server.terminate()
    latency = told["read"]["latency_us"]
    return [latency[key] for key in ("p50", "p99", "p99.9")] + [
        moved["read"]["bytes_per_second"] / 2**20 if loud else 0]


def main(outboard, rounds=3, seconds=3, threads=2):
    cases = [("alone", 1, False), ("1 thread", 1, True), (f"{threads} threads", threads, True)]
    runs = {name: [] for name, *_ in cases}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(int(rounds)):
            for name, count, loud in cases:
                runs[name].append(measure(outboard, folder, count, loud, float(seconds)))
    print(f"{'':<10} {'p50 us':>20} {'p99 us':>20} {'p99.9 us':>20} {'the other, MiB/s':>20}")
    for name, rows in runs.items():
        print(f"{name:<10}" + "".join(
            f" {statistics.median(row):8.0f} {min(row):5.0f}-{max(row):<5.0f}"
            for row in zip(*rows)))


if __name__ == "__main__":
    main(*sys.argv[1:])
