# SPDX-License-Identifier: BSD-3-Clause
"""Servers with different releases of one model, and what they read of each
other (R30; docs/stream.md, "Evolution").  The model is mixed_model.c."""
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "conform"))

import vfu          # noqa: E402

REGISTERS = ("wide", "narrow", "bound", "gone", "forgotten", "added", "hint", "list0", "list1",
             "list2", "list3", "name", "base", "head", "depth", "name8", "cursor")
NONE = (1 << 64) - 1
# After a reset; all others are 0 or not there.
FRESH = {"added": 77, "depth": 32}
NOT_IN = {1: {"added", "hint", "list2", "list3", "depth", "name8", "cursor"},
          2: {"gone", "forgotten", "cursor"},
          3: {"added", "hint", "list2", "list3", "depth", "name8"}}
# What both releases can say, at its most.
COMMON = {"wide": 0xffff, "narrow": 0xffff, "bound": 1000, "list0": 1, "list1": 0xffffffff,
          "name": 0x6e656464_6c6f67, "base": NONE - 1, "head": 9}


class Server:
    def __init__(self, outboard, folder, release):
        self.outboard, self.release = outboard, release
        self.path = folder / f"s{release}"
        model = outboard.path.parent / "tests" / "stream" / f"mixed_{release}.so"
        self.process = subprocess.Popen([
            outboard.path, "serve", "--load", model, "--device", f"mixed,socket={self.path}"])
        assert vfu.wait_until(lambda: vfu.reachable(str(self.path)))

    def stop(self):
        self.process.terminate()
        assert self.process.wait(vfu.PATIENCE) == 0

    def client(self):
        made = vfu.Client(str(self.path))
        made.negotiate()
        return made

    def write(self, values):
        with self.client() as client:
            client.ok(vfu.RESET)
            for name, value in values.items():
                client.write_int(0, 8 * REGISTERS.index(name), value, 8)

    def read(self):
        with self.client() as client:
            return {name: client.read_int(0, 8 * number, 8)
                    for number, name in enumerate(REGISTERS)}

    def holds(self, values):
        """These, and everything else as after a reset."""
        want = {name: NONE if name in NOT_IN[self.release] else FRESH.get(name, 0)
                for name in REGISTERS}
        assert self.read() == {**want, **values}

    def save(self, values, folder):
        self.write(values)
        path = folder / f"from{self.release}"
        path.unlink(missing_ok=True)
        self.outboard.ok("save", self.path, path)
        return path

    def load(self, path):
        self.outboard.ok("load", path, self.path)


@pytest.fixture(scope="module")
def servers(outboard, tmp_path_factory):
    """servers(1): release 1 of the model, served."""
    made, folder = {}, tmp_path_factory.mktemp("mixed")

    def get(release):
        if release not in made:
            made[release] = Server(outboard, folder, release)
        return made[release]
    yield get
    for server in made.values():
        server.stop()


both_ways = pytest.mark.parametrize("there, here", [(1, 2), (2, 1), (1, 1), (2, 2)])


@both_ways
def test_r30_what_both_have_goes_either_way(servers, tmp_path, there, here):
    stream = servers(there).save(COMMON, tmp_path)
    servers(here).write({"bound": 3, "list0": 9})
    servers(here).load(stream)
    servers(here).holds(COMMON)


@pytest.mark.parametrize("there, here", [(1, 2), (2, 1)])
def test_r30_there_and_back(servers, tmp_path, there, here):
    servers(here).load(servers(there).save(COMMON, tmp_path))
    path = tmp_path / "back"
    servers(here).outboard.ok("save", servers(here).path, path)
    servers(there).write({"head": 1})
    servers(there).load(path)
    servers(there).holds(COMMON)


def test_r30_new_fields_have_our_default(servers, tmp_path):
    stream = servers(1).save({"head": 1}, tmp_path)
    servers(2).write({"added": 1, "depth": 1, "hint": 1, "list3": 1})
    servers(2).load(stream)
    servers(2).holds({"head": 1})


@pytest.mark.parametrize("there, here, optional", [(1, 2, "forgotten"), (2, 1, "hint")])
def test_r30_optional_fields_are_left_behind(servers, tmp_path, there, here, optional):
    servers(here).load(servers(there).save({optional: 5, "head": 6}, tmp_path))
    servers(here).holds({"head": 6})


def refuses(server, path, field):
    """By the name, before anything has changed but by the reset behind it."""
    server.write({"head": 12})
    said = server.outboard.fails("load", path, server.path)
    assert field + ":" in said
    server.holds({})
    server.write({"head": 13})
    server.holds({"head": 13})


@pytest.mark.parametrize("there, here, register, value, field", [
    (1, 2, "narrow", 0x10000, "plain.narrow"),
    (1, 2, "bound", 1001, "plain.bound"),
    (1, 2, "gone", 1, "plain.gone"),
    (2, 1, "wide", 0x10000, "plain.wide"),
    (2, 1, "added", 78, "plain.added"),
    (2, 1, "list3", 1, "plain.list[3]"),
    (2, 1, "name8", 1 << 56, "plain.name[15]"),
    (2, 1, "depth", 31, "plain.queues[1].depth"),
])
def test_r30_what_would_be_lost_is_refused_by_name(servers, tmp_path, there, here, register,
                                                   value, field):
    refuses(servers(here), servers(there).save({register: value}, tmp_path), field)


def test_r30_default_of_a_field_that_is_not_known_here(servers, tmp_path):
    """Written with its default, it says nothing that could be lost."""
    servers(1).load(servers(2).save({"added": 77, "depth": 32, "list3": 0}, tmp_path))
    servers(1).holds({})


def test_r30_a_part_that_came(servers, tmp_path):
    """Of an old stream it is missing; an old release takes it at its default."""
    said = servers(3).outboard.fails("load", servers(1).save({"head": 1}, tmp_path),
                                     servers(3).path)
    assert "hot" in said
    servers(1).load(servers(3).save({"head": 2}, tmp_path))
    servers(1).holds({"head": 2})
    refuses(servers(1), servers(3).save({"cursor": 1}, tmp_path), "hot.cursor")


@pytest.mark.parametrize("release", [1, 2, 3])
def test_r30_a_release_without_the_model_shows_it(servers, tmp_path, release):
    """The schema is in the stream."""
    stream = servers(release).save({"wide": 0x77}, tmp_path)
    shown = servers(release).outboard.show(stream)
    assert shown["model"] == "mixed"
    assert shown["parts"]["plain"]["wide"] == 0x77
