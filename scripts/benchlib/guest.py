# SPDX-License-Identifier: BSD-3-Clause
"""fio in one Linux guest that has both: disks that we serve, and QEMU's own
nvme with the same content.  The guest is that of tests/e2e."""
import json
import pathlib
import subprocess
import sys

from . import harness
from .harness import FOLDER, IMAGE, TOP, TWIN, Missing, alternate

DISKS = ("our file", "QEMU's file", "our null", "QEMU's null")
SERIALS = dict(zip(DISKS, ("OURFILE", "QEMUFILE", "OURNULL", "QEMUNULL")))
DEPTH = 32


def lab():
    made = subprocess.run([TOP / "scripts/prepare-vm", "--print"], stdout=subprocess.PIPE,
                          text=True)
    if made.returncode:
        raise Missing("the guest cannot be prepared (scripts/prepare-vm)")
    folder = pathlib.Path(made.stdout.strip())

    class Lab:
        qemu, kernel, initrd = (folder / name for name in ("qemu", "vmlinuz", "initrd"))
        accel = "tcg"       # what every machine has

    return Lab


def qemu_drives():
    """Locks are off: the image is the twin of the one that we serve."""
    return ["-drive", f"if=none,id=file,format=raw,file={TWIN},cache=none,aio=io_uring",
            "-device", f"nvme,drive=file,serial={SERIALS[DISKS[1]]}",
            "-blockdev", "driver=null-co,node-name=null,size=1073741824,read-zeroes=off",
            "-device", f"nvme,drive=null,serial={SERIALS[DISKS[3]]}"]


def names(guest):
    """The block device of each disk, found by its serial number."""
    text = guest.sh("for d in /sys/class/nvme/nvme*; do echo $(cat $d/serial) "
                    "$(ls $d | grep -m1 '^nvme[0-9]*n[0-9]*$'); done")
    found = dict(row.split() for row in text.splitlines())
    return {disk: found[serial] for disk, serial in SERIALS.items()}


def run_fio(guest, device, seconds):
    # The words before the object are fio's, of options that it takes as hints.
    text = guest.sh(f"fio --name=t --filename=/dev/{device} --direct=1 --ioengine=libaio "
                    f"--rw=randread --bs=4k --iodepth={DEPTH} --time_based "
                    f"--runtime={seconds} --output-format=json", timeout=seconds + 60)
    job = json.loads(text[text.index("{"):])["jobs"][0]["read"]
    times = job["clat_ns"]["percentile"]
    return {"iops": job["iops"], "p50": times["50.000000"] / 1e3,
            "p99": times["99.000000"] / 1e3}


def measure(rounds, seconds):
    sys.path.insert(0, str(TOP / "tests/e2e"))
    from guest import Guest, disk
    sockets = [(FOLDER / f"guest{n}.sock").resolve() for n in range(2)]
    first = f"nvme,drive=file:{IMAGE},serial={SERIALS[DISKS[0]]}"
    second = f"nvme,drive=null:1G,serial={SERIALS[DISKS[2]]},socket={sockets[1]}"
    logs = FOLDER.resolve()
    with harness.served(first, socket=sockets[0], more=[second]):
        guest = Guest(lab(), logs, [disk(path, id=f"ours{n}") for n, path in
                                    enumerate(sockets)], extra=qemu_drives())
        try:
            guest.boot()
            devices = names(guest)
            runs = alternate(rounds, **{name: lambda device=device: run_fio(
                guest, device, seconds) for name, device in devices.items()})
            return {"qemu": guest.version, "runs": runs}
        finally:
            guest.close()
            for name in ("console.log", "qemu.log"):
                (logs / name).unlink(missing_ok=True)
