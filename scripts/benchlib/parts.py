# SPDX-License-Identifier: BSD-3-Clause
"""The parts that are no row of the table of targets, or print more than its
rows need: memory by doorbells, moving, the price of crash safety, and the page
about that."""
import contextlib
import json
import os

from . import harness
from .harness import (IMAGE, OTHER, SOCKET, TOP, alternate, line, load, make_image, output,
                      scaled, served, spread, tests_program)

SECONDS = 3
PRICE_ROUNDS = 7
PRICE_PAIRS = 4             # of servers
PRICE_TURNS = os.environ.get("OB_BENCH_TURNS", str(max(8, round(60 * min(1, harness.SCALE)))))
STALL_SECONDS = os.environ.get("OB_BENCH_STALL_SECONDS", "35")
RECORD = TOP / "docs/benchmarks/crash-safety.md"


def disk_rate(cpus=()):
    return load("--time", scaled(SECONDS), cpus=cpus)["read"]["iops"]


def measure_memory(first, second):
    print("\nmem: thousand random reads of 4 KiB a second, depth 32\n")

    def rate(way):
        with served(f"nvme,drive=mem:256M,doorbells={way}", cpus=first):
            return disk_rate(second)

    ways = ("adaptive", "mapped")
    found = alternate(3, **{way: lambda way=way: rate(way) for way in ways})
    for way, rates_of_it in found.items():
        line(f"doorbells={way}", spread(rates_of_it, 1e3))


def measure_dirty_log():
    print("\n" + output([tests_program("bench_dirty")], timeout=300).rstrip(), flush=True)


# --- moving -----------------------------------------------------------------

PAUSE = (("the device's share of the pause", "whole us"),
         ("  it comes to rest", "stop us"),
         ("  its state is carried over", "data us"),
         ("  judged, put in place", "load us"),
         ("  it runs", "run us"))


def both(drive, cpus):
    """Two servers of such a disk, the second one waiting for it."""
    stack = contextlib.ExitStack()
    stack.enter_context(served(f"nvme,drive={drive}", cpus=cpus))
    stack.enter_context(served(f"nvme,drive={drive},incoming=on", cpus=cpus, socket=OTHER))
    return stack


def moves(cpus, *options):
    return json.loads(output([harness.OUTBOARD, "bench-move", SOCKET, OTHER, "--json", *options],
                             cpus=cpus))


def measure_pause(first, second):
    print("\nMoving a disk with 128 reads of 4 KiB in flight: microseconds\n")
    with both("null:1G", first):
        pause = moves(second, "--moves", 1000)["pause"]
    for title, key in PAUSE:
        line(title, "p50 {p50:7,.0f}   p99 {p99:7,.0f}   max {max:7,.0f}".format(**pause[key]))
    line("bytes of its state", f"{pause['bytes']:,}")


def measure_data(first, second):
    print("\nThe content of mem:256M, in messages of 1 MiB: MiB/s\n")
    with both("mem:256M", first):
        output([harness.OUTBOARD, "bench", SOCKET, "--rw", "write", "--verify", "--bs", "128K",
                "--time", 2], cpus=second)
        report = moves(second, "--moves", 0, "--rounds", 15)
    for way in ("read", "write"):
        rate, floor, ratio = (report[way][key] for key in ("MiB/s", "floor MiB/s", "ratio"))
        line(f"{way}, and bare messages", f"{rate['median']:,.0f}, {floor['median']:,.0f}")
        line("  ratio", "{median:9,.2f} ({min:,.2f} to {max:,.2f})".format(**ratio))


# --- crash safety -----------------------------------------------------------

def register_rate(cpus):
    """4-byte reads a second, both sides sleeping in between."""
    report = json.loads(output([harness.OUTBOARD, "bench-mmio", SOCKET, "--mode", "block",
                                "--rounds", 5, "--time", scaled(SECONDS), "--json"], cpus))
    found = {row["name"]: row for row in report["rows"]}
    return found["read 4 B"]["server"]["rate"]["median"]


def costs(drive, cpus):
    """Rows of bench_price, as dictionaries."""
    text = output([tests_program("bench_price"), harness.OUTBOARD, drive, PRICE_PAIRS,
                   PRICE_TURNS], cpus, timeout=600)
    for row in text.splitlines():
        name, kept, alone, *found = row.split("\t")
        yield {"name": f"{drive}, {name}", "kept": float(kept), "alone": float(alone),
               "cpu": quartiles(found[:3]), "rate": quartiles(found[3:])}


def quartiles(words):
    """Lowest, median, highest quarter; None where it does not apply."""
    return None if "-" in words else [float(word) for word in words]


def told(found):
    return "{1:.3f} ({0:.3f} to {2:.3f})".format(*found) if found else ""


def rates(first, second):
    """For each load its name and the ratios of rates, with a keeper to without."""
    loads = [("file, 4-KiB random reads, depth 32, direct", f"file:{IMAGE}", disk_rate),
             ("4-byte register reads", "mem:64M", register_rate)]
    make_image()
    for title, drive, measure in loads:
        def rate(*options):
            with served(f"nvme,drive={drive}", *options, cpus=first):
                return measure(second)

        found = alternate(PRICE_ROUNDS, kept=rate, alone=lambda: rate("--no-keeper"))
        yield title, [kept / alone for kept, alone in zip(found["kept"], found["alone"])]


