# SPDX-License-Identifier: BSD-3-Clause
"""The log of guest memory that the device writes [DMA_LOGGING_START, _STOP,
_REPORT].  Too many bits are allowed up to the page size in effect, too few
never are."""

import struct

import pytest

import edu
import vfu

MIB = 1 << 20
PAGE = 4096
TOP = 1 << 64

# The guest's memory, where edu's 28 address bits reach it.
BASE = 16 * MIB


def refused(client, payload):
    got = client.request(vfu.FEATURE, payload)
    assert got.flags & vfu.ERROR
    return got


def start(client, page=PAGE, ranges=()):
    """Returns the page size in effect."""
    got = client.ok(vfu.FEATURE, vfu.log_start(page, ranges))
    size = 24 + 16 * len(ranges)
    assert len(got.payload) == size
    argsz, flags, real, count, _ = struct.unpack_from("<IIQII", got.payload)
    assert (argsz, flags, count) == (
        size, vfu.LOG_START | vfu.FEATURE_SET, len(ranges))
    assert got.payload[24:] == b"".join(struct.pack("<QQ", *one)
                                        for one in ranges)
    assert real and real & (real - 1) == 0
    return real


def stop(client):
    client.ok(vfu.FEATURE, vfu.log_stop())


class Guest:
    """A client of an edu, with memory at BASE and a log of it."""

    def __init__(self, client, memory, page=PAGE, ranges=(), size=MIB):
        self.client, self.memory = client, memory(size)
        client.ok(vfu.DMA_MAP, vfu.dma_map(BASE, size), [self.memory.fd])
        self.real = start(client, page, ranges)

    def write(self, at, count):
        """By the device."""
        edu.store(self.client, BASE + at, count)

    def report(self, at=0, length=MIB, page=PAGE):
        return self.client.report(BASE + at, length, page)


