# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_FEATURE: what is offered, asked in every way [DEVICE_FEATURE]."""

import errno
import struct

import pytest

import vfu

GET, SET, PROBE = vfu.FEATURE_GET, vfu.FEATURE_SET, vfu.FEATURE_PROBE

OPS = {"none": 0, "get": GET, "set": SET, "both": GET | SET, "probe": PROBE,
       "probe_get": PROBE | GET, "probe_set": PROBE | SET,
       "probe_both": PROBE | GET | SET}

# What can be done, with right data for it, and how long the answer is.
LOG = struct.pack("<QII", 4096, 0, 0)
REPORT = struct.pack("<QQQ", 0, 4096, 4096)
RUN = struct.pack("<II", vfu.RUNNING, 0)
FEATURES = {
    vfu.MIGRATION: {GET: (b"", 16)},
    vfu.MIG_STATE: {GET: (b"", 16), SET: (RUN, 16)},
    vfu.LOG_START: {SET: (LOG, 24)},
    vfu.LOG_STOP: {SET: (b"", 8)},
    vfu.LOG_REPORT: {GET: (REPORT, 40)},
}
NAMES = {vfu.MIGRATION: "migration", vfu.MIG_STATE: "state",
         vfu.LOG_START: "log_start", vfu.LOG_STOP: "log_stop",
         vfu.LOG_REPORT: "log_report"}
# Those that need nothing to have gone before.
CALLS = [(number, op) for number in FEATURES for op in FEATURES[number]]
CALL_NAMES = ["%s-%s" % (NAMES[n], "get" if op == GET else "set")
              for n, op in CALLS]

each_call = pytest.mark.parametrize("number,op", CALLS, ids=CALL_NAMES)
each_feature = pytest.mark.parametrize("number", FEATURES,
                                       ids=NAMES.values())


@pytest.fixture
def ready(client):
    """ready(number, op): the device can do that now."""
    def make(number, op):
        if number in (vfu.MIGRATION, vfu.MIG_STATE):
            if not client.offers():
                pytest.skip("the device offers no migration")
            client.ok(vfu.RESET)
        else:
            if not client.logs():
                pytest.skip("the device offers no dirty log")
            if number != vfu.LOG_START:
                client.ok(vfu.FEATURE, vfu.log_start())
        return client
    return make


def untouched(client, number):
    """Whatever was asked before, it has not been done."""
    if number == vfu.MIG_STATE:
        assert client.state() == vfu.RUNNING
    elif number == vfu.LOG_START:
        got = client.request(vfu.FEATURE, vfu.log_report(0, 4096))
        assert got.flags & vfu.ERROR
    elif number == vfu.LOG_STOP:
        client.report(0, 4096)
    client.alive()


# Which features, and which operations

@each_feature
@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_operations(ready, number, op):
    """One of GET and SET, if the feature has it; PROBE with any of them."""
    can = FEATURES[number]
    client = ready(number, op)
    data, size = can.get(op & ~PROBE, (b"", 8))
    got = client.request(vfu.FEATURE, vfu.feature(number, op, data, argsz=64))
    if op & PROBE:
        right = all(one in can for one in (GET, SET) if op & one)
        size = 8
    else:
        right = op in can
    assert bool(got.flags & vfu.ERROR) == (not right)
    if right:
        argsz, flags = struct.unpack_from("<II", got.payload)
        assert flags == number | op
        if op & PROBE:
            assert got.payload[8:] == data[:len(got.payload) - 8]
        else:
            assert len(got.payload) == size
            assert argsz in (size, 64 if op & SET else size)
    client.alive()


@each_call
def test_probe_does_nothing(ready, number, op):
    """Not even with data that would do something."""
    client = ready(number, op)
    data = FEATURES[number][op][0]
    if number == vfu.MIG_STATE and op == SET:
        data = struct.pack("<II", vfu.STOP, 0)
    for payload in (data, b"", data[:-1]):
        client.ok(vfu.FEATURE, vfu.feature(number, op | PROBE, payload,
                                           argsz=64))
    untouched(client, number)


