# SPDX-License-Identifier: BSD-3-Clause
"""What the processes of a server have and do: the keeper, and all that it started."""
import contextlib
import os
import pathlib
import re


def children(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        yield from map(int, pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split())


def processes(pid):
    """All but those that only linger, which have nothing of their own."""
    if os.listdir(f"/proc/{pid}/fd"):
        yield pid
    for child in children(pid):
        yield from processes(child)


def files_of(pid):
    """What is in use of each memory file, mapped or not."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(path).startswith("/memfd:"):
                st = os.stat(path)
                yield st.st_ino, st.st_blocks * 512


def memory(pid):
    """Bytes that are no file's of a file system, each counted once."""
    files, anonymous = {}, 0
    for one in processes(pid):
        files.update(files_of(one))
        rows = pathlib.Path(f"/proc/{one}/smaps_rollup").read_text()
        anonymous += int(re.search(r"Pss_Anon: *(\d+)", rows)[1]) << 10
    return anonymous + sum(files.values())


SETTLED = 1.5   # seconds after the ready line: the watchdog looks until then


def switches(pid):
    """How often they got a CPU or lost it."""
    return sum(int(n) for one in processes(pid) for n in re.findall(
        r"ctxt_switches:\s*(\d+)", pathlib.Path(f"/proc/{one}/status").read_text()))
