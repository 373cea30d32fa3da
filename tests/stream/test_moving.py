# SPDX-License-Identifier: BSD-3-Clause
"""outboard migrate, save and load, as somebody at a shell meets them."""
import os
import resource
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

NVME = "nvme,drive=mem:8M"


def only(folder, *names):
    """No file is left beside what belongs there."""
    left = {path.name for path in folder.iterdir() if not path.name.endswith(".sock")}
    assert left == set(names)


def drain(path, into):
    with open(path, "rb") as pipe:
        into.append(pipe.read())


# --- files that appear when they are whole ----------------------------------

@pytest.mark.parametrize("verb", ["save", "convert"])
def test_fifo_is_written_to_not_replaced(outboard, serve, make_stream, tmp_path, verb):
    fifo, got = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=drain, args=(fifo, got))
    reader.start()
    if verb == "save":
        outboard.ok("save", serve("a", "null"), fifo)
    else:
        outboard.ok("state", "convert", "--to", "qemu", make_stream("s"), fifo)
    reader.join(20)
    assert fifo.is_fifo() and len(got[0]) > 100


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


@pytest.mark.parametrize("verb", ["save", "convert"])
def test_limit_of_file_size_is_an_error_and_leaves_no_file(outboard, serve, make_stream,
                                                           tmp_path, verb):
    stream, words = make_stream("s", "--device", NVME), ["state", "convert", "--to", "qemu"]
    words = ["save", serve("a", "null")] if verb == "save" else [*words, stream]
    said = outboard.fails(*words, tmp_path / "out", preexec_fn=limit_file_size)
    assert "out: File too large" in said
    only(tmp_path, "s")


def test_interrupted_conversion_leaves_no_file(outboard, make_stream, tmp_path):
    data = make_stream("s", "--device", NVME).read_bytes()
    with subprocess.Popen([outboard.path, "state", "convert", "--to", "qemu", "-",
                           tmp_path / "out"], stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE) as made:
        made.stdin.write(data[:-1])
        made.stdin.flush()
        deadline = time.monotonic() + 20
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        made.send_signal(signal.SIGINT)
        assert made.wait(20) == 1
        assert b"nterrupted" in made.stderr.read()
    only(tmp_path, "s")


def test_converted_state_is_as_private_as_saved_state(outboard, make_stream, tmp_path):
    outboard.ok("state", "convert", "--to", "qemu", make_stream("s"), tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600


# --- clients that come and go -----------------------------------------------

def occupy(path):
    """A client that was greeted, and holds the device."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    offer = struct.pack("<HH", 0, 1) + b"{}\0"
    client.sendall(struct.pack("<HHIII", 0, 1, 16 + len(offer), 0, 0) + offer)
    assert client.recv(4096)
    return client


@pytest.mark.parametrize("words", [["inspect"], ["save"], ["migrate"]])
def test_client_that_just_leaves_is_waited_for(outboard, serve, tmp_path, words):
    path = serve("a", "null")
    client = occupy(path)
    leaves = threading.Timer(0.2, client.close)
    leaves.start()
    last = {"inspect": [], "save": [tmp_path / "s"], "migrate": [serve("b", "null")]}
    outboard.ok(*words, path, *last[words[0]])
    leaves.join()


def test_client_that_stays_is_told_of(outboard, serve):
    path = serve("a", "null")
    client = occupy(path)
    assert "serves another client" in outboard.fails("inspect", path)
    client.close()


def test_move_to_itself_is_misuse(outboard, serve, tmp_path):
    path = serve("a", "null")
    (tmp_path / "b.sock").symlink_to(path)
    said = outboard.fails("migrate", path, tmp_path / "b.sock", code=2)
    assert "same socket" in said


# --- load -------------------------------------------------------------------

def test_directory_is_refused_before_the_device_is_touched(outboard, serve, tmp_path):
    said = outboard.fails("load", tmp_path, serve("a", "null"))
    assert f"{tmp_path}: Is a directory" in said and "reset" not in said


@pytest.mark.parametrize("options, reason", [
    ("queues=2", "shape.queues: 2 here, 16 in the stream (option queues)"),
    ("doorbells=trapped", "(option doorbells)"), ("lba=4096", "(option lba)"),
    ("serial=X", '"X" here'), ("msix=off", "in this device, which has other options"),
])
def test_refused_load_names_file_field_and_option(outboard, serve, make_stream, tmp_path,
                                                  options, reason):
    outboard.ok("save", serve("a", f"{NVME},serial=A"), tmp_path / "s")
    said = outboard.fails("load", tmp_path / "s", serve("b", f"{NVME},{options}"))
    assert f"{tmp_path}/s: destination" in said and reason in said
    assert said.rstrip().endswith("; the device is reset")


def test_load_of_another_model_names_both(outboard, serve, tmp_path):
    outboard.ok("save", serve("a", NVME), tmp_path / "s")
    said = outboard.fails("load", tmp_path / "s", serve("b", "null"))
    assert "of model null here, of model nvme in the stream" in said


# --- save -------------------------------------------------------------------

def test_what_save_says_to_do_next_is_true(outboard, serve, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(bytes(8 << 20))
    a = serve("a", f"nvme,drive=file:{image}")
    said = outboard.run("save", a, tmp_path / "s").stderr.decode()
    assert f"outboard load {tmp_path}/s SOCKET (here: {a})" in said
    assert f"the next client of {a} begins with its drives as they are" in said
    # Without it: the guest of the next client enables it, and has its drive.
    outboard.ok("bench", a, "--rw", "randread", "--time", "0.1")
    outboard.ok("save", a, tmp_path / "s")
    # With it, elsewhere; here it has no drive any more.
    b = serve("b", f"nvme,drive=file:{image},incoming=on")
    outboard.ok("load", tmp_path / "s", b)
    outboard.ok("bench", b, "--rw", "randread", "--time", "0.1")
    assert "fatal" in outboard.fails("bench", a, "--rw", "randread", "--time", "0.1")
    said = outboard.fails("save", a, tmp_path / "s")
    assert f"image: in use by pid" in said


# --- what is told after a move ----------------------------------------------

@pytest.mark.parametrize("words", [[], ["--json"], ["--plot", "/dev/full"]])
def test_device_that_moved_is_said_to_have_moved(outboard, serve, words):
    a, b = serve("a", "null"), serve("b", "null,incoming=on")
    out = subprocess.PIPE if "--plot" in words else open("/dev/full", "wb")
    made = subprocess.run([outboard.path, "migrate", a, b, *words], stdout=out,
                          stderr=subprocess.PIPE, timeout=60)
    assert made.returncode == 1
    assert b"outboard migrate: the device has moved: " in made.stderr


def test_inspect_tells_whether_a_device_moves(outboard, serve):
    said = outboard.ok("inspect", serve("a", "null")).decode()
    assert "migration: state=RUNNING " in said
    assert " stop_copy+ p2p+ pre_copy+ dirty_log+" in said