@pytest.mark.parametrize("number", [0, 3, 4, 5, 10, 11, 12, 13, 0xff, 0x100,
                                    0xfb00, 0xfb01, 0xfb02, 0x7fff, 0xffff])
@pytest.mark.parametrize("op", [GET, SET, PROBE, PROBE | GET, PROBE | SET,
                                PROBE | GET | SET],
                         ids=["get", "set", "probe", "probe_get", "probe_set",
                              "probe_both"])
def test_r3_unknown(client, error_size, number, op):
    """Also what a capability would bring that nobody has agreed on."""
    for data in (b"", bytes(8), bytes(4000)):
        got = error_size(client.request(
            vfu.FEATURE, vfu.feature(number, op, data, argsz=4008)), 8)
        assert got.error == errno.ENOTTY
    client.alive()


@pytest.mark.parametrize("bit", range(19, 32))
@each_call
def test_r3_flags_of_the_future(ready, error_size, number, op, bit):
    client = ready(number, op)
    data = FEATURES[number][op][0]
    if number == vfu.MIG_STATE:
        data = struct.pack("<II", vfu.STOP, 0)
    for flags in (op, op | PROBE):
        error_size(client.request(vfu.FEATURE, vfu.feature(
            number, flags | 1 << bit, data, argsz=64)), 8)
    untouched(client, number)


# Sizes

@each_call
@pytest.mark.parametrize("argsz", range(8))
def test_r2_argsz_below_the_fixed_part(ready, error_size, number, op, argsz):
    client = ready(number, op)
    data = FEATURES[number][op][0]
    if number == vfu.MIG_STATE:
        data = struct.pack("<II", vfu.STOP, 0)
    error_size(client.request(vfu.FEATURE, vfu.feature(
        number, op, data, argsz=argsz)), 8)
    untouched(client, number)


@each_call
def test_r2_argsz_below_the_answer(ready, number, op):
    """Cut to the fixed part, and the size that it takes; a server may refuse
    a SET instead.  Never more than there is room for."""
    client = ready(number, op)
    data, size = FEATURES[number][op]
    for argsz in range(8, size):
        got = client.request(vfu.FEATURE, vfu.feature(number, op, data,
                                                      argsz=argsz))
        if op == SET and number == vfu.LOG_START:
            client.request(vfu.FEATURE, vfu.log_stop())
        if op == SET and got.flags & vfu.ERROR:
            continue
        assert not got.flags & vfu.ERROR
        assert got.payload == struct.pack("<II", size, number | op)
    got = client.ok(vfu.FEATURE, vfu.feature(number, op, data, argsz=size))
    assert len(got.payload) == size


@each_call
@pytest.mark.parametrize("argsz", [0x10000, 1 << 31, 0xffffffff])
def test_r2_argsz_above_the_answer(ready, number, op, argsz):
    client = ready(number, op)
    data, size = FEATURES[number][op]
    got = client.ok(vfu.FEATURE, vfu.feature(number, op, data, argsz=argsz))
    assert len(got.payload) == size


@each_call
def test_r2_short(ready, error_size, number, op):
    """Every truncation of the data, though argsz promises room."""
    client = ready(number, op)
    data = FEATURES[number][op][0]
    if number == vfu.MIG_STATE and op == SET:
        data = struct.pack("<II", vfu.STOP, 0)
    whole = vfu.feature(number, op, data, argsz=4096)
    for length in range(len(whole)):
        error_size(client.request(vfu.FEATURE, whole[:length]), 8)
    untouched(client, number)


