# SPDX-License-Identifier: BSD-3-Clause
"""A vfio-user client of bare bytes, for tests.

It knows the layout of messages and nothing of any server.  Commands that the
server sends are put aside, in the order of their arrival, until a test asks
for them; so a test decides when to answer.
"""

import array
import collections
import errno
import json
import os
import select
import socket
import struct
import time

(VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO, GET_REGION_IO_FDS,
 GET_IRQ_INFO, SET_IRQS, REGION_READ, REGION_WRITE, DMA_READ, DMA_WRITE, RESET,
 DIRTY_PAGES, WRITE_MULTI, FEATURE, MIG_READ, MIG_WRITE) = range(1, 19)

NAMES = {v: k for k, v in list(globals().items())
         if k.isupper() and isinstance(v, int)}

# Header flags
REPLY = 0x1
NO_REPLY = 0x10
ERROR = 0x20

HEADER = struct.Struct("<HHIII")

# DMA_MAP flags, regions, interrupts, DEVICE_FEATURE flags
READ, WRITE = 1, 2
ROM, CONFIG = 6, 7
INTX, MSI, MSIX, ERR, REQ = range(5)
DATA_NONE, DATA_BOOL, DATA_EVENTFD = 1, 2, 4
MASK, UNMASK, TRIGGER = 8, 16, 32
FEATURE_GET, FEATURE_SET, FEATURE_PROBE = 1 << 16, 1 << 17, 1 << 18
REGION_MMAP, REGION_CAPS = 4, 8

# DEVICE_FEATURE: numbers, flags of MIGRATION, states
(MIGRATION, MIG_STATE, LOG_START, LOG_STOP, LOG_REPORT,
 MIG_DATA_SIZE) = 1, 2, 6, 7, 8, 9
HAS_STOP_COPY, HAS_P2P, HAS_PRE_COPY = 1, 2, 4
(FAILED, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY,
 PRE_COPY_P2P) = range(8)
STATES = ["ERROR", "STOP", "RUNNING", "STOP_COPY", "RESUMING", "RUNNING_P2P",
          "PRE_COPY", "PRE_COPY_P2P"]

# A reply that does not come within this many seconds does not come.
PATIENCE = 20

# So many small requests and replies fit into the sockets' buffers: a server
# may stop reading while its replies are not read.
BATCH = 64

QEMU_CAPS = {
    "pgsizes": 4096,
    "max_msg_fds": 16,
    "max_dma_maps": 65535,
    "max_data_xfer_size": 1 << 20,
    "migration": {"max_bitmap_size": 1 << 28, "pgsize": 4096},
    "write_multiple": True,
}


class Closed(Exception):
    """The server has closed the connection."""


Message = collections.namedtuple(
    "Message", "ident cmd size flags error payload fds")


# Payloads of requests

def version(caps=None, major=0, minor=0):
    head = struct.pack("<HH", major, minor)
    if caps is None:
        return head
    return head + json.dumps({"capabilities": caps}).encode() + b"\0"


def dma_map(address, size, flags=READ | WRITE, offset=0, argsz=32):
    return struct.pack("<IIQQQ", argsz, flags, offset, address, size)


def dma_unmap(address, size, flags=0, argsz=24):
    return struct.pack("<IIQQ", argsz, flags, address, size)


def get_info(argsz=16):
    return struct.pack("<IIII", argsz, 0, 0, 0)


def region_info(index, argsz=32):
    return struct.pack("<IIIIQQ", argsz, 0, index, 0, 0, 0)


def region_io_fds(index, argsz=16, flags=0, count=0):
    return struct.pack("<IIII", argsz, flags, index, count)


def irq_info(index, argsz=16):
    return struct.pack("<IIII", argsz, 0, index, 0)


def set_irqs(flags, index, start=0, count=0, data=b"", argsz=None):
    if argsz is None:
        argsz = 20 + len(data)
    return struct.pack("<IIIII", argsz, flags, index, start, count) + data


