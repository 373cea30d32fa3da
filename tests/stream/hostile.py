# SPDX-License-Identifier: BSD-3-Clause
"""Streams that nobody wrote in good faith, from docs/stream.md alone: tables,
sections, and checksums that are right."""
import struct

U8, U16, U32, U64, BYTES, STRUCT, RESERVED = range(1, 8)
SCHEMA, IDENTITY, OBJECTS, CONTENT, PART, END, PAD = range(1, 8)
NO_TABLE = 0xffff
MUST, ZEROS = 1, 2


def steps():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        yield byte


TABLE = list(steps())


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xffffffff


def text(string):
    return bytes([len(string)]) + string.encode() + b"\0"


def item(data):
    return struct.pack("<H", len(data)) + data


def row(tag, kind, name, offset, size, count, sub=NO_TABLE):
    return item(struct.pack("<HBBIIIQQH", tag, kind, 0, offset, size, count, 0, 0, sub)
                + text(name) + text("0.1"))


def table(name, size, *rows):
    return item(struct.pack("<IH", size, len(rows)) + text(name)) + b"".join(rows)


WHO = table("identity", 128, row(1, BYTES, "model", 0, 1, 32),
            row(2, BYTES, "release", 32, 1, 32), row(3, BYTES, "id", 64, 1, 64))


def schema(*tables):
    """The last one is the part "plain"."""
    out = struct.pack("<HH", 1 + len(tables), 2) + WHO + b"".join(tables)
    return out + b"".join(item(struct.pack("<H", index) + text(name))
                          for index, name in ((0, "identity"), (len(tables), "plain")))


def record(tag, first, data):
    return struct.pack("<HHII", tag, 0, first, len(data)) + data


def run(offset, length, data=b""):
    return struct.pack("<IIQQ", 1, 0, offset, length) + data


class Stream:
    def __init__(self, data=b""):
        self.data = data or b"OUTBOARD" + struct.pack("<HHI", 1, 0, 16)
        self.sections = 0

    def add(self, kind, payload=b"", flags=MUST):
        head = struct.pack("<HHII", kind, flags, self.sections, len(payload))
        crc = crc32c(head + bytes(4) + payload)
        self.data += head + struct.pack("<I", crc) + payload
        self.sections += 1
        return self

    def begin(self, tables, drive=None, model=b"model"):
        self.add(SCHEMA, tables)
        self.add(IDENTITY, record(1, 0, model) + record(2, 0, b"0.1"))
        return self.add(OBJECTS, b"" if drive is None else struct.pack("<IIQ", 1, 0, drive))

    def end(self):
        return self.add(END, struct.pack("<QQ", self.sections, len(self.data))).data


def sections(data):
    """(kind, flags, payload) of each section of a stream but END."""
    at, = struct.unpack_from("<I", data, 12)
    while at < len(data):
        kind, flags, _, length = struct.unpack_from("<HHII", data, at)
        if kind != END:
            yield kind, flags, data[at + 16:at + 16 + length]
        at += 16 + length