def test_r2_short_list_of_ranges(log, error_size):
    """Each range is there, or none is looked at."""
    ranges = [(0, 4096), (8192, 4096), (1 << 40, 4096)]
    whole = vfu.log_start(ranges=ranges, argsz=4096)
    for length in range(len(whole)):
        error_size(log.request(vfu.FEATURE, whole[:length]), 8)
    for count in (4, 255, 256, 1 << 28, 1 << 31, 0xffffffff):
        error_size(log.request(vfu.FEATURE, vfu.log_start(
            ranges=ranges, count=count)), 8)
    untouched(log, vfu.LOG_START)


@each_call
def test_long(ready, number, op):
    """The format is open: more data than a feature has is an answer, of
    either kind, and the next message is found."""
    client = ready(number, op)
    data = FEATURES[number][op][0]
    for extra in (1, 7, 8, 4096, 100000):
        client.request(vfu.FEATURE, vfu.feature(number, op,
                                                data + bytes(extra)))
        client.alive()


@each_call
def test_r4_silent(ready, number, op):
    """It is done, and nothing is said; nor when it fails."""
    client = ready(number, op)
    data = FEATURES[number][op][0]
    if number == vfu.MIG_STATE and op == SET:
        data = struct.pack("<II", vfu.STOP, 0)
    for payload in (data, data[:-1]):
        client.post(vfu.FEATURE, vfu.feature(number, op, payload, argsz=64),
                    flags=vfu.NO_REPLY)
    client.alive()
    if op == SET and number == vfu.MIG_STATE:
        assert client.state() == vfu.STOP
    if op == SET and number == vfu.LOG_START:
        client.report(0, 4096)


# What the answers say

def test_migration_flags(mig):
    assert mig.flags & vfu.HAS_STOP_COPY, "at least this, says the text"
    assert not mig.flags & ~(vfu.HAS_STOP_COPY | vfu.HAS_P2P |
                             vfu.HAS_PRE_COPY)


def test_state_after_reset(mig):
    got = mig.ok(vfu.FEATURE, vfu.feature(vfu.MIG_STATE, GET, argsz=16))
    size, flags, state, fd = struct.unpack("<IIIi", got.payload)
    assert (size, flags, state) == (16, vfu.MIG_STATE | GET, vfu.RUNNING)
    assert fd in (0, -1)


@pytest.mark.parametrize("fd", [0, -1])
def test_set_answers_what_it_was_asked(mig, fd):
    """data_fd is not used, whatever a client leaves there."""
    for value in (vfu.STOP, vfu.STOP, vfu.RUNNING):
        got = mig.ok(vfu.FEATURE, vfu.state(value, fd))
        size, flags, state, back = struct.unpack("<IIIi", got.payload)
        assert (size, flags, state) == (16, vfu.MIG_STATE | SET, value)
        assert back in (fd, -1)
        assert not got.fds
        assert mig.state() == value


def test_data_size(mig):
    """An estimate of what STOP_COPY would have to send, in any state that
    has one; not in the specification, so it may be missing."""
    ask = vfu.feature(vfu.MIG_DATA_SIZE, GET, argsz=16)
    got = mig.request(vfu.FEATURE, ask)
    if got.flags & vfu.ERROR:
        pytest.skip("the device has no MIG_DATA_SIZE")
    for state in (vfu.RUNNING, vfu.STOP, vfu.STOP_COPY):
        mig.set_state(state)
        got = mig.ok(vfu.FEATURE, ask)
        size, flags, count = struct.unpack("<IIQ", got.payload)
        assert (size, flags) == (16, vfu.MIG_DATA_SIZE | GET)
        assert 0 < count < 1 << 62
    assert not mig.ok(vfu.FEATURE, vfu.feature(
        vfu.MIG_DATA_SIZE, GET | PROBE)).flags & vfu.ERROR
    assert mig.request(vfu.FEATURE, vfu.feature(
        vfu.MIG_DATA_SIZE, SET, bytes(8))).flags & vfu.ERROR


# Outboard's own, each behind a capability (docs/migration.md)

