# SPDX-License-Identifier: BSD-3-Clause
"""Pages that only a device wrote: out of one server, into another."""

import os

import pytest

import control
import edu
import vfu
from control import Refused, collect, feed, finish, start
from operated import (MIB, PAGE, kill_worker, pipe_between, put, ready_for_pages, refused,
                      refused_stream, sent, still_with_pages)


def test_pages_need_a_log(operate):
    server = operate("edu")
    refused_stream(server, "the log is off", "pages.out", False)
    refused(server, "no pages are going out", "pages.finish")
    server.call("device.log", on=True)
    refused(server, "no pages are going out", "pages.finish")
    refused(server, "no pages are kept", "pages.apply")
    server.call("device.log", on=False)
    server.call("device.log", on=False)


def test_what_has_been_sent_is_sent_again(operate):
    """Who kept it aside may have died.  What the CPU wrote since is QEMU's, and
    does not come back."""
    server = operate("edu")
    link, sink = still_with_pages(server, 0x8000, 0x9000)
    assert vfu.wait_until(lambda: sent(server) == 2)
    refused_stream(server, "it runs", "pages.out", False, last=True)
    server.guests[0].view[0x9010:0x9011] = b"!"
    server.call("device.quiesce")
    server.call("pages.finish")
    assert finish(link)["pages"] == 1
    sink.all()
    for _ in range(2):
        sink = control.Sink()
        link = start(server.control, "pages.out", sink.out, device="d0", last=True)
        assert finish(link) == {"bytes": len(sink.all()), "pages": 1, "dropped": 0}
    server.call("device.log", on=True)
    sink = control.Sink()
    link = start(server.control, "pages.out", sink.out, device="d0", last=True)
    assert finish(link)["pages"] == 0
    sink.all()


def test_pages_are_final_only_at_a_standstill(operate):
    server = operate("edu")
    link, sink = still_with_pages(server, 0x8000)
    refused(server, "it runs", "pages.finish")
    refused_stream(server, "already", "pages.out", False)
    refused(server, "are going out", "device.log", on=True)
    server.call("device.quiesce")
    server.call("pages.finish")
    server.call("device.resume")
    try:
        finish(link)
    except Refused as why:      # it had no time to end
        assert "resumed" in str(why)
    sink.all()


def test_a_page_that_the_cpu_wrote_since_is_dropped(operate):
    server = operate("edu")
    link, sink = still_with_pages(server, 0x8000, 0x9000, 0xa000)
    assert vfu.wait_until(lambda: sent(server) == 3)
    server.guests[0].view[0x9010:0x9011] = b"!"
    edu.copy(server.clients[0], 0x2000, 0xa000, PAGE)
    server.call("device.quiesce")
    server.call("pages.finish")
    answer = finish(link)
    assert answer["pages"] == 2 and answer["dropped"] == 1
    records = control.parse_pages(sink.all())
    pages = {}
    for kind, iova, length, data in records[:-1]:
        for i in range(0, length, PAGE):
            pages[iova + i] = data[i:i + PAGE] if kind == control.PAGES else None
    view = server.guests[0].view
    assert pages == {0x8000: view[0x8000:0x9000], 0x9000: None, 0xa000: view[0xa000:0xb000]}
    assert records[-1][:2] == (control.END, 2)


def test_the_clients_log_is_another_one(operate):
    server = operate("edu")
    client = server.clients[0]
    client.ok(vfu.FEATURE, vfu.log_start())
    link, sink = still_with_pages(server, 0x8000)
    assert vfu.wait_until(lambda: sent(server) == 1)
    assert client.report(0, 2 * MIB) == {8}
    client.ok(vfu.FEATURE, vfu.log_stop())
    edu.copy(client, 0x1000, 0xb000, PAGE)
    assert vfu.wait_until(lambda: sent(server) == 2)
    server.call("device.quiesce")
    server.call("pages.finish")
    assert finish(link)["pages"] == 2
    sink.all()


