#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the first inputs of the fuzz targets whose formats are fixed.

    make_seeds.py DIRECTORY

makes DIRECTORY/TARGET/NAME for message, stream, caps, stream_load, schema,
model_load, old_state and pages_in.  The messages are those that real clients send:
their sizes, flags and capabilities, not their contents.  model_load begins with the
streams of tests/golden.
"""

import gzip
import json
import os
import pathlib
import struct
import sys

import state_seeds

QEMU_CAPS = {
    "capabilities": {
        "pgsizes": 4096,
        "max_msg_fds": 16,
        "max_dma_maps": 65535,
        "max_data_xfer_size": 1 << 20,
        "migration": {"max_bitmap_size": 1 << 28, "pgsize": 4096},
        "write_multiple": True,
    }
}
TWIN_CAPS = {
    "capabilities": {
        "max_msg_fds": 8,
        "twin_socket": {"supported": True, "fd_index": 0},
    }
}

CAPS = {
    "empty": b"{}",
    "bare": b'{"capabilities":{}}',
    "qemu": json.dumps(QEMU_CAPS).encode(),
    "twin": json.dumps(TWIN_CAPS).encode(),
    "negative": b'{"capabilities":{"max_msg_fds":-1}}',
    "real": b'{"capabilities":{"pgsizes":4.0}}',
    "huge": b'{"capabilities":{"max_dma_maps":99999999999999999999}}',
    "twice": b'{"capabilities":{"pgsizes":1,"pgsizes":2}}',
    "deep": b'{"a":' + b"[" * 14 + b"]" * 14 + b"}",
    "too_deep": b'{"a":' + b"[" * 15 + b"]" * 15 + b"}",
    "escapes": b'{"\\u0061\\"[[[":"\\\\","\xc3\xa9":null}',
    "surrogate": b'{"a":"\\ud800"}',
}

PAYLOADS = {
    "version_bare": (1, struct.pack("<HH", 0, 1)),
    "version_qemu": (1, struct.pack("<HH", 0, 0) + CAPS["qemu"] + b"\0"),
    "map": (2, struct.pack("<IIQQQ", 32, 3, 0, 0, 0xa0000)),
    "map_rom": (2, struct.pack("<IIQQQ", 32, 1, 0, 0xfffc0000, 0x40000)),
    "unmap": (3, struct.pack("<IIQQ", 24, 0, 0, 0xa0000)),
    "unmap_all": (3, struct.pack("<IIQQ", 24, 2, 0, 0)),
    "info": (4, struct.pack("<IIII", 16, 0, 0, 0)),
    "region_info": (5, struct.pack("<IIIIQQ", 32, 0, 7, 0, 0, 0)),
    "region_info_spdk": (
        5, struct.pack("<IIIIQQ", 4064, 0, 0, 0, 0, 0) + bytes(4032)),
    "io_fds": (6, struct.pack("<IIII", 4096, 0, 0, 0)),
    "irq_info": (7, struct.pack("<IIII", 16, 0, 2, 0)),
    "irqs_eventfd": (8, struct.pack("<IIIII", 20, 0x24, 2, 0, 1)),
    "irqs_off": (8, struct.pack("<IIIII", 20, 0x21, 0, 0, 0)),
    "irqs_unmask": (8, struct.pack("<IIIII", 20, 0x11, 0, 0, 1)),
    "irqs_bool": (8, struct.pack("<IIIII", 22, 0x22, 2, 0, 2) + b"\1\0"),
    "read_config": (9, struct.pack("<QII", 0, 7, 4096)),
    "read": (9, struct.pack("<QII", 0x14, 0, 4)),
    "write": (10, struct.pack("<QII", 0x14, 0, 4) + b"\1\0\x46\0"),
    "write_8": (10, struct.pack("<QII", 0x28, 0, 8) + bytes(8)),
    "reset": (13, b""),
    "dirty_pages": (14, struct.pack("<II", 8, 1)),
    "multi_0": (15, struct.pack("<Q", 0)),
    "multi_2": (
        15, struct.pack("<Q", 2)
        + struct.pack("<QII8s", 0x1000, 0, 4, b"\1")
        + struct.pack("<QII8s", 0x1008, 0, 4, b"\2")),
    "multi_wrap": (15, struct.pack("<Q", 1 << 61)),
    "feature_probe": (16, struct.pack("<II", 8, 0x50001)),
    "feature_set": (16, struct.pack("<IIII", 16, 0x20002, 3, 0)),
    "mig_read": (17, struct.pack("<II", 4104, 4096)),
    "mig_write": (18, struct.pack("<II", 12, 4) + b"data"),
}


def message(ident, cmd, payload, flags=0):
    return struct.pack("<HHIII", ident, cmd, 16 + len(payload), flags,
                       0) + payload


def pieces(data, length, nr_fds):
    """For fuzz_stream: (length of a piece, fds on it), bytes, and again."""
    step = length * 4 + 1
    out = b""
    for at in range(0, len(data), step):
        out += bytes([length, nr_fds]) + data[at:at + step]
    return out


def messages():
    every = b""
    for ident, (name, (cmd, payload)) in enumerate(PAYLOADS.items()):
        yield name, message(ident, cmd, payload)
        every += message(ident, cmd, payload, 0x10 if cmd == 10 else 0)
    yield "all", every
    yield "short", message(1, 9, bytes(16))[:20]


def streams():
    for name, data in messages():
        yield name, pieces(data, 255, 1)
    data = dict(messages())["all"]
    yield "bytewise", pieces(data[:600], 0, 0x80)
    yield "odd", pieces(data, 9, 2)
    yield "crowded", pieces(data, 16, 100)


# In the order of model_rig.h.
MODELS = [
    "null",
    "edu",
    "nvme,serial=GOLDEN,queues=4,drive=mem:1M",
    "nvme,serial=GOLDEN,queues=4,drive=mem:1M,doorbells=mapped",
    "nvme,serial=GOLDEN,queues=4,lba=512,drive=mem:64K,drive=mem:1M,msi=off",
]
PATCHES, MEND = 8, 16
# Fields that others depend on, with values that their rows allow: part,
# value, then rows and elements (devices/nvme/state.c).
BEYOND = {
    "sq-head": (2, 4000, 0, 1, 0, 0), "sq-tail": (2, 4000, 0, 1, 1, 0),
    "cq-head": (2, 4000, 1, 1, 0, 0), "cq-tail": (2, 4000, 1, 1, 1, 0),
    "sq-entries": (1, 0, 18, 1, 1, 0), "sq-cqid": (1, 3, 18, 1, 2, 0),
    "sq-created": (1, 1, 18, 5, 3, 0), "cq-vector": (1, 60000, 19, 1, 2, 0),
    "cq-created": (1, 0, 19, 1, 3, 0), "generation": (1, 9, 8, 0),
}


def model_loads():
    """Streams with a few actions, and a state with a command under way."""
    actions = struct.pack("<BBHQ", 3, 0, 2, 5) + struct.pack("<BBHQ", 2, 0, 0x1c, 0)
    golden = pathlib.Path(__file__).resolve().parents[1] / "golden"
    for path in sorted(golden.glob("*/*.stream")):
        device = path.with_suffix(".device").read_text().strip()
        head = bytes([MODELS.index(device) | MEND, 2]) + actions
        yield f"{path.parent.name}-{path.stem}", head + path.read_bytes()
    for which, device in enumerate(MODELS):
        head = bytes([which | PATCHES, 2]) + actions
        yield f"used-{which}", head
        yield f"field-{which}", head + patch_field(1, 2, 1, 3, 0)
        yield f"patch-{which}", head + patch_bytes(1, 12, b"\1\2\3\4")
        if device.startswith("nvme"):
            yield f"slots-{which}", head + b"".join(
                patch_slot(32 + at, stage, nvme_entry(opcode))
                for at, stage, opcode in ((0, 1, 2), (1, 2, 1), (2, 1, 0), (3, 1, 1), (31, 1, 9)))
            yield f"admin-{which}", head + b"".join(
                patch_slot(at, 1, nvme_entry(opcode)) for at, opcode in enumerate((12, 6, 2, 9)))
    for name, (part, value, *way) in BEYOND.items():
        yield name, bytes([2 | PATCHES, 4]) + b"".join(
            struct.pack("<BBHQ", 3, 0, doorbell, 5) for doorbell in range(4)) + patch_field(
                part, 0, value, *way) + patch_slot(32, 1, nvme_entry(2))


PAGES, EVENTS, PAGE = 8, 16, 4096


def old_states():
    """Memory that releases left behind, changes to a device's, and events."""
    golden = pathlib.Path(__file__).resolve().parents[1] / "golden"
    for path in sorted(golden.glob("*/*.memory.gz")):
        image = gzip.decompress(path.read_bytes())
        name = path.name.split(".")[0]
        device = path.with_name(name + ".device").read_text().strip()
        pages = b"".join(
            struct.pack("<H", at // PAGE) + image[at:at + PAGE]
            for at in range(0, len(image), PAGE) if any(image[at:at + PAGE]))
        head = struct.pack("<BH", MODELS.index(device) | PAGES, len(image) // PAGE)
        yield f"{path.parent.name}-{name}", head + pages
    for which in range(len(MODELS)):
        for section in range(8):
            yield f"change-{which}-{section}", bytes([which]) + struct.pack(
                "<BBHIQ", section, 4, 0, 16, 3)
    for count in (1, 40):
        entries = b"".join(struct.pack("<QQHHIQ", number, number, 4, 9, number, 0)
                           for number in range(count))
        yield f"events-{count}", bytes([EVENTS]) + struct.pack(
            "<8sIIQQ32x", b"OUTREC1", count, 32, count, 1) + entries


def pages_ins():
    """Records for fuzz_pages_in, and a stream of bytes."""
    data, drop, end = 1, 2, 3
    head = bytes([0xff])
    yield "records", head + bytes([data, 5, 2, 0xaa, 0, data, 9, 1, 0xbb, 0, drop, 5, 1, 0, 0,
                                   end, 2, 0, 0, 0])
    yield "again", head + bytes([data, 5, 1, 1, 0, drop, 5, 1, 0, 0, data, 5, 1, 2, 0,
                                 end, 1, 0, 0, 0])
    yield "outside", head + bytes([data, 63, 2, 1, 0, end, 2, 0, 0, 0])
    yield "bytewise", bytes([1, end, 0, 0, 0, 0])
    yield "wrong", head + bytes([data, 1, 1, 1, 0x80, end, 1, 0, 0, 0])
    yield "bytes", bytes([0xfe]) + struct.pack("<QIII", 0, 0, end, 0)


def nvme_entry(opcode):
    return struct.pack("<BBHIQQQQ6I", opcode, 0, 9, 1, 0, 0, 0x10000, 0, 0, 0, 7, 0, 0, 0)


def patch_bytes(part, offset, data):
    return struct.pack("<BBIBB", part, 0, offset, len(data) - 1, 0) + data.ljust(64, b"\0")


def patch_field(part, how, value, *way):
    return struct.pack("<BB4xBxQ", part, 4, how, value) + bytes(way).ljust(56, b"\0")


def patch_slot(slot, stage, entry):
    return bytes([0, 2, slot, slot, stage, 0, 0, 0]) + entry


def write_seeds(directory, seeds):
    os.makedirs(directory, exist_ok=True)
    for name, data in seeds:
        with open(os.path.join(directory, name), "wb") as f:
            f.write(data)


def main():
    top = sys.argv[1]
    write_seeds(os.path.join(top, "message"), messages())
    write_seeds(os.path.join(top, "stream"), streams())
    write_seeds(os.path.join(top, "caps"), CAPS.items())
    write_seeds(os.path.join(top, "stream_load"), state_seeds.stream_seeds())
    write_seeds(os.path.join(top, "schema"), state_seeds.schema_seeds())
    write_seeds(os.path.join(top, "model_load"), model_loads())
    write_seeds(os.path.join(top, "old_state"), old_states())
    write_seeds(os.path.join(top, "pages_in"), pages_ins())


if __name__ == "__main__":
    main()