EXTENSIONS = {"outboard_precopy_info": (0xfb00, 16),
              "outboard_error_text": (0xfb01, 256)}


@pytest.fixture(params=EXTENSIONS)
def extension(request, connect):
    """A client that agreed on one of them, its number and its size."""
    client = connect()
    client.negotiate(dict(vfu.QEMU_CAPS, **{request.param: True}))
    if not client.caps.get(request.param, False):
        pytest.skip("the server has no " + request.param)
    if not client.offers():
        pytest.skip("the device offers no migration")
    client.ok(vfu.RESET)
    return (client, *EXTENSIONS[request.param])


def test_extension(extension):
    client, number, size = extension
    client.ok(vfu.FEATURE, vfu.feature(number, PROBE))
    client.ok(vfu.FEATURE, vfu.feature(number, PROBE | GET))
    for op in (SET, PROBE | SET, PROBE | GET | SET, 0, GET | SET):
        got = client.request(vfu.FEATURE, vfu.feature(number, op,
                                                      bytes(size)))
        assert got.flags & vfu.ERROR
    if number == 0xfb00 and client.offers() & vfu.HAS_PRE_COPY:
        client.set_state(vfu.PRE_COPY)
    got = client.request(vfu.FEATURE, vfu.feature(number, GET, argsz=size))
    if not got.flags & vfu.ERROR:
        assert got.payload == struct.pack("<II", 8 + size, number | GET)
    got = client.ok(vfu.FEATURE, vfu.feature(number, GET, argsz=8 + size))
    assert struct.unpack_from("<II", got.payload) == (8 + size, number | GET)
    assert len(got.payload) == 8 + size


def test_extension_alone(extension, connect):
    """One key does not bring the other, and none of them none."""
    client, number, size = extension
    other = 0xfb00 + 0xfb01 - number
    got = client.request(vfu.FEATURE, vfu.feature(other, GET, argsz=300))
    assert got.error == errno.ENOTTY
    client.close()
    plain = connect()
    plain.negotiate(dict(vfu.QEMU_CAPS, outboard_precopy_info=False,
                         outboard_error_text=False))
    assert not [key for key in plain.caps if plain.caps[key]
                and key.startswith("outboard")]
    got = plain.request(vfu.FEATURE, vfu.feature(number, GET, argsz=300))
    assert got.error == errno.ENOTTY


def test_r12_extension_keys_of_other_types(connect):
    """A key that is no boolean is refused or ignored; the server lives."""
    for value in (1, "true", None, [], {}):
        client = connect()
        client.post(vfu.VERSION, vfu.version(dict(
            vfu.QEMU_CAPS, outboard_error_text=value), minor=1))
        got = client.reply()
        assert got.flags & vfu.ERROR or len(got.payload) >= 4
        client.close()
    client = connect()
    client.negotiate()
    client.alive()


def text_of(client):
    got = client.ok(vfu.FEATURE, vfu.feature(0xfb01, GET, argsz=264))
    text = got.payload[8:]
    assert text[-1] == 0 and not text.rstrip(b"\0").count(b"\0")
    return text.rstrip(b"\0").decode()


def test_error_text(connect):
    """Why the last request failed, in words."""
    client = connect()
    client.negotiate(dict(vfu.QEMU_CAPS, outboard_error_text=True))
    if not client.caps.get("outboard_error_text", False):
        pytest.skip("the server has no outboard_error_text")
    if not client.offers():
        pytest.skip("the device offers no migration")
    client.ok(vfu.RESET)
    for payload in (vfu.state(99), vfu.feature(999, GET)):
        assert client.request(vfu.FEATURE, payload).flags & vfu.ERROR
        assert text_of(client)
    client.set_state(vfu.RESUMING)
    client.mig_write(b"this is no stream of any device" * 100)
    assert client.try_state(vfu.STOP).flags & vfu.ERROR
    assert text_of(client)
