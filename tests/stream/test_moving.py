# SPDX-License-Identifier: BSD-3-Clause
"""outboard migrate, save and load, as somebody at a shell meets them."""
import socket
import struct
import threading

import pytest

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
