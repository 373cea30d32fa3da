# SPDX-License-Identifier: BSD-3-Clause
"""Files in the QEMU profile, read by somebody who knows only the format."""
import pytest
import vmdesc

MODELS = {"null": "null", "edu": "edu", "nvme": "nvme,drive=mem:1M"}
DRIVE = 1


def from_show(value):
    """What `state show --json` says, in this reader's words."""
    if isinstance(value, dict):
        return {name: from_show(member) for name, member in value.items() if name != "index"}
    if isinstance(value, list):
        return [from_show(member) for member in value]
    return value


def from_vmdesc(value, shown):
    """The same of the independent reader; bytes and large numbers have two
    forms in JSON, and shown says which was chosen."""
    if isinstance(value, dict):
        return {name: from_vmdesc(member, shown.get(name)) for name, member in value.items()}
    if isinstance(value, list):
        return [from_vmdesc(member, beside) for member, beside in zip(value, shown, strict=True)]
    if isinstance(value, bytes):
        hexadecimal = "0x" + value.hex()
        return hexadecimal if shown == hexadecimal else value.rstrip(b"\0").decode("ascii")
    return value if isinstance(shown, int) else hex(value)


def convert(outboard, source, form="qemu"):
    target = source.with_suffix("." + form)
    outboard.ok("state", "convert", "--to", form, source, target)
    return target


def parts_of(sections, model):
    """Those of the device's section, the subsection's among them."""
    values = dict(sections["outboard/" + model, 0])
    for name in [name for name in values if "/" in name]:
        values.update(values.pop(name))
    return values


@pytest.mark.parametrize("model", MODELS)
def test_description_is_enough_to_decode(outboard, make_stream, model):
    native = make_stream("state", "--device", MODELS[model], "--fill", 7)
    sections, _ = vmdesc.read(convert(outboard, native).read_bytes())
    shown = outboard.show(native)
    values = parts_of(sections, model)
    identity, layout = values.pop("identity"), values.pop("layout")
    assert isinstance(layout, int)
    assert identity["model"].rstrip(b"\0").decode() == shown["model"] == model
    assert identity["release"].rstrip(b"\0").decode() == shown["release"]
    assert identity["id"].rstrip(b"\0").decode() == shown["id"] == "disk"
    assert from_vmdesc(values, shown["parts"]) == from_show(shown["parts"])
    assert sections["configuration"] == {"len": 8, "name": b"outboard"}


def drive_of(sections, size):
    content = bytearray(size)
    pieces = [values for key, values in sections.items() if key[0] == "outboard/content"]
    for piece in pieces:
        assert (piece["kind"], piece["index"], piece["size"]) == (DRIVE, 0, size)
        data = piece.get("content/data", {"bytes": bytes(piece["length"])})["bytes"]
        assert len(data) == piece["length"]
        content[piece["offset"]:piece["offset"] + len(data)] = data
    return bytes(content), len(pieces)


def test_content_is_described_too(outboard, make_stream):
    size = 3 << 20 | 512
    native = make_stream("state", "--device", MODELS["nvme"], "--content", f"{DRIVE}:0:{size}")
    sections, _ = vmdesc.read(convert(outboard, native).read_bytes())
    content, pieces = drive_of(sections, size)
    assert pieces > 3
    for block in range(0, size, 4096):
        assert any(content[block:block + 4096]) == (block // 4096 % 3 != 2)


def test_object_without_bytes_is_declared(outboard, make_stream):
    native = make_stream("state", "--content", "2:0:0")
    sections, _ = vmdesc.read(convert(outboard, native).read_bytes())
    assert sections["outboard/content", 0]["size"] == 0


@pytest.mark.parametrize("model", MODELS)
def test_there_and_back(outboard, make_stream, model):
    native = make_stream("state", "--device", MODELS[model], "--fill", 11,
                         "--content", f"{DRIVE}:0:{2 << 20}", "--content", "2:1:5000")
    qemu = convert(outboard, native)
    again = native.with_suffix(".again")
    outboard.ok("state", "convert", "--to", "native", qemu, again)
    assert outboard.ok("state", "diff", native, again) == b""
    assert outboard.ok("state", "diff", native, qemu) == b""
    assert outboard.show(qemu)["form"] == "qemu"
    assert outboard.show(again)["form"] == "native"
    assert outboard.show(qemu)["parts"] == outboard.show(native)["parts"]


def test_bare_form_there_and_back(outboard, make_stream):
    native = make_stream("state", "--device", MODELS["nvme"], "--fill", 5)
    bare = convert(outboard, native, "qemu-bare")
    data = bare.read_bytes()
    assert data.startswith(b"\4\0\0\0\0\x0doutboard/nvme\0\0\0\0\0\0\0\1")
    assert data.endswith(b"\x7e\0\0\0\0\0")
    assert outboard.ok("state", "diff", native, bare) == b""


def test_bare_form_has_no_place_for_content(outboard, make_stream, tmp_path):
    native = make_stream("state", "--content", f"{DRIVE}:0:4096")
    said = outboard.fails("state", "convert", "--to", "qemu-bare", native, tmp_path / "out")
    assert "content has no place in the bare form" in said
    assert not list(tmp_path.glob("out*"))
