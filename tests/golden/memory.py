# SPDX-License-Identifier: BSD-3-Clause
"""Memory of a running server, copied as it would be after its death."""
import os
import pathlib
import time

STATE, BAR, GUEST = "memfd:outboard-state", "memfd:outboard-bar ", "memfd:guest"


def children(pid):
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from children(int(child))


def files(pid, name):
    """Keeper and worker may have it; it is the same file."""
    seen = set()
    for process in (pid, *children(pid)):
        for fd in pathlib.Path(f"/proc/{process}/fd").iterdir():
            try:
                if name in os.readlink(fd) and fd.stat().st_ino not in seen:
                    seen.add(fd.stat().st_ino)
                    yield fd
            except FileNotFoundError:
                pass


def copy(pid, name=STATE):
    """The state of a process with one device, or another memory of it, as bytes:
    at rest, so that nothing of its connection is half done."""
    found = list(files(pid, name))
    assert len(found) == 1, found
    data, before = found[0].read_bytes(), None
    for _ in range(100):
        if data == before:
            break
        time.sleep(0.01)
        data, before = found[0].read_bytes(), data
    return data
