# SPDX-License-Identifier: BSD-3-Clause
"""outboard state, as somebody at a shell meets it."""
import json
import subprocess
import sys

import pytest

NVME = ("--device", "nvme,drive=mem:1M")
DRIVE = ("--content", "1:0:1000000")
# The native head: magic, major, minor, length; then a section's header.
HEAD, SECTION = 16, 16


# --- show -------------------------------------------------------------------

def test_show_names_every_part_and_who_wrote_it(outboard, make_stream):
    said = outboard.ok("state", "show", make_stream("s", *NVME, *DRIVE)).decode()
    for line in ("form: native", "model: nvme", "release: 0.", "id: disk", "drive 0: ",
                 "core: table=core", "hot: table=nvme-hot", "  plain:"):
        assert line in said


def test_show_leaves_defaults_out_unless_asked(outboard, make_stream):
    stream = make_stream("s", "--device", "edu")
    assert "intx_level" not in outboard.ok("state", "show", stream).decode()
    assert "intx_level: 0" in outboard.ok("state", "show", stream, "--all").decode()


def test_show_reads_a_pipe(outboard, make_stream):
    stream = make_stream("s", *NVME, *DRIVE).read_bytes()
    shown = json.loads(outboard.ok("state", "show", "-", "--json", input=stream))
    assert shown["model"] == "nvme"
    assert shown["content"][0]["size"] == 1000000


def test_model_of_another_build_is_shown_by_its_own_schema(outboard, make_stream):
    stream = make_stream("s", *NVME, "--as", "frobnicator", "--fill", 4)
    shown = outboard.show(stream)
    assert shown["model"] == "frobnicator"
    assert shown["parts"] == outboard.show(make_stream("t", *NVME, "--fill", 4))["parts"]
    assert {part["name"] for part in shown["schema"]["parts"]} >= {"core", "plain", "hot"}


@pytest.mark.parametrize("bytes_, reason", [
    (b"", "ends"), (b"hello, world, this is no stream", "no stream"),
    (b"QEVM\0\0\0\2", "version 2"), (b"QEVM\0\0\0\3\0", "no section"),
])
def test_what_is_no_stream_is_refused(outboard, bytes_, reason):
    assert reason in outboard.fails("state", "show", "-", input=bytes_)


def test_missing_file_is_named(outboard, tmp_path):
    said = outboard.fails("state", "show", tmp_path / "nothing")
    assert "nothing: No such file" in said


def test_full_output_is_a_failure(outboard, make_stream):
    stream = make_stream("s", *NVME)
    with open("/dev/full", "wb") as full:
        made = subprocess.run([outboard.path, "state", "show", stream, "--json"], stdout=full,
                              stderr=subprocess.PIPE, timeout=60)
    assert made.returncode == 1


# --- diff -------------------------------------------------------------------

def test_diff_of_the_same_is_empty(outboard, make_stream):
    stream = make_stream("s", *NVME, *DRIVE, "--fill", 9)
    assert outboard.ok("state", "diff", stream, stream) == b""


def test_diff_names_fields_and_bytes(outboard, make_stream):
    said = outboard.fails("state", "diff", make_stream("a", *NVME),
                          make_stream("b", *NVME, "--fill", 2))
    assert "\ncore.msix[3].address: 0 -> " in said
    assert "\nplain.sqs[1].entries: 0 -> " in said
    assert "\nhot.slots[7].sqe[0]: 0x0000" in said


def test_diff_names_content(outboard, make_stream):
    a, b, c = (make_stream(name, *NVME, "--content-fill", fill, "--content", f"1:0:{size}")
               for name, size, fill in (("a", 70000, 1), ("b", 70000, 2), ("c", 70001, 1)))
    assert "drive 0: differs from byte 0 on, in 2 blocks" in outboard.fails("state", "diff", a, b)
    assert "drive 0: 70000 -> 70001 bytes" in outboard.fails("state", "diff", a, c)
    without = make_stream("d", *NVME)
    assert "drive 0: only in the first" in outboard.fails("state", "diff", a, without)
    assert "drive 0: only in the second" in outboard.fails("state", "diff", without, a)


def test_diff_of_two_models_says_so(outboard, make_stream):
    said = outboard.fails("state", "diff", make_stream("a", "--device", "edu"),
                          make_stream("b", "--device", "null"))
    assert "model: edu -> null" in said


# --- check ------------------------------------------------------------------

