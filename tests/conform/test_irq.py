# SPDX-License-Identifier: BSD-3-Clause
"""Interrupts: eventfds given, taken away, fired, and misused."""

import fcntl
import os
import select
import struct

import pytest

import vfu

ASSIGN = vfu.DATA_EVENTFD | vfu.TRIGGER
FIRE = vfu.DATA_NONE | vfu.TRIGGER
FULL = (1 << 64) - 2


def signalled(fd):
    return bool(select.select([fd], [], [], vfu.PATIENCE)[0])


def usable(client):
    """An index that has a vector."""
    for index in (vfu.MSIX, vfu.MSI, vfu.INTX, vfu.ERR):
        if client.irq_count(index):
            return index
    pytest.skip("no interrupts")


def refused(client, payload, fds=()):
    assert client.request(vfu.SET_IRQS, payload, fds).flags & vfu.ERROR


def test_assign_and_fire(client, eventfd):
    for index in range(client.info()[3]):
        for vector in range(min(client.irq_count(index), 70)):
            fd = eventfd()
            client.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, index, vector, 1),
                      [fd])
            client.ok(vfu.SET_IRQS, vfu.set_irqs(FIRE, index, vector, 1))
            assert signalled(fd)
        client.ok(vfu.SET_IRQS, vfu.set_irqs(FIRE, index))


def test_fire_by_bools(client, eventfd):
    index = usable(client)
    fd = eventfd()
    client.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, index, 0, 1), [fd])
    flags = vfu.DATA_BOOL | vfu.TRIGGER
    client.ok(vfu.SET_IRQS, vfu.set_irqs(flags, index, 0, 1, b"\0"))
    client.ok(vfu.SET_IRQS, vfu.set_irqs(flags, index, 0, 1, b"\1"))
    assert signalled(fd)


def test_as_qemu_does(client, eventfd):
    """MSI-X on without an fd, one fd a vector, off; INTx; errors."""
    if client.irq_count(vfu.MSIX):
        client.ok(vfu.SET_IRQS, vfu.set_irqs(0x24, vfu.MSIX, 0, 1))
        for vector in range(min(client.irq_count(vfu.MSIX), 8)):
            client.ok(vfu.SET_IRQS, vfu.set_irqs(0x24, vfu.MSIX, vector, 1),
                      [eventfd()])
        client.ok(vfu.SET_IRQS, vfu.set_irqs(0x21, vfu.MSIX))
    if client.irq_count(vfu.INTX):
        client.ok(vfu.SET_IRQS, vfu.set_irqs(0x24, vfu.INTX, 0, 1),
                  [eventfd()])
        client.ok(vfu.SET_IRQS, vfu.set_irqs(0x11, vfu.INTX, 0, 1))
        client.ok(vfu.SET_IRQS, vfu.set_irqs(0x21, vfu.INTX))
    if client.irq_count(vfu.ERR):
        client.ok(vfu.SET_IRQS, vfu.set_irqs(0x24, vfu.ERR, 0, 1),
                  [eventfd()])
        client.ok(vfu.SET_IRQS, vfu.set_irqs(0x24, vfu.ERR, 0, 1))


def test_sixteen_at_a_time(client, eventfd):
    """cloud-hypervisor's batches."""
    count = client.irq_count(vfu.MSIX)
    if count < 16:
        pytest.skip("fewer than 16 vectors")
    for start in range(0, count - count % 16, 16):
        fds = [eventfd() for _ in range(16)]
        client.ok(vfu.SET_IRQS,
                  vfu.set_irqs(ASSIGN, vfu.MSIX, start, 16), fds)
        client.ok(vfu.SET_IRQS, vfu.set_irqs(FIRE, vfu.MSIX, start, 16))
        assert all(signalled(fd) for fd in fds)


def test_r1_replaced_many_times(client, eventfd):
    index = usable(client)
    fds = [eventfd() for _ in range(4)]
    for i in range(200):
        client.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, index, 0, 1),
                  [fds[i % 4]])
    client.ok(vfu.SET_IRQS, vfu.set_irqs(FIRE, index, 0, 1))
    assert signalled(fds[3])
    assert not select.select(fds[:3], [], [], 0)[0]


def test_r1_numbers_of_fds(client, eventfd):
    """More than vectors, fewer than vectors, some that make no sense."""
    index = usable(client)
    fd = eventfd()
    for fds in ([fd] * 2, [fd] * 16, [fd] * 253):
        refused(client, vfu.set_irqs(ASSIGN, index, 0, 1), fds)
    if client.irq_count(index) >= 3:
        for fds in ([fd], [fd] * 2, [fd] * 4):
            refused(client, vfu.set_irqs(ASSIGN, index, 0, 3), fds)
    client.alive()


def test_r2_ranges(client, eventfd):
    for index in range(client.info()[3]):
        count = client.irq_count(index)
        for start, number in ((count, 1), (0, count + 1), (1 << 31, 1 << 31),
                              (0xffffffff, 1), (1, 0xffffffff)):
            for flags in (FIRE, ASSIGN, 0x11, 0x09):
                refused(client, vfu.set_irqs(flags, index, start, number))
        refused(client, vfu.set_irqs(ASSIGN, index, count, 1), [eventfd()])