def measure_price(first, second):
    print("\nCrash safety: processor time for a command, with a keeper to without\n")
    found = {"costs": [], "rates": {}}
    for drive in ("null", "mem"):
        for row in costs(drive, ()):
            found["costs"].append(row)
            line(row["name"], f"{told(row['cpu'])}   {row['kept']:,.0f}, {row['alone']:,.0f} ns"
                 + (f"   rate {told(row['rate'])}" if row["rate"] else ""))
    print("\nRates, with a keeper to without\n")
    for title, found_ratios in rates(first, second):
        found["rates"][title] = found_ratios
        line(title, spread(found_ratios))
    return found


WAYS = {"nothing": ("nothing", ("--no-kills",)),
        "kill": ("SIGKILL", ()),
        "kill-standby": ("SIGKILL, `--standby`", ("--standby",)),
        "upgrade": ("upgrade", ("--upgrade", "--no-kills")),
        "upgrade-standby": ("upgrade, `--standby`", ("--upgrade", "--no-kills", "--standby"))}


DRIVES = {"mem": ("--drive", "mem:64M"), "file": ()}


def stalls(way, drive):
    """A row of the table; the picture is written."""
    title, options = WAYS[way]
    report = json.loads(output(
        [harness.OUTBOARD, "torture", "--queues", 1, "--depth", 32, "--every", "50ms",
         "--for", f"{STALL_SECONDS}s", "--json",
         "--plot", RECORD.with_name(f"{way}-{drive}.svg"), *DRIVES[drive], *options],
        timeout=10 * int(STALL_SECONDS) + 60))
    event = way.split("-")[0]
    gap, stall = report[f"{event} gap us"], report[f"{event} stall us"]
    wrong = sum(report[key] for key in ("errors", "lost", "stale", "damaged", "twice"))
    times = (gap["p50"], gap["p99"], gap["max"], stall["p50"], stall["p99"], stall["max"])
    return (f"| {title}, `{drive}:` | {gap['count']} | "
            + " | ".join(f"{time / 1e3:.1f}" for time in times)
            + f" | {report['ios']:,} | {wrong} |")


def about():
    facts = harness.machine()
    return "; ".join(facts[key] for key in ("outboard", "CPUs", "memory", "kernel")) + (
        f"; load before: {facts['load before']}.")


PAGE = """# What crash safety costs, and how long a death lasts

Written by `scripts/bench build/outboard record`; [crash-safety](../crash-safety.md) says
what happens. {machine}

## The price

Processor time of the processes that serve, for one 4-KiB read, in nanoseconds, and the
ratio of rates where commands are always in flight: a server with its keeper to one
without, side by side, in turns of some milliseconds. A ratio is the median of {turns} pairs of
turns (its quartiles). "32" are 32 commands behind one doorbell, told by one interrupt, of a
device that sleeps before and after; so what is woken for fewer commands costs more for each.

| load | with | without | ratio | rates |
| --- | --- | --- | --- | --- |
{costs}

Rates, alternately: median (lowest to highest) of {rounds} rounds. How many system calls a
batch takes on either side is a test, `tests/crash/calls.c`.

| load | ratio |
| --- | --- |
{rates}

## The gap

`outboard torture` with one queue of depth 32 on 64 MiB of memory, or in a file, for {seconds} s
each, an event every 50 ms on average, in milliseconds. The gap is the longest time without
a completion from 1 ms before the end of a process to 10 ms after, the stall that of all
the time until the next event: there are also rehearsals, the births of standbys, and
what the machine does. "Nothing" happens at the events of the first two rows: so long are the
gaps and stalls of this machine by itself. In a file they are the disk's latency as well.

| event | events | gap p50 | p99 | longest | stall p50 | p99 | longest | I/Os | errors |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{stalls}

{pictures}
"""


def cost_row(row):
    return (f"| {row['name']} | {row['kept']:,.0f} | {row['alone']:,.0f} | {told(row['cpu'])} "
            f"| {told(row['rate'])} |")


def measure_record(first, second):
    print(f"\nWriting {RECORD.relative_to(TOP)}")
    RECORD.parent.mkdir(exist_ok=True)
    machine = about()
    cost_rows = [cost_row(row) for drive in ("null", "mem") for row in costs(drive, ())]
    rate_rows = [f"| {title} | {spread(ratios).strip()} |"
                 for title, ratios in rates(first, second)]
    # One drive after the other for each way, so that a disturbance meets some of each.
    rows = [stalls(way, drive) for way in WAYS for drive in DRIVES]
    pictures = [f"![{title}, {drive}]({way}-{drive}.svg)"
                for way, (title, _) in WAYS.items() for drive in DRIVES]
    RECORD.write_text(PAGE.format(machine=machine, rounds=PRICE_ROUNDS, seconds=STALL_SECONDS,
                                  turns=PRICE_PAIRS * int(PRICE_TURNS),
                                  costs="\n".join(cost_rows), rates="\n".join(rate_rows),
                                  stalls="\n".join(rows), pictures="\n".join(pictures)))
