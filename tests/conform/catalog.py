# SPDX-License-Identifier: BSD-3-Clause
"""Every command of a client once: a right request, and what is wrong ones."""

import collections

import pytest

import vfu

# An address that no test maps otherwise.
PAGE = 0x7000_0000

Case = collections.namedtuple(
    "Case", "name cmd payload fixed reply error long bad before after needs")


def case(cmd, payload, fixed, reply, long, bad, name=None, error=None,
         before=(), after=(), needs=None):
    """fixed: shorter than this is wrong.  reply, error: how long they are.
    long: what a longer payload is, "ok" (the format is open), "error", or
    "any".  bad: wrong payloads of the right size.  before: what has to go
    first, after: what makes it possible again, each (command, payload).
    needs: what of a device, "migration" or "log"."""
    return Case(name or vfu.NAMES[cmd].lower(), cmd, payload, fixed, reply,
                reply if error is None else error, long, bad, before, after,
                needs)


def feature(name, payload, fixed, reply, bad, **keys):
    return case(vfu.FEATURE, payload, fixed, reply, "any", bad, name,
                8, **keys)


BIG = 0xffffffff

CASES = [
    case(vfu.DMA_MAP, vfu.dma_map(PAGE, 4096), 32, 0, "ok", {
        "flags": vfu.dma_map(PAGE, 4096, flags=0xfffffff3),
        "no right": vfu.dma_map(PAGE, 4096, flags=0),
        "argsz": vfu.dma_map(PAGE, 4096, argsz=31),
        "unaligned address": vfu.dma_map(PAGE + 1, 4096),
        "unaligned size": vfu.dma_map(PAGE, 4095),
        "no size": vfu.dma_map(PAGE, 0),
        "wraps": vfu.dma_map((1 << 64) - 4096, 8192),
        "wraps all round": vfu.dma_map(8192, (1 << 64) - 4096),
    }, after=[(vfu.DMA_UNMAP, vfu.dma_unmap(PAGE, 4096))]),
    case(vfu.DMA_UNMAP, vfu.dma_unmap(PAGE, 4096), 24, 24, "ok", {
        "flags": vfu.dma_unmap(PAGE, 4096, flags=0xfffffffc),
        "argsz": vfu.dma_unmap(PAGE, 4096, argsz=23),
        "not mapped": vfu.dma_unmap(PAGE + 4096, 4096),
        "longer": vfu.dma_unmap(PAGE, 8192),
        "no size": vfu.dma_unmap(PAGE, 0),
        "wraps": vfu.dma_unmap(PAGE, (1 << 64) - 1),
    }, before=[(vfu.DMA_MAP, vfu.dma_map(PAGE, 4096))]),
    case(vfu.GET_INFO, vfu.get_info(), 16, 16, "ok", {
        "argsz": vfu.get_info(15),
        "argsz 0": vfu.get_info(0),
    }),
    case(vfu.GET_REGION_INFO, vfu.region_info(vfu.CONFIG), 32, 32, "ok", {
        "index": vfu.region_info(1000),
        "index max": vfu.region_info(BIG),
        "argsz": vfu.region_info(vfu.CONFIG, 31),
        "argsz 0": vfu.region_info(vfu.CONFIG, 0),
    }),
    case(vfu.GET_REGION_IO_FDS, vfu.region_io_fds(0), 16, 16, "ok", {
        "index": vfu.region_io_fds(1000),
        "index max": vfu.region_io_fds(BIG),
        "flags": vfu.region_io_fds(0, flags=1),
        "count": vfu.region_io_fds(0, count=1),
        "argsz": vfu.region_io_fds(0, argsz=15),
    }),
    case(vfu.GET_IRQ_INFO, vfu.irq_info(vfu.INTX), 16, 16, "ok", {
        "index": vfu.irq_info(1000),
        "index max": vfu.irq_info(BIG),
        "argsz": vfu.irq_info(vfu.INTX, 15),
    }),
    case(vfu.SET_IRQS, vfu.set_irqs(0x21, vfu.ERR), 20, 0, "ok", {
        "index": vfu.set_irqs(0x21, 1000),
        "index max": vfu.set_irqs(0x21, BIG),
        "no data": vfu.set_irqs(0x20, vfu.ERR),
        "two kinds of data": vfu.set_irqs(0x23, vfu.ERR),
        "no action": vfu.set_irqs(0x01, vfu.ERR),
        "two actions": vfu.set_irqs(0x31, vfu.ERR),
        "unknown flag": vfu.set_irqs(0x61, vfu.ERR),
        "count": vfu.set_irqs(0x21, vfu.ERR, 0, 5000),
        "count max": vfu.set_irqs(0x21, vfu.ERR, 0, BIG),
        "start": vfu.set_irqs(0x21, vfu.ERR, 5000, 1),
        "start + count wraps": vfu.set_irqs(0x21, vfu.ERR, BIG, 2),
        "too few bools": vfu.set_irqs(0x22, vfu.ERR, 0, 2, b"\1"),
        "argsz": vfu.set_irqs(0x21, vfu.ERR, argsz=19),
    }),
    case(vfu.REGION_READ, vfu.access(vfu.CONFIG, 0, 4), 16, 20, "any", {
        "index": vfu.access(1000, 0, 4),
        "index max": vfu.access(BIG, 0, 4),
        "behind the end": vfu.access(vfu.CONFIG, 4096, 4),
        "across the end": vfu.access(vfu.CONFIG, 4094, 4),
        "offset max": vfu.access(vfu.CONFIG, (1 << 64) - 1, 4),
        "offset + count wraps": vfu.access(vfu.CONFIG, (1 << 64) - 4, 4),
    }),
    case(vfu.REGION_WRITE, vfu.access(vfu.CONFIG, 4, 2, b"\0\0"), 18, 16,
         "error", {
             "index": vfu.access(1000, 4, 2, b"\0\0"),
             "index max": vfu.access(BIG, 4, 2, b"\0\0"),
             "behind the end": vfu.access(vfu.CONFIG, 4096, 2, b"\0\0"),
             "across the end": vfu.access(vfu.CONFIG, 4095, 2, b"\0\0"),
             "offset max": vfu.access(vfu.CONFIG, (1 << 64) - 1, 2, b"\0\0"),
             "count": vfu.access(vfu.CONFIG, 4, 1, b"\0\0"),
             "count max": vfu.access(vfu.CONFIG, 4, BIG, b"\0\0"),
         }),
    case(vfu.RESET, b"", 0, 0, "any", {}),
    case(vfu.WRITE_MULTI, vfu.write_multi([(vfu.CONFIG, 4, b"\0\0")]), 32, 8,
         "error", {
             "count": vfu.write_multi([(vfu.CONFIG, 4, b"\0\0")], count=2),
             "count 0": vfu.write_multi([(vfu.CONFIG, 4, b"\0\0")], count=0),
             "count wraps": vfu.write_multi(
                 [(vfu.CONFIG, 4, b"\0\0")], count=(1 << 61) * 5 + 1),
             "count max": vfu.write_multi(
                 [(vfu.CONFIG, 4, b"\0\0")], count=(1 << 64) - 1),
         }),
    feature("probe", vfu.feature(
        vfu.MIGRATION, vfu.FEATURE_PROBE | vfu.FEATURE_GET), 8, 8, {
            "SET": vfu.feature(vfu.MIGRATION,
                               vfu.FEATURE_PROBE | vfu.FEATURE_SET),
            "both": vfu.feature(vfu.MIGRATION, vfu.FEATURE_PROBE |
                                vfu.FEATURE_SET | vfu.FEATURE_GET),
            "argsz": vfu.feature(vfu.MIGRATION, vfu.FEATURE_PROBE |
                                 vfu.FEATURE_GET, argsz=7),
            "flags": vfu.feature(vfu.MIGRATION, 0xfff80000 |
                                 vfu.FEATURE_PROBE | vfu.FEATURE_GET),
            "unknown": vfu.feature(999, vfu.FEATURE_PROBE),
    }, needs="migration"),
    feature("migration", vfu.feature(vfu.MIGRATION, vfu.FEATURE_GET, argsz=16),
            8, 16, {
                "SET": vfu.feature(vfu.MIGRATION, vfu.FEATURE_SET, bytes(8)),
                "both": vfu.feature(vfu.MIGRATION,
                                    vfu.FEATURE_SET | vfu.FEATURE_GET,
                                    bytes(8)),
                "no operation": vfu.feature(vfu.MIGRATION, 0, argsz=16),
                "argsz": vfu.feature(vfu.MIGRATION, vfu.FEATURE_GET, argsz=7),
                "argsz 0": vfu.feature(vfu.MIGRATION, vfu.FEATURE_GET,
                                       argsz=0),
                "flag": vfu.feature(vfu.MIGRATION, vfu.FEATURE_GET | 1 << 19,
                                    argsz=16),
                "flag max": vfu.feature(vfu.MIGRATION,
                                        vfu.FEATURE_GET | 1 << 31, argsz=16),
            }, needs="migration"),
    feature("state", vfu.feature(vfu.MIG_STATE, vfu.FEATURE_GET, argsz=16),
            8, 16, {
                "no operation": vfu.feature(vfu.MIG_STATE, 0, argsz=16),
                "argsz": vfu.feature(vfu.MIG_STATE, vfu.FEATURE_GET, argsz=7),
            }, needs="migration"),
    feature("set_state", vfu.state(vfu.RUNNING), 16, 16, {
        "error": vfu.state(vfu.FAILED),
        "number of states": vfu.state(8),
        "behind it": vfu.state(9),
        "max": vfu.state(BIG),
        "both": vfu.state(vfu.RUNNING,
                          flags=vfu.FEATURE_SET | vfu.FEATURE_GET),
        "argsz": vfu.state(vfu.RUNNING, argsz=7),
    }, needs="migration"),
    feature("log_start", vfu.log_start(), 24, 24, {
        "page 0": vfu.log_start(0),
        "page 4097": vfu.log_start(4097),
        "page max": vfu.log_start((1 << 64) - 1),
        "GET": vfu.log_start(flags=vfu.FEATURE_GET),
        "too few ranges": vfu.log_start(count=1),
        "ranges max": vfu.log_start(count=BIG),
        "range wraps": vfu.log_start(ranges=[((1 << 64) - 4096, 8192)]),
        "argsz": vfu.log_start(argsz=7),
    }, after=[(vfu.FEATURE, vfu.log_stop())], needs="log"),
    feature("log_report", vfu.log_report(PAGE, 4096), 32, 40, {
        "page 0": vfu.log_report(PAGE, 4096, 0),
        "page 4097": vfu.log_report(PAGE, 4096, 4097),
        "page max": vfu.log_report(PAGE, 4096, (1 << 64) - 1),
        "wraps": vfu.log_report((1 << 64) - 4096, 8192),
        "wraps all round": vfu.log_report(8192, (1 << 64) - 4096),
        "more than argsz can say": vfu.log_report(0, 1 << 63, 1),
        "SET": vfu.log_report(PAGE, 4096, flags=vfu.FEATURE_SET),
        "argsz": vfu.log_report(PAGE, 4096, argsz=7),
    }, before=[(vfu.FEATURE, vfu.log_start())],
            after=[(vfu.FEATURE, vfu.log_stop())], needs="log"),
    feature("log_stop", vfu.log_stop(), 8, 8, {
        "GET": vfu.log_stop(vfu.FEATURE_GET),
        "both": vfu.log_stop(vfu.FEATURE_GET | vfu.FEATURE_SET),
    }, before=[(vfu.FEATURE, vfu.log_start())], needs="log"),
    case(vfu.MIG_READ, vfu.mig(1), 8, 9, "any", {
        "argsz": vfu.mig(1, argsz=7),
        "argsz 0": vfu.mig(1, argsz=0),
        "max": vfu.mig(BIG, argsz=BIG),
        "max, but argsz": vfu.mig(BIG, argsz=8),
    }, error=8, before=[(vfu.FEATURE, vfu.state(vfu.STOP_COPY))],
         after=[(vfu.FEATURE, vfu.state(vfu.RUNNING))], needs="migration"),
    case(vfu.MIG_WRITE, vfu.mig(0), 8, 0, "error", {
        "more than there is": vfu.mig(2, b"1"),
        "less than there is": vfu.mig(1, b"12"),
        "none of it": vfu.mig(1),
        "max": vfu.mig(BIG, b"1", argsz=BIG),
    }, before=[(vfu.FEATURE, vfu.state(vfu.RESUMING))],
         after=[(vfu.RESET, b"")], needs="migration"),
]

NAMES = [c.name for c in CASES]

# Every (case, what is wrong) with its payload.
BAD = [(c, what) for c in CASES for what in c.bad]
BAD_NAMES = ["%s-%s" % (c.name, what.replace(" ", "_")) for c, what in BAD]


def possible(client, which):
    """Is it a device that has what the case is about?"""
    if which.needs == "migration":
        return client.offers() != 0
    return which.needs != "log" or client.logs()


def prepare(client, which):
    if not possible(client, which):
        pytest.skip("the device has no " + which.needs)
    for request in which.before:
        client.ok(*request)
