# SPDX-License-Identifier: BSD-3-Clause
"""A reader of QEMU's stream format that knows nothing of who wrote the file.

It was written from the description of the format alone (QEMU's
docs/devel/migration/main.rst): magic, configuration, sections with header and
footer, and the JSON at the end, which says what is in each section.  Every
byte of the file must be accounted for.
"""
import json
import struct

EOF, FULL, SUBSECTION, DESCRIPTION, CONFIGURATION, FOOTER = 0, 4, 5, 6, 7, 0x7e


class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert self.at + count <= len(self.data), f"the file ends at {len(self.data)}"
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def name(self):
        return self.take(self.number(1)).decode("ascii")

    def left(self):
        return len(self.data) - self.at


def find_description(data):
    """As QEMU's own script: the first brace behind the last zero byte."""
    start = data.index(b"{", data.rindex(b"\0"))
    length = struct.unpack(">I", data[start - 4:start])[0]
    assert data[start - 5] == DESCRIPTION
    assert start + length == len(data)
    return json.loads(data[start:]), start - 5


def read_one(source, field):
    kind, size, start = field["type"], field["size"], source.at
    if kind == "struct":
        value = read_fields(source, field["struct"])
    elif kind in ("uint8", "uint16", "uint32", "uint64", "uint32 equal"):
        value = source.number(size)
    else:
        assert kind in ("buffer", "unused_buffer"), kind
        value = source.take(size)
    assert source.at == start + size, f"{field['name']}: {source.at - start} bytes, not {size}"
    return value


def read_fields(source, description):
    values = {}
    for field in description["fields"]:
        assert field["name"] not in values
        if "array_len" in field:
            value = [read_one(source, field) for _ in range(field["array_len"])]
        else:
            value = read_one(source, field)
        if field["type"] != "unused_buffer":
            values[field["name"]] = value
    for subsection in description.get("subsections", []):
        assert source.number(1) == SUBSECTION
        name = source.name()
        assert name == subsection["vmsd_name"]
        assert name.startswith(description["vmsd_name"] + "/")
        assert source.number(4) == subsection["version"]
        values[name] = read_fields(source, subsection)
    return values


def read_section(source, devices):
    number, name, instance = source.number(4), source.name(), source.number(4)
    device = devices[name, instance]
    assert source.number(4) == device["version"]
    values = read_fields(source, device)
    assert source.number(1) == FOOTER
    assert source.number(4) == number
    return (name, instance), values


def read(data):
    """({(name, instance): values}, description)"""
    description, end = find_description(data)
    devices = {(device["name"], device["instance_id"]): device
               for device in description["devices"]}
    assert len(devices) == len(description["devices"])
    source = Bytes(data[:end])
    assert source.take(4) == b"QEVM"
    assert source.number(4) == 3
    sections = {}
    while (kind := source.number(1)) != EOF:
        if kind == CONFIGURATION:
            sections["configuration"] = read_fields(source, description["configuration"])
        else:
            assert kind == FULL
            key, values = read_section(source, devices)
            assert key not in sections
            sections[key] = values
    assert source.left() == 0
    assert set(sections) - {"configuration"} == set(devices)
    return sections, description