@pytest.mark.parametrize("device", ["null", "edu", "nvme,drive=mem:1M"])
def test_check_accepts_what_this_build_wrote(outboard, make_stream, device):
    outboard.ok("state", "check", make_stream("s", "--device", device, *DRIVE))


def test_check_names_an_unknown_model(outboard, make_stream):
    said = outboard.fails("state", "check", make_stream("s", "--as", "frobnicator"))
    assert "no model 'frobnicator' (known: nvme" in said


def test_check_refuses_every_truncation_and_flip(outboard, make_stream):
    data = make_stream("s", "--device", "edu").read_bytes()
    for length in range(0, len(data), 331):
        outboard.fails("state", "check", "-", input=data[:length])
    for at in range(3, len(data), 331):
        flipped = bytearray(data)
        flipped[at] ^= 4
        made = outboard.run("state", "check", "-", input=bytes(flipped))
        assert made.returncode == 1 and b"standard input: " in made.stderr
    assert "edu" in outboard.ok("state", "check", "-", input=data).decode()


def test_check_reads_the_qemu_profile(outboard, make_stream, tmp_path):
    qemu = tmp_path / "q"
    outboard.ok("state", "convert", "--to", "qemu", make_stream("s", *NVME, *DRIVE), qemu)
    outboard.ok("state", "check", qemu)
    data = qemu.read_bytes()
    at = data.index(b"\4\0\0\0") + 5
    other = data[:at] + data[at:].replace(b"outboard/nvme", b"outboard/nvmf", 1)
    assert "no model 'nvmf'" in outboard.fails("state", "check", "-", input=other.replace(
        b"nvme\0", b"nvmf\0", 1))
    assert "identity.model: nvme is not the section's" in outboard.fails(
        "state", "check", "-", input=other)


def test_check_with_a_device(outboard, make_stream):
    device = "nvme,drive=null:1M"
    stream = make_stream("s", "--device", device)
    assert "this device would go on with it" in outboard.ok(
        "state", "check", stream, "--device", device).decode()
    said = outboard.ok("state", "check", "-", "--device", device + ",socket=not/there",
                       input=stream.read_bytes()).decode()
    assert said.startswith("standard input: ")
    qemu = stream.with_suffix(".qemu")
    outboard.ok("state", "convert", "--to", "qemu", stream, qemu)
    outboard.ok("state", "check", qemu, "--device", device)


def test_check_compares_drives_and_content(outboard, make_stream):
    """A drive in memory travels; its size must be the same there."""
    stream = make_stream("s", "--device", "nvme,drive=mem:1M", "--content", f"1:0:{1 << 20}")
    outboard.ok("state", "check", stream, "--device", "nvme,drive=mem:1M")
    assert "drive 0 has 2 MiB here, 1 MiB in the stream" in outboard.fails(
        "state", "check", stream, "--device", "nvme,drive=mem:2M")
    behind = make_stream("t", "--device", "nvme,drive=null:1M")
    said = outboard.fails("state", "check", behind, "--device", "nvme,drive=null:2M")
    assert "4096 blocks here, 2048 in the stream" in said


def test_check_with_a_device_says_what_does_not_fit(outboard, make_stream):
    device = ("--device", "nvme,drive=null:1M")
    content = make_stream("content", *device, *DRIVE)
    assert "drive 0 has content in the stream, not here" in outboard.fails(
        "state", "check", content, *device)
    wild = make_stream("wild", *device, "--fill", 8)
    assert "serial: not a printable text" in outboard.fails("state", "check", wild, *device)
    other = make_stream("other", "--device", "null,msix=off")
    assert "core.config" in outboard.fails("state", "check", other, "--device", "null")
    good = make_stream("good", *device)
    assert "of model edu here, of model nvme in the stream" in outboard.fails(
        "state", "check", good, "--device", "edu")


