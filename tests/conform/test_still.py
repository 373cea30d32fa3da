# SPDX-License-Identifier: BSD-3-Clause
"""A device that stands still answers everything and does nothing (D8)."""

import os
import select

import pytest

import edu
import marks
import vfu
from vfu import RESUMING, RUNNING, STOP, STOP_COPY

MIB = 1 << 20
ASSIGN = vfu.DATA_EVENTFD | vfu.TRIGGER

still = pytest.mark.parametrize("where", [STOP, STOP_COPY, RESUMING],
                                ids=lambda value: vfu.STATES[value])


def quiet(*fds):
    """None of them has anything to say, though it is given a moment."""
    return not select.select(fds, [], [], 0.1)[0]


def signalled(fd):
    return bool(select.select([fd], [], [], vfu.PATIENCE)[0])


# What a destination needs before it runs (PROTOCOL 2.5, 2.6)

@still
def test_d8_infos(mig, where):
    regions, irqs = mig.info()[2:]
    asked = [(vfu.GET_INFO, vfu.get_info())]
    asked += [(vfu.GET_REGION_INFO, vfu.region_info(i, 4096))
              for i in range(regions)]
    asked += [(vfu.GET_REGION_IO_FDS, vfu.region_io_fds(i))
              for i in range(regions)]
    asked += [(vfu.GET_IRQ_INFO, vfu.irq_info(i)) for i in range(irqs)]
    asked += [(vfu.FEATURE, vfu.feature(1, vfu.FEATURE_GET, argsz=16)),
              (vfu.FEATURE, vfu.feature(2, vfu.FEATURE_PROBE))]

    def answers():
        return [mig.request(*one)._replace(ident=0, fds=None)
                for one in asked]

    want = answers()
    mig.set_state(where)
    assert answers() == want


@still
def test_d8_maps(mig, memory, where):
    m = memory()
    mig.ok(vfu.DMA_MAP, vfu.dma_map(8 * MIB, MIB), [m.fd])
    mig.set_state(where)
    mig.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [m.fd])
    mig.ok(vfu.DMA_MAP, vfu.dma_map(2 * MIB, MIB))
    assert mig.request(vfu.DMA_MAP, vfu.dma_map(0, 4096)).flags & vfu.ERROR
    mig.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, MIB))
    mig.ok(vfu.DMA_UNMAP, vfu.dma_unmap(8 * MIB, MIB))
    mig.ok(vfu.DMA_UNMAP, vfu.dma_unmap(0, 0, flags=2))
    assert mig.state() == where


@still
def test_d8_interrupts_are_set_up(mig, eventfd, where):
    mig.set_state(where)
    for index in range(mig.info()[3]):
        for vector in range(min(mig.irq_count(index), 4)):
            mig.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, index, vector, 1),
                   [eventfd()])
        mig.ok(vfu.SET_IRQS, vfu.set_irqs(0x21, index))
    if mig.irq_count(vfu.INTX):
        mig.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, vfu.INTX, 0, 1),
               [eventfd()])
        mig.ok(vfu.SET_IRQS, vfu.set_irqs(0x09, vfu.INTX, 0, 1))
        mig.ok(vfu.SET_IRQS, vfu.set_irqs(0x11, vfu.INTX, 0, 1))
    assert mig.state() == where


@still
def test_d8_regions(mig, where):
    """Configuration space is read and written, BARs are read."""
    seen = marks.leave(mig, 6)
    config = mig.read(vfu.CONFIG, 0, 256)
    mig.set_state(where)
    assert marks.found(mig) == seen
    assert mig.read(vfu.CONFIG, 0, 256) == config
    mig.write_int(vfu.CONFIG, marks.LINE, 11, 1)
    assert mig.read_int(vfu.CONFIG, marks.LINE, 1) == 11
    # Sizes of BARs, as firmware and VMMs find them, and what was there.
    for at in range(0x10, 0x28, 4):
        was = mig.read(vfu.CONFIG, at, 4)
        mig.write_int(vfu.CONFIG, at, 0xffffffff)
        mig.read(vfu.CONFIG, at, 4)
        mig.write(vfu.CONFIG, at, was)
        assert mig.read(vfu.CONFIG, at, 4) == was
    mig.write_int(vfu.CONFIG, 4, 0, 2)
    mig.write_int(vfu.CONFIG, 4, 6, 2)
    for bar in range(6):
        size = mig.region_size(bar)
        if size:
            mig.request(vfu.REGION_READ, vfu.access(bar, 0, 4))
            mig.request(vfu.REGION_READ, vfu.access(bar, size - 4, 4))
    got = mig.request(vfu.REGION_READ, vfu.access(vfu.CONFIG, 4096, 4))
    assert got.flags & vfu.ERROR
    assert mig.state() == where