def test_what_a_broken_stream_took_comes_with_the_next(operate):
    server = operate("edu")
    link, sink = still_with_pages(server, 0x8000, 0x9000)
    assert vfu.wait_until(lambda: sent(server) == 2)
    link.close()
    sink.all()
    assert vfu.wait_until(lambda: server.migration()["pages"] == "none")
    assert server.migration()["pages left"] == 2
    sink = control.Sink()
    link = start(server.control, "pages.out", sink.out, device="d0")
    server.call("device.quiesce")
    server.call("pages.finish")
    assert finish(link)["pages"] == 2
    sink.all()


def test_the_log_goes_and_its_stream_with_it(operate):
    server = operate("edu")
    link, sink = still_with_pages(server, 0x8000)
    server.call("device.log", on=False)
    with pytest.raises(Refused, match="switched off"):
        finish(link)
    sink.all()
    assert not server.migration()["log"]


def test_memory_that_is_gone(operate):
    """Cut under the device's feet: the stream fails, nobody dies."""
    server = operate("edu")
    server.call("device.log", on=True)
    edu.copy(server.clients[0], 0x1000, 0x100000, PAGE)
    os.ftruncate(server.guests[0].fd, 0x80000)
    with pytest.raises(Refused, match="is gone"):
        collect(server.control, "pages.out", device="d0")
    assert server.migration()["state"] == "RUNNING"


def test_memory_that_is_mapped_no_more(operate):
    """What cannot be read is not sent; it may come back before the end."""
    server = operate("edu")
    client = server.clients[0]
    server.call("device.log", on=True)
    edu.copy(client, 0x1000, 0x8000, PAGE)
    client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, 2 * MIB))
    sink = control.Sink()
    link = start(server.control, "pages.out", sink.out, device="d0")
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 * MIB), [server.guests[0].fd])
    assert vfu.wait_until(lambda: sent(server) == 1)
    edu.copy(client, 0x1000, 0x9000, PAGE)
    client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, 2 * MIB))
    server.call("device.quiesce")
    server.call("pages.finish")
    assert finish(link)["pages"] == 0
    sink.all()


def test_pages_come_and_are_applied(operate):
    server = ready_for_pages(operate)
    before = server.guests[0].view[:]
    stream = control.PageStream().pages(0x5000, b"a" * PAGE + b"b" * PAGE)
    stream.pages(0x100000, b"c" * PAGE).pages(0x5000, b"d" * PAGE)
    stream.drop(0x6000).end(2)
    assert put(server, stream) == {"bytes": len(stream.bytes), "pages": 2, "dropped": 1}
    assert server.guests[0].view[:] == before
    assert server.migration()["pages"] == "kept"
    assert server.call("pages.apply")["pages"] == 2
    view = server.guests[0].view
    assert view[0x5000:0x6000] == b"d" * PAGE
    assert view[0x6000:0x7000] == before[0x6000:0x7000]
    assert view[0x100000:0x101000] == b"c" * PAGE
    refused(server, "no pages are kept", "pages.apply")


def test_a_page_that_was_dropped_may_come_again(operate):
    server = ready_for_pages(operate)
    stream = control.PageStream().pages(0x5000, b"a" * PAGE).drop(0x5000)
    stream.pages(0x5000, b"b" * PAGE).end(1)
    put(server, stream)
    server.call("pages.apply")
    assert server.guests[0].view[0x5000:0x6000] == b"b" * PAGE


