# SPDX-License-Identifier: BSD-3-Clause
"""outboard state, on what a process leaves behind: the state memory of a device,
and its flight recorder."""
import json
import pathlib
import random
import struct
import subprocess
import sys

import pytest

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import memory       # noqa: E402

# magic, layout, sections, generation, step, kind, deaths, place, release, model
HEADER = struct.Struct("<8sIIQQIIQ32s32s")
SECTIONS = ("core", "plain", "hot", "dma", "session", "schema", "undo")
UNDO_BYTES = 8 + 16 * 16
STEP, KIND = 24, 32


def section(image, name):
    return struct.unpack_from("<QQ", image, HEADER.size + 16 * SECTIONS.index(name))


def place(outboard, path, name, *fields):
    """Where in the file a field is, of the first elements on the way."""
    schema = outboard.show(path)["schema"]
    tables = {table["name"]: table for table in schema["tables"]}
    table = {part["name"]: part["table"] for part in schema["parts"]}[name]
    at = section(path.read_bytes(), name)[0]
    for field in fields:
        row = {row["name"]: row for row in tables[table]["fields"]}[field]
        at, table = at + row["offset"], row.get("table")
    return at


@pytest.fixture(scope="module")
def image(request, tmp_path_factory):
    """A disk's memory, in one copy for all."""
    folder = tmp_path_factory.mktemp("disk")
    drive = folder / "drive"
    drive.write_bytes(bytes(1 << 20))
    # From there: a socket's path is short, wherever the folder is.
    outboard = pathlib.Path(request.config.getoption("--outboard")).absolute()
    server = subprocess.Popen(
        [outboard, "serve", "--device", "nvme,drive=drive,socket=s"], cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert b"ready" in server.stdout.readline()
    copied = memory.copy(server.pid)
    server.terminate()
    assert server.wait(20) == 0
    server.stdout.close()
    return copied


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Named as seen from there, since what is said of a file has room for little."""
    monkeypatch.chdir(tmp_path)

    def as_file(data, name="memory"):
        path = pathlib.Path(name)
        path.write_bytes(data)
        return path
    return as_file


# --- the state memory ---------------------------------------------------------

def test_show_tells_who_wrote_it_and_where_it_stood(outboard, image, write):
    said = outboard.ok("state", "show", write(image)).decode()
    for line in ("form: memory", "model: nvme", "release: ", "life: generation=1 step=",
                 "open- deaths=0", "dma: table=dma", "  plain:"):
        assert line in said
    assert "id:" not in said


def test_show_reads_a_pipe(outboard, image):
    shown = json.loads(outboard.ok("state", "show", "-", "--json", input=image))
    assert shown["form"] == "memory"
    assert shown["parts"]["plain"]["features"]["nr_sqs"] > 0


def test_open_step_is_undone(outboard, image, write):
    """Core's first bytes were changed twice; the earlier undo is the last word."""
    want = outboard.show(write(image))
    core, undo = section(image, "core")[0], section(image, "undo")[0]
    data = bytearray(image)
    saved = image[core:core + 8] + bytes(4)
    data[core:core + 8] = b"\xee" * 8
    struct.pack_into("<QI", data, STEP, 41, 1)
    struct.pack_into("<IIQQQQ", data, undo, 2, len(saved), core, 8, core + 2, 4)
    data[undo + UNDO_BYTES:undo + UNDO_BYTES + len(saved)] = saved
    got = outboard.show(write(data))
    assert got["parts"] == want["parts"]
    assert got["life"] == dict(want["life"], step=41, kind="message", open=True)
    assert got["undone"] == [{"name": "core", "offset": 0, "bytes": 8},
                             {"name": "core", "offset": 2, "bytes": 4}]


def test_value_out_of_bounds_is_shown_but_would_not_load(outboard, image, write):
    data = bytearray(image)
    at = place(outboard, write(image), "hot", "sqs", "head")
    data[at:at + 4] = b"\xff" * 4
    path = write(data)
    first = outboard.show(path)["parts"]["hot"]["sqs"][0]
    assert first["head"] == 0xffffffff
    said = outboard.fails("state", "check", path)
    assert "hot.sqs[0].head: 4294967295 is more than " in said


def test_map_out_of_bounds_would_not_load(outboard, image, write):
    data = bytearray(image)
    data[place(outboard, write(image), "dma", "entries", "flags")] = 0xff
    said = outboard.fails("state", "check", write(data))
    assert "memory: dma.entries[0].flags: 255 is more than 15" in said


def test_would_be_taken_over(outboard, image, write, tmp_path):
    drive = tmp_path / "drive"
    drive.write_bytes(bytes(1 << 20))
    path = write(image)
    outboard.ok("state", "check", path)
    outboard.ok("state", "check", path, "--device", f"nvme,drive={drive}")
    said = outboard.fails("state", "check", path, "--device", "edu")
    assert "nvme" in said


def test_becomes_a_stream(outboard, image, write, tmp_path):
    path = write(image)
    for form in ("native", "qemu"):
        outboard.ok("state", "convert", "--to", form, path, tmp_path / form)
        assert outboard.ok("state", "diff", path, tmp_path / form) == b""


def test_diff_names_what_changed(outboard, image, write):
    data = bytearray(image)
    at = place(outboard, write(image), "dma", "entries", "size")
    struct.pack_into("<Q", data, at, 8192)
    said = outboard.fails("state", "diff", write(image), write(data, "other"))
    assert "dma.entries" in said and "8192" in said


@pytest.mark.parametrize("at, bytes_, reason", [
    (8, b"\1\0\0\0", "layout: 1 with 7 sections"),
    (48, b"\xff", "release: is not plain text"),
    (HEADER.size, b"\1", "section core: cannot begin at 0x"),
    (HEADER.size + 8, b"\1", "section core: "),
    (HEADER.size + 16 * 6, b"\xff\xff\xff\xff\xff\xff", "section undo: "),
])
def test_damage_is_named(outboard, image, write, at, bytes_, reason):
    data = bytearray(image)
    data[at:at + len(bytes_)] = bytes_
    for verb in ("show", "check"):
        assert f"memory: {reason}" in outboard.fails("state", verb, write(data))


@pytest.mark.parametrize("length", [8, 100, 4096, 60000])
def test_cut_short(outboard, image, write, length):
    outboard.fails("state", "show", write(image[:length]))


def test_r25_any_bit_may_be_wrong(outboard, image, write):
    chance = random.Random(1)
    places = [at for at in range(len(image)) if image[at]] + list(range(0, len(image), 9001))
    for _ in range(100):
        data = bytearray(image)
        data[chance.choice(places)] ^= 1 << chance.randrange(8)
        made = outboard.run("state", "show", write(data))
        assert made.returncode in (0, 1)
        assert bool(made.stderr) == bool(made.returncode)


# --- the recorder ---------------------------------------------------------------

MESSAGE, INTERRUPT, RESET = 4, 6, 7


def recorder(events, count=4096, first=1):
    """Each event: kind, a, b, c; a millisecond apart."""
    entries = [bytes(32)] * count
    for number, (kind, a, b, c) in enumerate(events, first):
        entries[number % count] = struct.pack("<QQHHIQ", number, number * 1000000,
                                              kind, a, b, c)
    head = struct.pack("<8sIIQQ32x", b"OUTREC1\0", count, 32, first + len(events), 2)
    return head + b"".join(entries)


def test_recorder_is_a_list_of_events(outboard, write):
    path = write(recorder([(MESSAGE, 9, 3, 1024), (INTERRUPT, 2, 5, 0), (250, 1, 2, 3)]))
    lines = outboard.ok("state", "show", path).decode().splitlines()
    assert [line.split() for line in lines[1:]] == [
        "1 2.000000 ms 2 message command=9 id=3 end=1024".split(),
        "2 1.000000 ms 2 interrupt index=2 vector=5".split(),
        "3 0.000000 ms 2 unknown kind=250 a=1 b=2 c=3".split()]
    shown = outboard.show(path)
    assert shown["form"] == "recorder"
    assert shown["events"][0] == {
        "number": 1, "age": 2000000, "generation": 2, "kind": MESSAGE, "event": "message",
        "values": {"command": 9, "id": 3, "end": 1024}}


def test_recorder_that_went_round(outboard, write):
    """The oldest ones are overwritten, and one was being so."""
    data = bytearray(recorder([(RESET, 0, 0, 0)] * 20, count=8, first=100))
    struct.pack_into("<Q", data, 64 + 32 * (115 % 8), 0)
    shown = outboard.show(write(data))
    assert [event["number"] for event in shown["events"]] == [112, 113, 114, 116, 117, 118, 119]


def test_recorder_of_a_pipe(outboard):
    shown = json.loads(outboard.ok("state", "show", "-", "--json",
                                   input=recorder([(RESET, 1, 0, 0)])))
    assert len(shown["events"]) == 1


def test_recorders_of_lanes_are_merged_by_time(outboard, write):
    """Of each event which recorder it is from, as they were given."""
    paths = [write(recorder([(MESSAGE, 9, 3, 1024), (RESET, 0, 0, 0)]), "0"),
             write(recorder([]), "1"),
             write(recorder([(INTERRUPT, 2, 5, 0)] * 3, first=2), "2")]
    shown = outboard.show(*paths)["events"]
    assert [(event["recorder"], event["number"]) for event in shown] == [
        (0, 1), (0, 2), (2, 2), (2, 3), (2, 4)]
    assert [event["age"] for event in shown] == [3000000, 2000000, 2000000, 1000000, 0]
    lines = outboard.ok("state", "show", *paths).decode().splitlines()
    assert lines[0].split()[:2] == ["file", "number"]
    assert lines[1].split() == "0 1 3.000000 ms 2 message command=9 id=3 end=1024".split()
    assert len(lines) == 6
    # Only recorders are shown together, and not any number of them.
    other = write(b"OUTREC0\0" + bytes(100), "3")
    assert "is no flight recorder" in outboard.fails("state", "show", paths[0], other)
    assert "usage" in outboard.fails("state", "show", *[paths[0]] * 18, code=2)


def test_recorder_can_only_be_shown(outboard, write, tmp_path):
    path = write(recorder([]))
    for words in (("check", path), ("diff", path, path),
                  ("convert", "--to", "native", path, tmp_path / "out")):
        said = outboard.fails("state", *words)
        assert "memory: is a flight recorder, which can only be shown" in said


def test_r25_recorder_of_nonsense(outboard, write):
    chance = random.Random(2)
    for size in (8, 20, 24, 63, 64, 4000):
        for _ in range(5):
            data = b"OUTREC1\0" + bytes(chance.randrange(256) for _ in range(size - 8))
            outboard.ok("state", "show", write(data))
