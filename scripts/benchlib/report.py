# SPDX-License-Identifier: BSD-3-Clause
"""The page docs/benchmarks/REPORT.md, from what the parts returned.

A row of the table of targets is a function of the results: what it found, and
whether the target is met.  What was not measured is told as such, so the page
is complete whichever parts there are.
"""
import statistics

from . import plot

ABSENT = "not measured"


def median(values):
    return statistics.median(values)


def spread(values, form="{:.2f}"):
    return (f"{form.format(median(values))} ({form.format(min(values))} to "
            f"{form.format(max(values))})")


def pick(rounds, *keys):
    for key in keys:
        rounds = [entry[key] for entry in rounds]
    return rounds


def divide(a, b):
    return [x / y for x, y in zip(a, b)]


class Row:
    """title; target, as words; figure, as words; met: True, False, or None
    where there is no target."""

    def __init__(self, title, target, figure, met=None):
        self.title, self.target, self.figure, self.met = title, target, figure, met

    def cells(self):
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        return f"| {self.title} | {self.target} | {self.figure} | {met} |"


def at_least(title, target, values, form="{:.2f}", unit="", beside=""):
    return Row(title, f"≥ {form.format(target)}{unit}", spread(values, form) + unit + beside,
               median(values) >= target)


def at_most(title, target, values, form="{:.2f}", unit="", beside=""):
    return Row(title, f"≤ {form.format(target)}{unit}", spread(values, form) + unit + beside,
               median(values) <= target)


# --- rows -------------------------------------------------------------------

def million(values):
    return f"; {median(values) / 1e6:.2f} M/s"


def wall_mem(found):
    for way in ("mapped", "adaptive"):
        rates = pick(found[f"mem {way}"], "32", "iops")
        for floor in ("memcpy", "memcpy-huge"):
            yield at_least(f"`mem:1G`, depth 32, {way} doorbells, of `{floor}` alone", 0.9,
                           divide(rates, found[floor]), beside=million(rates) + " of "
                           f"{median(found[floor]) / 1e6:.2f}")


def wall_null(found):
    for way in ("mapped", "adaptive"):
        rates = pick(found[f"null {way}"], "32", "iops")
        yield at_least(f"`null:`, depth 32, {way} doorbells", 5,
                       [rate / 1e6 for rate in rates], unit=" M/s")


def wall_depth1(found):
    for way in ("mapped", "adaptive"):
        yield at_most(f"`mem:1G`, depth 1, {way} doorbells, p50", 1.0,
                      pick(found[f"mem {way}"], "1", "p50"), unit=" µs")
    for way in ("mapped", "adaptive"):
        yield Row(f"`null:`, depth 1, {way} doorbells, p50", "",
                  spread(pick(found[f"null {way}"], "1", "p50")) + " µs")
    if "line" in found:
        yield Row("a word from the client's core to the server's and back", "",
                  spread([ns / 1e3 for ns in found["line"]]) + " µs")


def own_time(all_at_once, one, at_once):
    """Of one command, from what it takes when 32 are found at once and when
    one is: a part for the command and a part for the look."""
    look = max(0, one - all_at_once) * 32 / 31
    return one - look + look / at_once


def wall_client(found):
    """The client is not the limit when it is faster alone.  Alone it takes as
    many completions at once as there are, or one by one; with a device it is
    something between, from which the share of its time follows."""
    alone, singly = found["client"], found["client, one by one"]
    for words, rates in (("32 at once", alone), ("one by one", singly)):
        yield Row(f"the client alone, {words}", "",
                  spread([rate / 1e6 for rate in rates]) + " M/s")
    for drive in ("mem", "null"):
        rounds = pick(found[f"{drive} mapped"], "32")
        busy = [entry["iops"] * own_time(1 / all_at_once, 1 / one, max(1, entry["found"]))
                for entry, all_at_once, one in zip(rounds, alone, singly)]
        yield Row(f"its share of its own time with `{drive}:`, mapped", "well below 1",
                  f"{spread(busy)}; {median(pick(rounds, 'empty')):.0%} of its looks in vain, "
                  f"{median(pick(rounds, 'found')):.1f} found by the others", median(busy) < 0.8)


