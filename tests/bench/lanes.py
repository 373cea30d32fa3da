#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""lanes.py OUTBOARD [ROUNDS [SECONDS [DRIVE]]]: what do several lanes of one disk bring?

A process with two threads serves one disk with lanes=1 and, in turn, lanes=2.  Two
threads of a client read 4 KiB at random, sleeping for interrupts, at depth 32 each:

  one          one queue and one thread
  two          two queues, each thread one
  four         four, each thread two
  uneven       as `two`, with a queue beside each in which nothing happens: by their
               numbers both busy ones belong to the same lane, until they are moved

Prints thousands of reads a second: medians of the rounds, least and most; how many of
the machine's CPUs the server used; and the 99th percentile of the latency.
"""
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

CASES = {
    "one": ["--queues", "1", "--threads", "1", "--qd", "32"],
    "two": ["--queues", "2", "--threads", "2", "--qd", "32"],
    "four": ["--queues", "4", "--threads", "2", "--qd", "32"],
    "uneven": ["--queues", "2", "--spare", "2", "--threads", "2", "--qd", "32"],
}


def measure(outboard, folder, drive, lanes, words, seconds):
    sock = str(pathlib.Path(folder) / "s")
    with subprocess.Popen([outboard, "serve", "--threads", "2", "--log-level", "error", "--device",
                           f"nvme,drive={drive},lanes={lanes},socket={sock}"],
                          stdout=subprocess.PIPE) as server:
        server.stdout.readline()
        made = subprocess.run([outboard, "bench", sock, "--rw", "randread", "--interrupts", *words,
                               "--time", str(seconds), "--ramp", "0.3", "--json"],
                              stdout=subprocess.PIPE, text=True, check=True)
        server.terminate()
    told = json.loads(made.stdout)
    return told["read"]["iops"] / 1e3, told["server_cpus"], told["read"]["latency_us"]["p99"]


def main(outboard, rounds=3, seconds=1, drive="mem:256M"):
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(int(rounds)):
            for name, words in CASES.items():
                for lanes in (1, 2) if number % 2 else (2, 1):
                    runs.setdefault((name, lanes), []).append(
                        measure(outboard, folder, drive, lanes, words, float(seconds)))
    print(f"{'':<7} {'lanes':<6} {'thousand reads/s':>26} {'CPUs':>6} {'p99 us':>8}")
    for (name, lanes), rows in sorted(runs.items()):
        rate, cpus, late = zip(*rows)
        print(f"{name:<7} {lanes:<6} {statistics.median(rate):10.0f} "
              f"({min(rate):5.0f}-{max(rate):5.0f}) {statistics.median(cpus):6.2f} "
              f"{statistics.median(late):8.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