def access(region, offset, count, data=b""):
    return struct.pack("<QII", offset, region, count) + data


def write_multi(entries, count=None):
    """entries: (region, offset, data of at most 8 bytes, length or None)"""
    out = struct.pack("<Q", len(entries) if count is None else count)
    for region, offset, data, *length in entries:
        out += struct.pack("<QII8s", offset, region,
                           length[0] if length else len(data), data)
    return out


def feature(number, flags, data=b"", argsz=None):
    if argsz is None:
        argsz = 8 + len(data)
    return struct.pack("<II", argsz, number | flags) + data


def state(value, data_fd=0, flags=FEATURE_SET, argsz=None):
    return feature(MIG_STATE, flags,
                   struct.pack("<II", value, data_fd & 0xffffffff), argsz)


def log_start(page=4096, ranges=(), count=None, flags=FEATURE_SET,
              argsz=None):
    """ranges: (iova, length); none are all that is mapped"""
    data = struct.pack("<QII", page, len(ranges) if count is None else count,
                       0)
    data += b"".join(struct.pack("<QQ", *one) for one in ranges)
    return feature(LOG_START, flags, data, argsz)


def log_stop(flags=FEATURE_SET):
    return feature(LOG_STOP, flags)


def bitmap_size(length, page):
    """Bytes: a bit for each begun page, in words of 64."""
    return ((length + page - 1) // page + 63) // 64 * 8


def log_report(iova, length, page=4096, argsz=None, flags=FEATURE_GET):
    if argsz is None:
        argsz = min(32 + bitmap_size(length, page or 1), 0xffffffff)
    return feature(LOG_REPORT, flags, struct.pack("<QQQ", iova, length, page),
                   argsz)


def mig(size, data=b"", argsz=None):
    if argsz is None:
        argsz = min(8 + size, 0xffffffff)
    return struct.pack("<II", argsz, size) + data


def message(cmd, payload=b"", ident=0, flags=0, size=None):
    if size is None:
        size = HEADER.size + len(payload)
    return HEADER.pack(ident, cmd, size, flags, 0) + payload


class Client:
    """One connection.  Closes itself and every fd that it was given."""

    def __init__(self, where):
        if isinstance(where, int):
            self.sock = socket.socket(fileno=where)
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(where)
        self.sock.settimeout(PATIENCE)
        self.ident = 1000
        self.commands = collections.deque()
        self.own = []
        self.caps = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()
        for fd in self.own:
            os.close(fd)
        self.own = []

    # Bytes

    def send(self, data, fds=()):
        """All of data; the fds with its first byte."""
        if fds:
            sent = socket.send_fds(self.sock, [data], list(fds))
            data = data[sent:]
        if data:
            self.sock.sendall(data)

    def _recv(self, count, fds):
        out = b""
        while len(out) < count:
            part, control, _, _ = self.sock.recvmsg(
                count - len(out), socket.CMSG_SPACE(64 * 4),
                socket.MSG_CMSG_CLOEXEC)
            for level, kind, data in control:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array("i")
                    numbers.frombytes(data[:len(data) // 4 * 4])
                    fds.extend(numbers)
                    self.own.extend(numbers)
            if not part:
                raise Closed
            out += part
        return out

    def receive(self):
        """The next message, whichever direction it asks for."""
        fds = []
        try:
            head = HEADER.unpack(self._recv(HEADER.size, fds))
            assert head[2] >= HEADER.size, "size field of %d" % head[2]
            payload = self._recv(head[2] - HEADER.size, fds)
        except (ConnectionResetError, BrokenPipeError):
            raise Closed from None
        return Message(*head, payload, fds)

    def reply(self):
        """The next reply; the server's commands before it are put aside."""
        while True:
            got = self.receive()
            if got.flags & 0xf == REPLY:
                return got
            self.commands.append(got)

    def expect_closed(self):
        """The end of the stream, whatever replies come before it."""
        try:
            while True:
                self.receive()
        except Closed:
            pass

    # Messages

    def post(self, cmd, payload=b"", fds=(), flags=0):
        """Sends a command; returns its id."""
        self.ident = self.ident + 1 & 0xffff
        self.send(message(cmd, payload, self.ident, flags), fds)
        return self.ident

    def request(self, cmd, payload=b"", fds=(), flags=0):
        """A command and its reply, which must name the command."""
        ident = self.post(cmd, payload, fds, flags)
        got = self.reply()
        check_echo(got, cmd, ident)
        return got

    def ok(self, cmd, payload=b"", fds=(), flags=0):
        got = self.request(cmd, payload, fds, flags)
        assert not got.flags & ERROR, "%s: error %s" % (
            NAMES.get(cmd, cmd), errno.errorcode.get(got.error, got.error))
        return got

    def negotiate(self, caps=QEMU_CAPS, minor=1):
        got = self.ok(VERSION, version(caps, minor=minor))
        if len(got.payload) > 4:
            assert got.payload[-1] == 0, "JSON without its NUL"
            text = json.loads(got.payload[4:-1])
            self.caps = text.get("capabilities", {})
        return got

    # Commands that tests use all the time

    def read(self, region, offset, count):
        got = self.ok(REGION_READ, access(region, offset, count))
        assert len(got.payload) == 16 + count
        assert got.payload[:16] == access(region, offset, count)
        return got.payload[16:]

    def read_int(self, region, offset, count=4):
        return int.from_bytes(self.read(region, offset, count), "little")

    def write(self, region, offset, data):
        got = self.ok(REGION_WRITE, access(region, offset, len(data), data))
        assert got.payload == access(region, offset, len(data))

    def write_int(self, region, offset, value, count=4):
        self.write(region, offset, value.to_bytes(count, "little"))

    def region(self, index, argsz=32):
        """argsz, flags, index, cap offset, size, offset; and the reply"""
        got = self.ok(GET_REGION_INFO, region_info(index, argsz))
        return struct.unpack_from("<IIIIQQ", got.payload), got

    def region_size(self, index):
        return self.region(index)[0][4]

    def info(self):
        got = self.ok(GET_INFO, get_info())
        assert len(got.payload) == 16
        return struct.unpack("<IIII", got.payload)

    def irq_count(self, index):
        got = self.ok(GET_IRQ_INFO, irq_info(index))
        return struct.unpack("<IIII", got.payload)[3]

    def offers(self):
        """Flags of the MIGRATION feature; 0 of a device without it."""
        got = self.request(FEATURE, feature(MIGRATION, FEATURE_GET, argsz=16))
        if got.flags & ERROR:
            return 0
        assert len(got.payload) == 16
        return struct.unpack_from("<Q", got.payload, 8)[0]

    def logs(self):
        """Is a dirty log offered?"""
        return not any(
            self.request(FEATURE, feature(number, op | FEATURE_PROBE)).flags
            & ERROR for number, op in ((LOG_START, FEATURE_SET),
                                       (LOG_STOP, FEATURE_SET),
                                       (LOG_REPORT, FEATURE_GET)))

    def state(self):
        got = self.ok(FEATURE, feature(MIG_STATE, FEATURE_GET, argsz=16))
        assert len(got.payload) == 16
        return struct.unpack_from("<I", got.payload, 8)[0]

    def try_state(self, value):
        """Asks for a state; returns the reply, whatever it says."""
        return self.request(FEATURE, state(value))

    def set_state(self, *values):
        for value in values:
            got = self.try_state(value)
            assert not got.flags & ERROR, "%s -> %s: error %s" % (
                STATES[self.state()], STATES[value],
                errno.errorcode.get(got.error, got.error))
        assert self.state() == values[-1]

    def mig_read(self, size):
        """Up to size bytes of the stream."""
        got = self.ok(MIG_READ, mig(size))
        argsz, count = struct.unpack_from("<II", got.payload)
        assert count <= size
        assert len(got.payload) >= 8 + count
        assert argsz == 8 + count
        return got.payload[8:8 + count]

    def stream(self, size=65536, limit=1 << 28):
        """All of it, to the read that gives less than was asked for."""
        out = b""
        while len(out) < limit:
            part = self.mig_read(size)
            out += part
            if len(part) < size:
                return out
        raise AssertionError("no end after %d bytes" % len(out))

    def saved(self, size=65536):
        """The stream of a device, which is left in STOP_COPY."""
        self.set_state(STOP_COPY)
        return self.stream(size)

    def mig_write(self, data, size=65536):
        """In messages of size bytes, many at a time; False if one failed."""
        pieces = [data[at:at + size] for at in range(0, len(data), size)]
        batch = max(1, min(BATCH, 65536 // (size + 24)))
        for at in range(0, len(pieces), batch):
            some = pieces[at:at + batch]
            idents = [self.post(MIG_WRITE, mig(len(p), p)) for p in some]
            got = [self.reply() for _ in idents]
            for ident, one in zip(idents, got):
                check_echo(one, MIG_WRITE, ident)
                assert not one.payload
            if any(one.flags & ERROR for one in got):
                return False
        return True

    def load(self, data, size=65536):
        """A whole stream: from any state to STOP."""
        self.set_state(RESUMING)
        assert self.mig_write(data, size)
        self.set_state(STOP)

    def report(self, iova, length, page=4096):
        """The numbers of the dirty pages, which are taken out of the log."""
        got = self.ok(FEATURE, log_report(iova, length, page))
        size = bitmap_size(length, page)
        assert struct.unpack_from("<IIQQQ", got.payload) == (
            32 + size, LOG_REPORT | FEATURE_GET, iova, length, page)
        assert len(got.payload) == 32 + size
        bits = {8 * at + n for at, byte in enumerate(got.payload[32:]) if byte
                for n in range(8) if byte >> n & 1}
        assert not bits or max(bits) < (length + page - 1) // page
        return bits

    def alive(self):
        """A barrier, and a check that the stream is in order."""
        self.info()

    # What the server asks of us

    def command(self):
        """The next command of the server, waiting for it."""
        if self.commands:
            return self.commands.popleft()
        got = self.receive()
        assert got.flags & 0xf == 0, "reply that nobody waits for"
        return got

    def waiting(self):
        """Has the server more to say?  It is given a moment."""
        return self.commands or select.select([self.sock], [], [], 0.1)[0]

    def answer(self, command, payload=b"", error=0):
        flags = REPLY | (ERROR if error else 0)
        self.send(HEADER.pack(command.ident, command.cmd,
                              HEADER.size + len(payload), flags,
                              error) + payload)

    def serve(self, memory, base):
        """Answers one DMA_READ or DMA_WRITE from a bytearray at base."""
        got = self.command()
        address, count = struct.unpack_from("<QQ", got.payload)
        at = address - base
        assert 0 <= at and at + count <= len(memory)
        if got.cmd == DMA_READ:
            assert len(got.payload) == 16
            self.answer(got, got.payload + bytes(memory[at:at + count]))
        else:
            assert got.cmd == DMA_WRITE
            assert len(got.payload) == 16 + count
            memory[at:at + count] = got.payload[16:]
            self.answer(got, got.payload[:16])
        return got


def check_echo(got, cmd, ident):
    assert got.flags & 0xf == REPLY
    assert got.ident == ident
    assert got.cmd == cmd
    assert got.size == HEADER.size + len(got.payload)


def reachable(path):
    try:
        Client(path).close()
    except OSError:
        return False
    return True


def wait_until(condition):
    """For what a server does in its own time; says in the end if it did."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