def idle(found):
    for name, entry in found.items():
        if name == "each more":
            yield Row("memory of each more device in a process", "≤ 64 KiB",
                      f"{entry['memory_kib']:.1f} KiB; starts in {entry['ready_ms']:.2f} ms",
                      entry["memory_kib"] <= 64)
            continue
        spins = "mapped" in name
        yield Row(f"CPU at rest, {name} doorbells", "polls by request" if spins else "0 %",
                  f"{entry['server_cpus'] * 100:.3f} %, {entry['wakeups']} wake-ups in "
                  f"{entry['seconds']:.1f} s",
                  None if spins else entry["wakeups"] == 0)
        yield Row(f"memory, and time to ready, {name} doorbells", "",
                  f"{entry['memory_kib'] / 1024:.1f} MiB, after I/O "
                  f"{entry['used_kib'] / 1024:.1f}; {entry['ready_ms']:.1f} ms")


def file(found):
    yield at_least("`file:`, depth 32, IOPS, of fio with io_uring", 0.98,
                   divide(pick(found["ours"], "iops"), pick(found["fio"], "iops")),
                   beside=f"; {median(pick(found['ours'], 'iops')) / 1e3:.1f} of "
                   f"{median(pick(found['fio'], 'iops')) / 1e3:.1f} k/s")
    yield at_most("  p99, to fio's", 1.2,
                  divide(pick(found["ours"], "p99"), pick(found["fio"], "p99")),
                  beside=f"; {median(pick(found['ours'], 'p99')):.0f} to "
                  f"{median(pick(found['fio'], 'p99')):.0f} µs")
    if "beside" in found:
        yield from file_fairly(found)


def file_fairly(found):
    """Our client takes a core; this fio has a neighbour that does."""
    for key, words in (("iops", "IOPS"), ("p99", "p99")):
        yield Row(f"  {words}, to fio's beside a process that spins", "",
                  spread(divide(pick(found["ours"], key), pick(found["beside"], key))))
    for kind in ("read", "write"):
        entry = found[f"sequential {kind}"]
        yield at_least(f"`file:`, {kind}s in order, depth 32, IOPS, of fio", 0.98,
                       divide(pick(entry["ours"], "iops"), pick(entry["fio"], "iops")),
                       beside=f"; {median(pick(entry['ours'], 'iops')) / 1e3:.1f} of "
                       f"{median(pick(entry['fio'], 'iops')) / 1e3:.1f} k/s")


REGISTER_TARGETS = {"both spin": 0.92, "both sleep, one core": 0.90,
                    "both sleep, two cores": 0.97}


def registers(found):
    for name, target in REGISTER_TARGETS.items():
        entry = found["rows"].get(name)
        if not entry:
            yield Row(f"4-byte read, {name}, of bare messages", f"≥ {target}", ABSENT)
            continue
        ratio, server = entry["ratio"], entry["server"]
        yield Row(f"4-byte read, {name}, of bare messages", f"≥ {target:.2f}",
                  f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f}); "
                  f"{server['rate']['median'] / 1e3:.0f} k/s, p99 {server['p99_ns'] / 1e3:.1f} µs",
                  ratio["median"] >= target)
    posted = [found["posted"][key] / 1e6 for key in ("min", "median", "max")]
    yield at_least("posted writes, in batches", 5, posted, unit=" M/s")
    yield at_most("4-byte read while I/O saturates the core, p99", 50,
                  pick(found["saturated"], "p99"), "{:.1f}", " µs")
    if found.get("beside copies"):
        yield Row("  a message to a process that only copies, p99", "",
                  f"{spread(pick(found['beside copies'], 'p99'), '{:.1f}')} µs")


def log(found):
    yield at_least("rate with the dirty log on, to off", 0.95,
                   divide(pick(found["on"], "iops"), pick(found["off"], "iops")),
                   beside=million(pick(found["on"], "iops")))


def price(found):
    for row in found["costs"]:
        if row["rate"]:
            yield Row(f"rate with a keeper, to without: {row['name']}", "≥ 0.97",
                      "{1:.3f} ({0:.3f} to {2:.3f})".format(*row["rate"]),
                      row["rate"][1] >= 0.97)
    for name, ratios in found["rates"].items():
        yield at_least(f"rate with a keeper, to without: {name}", 0.97, ratios)


def guest(found):
    for what in ("file", "null"):
        ours, theirs = found["runs"][f"our {what}"], found["runs"][f"QEMU's {what}"]
        for key, words, form in (("iops", "IOPS", "{:,.0f}"), ("p99", "p99", "{:,.0f} µs")):
            yield Row(f"in a guest, `{what}:`, {words}, to QEMU's own nvme", "",
                      f"{spread(divide(pick(ours, key), pick(theirs, key)))}; "
                      f"{form.format(median(pick(ours, key)))} to "
                      f"{form.format(median(pick(theirs, key)))}")


