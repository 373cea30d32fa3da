# SPDX-License-Identifier: BSD-3-Clause
"""As much of a keeper as a successor needs (src/keeper/wire.h): it is given what
a dead process left, and what it puts is there to be looked at."""
import array
import os
import select
import socket
import struct
import subprocess
import time

import vfu

HEAD = struct.Struct("<IIQ4i120s")
MAGIC = 0x4f424b50
(PUT, DROP, ACCEPT, READY, RINGS_OVER, REFUSED, ENDED, UPGRADE, STATUS, AWAKE, GET) = range(1, 12)
(GIVE, RINGS, START, REHEARSE, COPY, CLIENT, STATUS_IS, STOP) = range(64, 72)
DEATH = 1               # why it is started
SIGKILL = 9


class Refused(Exception):
    """With the successor's reason."""


class Keeper:
    """A successor of generation 2.  held: names and descriptors, which it takes."""

    def __init__(self, binary, device, held, log):
        self.held = dict(held)
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pulse = os.memfd_create("pulse")
        os.ftruncate(pulse, 4096)
        inherited = (theirs.fileno(), pulse)
        with open(log, "wb") as err:
            self.process = subprocess.Popen(
                [binary, "serve", "--device", device], pass_fds=inherited, stderr=err,
                env=dict(os.environ, OUTBOARD_KEEPER="%d,%d,1000" % inherited))
        theirs.close()
        os.close(pulse)
        self.send(RINGS, 2, (-1, -1, -1, 0))
        for name, fd in self.held.items():
            self.send(GIVE, name=name, fd=fd)
        self.send(START, 2, (1, SIGKILL, 1, DEATH))

    def send(self, op, value=0, numbers=(0, 0, 0, 0), name="", fd=None):
        data = HEAD.pack(MAGIC, op, value, *numbers, name.encode())
        if fd is None:
            self.sock.send(data)
        else:
            socket.send_fds(self.sock, [data], [fd])

    def hear(self):
        """The next message: (op, name, text).  The table is kept meanwhile."""
        if not select.select([self.sock], [], [], vfu.PATIENCE)[0]:
            raise TimeoutError
        data, control, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(4))
        if not data:
            return ENDED, "", ""
        _, op, _, *_, name = HEAD.unpack_from(data)
        name = name.split(b"\0")[0].decode()
        fds = array.array("i", b"".join(part[2] for part in control))
        if op == PUT and fds:
            self.forget(lambda other: other == name)
            self.held[name] = fds[0]
        elif op == DROP:
            self.forget(lambda other: other == name or
                        name.endswith("/") and other.startswith(name))
        elif op == GET:
            self.send(GIVE, name=name, fd=self.held.get(name))
        return op, name, data[HEAD.size:].decode()

    def forget(self, which):
        for name in list(filter(which, self.held)):
            os.close(self.held.pop(name))

    def ready(self):
        """It serves; or Refused."""
        while True:
            op, _, text = self.hear()
            if op == READY:
                return
            if op in (REFUSED, ENDED):
                raise Refused(text)

    def until(self, condition):
        """What it says meanwhile has to be heard."""
        deadline = time.monotonic() + vfu.PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            if select.select([self.sock], [], [], 0.002)[0]:
                self.hear()

    def read(self, name):
        fd = self.held[name]
        return os.pread(fd, os.fstat(fd).st_size, 0)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.sock.close()
        self.forget(lambda name: True)
