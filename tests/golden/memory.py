# SPDX-License-Identifier: BSD-3-Clause
"""The state memory of a running device, copied as it would be after its death."""
import os
import pathlib

NAME = "memfd:outboard-state"


def children(pid):
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from children(int(child))


def files(pid):
    """Keeper and worker may have it; it is the same file."""
    seen = set()
    for process in (pid, *children(pid)):
        for fd in pathlib.Path(f"/proc/{process}/fd").iterdir():
            try:
                if NAME in os.readlink(fd) and fd.stat().st_ino not in seen:
                    seen.add(fd.stat().st_ino)
                    yield fd
            except FileNotFoundError:
                pass


def copy(pid):
    """Of a process with one device, as bytes."""
    found = list(files(pid))
    assert len(found) == 1, found
    return found[0].read_bytes()