def touched(at, count, real, page, origin=0):
    """Pages of a report from origin that may be dirty after a write to at,
    and those that have to be."""
    low = at // real * real
    high = -(-(at + count) // real) * real
    may = set(range((low - origin) // page, -(-(high - origin) // page)))
    must = set(range((at - origin) // page, (at + count - 1 - origin) // page
                     + 1))
    return may, must


def check(got, at, count, real, page=PAGE, origin=0):
    may, must = touched(at, count, real, page, origin)
    assert must <= got, "dirty pages that are not reported"
    assert got <= may, "clean pages that are reported"


# Start and stop

@pytest.mark.parametrize("shift", range(64))
def test_start_with_any_page_size(log, shift):
    """It is a hint: any power of two, and the answer has what it became."""
    start(log, 1 << shift)
    stop(log)
    start(log, 1 << shift, [(0, 1 << 30), (1 << 32, 1 << 30)])
    log.report(0, 1 << 30, 1 << 20)
    stop(log)


@pytest.mark.parametrize("page", [0, 3, 4095, 4097, 12288, TOP - 4096,
                                  TOP - 1])
def test_r2_page_sizes_that_are_none(log, page):
    refused(log, vfu.log_start(page))
    refused(log, vfu.log_report(0, PAGE))
    start(log)
    refused(log, vfu.log_report(0, PAGE, page, argsz=1 << 20))
    assert log.report(0, PAGE) == set()


def test_start_twice(log):
    """There is one log; it goes on."""
    start(log)
    for page in (PAGE, 2 * PAGE):
        refused(log, vfu.log_start(page))
    assert log.report(0, MIB) == set()
    stop(log)
    refused(log, vfu.log_report(0, MIB))
    start(log)


def test_stop_what_has_not_begun(log):
    """An answer, of either kind."""
    for _ in range(3):
        log.request(vfu.FEATURE, vfu.log_stop())
    refused(log, vfu.log_report(0, PAGE))
    start(log)


def test_start_with_nothing_mapped(log):
    """A device without DMA yet has an empty log."""
    start(log)
    assert log.report(0, 1 << 30, 1 << 20) == set()
    assert log.report(TOP - PAGE, PAGE) == set()


def test_log_ends_with_the_connection(log, connect):
    start(log)
    log.close()
    other = connect()
    other.negotiate()
    refused(other, vfu.log_report(0, PAGE))
    start(other)


@pytest.mark.parametrize("ranges", [
    [(TOP - PAGE, 2 * PAGE)], [(PAGE, TOP - 1)], [(TOP - 1, TOP - 1)],
    [(0, PAGE), (TOP - PAGE, TOP - PAGE)],
], ids=str)
def test_r2_ranges_that_wrap(log, ranges):
    refused(log, vfu.log_start(ranges=ranges))
    refused(log, vfu.log_report(0, PAGE))
    log.alive()


@pytest.mark.parametrize("ranges", [
    [(0, TOP - PAGE)], [(TOP - PAGE, PAGE)], [(0, 0)], [(PAGE, 0)],
    [(1, 1)], [(0, PAGE)] * 2, [(0, MIB), (PAGE, PAGE)],
    [(MIB, PAGE), (0, PAGE)], [(i << 20, PAGE) for i in range(2000)],
    [(i * PAGE, PAGE) for i in range(60000)],
], ids=lambda r: "%s_%d" % (r[0], len(r)))
def test_r2_odd_ranges(log, ranges):
    """Taken or refused."""
    got = log.request(vfu.FEATURE, vfu.log_start(ranges=ranges))
    if got.flags & vfu.ERROR:
        start(log)
    assert log.report(0, MIB) == set()


# Reports

@pytest.mark.parametrize("iova,length", [
    (TOP - PAGE, 2 * PAGE), (PAGE, TOP - PAGE + 1), (TOP - 1, 2),
    (TOP - 1, TOP - 1), (TOP >> 1, (TOP >> 1) + PAGE)])
def test_r2_report_that_wraps(log, iova, length):
    start(log)
    for page in (1, PAGE, 1 << 40, 1 << 63):
        refused(log, vfu.log_report(iova, length, page, argsz=1 << 20))
    log.alive()


def test_report_at_the_end_of_the_address_space(log, memory):
    """Up to the last byte, which does not wrap."""
    m = memory(PAGE)
    log.ok(vfu.DMA_MAP, vfu.dma_map(TOP - PAGE, PAGE), [m.fd])
    start(log)
    assert log.report(TOP - PAGE, PAGE) == set()
    assert log.report(TOP - MIB, MIB) == set()
    assert log.report(TOP - (1 << 40), 1 << 40, 1 << 30) == set()


def test_report_of_nothing(log):
    """Length 0: an error, or a report without a bit."""
    start(log)
    for page in (1, PAGE, 1 << 63):
        got = log.request(vfu.FEATURE, vfu.log_report(0, 0, page, argsz=40))
        assert got.flags & vfu.ERROR or not any(got.payload[32:])
    log.alive()


@pytest.mark.parametrize("length,page", [
    (1 << 40, 1), (1 << 63, 1), (TOP - 1, 1), (TOP - 1, PAGE), (1 << 45, 1),
    (1 << 50, PAGE)])
@pytest.mark.parametrize("argsz", [8, 32, 40, 1 << 20, 0xffffffff])
def test_r2_report_that_is_too_much(log, length, page, argsz):
    """More bits than a message has: refused, or the size alone; not tried."""
    start(log)
    got = log.request(vfu.FEATURE, vfu.log_report(0, length, page, argsz))
    assert got.flags & vfu.ERROR or len(got.payload) == 8
    log.alive()


def test_large_report(log):
    """8 GiB in pages: 256 KiB of bits; and 32 GiB, 1 MiB, if it likes."""
    start(log)
    assert log.report(0, 8 << 30) == set()
    got = log.request(vfu.FEATURE, vfu.log_report(0, 32 << 30))
    assert got.flags & vfu.ERROR or len(got.payload) == 32 + MIB
    log.alive()


@pytest.mark.parametrize("shift", range(64))
def test_report_in_any_page_size(edu_log, memory, shift):
    """Finer than the log's pages as well as coarser: replicated or joined."""
    guest, page = Guest(edu_log, memory), 1 << shift
    length = min(MIB, page * 8192)
    for at, count in ((0, 1), (5000, 100), (length - 1, 1)):
        if at + count > length:
            continue
        guest.write(at, count)
        check(guest.report(0, length, page), at, count, guest.real, page)
        assert guest.report(0, length, page) == set()


def test_finer_than_the_log_does_not_end(edu_log, memory):
    """More than 256 bits of less than a page each."""
    guest = Guest(edu_log, memory, page=65536)
    guest.write(70000, 100)
    for page in (1, 64, 512):
        length = 16384 * page
        got = guest.report(0, min(length, MIB), page)
        guest.write(0, 1)
        assert got <= set(range(min(length, MIB) // page))


@pytest.mark.parametrize("page", [1, 64, 512, 1024, 2048])
def test_half_a_page_does_not_take_the_other_half(edu_log, memory, page):
    """A report finer than the log's page takes what it tells, and what it
    does not tell is told later."""
    guest = Guest(edu_log, memory)
    guest.write(8192, 4096)
    half = PAGE // 2
    assert guest.report(8192, half, page) == set(range(half // page))
    assert guest.report(8192 + half, half, page) == set(range(half // page))


@pytest.mark.parametrize("origin,length,page", [
    (2048, 4096, 4096), (4096, 2048, 4096), (1, 8191, 4096),
    (6000, 100, 4096), (6000, 100, 1), (4095, 2, 1), (8191, 1, 512),
    (512, 7680, 512), (3000, 10000, 8192), (4096, 4097, 4096)])
def test_unaligned_reports(edu_log, memory, origin, length, page):
    """Pages are counted from the report's own start; a last page that is not
    whole is one.  Refused, or right, and then what it did not tell is not
    lost."""
    guest = Guest(edu_log, memory)
    guest.write(4096, 4096)
    got = edu_log.request(vfu.FEATURE, vfu.log_report(BASE + origin, length,
                                                      page))
    told = set()
    if not got.flags & vfu.ERROR:
        bits = int.from_bytes(got.payload[32:], "little")
        told = {n for n in range(bits.bit_length()) if bits >> n & 1}
        low, high = max(origin, 4096), min(origin + length, 8192)
        assert set(range((low - origin) // page,
                         (high - 1 - origin) // page + 1)) <= told
    left = guest.report(page=512)
    for at in range(4096, 8192, 512):
        pages = range((at - origin) // page, (at + 511 - origin) // page + 1)
        assert at // 512 in left or set(pages) <= told


def test_sub_ranges(edu_log, memory):
    """From the middle of a map, and only that is taken."""
    guest = Guest(edu_log, memory)
    for at in (0, 40960, 81920):
        guest.write(at, 10)
    check(guest.report(40960 - 8192, 16384), 40960, 10, guest.real,
          origin=40960 - 8192)
    if guest.real == PAGE:
        assert guest.report() == {0, 20}
        assert guest.report() == set()


def test_across_maps_and_holes(edu_log, memory):
    """A report may span maps, and what is not mapped: that is clean."""
    guest = Guest(edu_log, memory)
    second = memory(MIB)
    edu_log.ok(vfu.DMA_MAP, vfu.dma_map(BASE + 4 * MIB, MIB), [second.fd])
    guest.write(MIB - 10, 10)
    guest.write(4 * MIB, 10)
    got = guest.report(-2 * MIB, 16 * MIB)
    assert {(3 * MIB - 10) // PAGE, 6 * MIB // PAGE} <= got
    assert not [n for n in got if 3 * MIB <= n * PAGE < 6 * MIB]
    assert guest.report(2 * MIB, MIB) == set()
    assert edu_log.report(1 << 50, MIB) == set()


def test_read_and_clear(edu_log, memory):
    guest = Guest(edu_log, memory)
    for _ in range(3):
        guest.write(12288, 5000)
        check(guest.report(), 12288, 5000, guest.real)
        assert guest.report() == set()


def test_only_what_the_device_writes(edu_log, memory):
    """A guest's own writes are not in it, nor what the device reads."""
    guest = Guest(edu_log, memory)
    guest.memory.view[:MIB] = bytes(MIB)
    edu.fetch(edu_log, BASE, 4096)
    assert guest.report() == set()


def test_nothing_from_before_the_start(edu_log, memory):
    guest = Guest(edu_log, memory)
    stop(edu_log)
    guest.write(0, 4096)
    start(edu_log)
    assert guest.report() == set()
    guest.write(8192, 1)
    stop(edu_log)
    start(edu_log)
    assert guest.report() == set()


def test_across_a_page_and_a_map(edu_log, memory):
    """One transfer, both sides."""
    guest = Guest(edu_log, memory)
    second = memory(MIB)
    edu_log.ok(vfu.DMA_MAP, vfu.dma_map(BASE + MIB, MIB), [second.fd])
    guest.write(8192 - 1, 2)
    check(guest.report(), 8191, 2, guest.real)
    guest.write(MIB - 1, 2)
    assert {255, 256} <= guest.report(0, 2 * MIB)


def test_a_map_that_comes_later(edu_log, memory):
    """Without ranges, all that is ever mapped."""
    start(edu_log)
    m = memory(MIB)
    edu_log.ok(vfu.DMA_MAP, vfu.dma_map(BASE, MIB), [m.fd])
    edu.store(edu_log, BASE + 8192, 4096)
    assert 2 in edu_log.report(BASE, MIB)


@pytest.mark.parametrize("ranges,inside,outside", [
    ([(BASE + 65536, 65536)], (65536, 131071), (0, 65535, 131072)),
    ([(BASE, 4096), (BASE + 131072, 4096)], (0, 131072), (4096, 262144)),
    ([(BASE + 131072, 4096), (BASE, 4096)], (0, 131072), (4096, 262144)),
    ([(0, BASE + 65536)], (0, 65535), (65536, 131072)),
], ids=["one", "two", "two_in_disorder", "more_than_is_mapped"])
def test_ranges_are_kept_to(edu_log, memory, ranges, inside, outside):
    guest = Guest(edu_log, memory, ranges=ranges)
    for at in inside + outside:
        guest.write(at, 1)
    got = guest.report()
    assert {at // PAGE for at in inside} <= got
    if guest.real == PAGE:
        assert not {at // PAGE for at in outside} & got


def test_too_little_room_takes_nothing(edu_log, memory):
    """The size it takes, and the dirt is there for who asks again."""
    guest = Guest(edu_log, memory)
    guest.write(0, 10000)
    for argsz in (8, 31, 32, 33, 40, 63):
        got = edu_log.ok(vfu.FEATURE, vfu.log_report(BASE, MIB, argsz=argsz))
        assert got.payload == struct.pack(
            "<II", 64, vfu.LOG_REPORT | vfu.FEATURE_GET)
    check(guest.report(), 0, 10000, guest.real)


def test_refused_reports_take_nothing(edu_log, memory):
    guest = Guest(edu_log, memory)
    guest.write(0, 1)
    for payload in (vfu.log_report(BASE, MIB, 3),
                    vfu.log_report(BASE, TOP - PAGE),
                    vfu.log_report(BASE, MIB, flags=vfu.FEATURE_SET),
                    vfu.log_report(BASE, MIB)[:31],
                    vfu.log_report(BASE, MIB, argsz=7)):
        refused(edu_log, payload)
    edu_log.ok(vfu.FEATURE, vfu.log_report(
        BASE, MIB, flags=vfu.FEATURE_GET | vfu.FEATURE_PROBE))
    check(guest.report(), 0, 1, guest.real)


def test_r4_silent_report(edu_log, memory):
    """Whatever it takes, the stream of messages stays in order."""
    guest = Guest(edu_log, memory)
    guest.write(0, 1)
    edu_log.post(vfu.FEATURE, vfu.log_report(BASE, MIB), flags=vfu.NO_REPLY)
    edu_log.alive()
    assert guest.report() <= {0}


# Memory of other kinds

def test_d11_message_memory_is_the_clients(edu_log):
    """It does the write, so it keeps the account."""
    guest = bytearray(MIB)
    edu_log.ok(vfu.DMA_MAP, vfu.dma_map(BASE, MIB))
    start(edu_log)
    edu.start(edu_log, edu.BUFFER, BASE, 4096, edu.RUN | edu.TO_GUEST)
    assert edu_log.serve(guest, BASE).cmd == vfu.DMA_WRITE
    edu.done(edu_log)
    assert edu_log.report(BASE, MIB) == set()


def test_memory_by_file_access(edu_log, memory):
    """The server writes it, though by a call: it is in the log."""
    m = memory()
    got = edu_log.request(vfu.DMA_MAP, vfu.dma_map(BASE, MIB, flags=3 | 8),
                          [m.fd])
    if got.flags & vfu.ERROR:
        pytest.skip("the server has no access by file I/O")
    real = start(edu_log)
    edu.store(edu_log, BASE + 8192, 5000)
    check(edu_log.report(BASE, MIB), 8192, 5000, real)


def test_unmapped_memory_stays_in_the_log(edu_log, memory):
    """Nobody can be late for it: unmapped, mapped anew, or both."""
    guest = Guest(edu_log, memory)
    guest.write(8192, 1)
    edu_log.ok(vfu.DMA_UNMAP, vfu.dma_unmap(BASE, MIB))
    check(guest.report(), 8192, 1, guest.real)
    other = memory()
    edu_log.ok(vfu.DMA_MAP, vfu.dma_map(BASE, MIB), [other.fd])
    guest.write(16384, 1)
    edu_log.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, 0, flags=2))
    edu_log.ok(vfu.DMA_MAP, vfu.dma_map(BASE, 65536), [other.fd])
    check(guest.report(), 16384, 1, guest.real)


def test_a_map_at_an_odd_place(edu_log, memory):
    """The same file, at an offset, where the address is not a multiple of
    what the log counts in."""
    m = memory()
    edu_log.ok(vfu.DMA_MAP, vfu.dma_map(BASE + PAGE, 8 * PAGE,
                                        offset=16 * PAGE), [m.fd])
    real = start(edu_log, 65536)
    edu.store(edu_log, BASE + 3 * PAGE, PAGE)
    check(edu_log.report(BASE, 65536), 3 * PAGE, PAGE, real)


def test_read_only_memory_does_not_get_dirty(edu_log, memory):
    m = memory()
    edu_log.ok(vfu.DMA_MAP, vfu.dma_map(BASE, MIB, flags=vfu.READ), [m.fd])
    start(edu_log)
    edu.store(edu_log, BASE, 4096)
    assert edu_log.report(BASE, MIB) == set()


# With the states

def test_all_of_it_after_the_stop(edu_mig, log, memory):
    """What was written before the reply to STOP is in a report after it, and
    nothing comes later; while it is saved and loaded the log is there."""
    guest = Guest(edu_mig, memory)
    before = guest.memory.view[:4096]
    for turn in range(20):
        page = slice(8192 * turn, 8192 * turn + 4096)
        guest.memory.view[page] = before
        for at, value, size in ((edu.SOURCE, edu.BUFFER, 8),
                                (edu.DEST, BASE + page.start, 8),
                                (edu.COUNT, 4096, 8),
                                (edu.COMMAND, edu.RUN | edu.TO_GUEST, 4)):
            edu_mig.post(vfu.REGION_WRITE, vfu.access(
                0, at, size, value.to_bytes(size, "little")),
                flags=vfu.NO_REPLY)
        edu_mig.set_state(vfu.STOP)
        written = guest.memory.view[page] != before
        assert 2 * turn in guest.report() or not written
        edu_mig.set_state(vfu.STOP_COPY)
        assert guest.report() == set()
        edu_mig.set_state(vfu.RUNNING)
        edu.done(edu_mig)
        assert guest.memory.view[page] != before
        assert written or 2 * turn in guest.report()
        guest.report()


@pytest.mark.parametrize("where", [vfu.STOP, vfu.STOP_COPY, vfu.RESUMING],
                         ids=lambda value: vfu.STATES[value])
def test_d8_log_while_stopped(mig, log, where):
    mig.set_state(where)
    start(mig)
    assert mig.report(0, MIB) == set()
    stop(mig)
    assert mig.state() == where


def test_log_goes_on_through_a_move(edu_mig, log, memory):
    guest = Guest(edu_mig, memory)
    guest.write(0, 1)
    edu_mig.load(edu_mig.saved())
    edu_mig.set_state(vfu.RUNNING)
    guest.write(8192, 1)
    assert {0, 2} <= guest.report()