# Part of the results, what the rows are about, rows of it.
ROWS = (("wall", "`mem:` of the memcpy loop", wall_mem), ("wall", "`null:`", wall_null),
        ("wall", "depth 1", wall_depth1), ("wall", "the client", wall_client),
        ("idle", "idle CPU, memory", idle), ("file", "a file, of fio", file),
        ("registers", "registers", registers), ("log", "the dirty log", log),
        ("price", "the keeper", price), ("guest", "QEMU's own nvme", guest))


def rows(parts):
    for part, about, make in ROWS:
        if parts.get(part):
            yield from make(parts[part])
        else:
            yield Row(about, "", f"{ABSENT} (part `{part}`)")


# --- pictures ---------------------------------------------------------------

def by_depth(found, key):
    return {name: {int(depth): median(pick(rounds, key)) for depth, rounds in depths.items()
                   if rounds} for name, depths in found.items() if any(depths.values())}


def pictures(parts):
    """(file, title, SVG) of each; the SVG is None where there is nothing to
    draw."""
    depth, at_rest = parts.get("depth"), parts.get("idle")
    for name, title, unit, key in (
            ("iops.svg", "4-KiB random reads a second by depth", "IOPS", "iops"),
            ("latency.svg", "latency by depth, p50", "µs", "p50"),
            ("latency-p99.svg", "latency by depth, p99", "µs", "p99")):
        yield name, title, depth and plot.lines(title, unit, by_depth(depth, key))
    devices = {name: entry for name, entry in (at_rest or {}).items() if name != "each more"}
    for name, title, unit, of in (
            ("idle.svg", "CPU at rest, after I/O", "% of a CPU",
             lambda entry: entry["server_cpus"] * 100),
            ("memory.svg", "memory of a server with one device, before I/O", "MiB",
             lambda entry: entry["memory_kib"] / 1024)):
        yield name, title, at_rest and plot.bars(
            title, unit, {device: of(entry) for device, entry in devices.items()})


# --- the page ---------------------------------------------------------------

PAGE = """# Benchmarks: the table

Written by `make bench`; [README](README.md) tells what each part does. Figures are
medians (lowest to highest) of at least five rounds that alternate with what they
are compared to; a ratio is the median of the rounds' ratios. Reads are of 4 KiB, random, by
`outboard bench`, which polls on a core of its own; crash safety is on in all of them.

## Targets

| | target | found | met |
| --- | --- | --- | --- |
{rows}

## By depth

One queue; the server on one core, the client on another{fio}. Medians.

{depths}

{pictures}

## The machine

| | |
| --- | --- |
{machine}

Time scale {scale:g}; when each part was measured:

{when}
"""


def depth_table(found):
    if not found:
        return f"{ABSENT} (part `depth`)"
    depths = sorted({int(depth) for line in found.values() for depth in line})
    lines = ["| drive | | " + " | ".join(map(str, depths)) + " |",
             "| --- | --- |" + " --- |" * len(depths)]
    for key, words, form in (("iops", "k/s", "{:,.0f}"), ("p50", "p50 µs", "{:,.1f}"),
                             ("p99", "p99 µs", "{:,.1f}")):
        for name, line in by_depth(found, key).items():
            unit = 1e3 if key == "iops" else 1
            cells = [form.format(line[depth] / unit) if depth in line else ""
                     for depth in depths]
            lines.append(f"| `{name}` | {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine_rows(machine):
    return "\n".join(f"| {name} | {value} |" for name, value in machine.items())


def render(results, folder):
    """Writes REPORT.md and its pictures."""
    parts = results.get("parts", {})
    shown = []
    for name, title, svg in pictures(parts):
        if svg:
            (folder / name).write_text(svg)
            shown.append(f"![{title}]({name})")
        else:
            (folder / name).unlink(missing_ok=True)
            shown.append(f"{title}: {ABSENT}")
    fio = ", and fio with io_uring on the same file" if any(
        (parts.get("depth") or {}).get("fio", {}).values()) else ""
    when = [f"* `{name}`: {text}" for name, text in results.get("when", {}).items()]
    (folder / "REPORT.md").write_text(PAGE.format(
        rows="\n".join(row.cells() for row in rows(parts)), fio=fio,
        depths=depth_table(parts.get("depth")), pictures="\n\n".join(shown),
        machine=machine_rows(results.get("machine", {})) or f"| {ABSENT} | |",
        scale=results.get("scale", 1), when="\n".join(when) or ABSENT))