@still
def test_d8_registers_are_written(mig, where):
    """Which a VMM should not do, and which harms nobody."""
    mig.set_state(where)
    for bar in range(6):
        if mig.region_size(bar):
            for at in range(0, 64, 4):
                mig.request(vfu.REGION_WRITE,
                            vfu.access(bar, at, 4, b"\xff" * 4))
    mig.alive()
    assert mig.state() == where
    mig.ok(vfu.RESET)
    marks.works(mig)


@still
def test_d8_bad_requests_are_refused_as_ever(mig, where):
    mig.set_state(where)
    for cmd, payload in ((vfu.DMA_MAP, vfu.dma_map(1, 4096)),
                         (vfu.GET_REGION_INFO, vfu.region_info(1000)),
                         (vfu.SET_IRQS, vfu.set_irqs(0x21, 1000)),
                         (vfu.VERSION, vfu.version()), (19, b"")):
        assert mig.request(cmd, payload).flags & vfu.ERROR
    mig.alive()


# Nothing reaches the guest.  edu computes and copies on command.

def test_no_dma_while_stopped(edu_mig, memory):
    m = memory()
    before = bytes(m.view)
    edu_mig.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [m.fd])
    edu.fetch(edu_mig, 0, 4096)
    edu_mig.set_state(STOP)
    edu.start(edu_mig, edu.BUFFER, 65536, 4096, edu.RUN | edu.TO_GUEST)
    for _ in range(20):
        edu_mig.alive()
    assert quiet(edu_mig.sock)
    assert m.view[:] == before
    edu_mig.set_state(RUNNING)
    edu.done(edu_mig)
    assert m.view[65536:65536 + 4096] == before[:4096]


def test_no_dma_message_while_stopped(edu_mig):
    guest = bytearray(os.urandom(MIB))
    edu_mig.ok(vfu.DMA_MAP, vfu.dma_map(MIB, MIB))
    edu_mig.set_state(STOP)
    edu.start(edu_mig, MIB, edu.BUFFER, 512, edu.RUN)
    edu_mig.alive()
    assert not edu_mig.waiting()
    edu_mig.set_state(RUNNING)
    assert edu_mig.serve(guest, MIB).cmd == vfu.DMA_READ
    edu.done(edu_mig)


def test_no_interrupt_while_stopped(edu_mig, eventfd):
    """What was owed comes when it runs."""
    fd = eventfd()
    edu_mig.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, vfu.INTX, 0, 1), [fd])
    edu_mig.set_state(STOP)
    edu_mig.write_int(0, edu.RAISE, 4)
    edu_mig.alive()
    assert quiet(fd)
    edu_mig.set_state(STOP_COPY)
    assert quiet(fd)
    edu_mig.set_state(RUNNING)
    assert signalled(fd)
    assert edu_mig.read_int(0, edu.IRQ_STATUS) & 4


def test_no_interrupt_of_work_while_stopped(edu_mig, eventfd):
    fd = eventfd()
    edu_mig.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, vfu.INTX, 0, 1), [fd])
    edu_mig.write_int(0, edu.STATUS, edu.IRQ_WHEN_DONE)
    edu_mig.set_state(STOP)
    edu_mig.write_int(0, edu.FACTORIAL, 10)
    edu_mig.alive()
    assert quiet(fd)
    edu_mig.set_state(RUNNING)
    assert signalled(fd)
    assert vfu.wait_until(
        lambda: not edu_mig.read_int(0, edu.STATUS) & edu.COMPUTING)
    assert edu_mig.read_int(0, edu.FACTORIAL) == 3628800


def test_message_interrupt_while_stopped(edu_mig, eventfd):
    """MSI: a message that is not sent then is sent later."""
    at = edu_mig.read_int(vfu.CONFIG, 0x34, 1)
    while at and edu_mig.read_int(vfu.CONFIG, at, 1) != 5:
        at = edu_mig.read_int(vfu.CONFIG, at + 1, 1)
    if not at:
        pytest.skip("no MSI")
    fd = eventfd()
    edu_mig.write_int(vfu.CONFIG, at + 2, 1, 2)
    edu_mig.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, vfu.MSI, 0, 1), [fd])
    edu_mig.set_state(STOP)
    edu_mig.write_int(0, edu.RAISE, 2)
    edu_mig.alive()
    assert quiet(fd)
    edu_mig.set_state(RUNNING)
    assert signalled(fd)