WRONG = {
    "no length": (lambda s: s.record(control.PAGES, 0x5000, 0), "0 bytes at"),
    "half a page": (lambda s: s.record(control.PAGES, 0x5000, 2048, bytes(2048)), "2048 bytes at"),
    "too long": (lambda s: s.record(control.PAGES, 0, MIB + PAGE), "bytes at"),
    "longest": (lambda s: s.record(control.PAGES, 0, 0xfffff000), "bytes at"),
    "not aligned": (lambda s: s.pages(0x5010, bytes(PAGE)), "bytes at 0x5010"),
    "wraps": (lambda s: s.record(control.PAGES, (1 << 64) - PAGE, 2 * PAGE), "bytes at"),
    "far away": (lambda s: s.pages(1 << 40, bytes(PAGE)), "no memory is mapped about"),
    "at the end": (lambda s: s.pages((1 << 64) - PAGE, bytes(PAGE)), "no memory is mapped about"),
    "kind 0": (lambda s: s.record(0, 0x5000, PAGE), "kind 0"),
    "kind 4": (lambda s: s.record(4, 0x5000, PAGE), "kind 4"),
    "dropped never": (lambda s: s.drop(0x5000), "has not come"),
    "dropped twice": (lambda s: s.pages(0x5000, bytes(PAGE)).drop(0x5000).drop(0x5000),
                      "has not come"),
    "dropped in part": (lambda s: s.pages(0x5000, bytes(PAGE)).drop(0x5000, 2 * PAGE),
                        "has not come"),
    "too few": (lambda s: s.pages(0x5000, bytes(PAGE)).end(2), "END of 2 pages, 1"),
    "too many": (lambda s: s.pages(0x5000, bytes(PAGE)).end(0), "END of 0 pages, 1"),
    "a long end": (lambda s: s.record(control.END, 0, PAGE), "END of"),
    "no end": (lambda s: s.pages(0x5000, bytes(PAGE)), "without END"),
    "nothing": (lambda s: s, "without END"),
    "more than the end": (lambda s: s.end(0).end(0), "after END"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_pages_are_refused(operate, name):
    server = ready_for_pages(operate)
    make, word = WRONG[name]
    with pytest.raises(Refused, match=word):
        put(server, make(control.PageStream()))
    refused(server, "no pages are kept", "pages.apply")
    assert put(server, control.PageStream().end(0))["pages"] == 0
    server.call("pages.apply")


def test_more_pages_than_memory(operate):
    """2 MiB are mapped, and a little more is tolerated."""
    server = ready_for_pages(operate)
    stream = control.PageStream()
    for at in range(0, 4 * MIB, MIB // 2):
        stream.pages(at, bytes(MIB // 2))
    with pytest.raises(Refused, match="record 7: more pages than are mapped"):
        put(server, stream.end(1024))


def test_every_byte_of_a_stream_counts(operate):
    """All of heads and sums, some of the data."""
    server = ready_for_pages(operate)
    right = control.PageStream().pages(0x5000, os.urandom(PAGE)).pages(0x7000, bytes(PAGE))
    right = right.drop(0x5000).end(1).bytes
    spots = [at for at in range(len(right)) if not 40 < at < 4080 and not 4160 < at < 8200]
    for at in spots + list(range(40, 4080, 97)):
        wrong = bytearray(right)
        wrong[at] ^= 1 << at % 8
        with pytest.raises(Refused, match="record|without END"):
            feed(server.control, "pages.in", bytes(wrong), device="d0")
    for at in spots:
        with pytest.raises(Refused, match="without END"):
            feed(server.control, "pages.in", right[:at], device="d0")
    assert feed(server.control, "pages.in", right, device="d0")["pages"] == 1


def test_records_cannot_be_left_out_or_moved(operate):
    server = ready_for_pages(operate)
    stream = control.PageStream()
    cuts = [0]
    for at in (0x5000, 0x6000, 0x7000):
        stream.pages(at, bytes(PAGE))
        cuts.append(len(stream.bytes))
    stream.end(3)
    a, b, c = (stream.bytes[x:y] for x, y in zip(cuts, cuts[1:]))
    end = stream.bytes[cuts[-1]:]
    for wrong in (b + a + c + end, a + c + end, a + a + b + c + end, a + b + end, end):
        with pytest.raises(Refused, match="checksum|END"):
            feed(server.control, "pages.in", wrong, device="d0")


def test_where_pages_may_not_go(operate, memory):
    """Judged as a whole, before the first is put."""
    server = ready_for_pages(operate)
    client, extra = server.clients[0], memory(MIB)
    client.ok(vfu.DMA_MAP, vfu.dma_map(4 * MIB, MIB, vfu.READ), [extra.fd])
    client.ok(vfu.DMA_MAP, vfu.dma_map(8 * MIB, MIB))
    for at, word in ((4 * MIB, "0x400000 is mapped to be read only"),
                     (8 * MIB, "0x800000 is memory without a file"),
                     (12 * MIB, "0xc00000 is not mapped")):
        before = server.guests[0].view[:]
        put(server, control.PageStream().pages(0x5000, b"x" * PAGE).pages(at, bytes(PAGE)).end(2))
        refused(server, word, "pages.apply")
        assert server.guests[0].view[:] == before


def test_a_map_goes_away_and_comes_back(operate):
    server = ready_for_pages(operate)
    client = server.clients[0]
    put(server, control.PageStream().pages(0x5000, b"x" * PAGE).end(1))
    client.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, 2 * MIB))
    refused(server, "0x5000 is not mapped", "pages.apply")
    client.ok(vfu.DMA_MAP, vfu.dma_map(0, 2 * MIB), [server.guests[0].fd])
    server.call("pages.apply")
    assert server.guests[0].view[0x5000:0x6000] == b"x" * PAGE


def test_pages_into_memory_that_is_gone(operate):
    server = ready_for_pages(operate)
    put(server, control.PageStream().pages(0x100000, b"x" * PAGE).end(1))
    os.ftruncate(server.guests[0].fd, 0x80000)
    refused(server, "is gone", "pages.apply")
    assert server.migration()["pages"] == "kept"


def test_pages_are_not_put_under_a_running_device(operate):
    server = operate("edu")
    put(server, control.PageStream().end(0))
    refused(server, "it runs", "pages.apply")


def test_pages_in_is_one_at_a_time(operate):
    server = ready_for_pages(operate)
    read, write = os.pipe()
    link = start(server.control, "pages.in", read, device="d0")
    refused_stream(server, "are coming in", "pages.in", True)
    refused(server, "no pages are kept", "pages.apply")
    link.close()
    os.close(write)
    assert vfu.wait_until(lambda: server.migration()["pages"] == "none")
    put(server, control.PageStream().end(0))
    put(server, control.PageStream().pages(0, bytes(PAGE)).end(1))
    assert server.call("pages.apply")["pages"] == 1


def test_many_pages(operate):
    """All of memory, in both directions, more than a turn of the loop takes."""
    a, b = operate("edu"), operate("edu")
    a.call("device.log", on=True)
    for at in range(0x10000, 2 * MIB, PAGE):
        edu.start(a.clients[0], edu.BUFFER, at, PAGE, edu.RUN | edu.TO_GUEST)
    links = pipe_between(a, b, "pages.out", "pages.in")
    a.call("device.quiesce")
    b.call("device.quiesce")
    a.call("pages.finish")
    assert [finish(link)["pages"] for link in links] == [(2 * MIB - 0x10000) // PAGE] * 2
    b.call("pages.apply")
    assert a.guests[0].view[0x10000:] == b.guests[0].view[0x10000:]


def test_a_dead_ones_log_says_that_all_is_dirty(operate):
    """Nobody knows what it had sent: the stream begins anew, with everything."""
    server = operate("edu")
    link, sink = still_with_pages(server, 0x8000)
    assert vfu.wait_until(lambda: sent(server) == 1)
    kill_worker(server)
    with pytest.raises(ConnectionError):
        finish(link)
    sink.all()
    assert server.migration() == {**server.migration(), "log": True, "pages": "none",
                                  "pages left": 2 * MIB // PAGE}
    sink = control.Sink()
    link = start(server.control, "pages.out", sink.out, device="d0")
    server.call("device.quiesce")
    server.call("pages.finish")
    assert finish(link)["pages"] == 2 * MIB // PAGE
    records = control.parse_pages(sink.all())
    data = b"".join(data for kind, _, _, data in records if kind == control.PAGES)
    assert data == server.guests[0].view[:]


def test_pages_kept_aside_go_with_the_worker(operate):
    server = ready_for_pages(operate)
    put(server, control.PageStream().pages(0x5000, bytes(PAGE)).end(1))
    kill_worker(server)
    refused(server, "no pages are kept", "pages.apply")
    put(server, control.PageStream().pages(0x5000, b"y" * PAGE).end(1))
    server.call("pages.apply")
    assert server.guests[0].view[0x5000:0x6000] == b"y" * PAGE
