# SPDX-License-Identifier: BSD-3-Clause
"""The operator's end of a server's control socket, and of streams."""

import array
import json
import os
import socket
import struct
import threading

import vfu


class Refused(Exception):
    """The server's words; .code is JSON-RPC's."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]


class Control:
    """One connection.  A request whose answer is to come later is sent with
    send(), and awaited with answer()."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(vfu.PATIENCE)
        self.socket.connect(str(path))
        self.text = b""
        self.id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, method, fds=(), **params):
        self.id += 1
        line = json.dumps({"jsonrpc": "2.0", "id": self.id, "method": method,
                           "params": params}) + "\n"
        self.send_bytes(line.encode(), fds)

    def send_bytes(self, data, fds=()):
        """The descriptors go with the first byte."""
        extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        sent = self.socket.sendmsg([data], extra if fds else [])
        self.socket.sendall(data[sent:])

    def answer(self):
        while b"\n" not in self.text:
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError("the server has gone")
            self.text += more
        line, self.text = self.text.split(b"\n", 1)
        got = json.loads(line)
        if "error" in got:
            raise Refused(got["error"])
        return got["result"]

    def waits(self, seconds=0.05):
        """No answer has come."""
        self.socket.settimeout(seconds)
        try:
            self.text += self.socket.recv(65536)
        except TimeoutError:
            pass
        finally:
            self.socket.settimeout(vfu.PATIENCE)
        return b"\n" not in self.text

    def call(self, method, fds=(), **params):
        self.send(method, fds, **params)
        return self.answer()

    def status(self, device):
        """Its account of a device's migration."""
        devices = self.call("status")["devices"]
        return next(d for d in devices if d["id"] == device)["migration"]


def start(path, method, fd, **params):
    """A request over a connection of its own, which keeps fd no longer."""
    link = Control(path)
    link.send(method, [fd], **params)
    os.close(fd)
    return link


def finish(link):
    """Its answer."""
    with link:
        return link.answer()


class Sink:
    """The reading end of a pipe: all that comes."""

    def __init__(self):
        self.fd, self.out = os.pipe()
        self.bytes = b""
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        with open(self.fd, "rb") as pipe:
            self.bytes = pipe.read()

    def all(self):
        self.thread.join(vfu.PATIENCE)
        assert not self.thread.is_alive()
        return self.bytes


def collect(path, method, **params):
    """The stream that a method writes, and its answer."""
    sink = Sink()
    link = start(path, method, sink.out, **params)
    try:
        answer = finish(link)
    finally:
        got = sink.all()
    return got, answer


def feed(path, method, data, **params):
    """A method that reads, given these bytes; its answer."""
    ours, theirs = os.pipe()
    link = start(path, method, ours, **params)

    def write():
        try:
            with open(theirs, "wb") as pipe:
                pipe.write(data)
        except BrokenPipeError:     # it has heard enough
            pass

    thread = threading.Thread(target=write)
    thread.start()
    try:
        return finish(link)
    finally:
        thread.join(vfu.PATIENCE)
        assert not thread.is_alive()


# -- streams of pages ------------------------------------------------------

PAGES, DROP, END = 1, 2, 3
HEAD = struct.Struct("<QII")


def crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


TABLE = crc32c_table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class PageStream:
    """One that is built: right, or with a mistake of the test's choice."""

    def __init__(self):
        self.bytes, self.crc = b"", 0

    def record(self, kind, iova, length, data=b""):
        body = HEAD.pack(iova, length, kind) + data
        self.crc = crc32c(body, self.crc)
        self.bytes += body + struct.pack("<I", self.crc)
        return self

    def pages(self, iova, data):
        return self.record(PAGES, iova, len(data), data)

    def drop(self, iova, length=4096):
        return self.record(DROP, iova, length)

    def end(self, pages):
        return self.record(END, pages, 0)


def parse_pages(data):
    """(kind, iova, length or pages, data) of each record; sums are checked."""
    records, crc, at = [], 0, 0
    while at < len(data):
        iova, length, kind = HEAD.unpack_from(data, at)
        end = at + HEAD.size + (length if kind == PAGES else 0)
        crc = crc32c(data[at:end], crc)
        assert struct.unpack_from("<I", data, end)[0] == crc
        records.append((kind, iova, length, data[at + HEAD.size:end]))
        at = end + 4
    return records
