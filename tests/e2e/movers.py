# SPDX-License-Identifier: BSD-3-Clause
"""A VM that moves: two QEMUs, the servers of both, `outboard vm-migrate` between.

A Place is a QEMU with its servers.  A Traveller is one guest on its way through
places: it is at `here`, the next one is made by `prepare()`, `move()` goes there.
"""
import json
import subprocess

from guest import disk

SIZE = 64 << 20
MEMORY = 256


class Place:
    def __init__(self, scene, name, drives, keys="", together=True, qemu=(), incoming=False,
                 **machine):
        """drives: one for each device.  together: one server has them all."""
        self.name = name
        self.qmp = scene.folder / f"{name}.qmp"
        self.sockets = [scene.socket(f"{name}-{n}") for n in range(len(drives))]
        devices = [",".join(filter(None, (
            f"nvme,socket={socket},id={name}-disk{n},drive={drive}", keys,
            "incoming=on" if incoming and drive.startswith("file:") else "")))
            for n, (socket, drive) in enumerate(zip(self.sockets, drives))]
        groups = [devices] if together else [[device] for device in devices]
        self.controls = [scene.folder / f"{name}-{n}.ctl" for n in range(len(groups))]
        self.servers = [scene.server(*group, options=["--control", control])
                        for group, control in zip(groups, self.controls)]
        self.qemu = ["-qmp", f"unix:{self.qmp},server=on,wait=off", *qemu]
        self.machine = machine
        self.start_qemu(scene, incoming)

    def start_qemu(self, scene, incoming):
        """One that boots, or one that waits; with the servers that are there."""
        wait = ["-S", "-incoming", "defer"] if incoming else []
        self.guest = scene.guest(
            *(disk(socket, id=f"disk{n}", **self.machine.get("properties", {}))
              for n, socket in enumerate(self.sockets)),
            boot=not incoming, extra=self.qemu + wait,
            memory=self.machine.get("memory", MEMORY), cpus=self.machine.get("cpus", 2),
            machine=self.machine.get("machine", "q35"),
            cmdline=self.machine.get("cmdline", ""))
        if incoming:
            self.guest.version = self.guest.qmp.greet()

    def end_qemu(self, scene):
        self.guest.close()
        scene.parts.remove(self.guest)

    def status(self):
        return self.guest.qmp("query-status")["status"]

    def end(self, scene):
        """QEMU first, as an operator does."""
        self.end_qemu(scene)
        for part in self.servers:
            part.close()
            scene.parts.remove(part)


def call(scene, control, method, **params):
    """One request to a server, by the tool; its result."""
    done = subprocess.run([scene.outboard, "ctl", control, method,
                           *(f"{key}={value}" for key, value in params.items())],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Traveller:
    def __init__(self, scene, drives, keys="", together=True, qemu=(), **machine):
        """drives: a function of the device's number and of the move's, or a list."""
        self.scene = scene
        self.made = dict(keys=keys, together=together, qemu=qemu, **machine)
        self.drives = drives
        self.moves = 0
        self.here = self._place(incoming=False)
        self.there = None
        self.guest = self.here.guest

    def _place(self, incoming, **changes):
        made = dict(self.made, **changes)
        place = Place(self.scene, f"p{self.moves}", made.pop("drives", self.drives),
                      incoming=incoming, **made)
        self.moves += 1
        return place

    def prepare(self, **changes):
        """The place where it will go, or something that is not quite like it."""
        self.there = self._place(incoming=True, **changes)
        return self.there

    def arguments(self, **instead):
        """instead: other paths, by option."""
        named = {"from_qmp": [self.here.qmp], "to_qmp": [self.there.qmp],
                 "from_control": self.here.controls, "to_control": self.there.controls}
        named.update(instead)
        return [word for name, paths in named.items() for path in paths
                for word in (f"--{name.replace('_', '-')}", str(path))]

    def start(self, *options, verb="vm-migrate", **instead):
        """The conductor as a process of its own."""
        return subprocess.Popen(
            [str(self.scene.outboard), verb, "--json", *self.arguments(**instead),
             *map(str, options)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)

    def conduct(self, *options, timeout=120, **instead):
        """(status, report, what it said)"""
        process = self.start(*options, **instead)
        out, said = process.communicate(timeout=timeout)
        return process.returncode, json.loads(out) if out else None, said

    def arrive(self):
        """The other place is this one; the old one ends."""
        self.here.end(self.scene)
        self.here, self.there = self.there, None
        self.guest = self.here.guest

    def move(self, *options, **changes):
        """There and no further; its report."""
        if not self.there:
            self.prepare(**changes)
        status, report, said = self.conduct(*options)
        assert status == 0, said
        assert report["outcome"] == "moved"
        assert self.there.status() == "running" and self.here.status() == "postmigrate"
        self.arrive()
        return report

    def move_to(self, place):
        """Into servers that are there already; those here stay, too."""
        place.start_qemu(self.scene, incoming=True)
        self.there = place
        status, report, said = self.conduct()
        assert status == 0, said
        self.here.end_qemu(self.scene)
        self.here, self.there = place, None
        self.guest = place.guest
        return report

    def give_up_there(self):
        """What a failure left of the destination."""
        self.there.guest.kill()
        self.there.end(self.scene)
        self.there = None


def complaints_of_a_traveller(guest, usual, level):
    """The kernel's, which are not usual.  QEMU asserts a level interrupt whenever it hears
    of one, also when the guest has served it meanwhile, and lowers it at the next access
    to the device: an idle guest may say "nobody cared" (docs/live-migration.md)."""
    kept, spurious = [], False
    for line in guest.kernel_complaints():
        spurious = spurious or (level and "nobody cared" in line)
        if not spurious and line not in usual:
            kept.append(line)
        spurious = spurious and not line.startswith("Disabling IRQ")
    return kept
