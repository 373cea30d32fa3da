# SPDX-License-Identifier: BSD-3-Clause
"""The first message."""

import json
import struct

import pytest

import vfu


def refused(client, payload):
    """By an error or by hanging up."""
    client.post(vfu.VERSION, payload)
    try:
        got = client.reply()
        assert got.flags & vfu.ERROR
        assert len(got.payload) in (0, 4)
    except (vfu.Closed, ConnectionError):
        pass


@pytest.fixture
def next_is_served(connect):
    yield
    connect.no_more()
    other = connect()
    other.negotiate()
    other.alive()


def test_as_qemu_sends_it(connect):
    client = connect()
    got = client.negotiate(vfu.QEMU_CAPS, minor=0)
    assert struct.unpack_from("<HH", got.payload) == (0, 0)
    assert client.caps["max_msg_fds"] >= 16
    assert client.caps["max_data_xfer_size"] <= 64 << 20
    client.alive()


def test_as_spdk_sends_it(connect):
    """Four bytes; the whole reply fits one read of 4,096."""
    client = connect()
    client.send(vfu.message(vfu.VERSION, vfu.version(minor=1)))
    data = client.sock.recv(4096)
    assert len(data) == vfu.HEADER.unpack_from(data)[2]
    assert vfu.HEADER.unpack_from(data)[3] == vfu.REPLY
    assert struct.unpack_from("<HH", data, 16) == (0, 1)
    client.alive()


def test_json_forms(connect):
    for text in (b"", b"{}", b'{"capabilities":{}}', b' { } ',
                 b'{"capabilities":{"future":[{}],"max_msg_fds":1},"x":1}'):
        client = connect()
        client.ok(vfu.VERSION, vfu.version() + text + b"\0")
        client.alive()
        client.close()


def test_larger_minor(connect):
    """Answered with the largest that the server speaks."""
    client = connect()
    got = client.negotiate(minor=0xffff)
    major, minor = struct.unpack_from("<HH", got.payload)
    assert major == 0 and minor < 0xffff
    client.alive()


def test_capabilities_are_only_narrowed(connect):
    client = connect()
    client.negotiate({"max_data_xfer_size": 4096, "max_dma_maps": 10,
                      "pgsizes": 4096, "write_multiple": False})
    assert client.caps.get("max_dma_maps", 10) <= 10
    assert client.caps.get("pgsizes", 4096) == 4096
    assert not client.caps.get("write_multiple", False)
    assert not client.caps.get("twin_socket", {}).get("supported", False)
    got = client.request(vfu.WRITE_MULTI, vfu.write_multi([]))
    assert got.flags & vfu.ERROR, "command that was not agreed"
    client.alive()


def test_largest_data_size_is_accepted(connect):
    client = connect()
    client.negotiate({"max_data_xfer_size": 64 << 20})
    client.alive()


@pytest.mark.parametrize("major", [1, 2, 0xffff])
def test_r3_other_major(connect, next_is_served, major):
    refused(connect(), vfu.version(major=major))


def test_r2_short(connect, next_is_served):
    for length in range(4):
        client = connect()
        refused(client, bytes(length))
        client.close()


def test_no_nul(connect, next_is_served):
    refused(connect(), vfu.version({})[:-1])


@pytest.mark.parametrize("text", [
    b"{", b"nonsense", b"[]", b"null", b'{"capabilities":[]}',
    b'{"capabilities":{"max_msg_fds":"1"}}',
    b'{"capabilities":{"max_msg_fds":-1}}',
    b'{"capabilities":{"max_data_xfer_size":1e300}}',
    b'{"capabilities":{"pgsizes":999999999999999999999}}',
    b'{"capabilities":{"write_multiple":7}}',
    b'{"capabilities":{"twin_socket":true}}',
    b'{"a":"\xff"}', b"{}\0{}", b"[" * 5000,
    b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
], ids=lambda text: text[:24].decode("latin-1"))
def test_r12_bad_json(connect, next_is_served, text):
    refused(connect(), vfu.version() + text + b"\0")


@pytest.mark.parametrize("byte", [b"[", b" ", b"{", b'"', b"\xff"])
def test_r12_a_megabyte_of_json(connect, next_is_served, byte):
    """Refused while it is still being sent, perhaps."""
    client = connect()
    try:
        refused(client, vfu.version() + byte * ((1 << 20) - 1) + b"\0")
    except (BrokenPipeError, ConnectionResetError):
        pass


def test_r12_twice_the_same_key(connect, next_is_served):
    """Either reading of it, or none, but no crash."""
    client = connect()
    client.post(vfu.VERSION, vfu.version()
                + b'{"capabilities":{"pgsizes":4096,"pgsizes":4096}}\0')
    try:
        client.reply()
    except vfu.Closed:
        pass


def test_twice(client, connect):
    """Refused; the connection may go on or end."""
    refused(client, vfu.version(vfu.QEMU_CAPS))
    client.close()
    other = connect()
    other.negotiate()


def test_r4_no_reply(connect, next_is_served):
    """Nothing comes back but the answer to what follows."""
    client = connect()
    client.post(vfu.VERSION, vfu.version(minor=1), flags=vfu.NO_REPLY)
    ident = client.post(vfu.GET_INFO, vfu.get_info())
    try:
        vfu.check_echo(client.reply(), vfu.GET_INFO, ident)
    except vfu.Closed:
        pass


def test_r1_fds(connect, next_is_served):
    client = connect()
    with open("/dev/zero", "rb") as f:
        client.post(vfu.VERSION, vfu.version(vfu.QEMU_CAPS),
                    [f.fileno()] * 16)
    try:
        client.reply()
    except vfu.Closed:
        pass


def test_r5_byte_at_a_time(connect):
    client = connect()
    data = vfu.message(vfu.VERSION, vfu.version(vfu.QEMU_CAPS), 3)
    for i in range(len(data)):
        client.send(data[i:i + 1])
    got = client.reply()
    vfu.check_echo(got, vfu.VERSION, 3)
    assert not got.flags & vfu.ERROR
    client.alive()


def test_pipelined_with_what_follows(connect):
    client = connect()
    client.send(vfu.message(vfu.VERSION, vfu.version(vfu.QEMU_CAPS), 1)
                + vfu.message(vfu.GET_INFO, vfu.get_info(), 2))
    vfu.check_echo(client.reply(), vfu.VERSION, 1)
    vfu.check_echo(client.reply(), vfu.GET_INFO, 2)


def test_reply_is_json(connect):
    got = connect().negotiate({})
    text = json.loads(got.payload[4:-1])
    assert isinstance(text.get("capabilities", {}), dict)


def test_twin_socket(connect):
    """One fd, at the index that the reply names; not without the offer."""
    client = connect()
    got = client.negotiate(dict(vfu.QEMU_CAPS,
                                twin_socket={"supported": True}))
    twin = client.caps.get("twin_socket", {})
    if not twin.get("supported", False):
        assert not got.fds
        pytest.skip("the server has no twin socket")
    assert twin["fd_index"] < len(got.fds)
    client.alive()
    client.close()
    client = connect()
    assert not client.negotiate(vfu.QEMU_CAPS).fds