def test_r9_stop_while_the_server_waits_for_memory(edu_mig):
    """The answer to a state does not wait for the client's answer to a
    DMA_READ; and the transfer is done in the end, once."""
    guest = bytearray(os.urandom(MIB))
    edu_mig.ok(vfu.DMA_MAP, vfu.dma_map(MIB, MIB))
    edu.start(edu_mig, MIB, edu.BUFFER, 512, edu.RUN)
    asked = edu_mig.command()
    edu_mig.set_state(STOP)
    edu_mig.set_state(STOP_COPY)
    assert edu_mig.stream()
    edu_mig.answer(asked, asked.payload + bytes(guest[:512]))
    edu_mig.set_state(RUNNING)
    while not edu.idle(edu_mig):
        if edu_mig.waiting():
            edu_mig.serve(guest, MIB)
    edu.start(edu_mig, edu.BUFFER, MIB + 4096, 512, edu.RUN | edu.TO_GUEST)
    edu_mig.serve(guest, MIB)
    edu.done(edu_mig)
    assert guest[4096:4096 + 512] == guest[:512]


def test_r10_nothing_is_written_after_the_stop(edu_mig, memory):
    """After the reply not a byte changes, however late the transfer began."""
    m = memory()
    edu_mig.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [m.fd])
    for _ in range(50):
        for at, value, size in ((edu.SOURCE, edu.BUFFER, 8),
                                (edu.DEST, 0, 8), (edu.COUNT, 4096, 8),
                                (edu.COMMAND, edu.RUN | edu.TO_GUEST, 4)):
            edu_mig.post(vfu.REGION_WRITE, vfu.access(
                0, at, size, value.to_bytes(size, "little")),
                flags=vfu.NO_REPLY)
        edu_mig.set_state(STOP)
        m.view[:4096] = b"canary.." * 512
        edu_mig.alive()
        assert m.view[:4096] == b"canary.." * 512
        edu_mig.set_state(RUNNING)
        edu.done(edu_mig)


# What is owed goes along (R29).

def test_r29_owed_work_is_done_by_the_other(edu_mig, twin, memory, eventfd):
    """Started while it stood still, saved, and done where it is loaded."""
    m, fd = memory(), eventfd()
    pattern = bytes(m.view[:4096])
    for client in (edu_mig, twin):
        client.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [m.fd])
    edu.fetch(edu_mig, 0, 4096)
    edu_mig.set_state(STOP)
    edu_mig.write_int(0, edu.STATUS, edu.IRQ_WHEN_DONE)
    edu_mig.write_int(0, edu.FACTORIAL, 12)
    edu.start(edu_mig, edu.BUFFER, 65536, 4096,
              edu.RUN | edu.TO_GUEST | edu.WITH_IRQ)
    twin.set_state(RESUMING)
    twin.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, vfu.INTX, 0, 1), [fd])
    assert twin.mig_write(edu_mig.saved())
    twin.set_state(STOP)
    m.view[65536:65536 + 4096] = bytes(4096)
    twin.alive()
    assert m.view[65536:65536 + 4096] == bytes(4096) and quiet(fd)
    twin.set_state(RUNNING)
    assert signalled(fd)
    edu.done(twin)
    assert m.view[65536:65536 + 4096] == pattern
    assert vfu.wait_until(
        lambda: not twin.read_int(0, edu.STATUS) & edu.COMPUTING)
    assert twin.read_int(0, edu.FACTORIAL) == 479001600
    assert twin.read_int(0, edu.IRQ_STATUS) == 0x101


def test_r29_level_interrupt_is_raised_by_the_other(edu_mig, twin, eventfd):
    """The source has signalled it; its guest has not seen it."""
    there, here = eventfd(), eventfd()
    edu_mig.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, vfu.INTX, 0, 1), [here])
    edu_mig.write_int(0, edu.RAISE, 1)
    assert signalled(here)
    twin.set_state(RESUMING)
    twin.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, vfu.INTX, 0, 1), [there])
    assert twin.mig_write(edu_mig.saved())
    twin.set_state(RUNNING)
    assert signalled(there)
    twin.write_int(0, edu.ACK, 1)
    assert twin.read_int(0, edu.IRQ_STATUS) == 0


def test_memory_and_eventfds_belong_to_the_connection(edu_mig, twin, memory,
                                                      eventfd):
    """A load brings none, and takes none."""
    mine, other = memory(seed=1), memory(seed=2)
    fd = eventfd()
    edu_mig.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [mine.fd])
    twin.ok(vfu.DMA_MAP, vfu.dma_map(0, MIB), [other.fd])
    twin.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, vfu.INTX, 0, 1), [fd])
    twin.load(edu_mig.saved())
    twin.set_state(RUNNING)
    untouched = bytes(mine.view)
    want = bytes(other.view[:100])
    edu.copy(twin, 0, 8192, 100)
    assert other.view[8192:8292] == want
    assert mine.view[:] == untouched
    twin.write_int(0, edu.RAISE, 1)
    assert signalled(fd)
