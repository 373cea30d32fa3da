# SPDX-License-Identifier: BSD-3-Clause
"""Streams of a device's state, written from docs/stream.md alone: the first
inputs of the fuzz targets stream_load and schema."""

import struct

U8, U16, U32, U64, BYTES, STRUCT, RESERVED = range(1, 8)
NO_TABLE = 0xffff
MUST, ZEROS = 1, 2
DRIVE = 8192


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def text(string):
    return bytes([len(string)]) + string.encode() + b"\0"


def item(data):
    return struct.pack("<H", len(data)) + data


def row(tag, kind, name, offset, size, count, maximum=0, default=0, sub=NO_TABLE,
        optional=False):
    return item(struct.pack("<HBBIIIQQH", tag, kind, optional, offset, size, count,
                            maximum, default, sub)
                + text(name) + text("0.1"))


def table(name, size, *rows):
    return item(struct.pack("<IH", size, len(rows)) + text(name)) + b"".join(rows)


def schema(tables, roots):
    out = struct.pack("<HH", len(tables), len(roots)) + b"".join(tables)
    return out + b"".join(item(struct.pack("<H", index) + text(name))
                          for index, name in roots)


IDENTITY = table("identity", 128, row(1, BYTES, "model", 0, 1, 32),
                 row(2, BYTES, "release", 32, 1, 32),
                 row(3, BYTES, "id", 64, 1, 64, optional=True))
QUEUE = table("queue", 16, row(1, U64, "base", 0, 8, 1),
              row(2, U16, "sqid", 8, 2, 1, maximum=64),
              row(3, U8, "created", 10, 1, 1, maximum=1),
              row(0, RESERVED, "reserved", 11, 1, 1),
              row(4, U32, "limit", 12, 4, 1, default=7))
# As fuzz_stream_load.c has it, and as releases before or after it might.
DEVICE = table("device", 152, row(1, BYTES, "name", 0, 1, 16),
               row(2, U32, "cc", 16, 4, 1),
               row(3, U32, "csts", 20, 4, 1, maximum=255, default=1),
               row(4, U16, "halves", 24, 2, 6),
               row(0, RESERVED, "reserved", 36, 1, 4),
               row(5, STRUCT, "queues", 40, 16, 3, sub=1),
               row(6, BYTES, "log", 88, 1, 64, optional=True))
OTHER = table("device", 112, row(2, U64, "cc", 0, 8, 1, default=3),
              row(9, U64, "newer", 8, 8, 1, optional=True),
              row(5, STRUCT, "queues", 16, 16, 5, sub=1),
              row(4, U8, "halves", 96, 1, 16))

ROOTS = [(0, "identity"), (2, "plain")]
SAME = schema([IDENTITY, QUEUE, DEVICE], ROOTS)
NEXT = schema([IDENTITY, QUEUE, OTHER], ROOTS)


def record(tag, first, data):
    return struct.pack("<HHII", tag, 0, first, len(data)) + data


def run(offset, length, data=b"", kind=1, index=0):
    return struct.pack("<IIQQ", kind, index, offset, length) + data


def stream(tables, parts, contents):
    """Each of contents: (flags, payload)."""
    out = b"OUTBOARD" + struct.pack("<HHI", 1, 0, 16)
    sections = [(1, MUST, tables),
                (2, MUST, record(1, 0, b"model") + record(2, 0, b"0.1")),
                (3, MUST, struct.pack("<IIQ", 1, 0, DRIVE))]
    sections += [(4, MUST | flags, payload) for flags, payload in contents]
    sections += [(5, MUST, struct.pack("<HH", 1, 0) + part) for part in parts]
    for number, (kind, flags, payload) in enumerate(sections + [(6, MUST, b"")]):
        if kind == 6:
            payload = struct.pack("<QQ", number, len(out))
        head = struct.pack("<HHII", kind, flags, number, len(payload))
        crc = crc32c(head + bytes(4) + payload)
        out += head + struct.pack("<I", crc) + payload
    return out


def streams():
    queue = record(1, 0, struct.pack("<Q", 4096)) + record(2, 0, b"\x05\0")
    full = [record(1, 0, b"disk") + record(2, 0, b"\1\2\3\4"),
            record(4, 3, b"\1\0\2\0") + record(5, 2, queue) + record(6, 8, b"log")]
    contents = [(0, run(4096, 8, b"12345678")), (ZEROS, run(0, 4096))]
    newer = [record(2, 0, struct.pack("<Q", 9)) + record(9, 0, bytes(8))
             + record(5, 1, queue) + record(4, 0, b"\1\2\3")]
    yield "empty", stream(SAME, [b""], [])
    yield "full", stream(SAME, full, contents)
    yield "newer", stream(NEXT, newer, contents[1:])


def stream_seeds():
    for name, data in streams():
        yield name, b"\xff" + data
        yield name + "_bytewise", b"\1" + data


def schema_seeds():
    yield "same", SAME
    yield "next", NEXT
    yield "none", schema([], [])
