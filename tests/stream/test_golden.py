# SPDX-License-Identifier: BSD-3-Clause
"""Streams that releases wrote, each in tests/golden/RELEASE: this build shows
them as they were shown then, and would load them (R30)."""
import gzip
import json
import pathlib
import subprocess
import sys

import pytest

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

import golden       # noqa: E402

STREAMS = sorted(GOLDEN.glob("*/*.stream"))
MEMORIES = sorted(GOLDEN.glob("*/*.memory.gz"))


def name_of(path):
    return f"{path.parent.name}/{path.name.split('.')[0]}"


each = pytest.mark.parametrize("stream", STREAMS, ids=name_of)
each_memory = pytest.mark.parametrize("packed", MEMORIES, ids=name_of)


def device_of(stream):
    return stream.with_suffix(".device").read_text().strip()


# Models whose tables have grown since: QEMU's form of them has another layout.
GROWN = {"0.2": {"nvme"}}


def has_grown(stream):
    return stream.name.split("-")[0] in GROWN.get(stream.parent.name, ())


def qemu_of(stream, folder):
    path = folder / "golden.qemu"
    path.write_bytes(gzip.decompress(stream.with_suffix(".qemu.gz").read_bytes()))
    return path


def forms_of(stream, folder):
    return (stream,) if has_grown(stream) else (stream, qemu_of(stream, folder))


OF_STREAMS = (".stream", ".qemu.gz", ".json")
OF_MEMORY = (".memory.gz", ".memory.json")


def test_there_is_a_folder_for_every_release_with_streams():
    """0.2 is the first, 0.3 the first with memory; what a folder has of one
    state, it has of all."""
    assert (GOLDEN / "0.2").is_dir() and (GOLDEN / "0.3").is_dir()
    for folder in {path.parent for path in STREAMS + MEMORIES}:
        names = {path.stem for path in folder.glob("*.device")}
        ends = (".device",)
        ends += OF_STREAMS if list(folder.glob("*.stream")) else ()
        ends += OF_MEMORY if list(folder.glob("*.memory.gz")) else ()
        want = {name + end for name in names for end in ends}
        assert {path.name for path in folder.iterdir()} == want


@each
def test_r30_would_be_loaded(outboard, stream, tmp_path):
    for path in forms_of(stream, tmp_path):
        outboard.ok("state", "check", path, "--device", device_of(stream))


@each
def test_r30_is_shown_as_it_was(outboard, stream, tmp_path):
    want = json.loads(stream.with_suffix(".json").read_text())
    for path in forms_of(stream, tmp_path):
        got = golden.fold(outboard.show(path))
        assert got["parts"] == want["parts"]
        assert {name: got[name] for name in want if name != "content"} == {
            name: want[name] for name in want if name != "content"}
        assert [one["size"] for one in got["content"]] == [
            one["size"] for one in want["content"]]


@each
def test_r30_both_forms_are_the_same(outboard, stream, tmp_path):
    if has_grown(stream):
        said = outboard.fails("state", "show", qemu_of(stream, tmp_path))
        assert "layout: release 0.2.0 had other fields" in said
        return
    assert outboard.ok("state", "diff", stream, qemu_of(stream, tmp_path)) == b""


@each
def test_r30_there_and_back(outboard, stream, tmp_path):
    there, back = tmp_path / "there", tmp_path / "back"
    outboard.ok("state", "convert", "--to", "qemu", stream, there)
    outboard.ok("state", "convert", "--to", "native", there, back)
    # What the writer did not know has its default afterwards.
    told = subprocess.run([outboard.path, "state", "diff", stream, back], capture_output=True,
                          text=True, timeout=30, check=False).stdout.splitlines()
    assert has_grown(stream) or not told
    assert all(": absent -> " in line for line in told)


@pytest.mark.parametrize("name, device, why", [
    ("nvme-busy", "nvme,serial=GOLDEN,queues=3,drive=mem:1M", "shape.queues: 3 here, 4"),
    ("nvme-busy", "nvme,serial=OTHER,queues=4,drive=mem:1M", "serial"),
    ("nvme-busy", "nvme,serial=GOLDEN,queues=4,drive=mem:2M", "drive 0 has 2 MiB here"),
    ("nvme-two", "nvme,serial=GOLDEN,queues=4,drive=mem:64K", "drive 1"),
    ("nvme-mapped", "nvme,serial=GOLDEN,queues=4,drive=mem:1M", "BAR 0"),
    ("edu-busy", "null", "edu"),
])
def test_another_device_refuses_it_by_name(outboard, name, device, why):
    said = outboard.fails("state", "check", GOLDEN / "0.2" / (name + ".stream"),
                          "--device", device)
    assert why in said


# --- memory -------------------------------------------------------------------

@pytest.fixture
def image(packed, tmp_path):
    path = tmp_path / "memory"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


@each_memory
def test_r30_memory_is_shown_as_it_was(outboard, packed, image):
    want = json.loads(packed.with_suffix(".json").read_text())
    assert golden.fold(outboard.show(image)) == want


@each_memory
def test_r30_memory_would_be_taken_over(outboard, packed, image):
    device = packed.with_name(packed.name.split(".")[0] + ".device").read_text().strip()
    outboard.ok("state", "check", image)
    # Content is elsewhere, so that a drive with some is refused.
    if "doorbells=mapped" not in device:
        outboard.ok("state", "check", image, "--device", device.replace("mem:", "null:"))