def test_mask_and_unmask(client, eventfd):
    """Of what says that it can."""
    for index in range(client.info()[3]):
        got = client.ok(vfu.GET_IRQ_INFO, vfu.irq_info(index))
        _, flags, _, count = struct.unpack("<IIII", got.payload)
        if not count or not flags & 2:
            continue
        client.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, index, 0, 1),
                  [eventfd()])
        client.ok(vfu.SET_IRQS, vfu.set_irqs(0x09, index, 0, 1))
        client.ok(vfu.SET_IRQS, vfu.set_irqs(0x11, index, 0, 1))


def test_r6_a_full_counter_that_blocks(client, eventfd):
    """The client makes its eventfd blocking and fills it; the server goes on
    answering, and the interrupt arrives when there is room."""
    index = usable(client)
    fd = eventfd()
    client.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, index, 0, 1), [fd])
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    os.eventfd_write(fd, FULL)
    for _ in range(20):
        client.ok(vfu.SET_IRQS, vfu.set_irqs(FIRE, index, 0, 1))
        client.alive()
    assert os.eventfd_read(fd) >= FULL
    client.ok(vfu.SET_IRQS, vfu.set_irqs(FIRE, index, 0, 1))
    assert signalled(fd)


def test_r6_gone_with_a_full_counter(client, connect, eventfd):
    """Nothing of it is left: the server fixture counts."""
    index = usable(client)
    fd = eventfd()
    client.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, index, 0, 1), [fd])
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    os.eventfd_write(fd, FULL)
    client.ok(vfu.SET_IRQS, vfu.set_irqs(FIRE, index, 0, 1))
    client.close()
    other = connect()
    other.negotiate()
    other.alive()


def test_r6_fds_that_are_no_eventfds(client):
    """A full pipe, a closed one, a file: refused or fired in vain."""
    index = usable(client)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while True:
            os.write(write_end, bytes(4096))
    except BlockingIOError:
        os.set_blocking(write_end, True)
    lone_read, lone_write = os.pipe()
    os.close(lone_read)
    with open("/dev/full", "wb") as full:
        for fd in (write_end, lone_write, read_end, full.fileno()):
            client.request(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, index, 0, 1),
                           [fd])
            client.request(vfu.SET_IRQS, vfu.set_irqs(FIRE, index, 0, 1))
            client.request(vfu.SET_IRQS, vfu.set_irqs(FIRE, index))
            client.alive()
    for fd in (read_end, write_end, lone_write):
        os.close(fd)


def test_r1_our_own_socket_as_eventfd(client, connect):
    """What the server writes there would come to it as a message; and if it
    holds that end, it never learns that we have gone."""
    index = usable(client)
    client.request(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, index, 0, 1),
                   [client.sock.fileno()])
    client.post(vfu.SET_IRQS, vfu.set_irqs(FIRE, index, 0, 1))
    connect.no_more()
    other = connect()
    other.negotiate()
    other.alive()


# edu raises what is written at 0x60 and drops what is written at 0x64.

def test_pin(edu, eventfd):
    """Fires, waits for the unmask, fires again while it is asserted."""
    fd = eventfd()
    edu.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, vfu.INTX, 0, 1), [fd])
    edu.write_int(0, 0x60, 1)
    assert signalled(fd)
    assert os.eventfd_read(fd) == 1
    assert edu.read_int(0, 0x24) == 1
    assert edu.read_int(vfu.CONFIG, 6, 2) & 8, "interrupt status bit"
    edu.ok(vfu.SET_IRQS, vfu.set_irqs(0x11, vfu.INTX, 0, 1))
    assert signalled(fd)
    os.eventfd_read(fd)
    edu.write_int(0, 0x64, 1)
    edu.ok(vfu.SET_IRQS, vfu.set_irqs(0x11, vfu.INTX, 0, 1))
    edu.alive()
    assert not select.select([fd], [], [], 0)[0]


def find_capability(client, ident):
    at = client.read_int(vfu.CONFIG, 0x34, 1)
    while at and client.read_int(vfu.CONFIG, at, 1) != ident:
        at = client.read_int(vfu.CONFIG, at + 1, 1)
    return at


def test_message(edu, eventfd):
    at = find_capability(edu, 5)
    if not at:
        pytest.skip("no MSI")
    fd = eventfd()
    edu.write_int(vfu.CONFIG, at + 2, 1, 2)
    edu.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, vfu.MSI, 0, 1), [fd])
    for value in (1, 2, 4):
        edu.write_int(0, 0x60, value)
        assert signalled(fd)
        os.eventfd_read(fd)
    assert edu.read_int(0, 0x24) == 7


def test_factorial(edu, eventfd):
    """Work that takes time, and an interrupt at its end."""
    fd = eventfd()
    edu.ok(vfu.SET_IRQS, vfu.set_irqs(ASSIGN, vfu.INTX, 0, 1), [fd])
    edu.write_int(0, 0x20, 0x80)
    edu.write_int(0, 0x08, 10)
    assert signalled(fd)
    assert not edu.read_int(0, 0x20) & 1
    assert edu.read_int(0, 0x08) == 3628800


def test_identification_and_liveness(edu):
    assert edu.read_int(0, 0) == 0x010000ed
    edu.write_int(0, 4, 0x12345678)
    assert edu.read_int(0, 4) == 0xedcba987
