# SPDX-License-Identifier: BSD-3-Clause
"""Small streams that ask for a lot: each verb answers soon, within little
memory, whatever its answer is."""
import os
import subprocess
import time

import pytest

from hostile import (CONTENT, MUST, PART, STRUCT, U8, ZEROS, Stream, record, row, run, schema,
                     sections, table)
from liar import Liar

HUGE = 1 << 44
ONE = schema(table("one", 1, row(1, U8, "x", 0, 1, 1)))
PLAIN = b"\1\0\0\0"
MEMORY_KIB = 200 << 10
SEEDS = int(os.environ.get("SEEDS", "25"))
# Fields that are there so often that the file of 450 bytes would be gigabytes.
TIMES = (16 << 20) - 128


def content(size, *runs):
    stream = Stream().begin(ONE, size)
    for flags, payload in runs:
        stream.add(CONTENT, payload, MUST | flags)
    return stream.add(PART, PLAIN).end()


def bomb(kind):
    if kind == "structures":
        tables = schema(table("one", 1, row(1, U8, "x", 0, 1, 1)),
                        table("many", TIMES, row(1, STRUCT, "x", 0, 1, TIMES, sub=1)))
    else:
        tables = schema(table("many", TIMES, row(1, U8, "x", 0, 1, TIMES)))
    return Stream().begin(tables).add(PART, PLAIN + record(1, 5, b"\1")).end()


STREAMS = {
    "zeros": content(HUGE, (ZEROS, run(0, HUGE))),
    "zeros_of_all_there_is": content(2**64 - 1, (ZEROS, run(0, 2**64 - 1))),
    "zeros_again_and_again": content(HUGE, *[(ZEROS, run(0, HUGE))] * 5000),
    "a_byte_far_away": content(HUGE, (0, run(HUGE - 1, 1, b"x"))),
    "bytes_here_and_there": content(HUGE, *[(0, run(i << 33, 1, b"x")) for i in range(2000)]),
    "structures": bomb("structures"),
    "numbers": bomb("numbers"),
}


def measure(outboard, *words):
    """(exit code, KiB, what it said) within ten seconds."""
    begun = time.monotonic()
    process = subprocess.Popen([outboard.path, "state", *map(str, words)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    assert time.monotonic() - begun < 10
    return process.returncode, usage.ru_maxrss, said


@pytest.mark.parametrize("words", [["show"], ["show", "--json"], ["show", "--all"], ["check"],
                                   ["diff"]], ids=" ".join)
@pytest.mark.parametrize("name", STREAMS)
def test_little_asks_for_little(outboard, tmp_path, name, words):
    if b"__asan_init" in outboard.path.read_bytes():
        pytest.skip("a sanitizer keeps freed memory")
    path = tmp_path / "s"
    path.write_bytes(STREAMS[name])
    code, memory, said = measure(outboard, *words, path, *[path] * (words == ["diff"]))
    assert code in (0, 1) and (code == 0 or said)
    assert memory < MEMORY_KIB


@pytest.mark.parametrize("kind", ["structures", "numbers"])
def test_too_many_values_are_named(outboard, tmp_path, kind):
    (tmp_path / "s").write_bytes(bomb(kind))
    said = outboard.fails("state", "show", tmp_path / "s", "--json")
    assert "plain has too many values to show" in said


def test_sizes_of_64_bits_are_told(outboard, tmp_path):
    (tmp_path / "s").write_bytes(STREAMS["zeros_of_all_there_is"])
    shown = outboard.show(tmp_path / "s")["content"][0]
    assert shown["size"] == shown["zeros"] == "0xffffffffffffffff"
    assert shown["data"] == 0


def with_zeros(data, count, size):
    """A real device's stream, and all of its drive zeroed again and again."""
    stream, many = Stream(), False
    for kind, flags, payload in sections(data):
        if kind == PART and not many:
            many = True
            for _ in range(count):
                stream.add(CONTENT, run(0, size), MUST | ZEROS)
        stream.add(kind, payload, flags)
    return stream.end()


def test_zeros_of_a_whole_drive_are_converted_and_loaded(outboard, serve, tmp_path):
    size = 64 << 30
    outboard.ok("save", serve("a", f"nvme,drive=mem:{size}"), tmp_path / "s")
    many = tmp_path / "many"
    many.write_bytes(with_zeros((tmp_path / "s").read_bytes(), 2000, size))
    outboard.ok("state", "check", many, "--device", f"nvme,drive=mem:{size}")
    outboard.ok("state", "convert", "--to", "qemu", many, tmp_path / "q")
    outboard.ok("state", "convert", "--to", "native", tmp_path / "q", tmp_path / "n")
    assert (tmp_path / "q").stat().st_size + (tmp_path / "n").stat().st_size < 1 << 20
    outboard.ok("load", many, serve("b", f"nvme,drive=mem:{size},incoming=on"))
    outboard.ok("load", tmp_path / "n", serve("c", f"nvme,drive=mem:{size},incoming=on"))


# --- servers ----------------------------------------------------------------

@pytest.fixture
def lie(tmp_path):
    """lie(seed): the socket of a server that nobody should believe."""
    liars = []

    def start(seed):
        path = tmp_path / f"liar{len(liars)}.sock"
        liars.append(Liar(path, seed))
        return path
    yield start
    for liar in liars:
        liar.close()


@pytest.mark.parametrize("words", ["migrate LIAR REAL", "migrate LIAR REAL --precopy --json",
                                   "migrate REAL LIAR --precopy", "migrate LIAR LIAR --precopy",
                                   "save LIAR FILE", "load STREAM LIAR", "inspect LIAR",
                                   "bench-move LIAR LIAR --moves 3"])
def test_server_that_lies_ends_in_a_message(outboard, serve, lie, make_stream, tmp_path, words):
    real, stream = serve("real", "edu"), make_stream("s", "--device", "edu")
    for seed in range(SEEDS):
        names = {"REAL": real, "STREAM": stream, "FILE": tmp_path / "out"}
        line = [lie(seed) if word == "LIAR" else names.get(word, word)
                for word in words.split()]
        made = outboard.run(*line, stdin=subprocess.DEVNULL)
        text = made.stderr.decode(errors="replace")
        assert made.returncode in (0, 1), (seed, text)
        assert made.returncode == 0 or "outboard" in text, seed
        assert not set(text) & set(map(chr, range(32))) - {"\n"}, (seed, text)
        if made.returncode and "FILE" in words:
            assert not (tmp_path / "out").exists() or "all is in" in text
        (tmp_path / "out").unlink(missing_ok=True)
    # The one that does not lie has not suffered.
    outboard.ok("migrate", real, serve("other", "edu,incoming=on"))