def test_check_takes_no_lock(outboard, make_stream, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    device = f"nvme,drive=file:{image}"
    other = tmp_path / "other"
    other.write_bytes(bytes(1 << 20))
    stream = make_stream("s", "--device", f"nvme,drive=file:{other}")
    server = subprocess.Popen([outboard.path, "serve", "--device",
                               f"{device},socket={tmp_path / 'sock'}"], stdout=subprocess.PIPE)
    try:
        server.stdout.readline()
        outboard.ok("state", "check", stream, "--device", device)
        assert server.poll() is None
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.parametrize("device, reason", [
    ("frob", "no model 'frob'"), ("nvme", "drive"), ("edu,frob=1", "frob"),
])
def test_check_with_wrong_words(outboard, make_stream, device, reason):
    stream = make_stream("s")
    assert reason in outboard.fails("state", "check", stream, "--device", device, code=2)


def test_check_with_a_device_that_cannot_be(outboard, make_stream, tmp_path):
    said = outboard.fails("state", "check", make_stream("s"), "--device",
                          f"nvme,drive=file:{tmp_path / 'nothing'}")
    assert "the device: " in said and "nothing" in said


# --- convert ----------------------------------------------------------------

def test_convert_through_pipes(outboard, make_stream):
    native = make_stream("s", *NVME, *DRIVE, "--fill", 6).read_bytes()
    qemu = outboard.ok("state", "convert", "--to", "qemu", "-", "-", input=native)
    assert qemu.startswith(b"QEVM\0\0\0\3")
    again = outboard.ok("state", "convert", "--to", "native", "-", "-", input=qemu)
    assert outboard.ok("state", "convert", "--to", "qemu", "-", "-", input=again) == qemu


def test_convert_leaves_nothing_behind_when_it_fails(outboard, make_stream, tmp_path):
    stream = make_stream("s", *NVME, *DRIVE)
    target = tmp_path / "out"
    target.write_text("before")
    cut = tmp_path / "cut"
    cut.write_bytes(stream.read_bytes()[:-100])
    outboard.fails("state", "convert", "--to", "qemu", cut, target)
    assert target.read_text() == "before"
    assert "this form already" in outboard.fails("state", "convert", "--to", "native", stream,
                                                 target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "out", "s"]


# Until it runs another program, a process counts as large as the one that it
# comes from: this one grows with the tests before.
MEASURE = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
assert status == 0
print(usage.ru_maxrss)
"""


def test_convert_holds_little_of_a_large_stream(outboard, make_stream, tmp_path):
    """64 MiB of memory, of which most is the program, and 256 MiB of content."""
    if b"__asan_init" in outboard.path.read_bytes():
        pytest.skip("a sanitizer keeps freed memory")
    stream = make_stream("s", *NVME, "--content", f"1:0:{256 << 20}")
    held = subprocess.run([sys.executable, "-c", MEASURE, outboard.path, "state", "convert",
                           "--to", "qemu", stream, tmp_path / "q"],
                          capture_output=True, check=True, timeout=60).stdout
    assert (tmp_path / "q").stat().st_size > 160 << 20
    assert int(held) < 64 << 10


# --- schema and words -------------------------------------------------------

def test_schema_of_one_and_of_all(outboard):
    one = json.loads(outboard.ok("state", "schema", "nvme"))
    every = json.loads(outboard.ok("state", "schema"))
    assert every["nvme"] == one and {"null", "edu"} <= set(every)
    assert [part["name"] for part in one["parts"]] == ["core", "plain", "hot"]
    assert "no model 'frob'" in outboard.fails("state", "schema", "frob")


@pytest.mark.parametrize("words", [
    [], ["frobnicate"], ["show"], ["diff", "a"], ["show", "--frob", "a"],
    ["convert", "a", "b"], ["convert", "--to", "yaml", "a", "b"],
])
def test_wrong_words(outboard, words):
    assert "outboard help state" in outboard.fails("state", *words, code=2)


def test_help(outboard):
    said = outboard.ok("help", "state").decode()
    for verb in ("show", "diff", "check", "convert", "schema"):
        assert f"outboard state {verb} " in said


@pytest.mark.parametrize("bytes_", [b"", b"OUT", b"\0" * 4096])
def test_convert_to_native_does_not_take_anything_for_native(outboard, tmp_path, bytes_):
    said = outboard.fails("state", "convert", "--to", "native", "-", tmp_path / "out",
                          input=bytes_)
    assert "no stream of a device's state" in said


@pytest.mark.parametrize("words", [["show"], ["show", "--json"], ["check"],
                                   ["convert", "--to", "qemu"]])
def test_full_output_is_a_failure_of_every_verb(outboard, make_stream, words):
    more = ["-"] if "convert" in words else []
    with open("/dev/full", "wb") as full:
        made = subprocess.run([outboard.path, "state", *words, make_stream("s"), *more],
                              stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert made.returncode == 1 and b"cannot write" in made.stderr


def test_diff_of_standard_input_with_itself_is_misuse(outboard):
    assert "only one" in outboard.fails("state", "diff", "-", "-", code=2, input=b"")


@pytest.mark.parametrize("verb", ["show", "diff", "check", "convert", "schema"])
def test_help_of_a_verb(outboard, verb):
    assert f"outboard state {verb} " in outboard.ok("state", verb, "--help").decode()
