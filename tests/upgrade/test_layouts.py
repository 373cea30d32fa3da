# SPDX-License-Identifier: BSD-3-Clause
"""R30, R31: to a release with another layout and back, under a driver that goes on.

What differs is said in tests/next: fields added, removed, widened, moved, and one
that has to be understood, but only of a host that has chosen a burst of 32.
"""
import json
import os
import shutil
import signal
import struct
import subprocess

import pytest

import lab
import nvme
import vfu

FIELD = "plain.features.burst_of_32: has to be understood, and is not known here"


def shown(binary, path):
    made = subprocess.run([binary, "state", "show", "--json", path], check=True,
                          capture_output=True)
    return json.loads(made.stdout)


def features(binary, server):
    return shown(binary, server.state())["parts"]["plain"]["features"]


# --- there and back -----------------------------------------------------------

def test_r30_layouts_differ_in_every_way(this, following):
    """Else the others prove nothing."""
    assert lab.version_of(this) != lab.version_of(following)
    tables = []
    for binary in (this, following):
        made = subprocess.run([binary, "state", "schema", "nvme"], check=True,
                              capture_output=True)
        tables.append({table["name"]: {row["tag"]: row for row in table["fields"] if "tag" in row}
                       for table in json.loads(made.stdout)["tables"]})
    ours, theirs = (table["nvme-features"] for table in tables)
    added = [theirs[tag] for tag in theirs.keys() - ours.keys()]
    assert sorted(row.get("optional", False) for row in added) == [False, True]
    assert any(row.get("default") for row in added)
    assert [ours[tag]["name"] for tag in ours.keys() - theirs.keys()] == ["timestamp_live"]
    for name in ("nvme-features", "nvme-command"):
        ours, theirs = (table[name] for table in tables)
        both = ours.keys() & theirs.keys()
        assert any(theirs[tag]["size"] > ours[tag]["size"] for tag in both)
        assert sum(theirs[tag]["offset"] != ours[tag]["offset"] for tag in both) > 6


KINDS = {
    "file": lab.SLOW,
    "mem": "nvme,serial=UPGRADE,queues=4,drive=delay:5000:mem:4M",
    "trapped": lab.SLOW + ",doorbells=trapped",
    "shadow": lab.SLOW,
    "mapped": lab.SLOW + ",doorbells=mapped",
}


@pytest.mark.parametrize("options", [(), ("--standby",)], ids=["cold", "standby"])
@pytest.mark.parametrize("kind", KINDS)
def test_r30_back_and_forth_under_load(serve, following, this, image, kind, options):
    """Features, queues, events that are waited for, content, commands in flight."""
    server = serve(KINDS[kind].format(image), options=options)
    with server.client() as client:
        disk = lab.Disk(client)
        wanted = lab.set_features(disk, cache=kind != "mem")
        waiting = disk.wait_for_events(2)
        if kind == "shadow":
            disk.use_shadow()
        if kind == "mapped":
            disk.use_mapped(lab.doorbell_page(client))
        with lab.Load(disk) as load:
            for binary in 3 * (following, this):
                load.goes_on()
                server.replace(binary)
                load.goes_on()
        lab.check_features(disk, wanted)
        # Below the temperature: an event, which one of them takes.
        asked = disk.submit(0, lab.SET_FEATURES, 0, 0, 0, lab.TEMPERATURE, 300)
        ended = {disk.completion(0), disk.completion(0)}
        assert (asked, 0) in ended and ended & {(cid, 0) for cid in waiting}
        if kind != "mem":
            load.check_all(image)
        assert load.count > 6 * 4 * load.DEPTH
        assert server.status()["keeper"]["deaths"] == 0


def test_r30_what_each_knows(disk, this, following):
    """An added field has its default until its release has written it, and is
    forgotten on the way back; thresholds fit into both widths."""
    server, driver = disk
    driver.feature(lab.TEMPERATURE, 350)
    driver.feature(lab.TEMPERATURE, lab.UNDER | 290)
    server.replace(following)
    unknown = features(following, server)
    assert "timestamp_live" not in unknown and unknown["changes"] == 0xffffffff
    assert (unknown["temp_over"], unknown["temp_under"]) == (350, 290)
    nvme.Disk.__init__(driver, driver.client, driver.view)     # a reset
    driver.feature(lab.TEMPERATURE, 351)
    known = features(following, server)
    assert (known["changes"], known["temp_over"], known["burst_of_32"]) == (1, 351, 0)
    server.replace(this)
    ours = features(this, server)
    assert "changes" not in ours and ours["temp_over"] == 351 and ours["timestamp_live"] == 1
    server.replace(following)
    assert features(following, server)["changes"] == 0xffffffff


def test_r30_commands_of_a_drive_that_hangs(serve, this, following, image):
    """They are in flight all the time, and known by their entries: a slot is
    laid out in another way, too."""
    server = serve(f"nvme,queues=4,drive=delay:2000000:file:{image}", grace=50)
    with server.client() as client:
        disk = lab.Disk(client)
        disk.memory[lab.DATA:lab.DATA + 4096] = b"in flight" + bytes(4087)
        cids = [disk.write_block(8 * block, lab.DATA, 8) for block in range(5)]
        for binary in (following, this, following, this, following):
            server.replace(binary)
            commands = server.ask("inflight")["devices"][0]["commands"]
            assert sorted(one["command"] for one in commands) == sorted(cids)
        got = [disk.completion() for _ in cids]
        assert sorted(got) == sorted((cid, 0) for cid in cids)
        assert disk.nothing_completed()
    assert image.read_bytes()[:9] == b"in flight"


def test_r30_every_device_of_a_server(serve, this, following, image):
    server = serve(lab.SLOW.format(image), "edu", "null")
    with server.client(1) as edu, server.client(2) as null:
        edu.write_int(0, 4, 0x600d)
        null.write(0, 0x123, b"golden")
        for binary in (following, this):
            server.replace(binary)
            assert edu.read_int(0, 4) == 0xffffffff - 0x600d
            assert null.read(0, 0x123, 6) == b"golden"


def test_r30_sighup_takes_what_is_there_now(serve, this, following, image, tmp_path):
    binary = tmp_path / "binary"
    shutil.copy(this, binary)
    server = serve(lab.SLOW.format(image), binary=binary)
    with server.client() as client, lab.Load(lab.Disk(client)) as load:
        for path in (following, this):
            shutil.copy(path, tmp_path / "new")
            os.rename(tmp_path / "new", binary)
            server.process.send_signal(signal.SIGHUP)
            assert vfu.wait_until(lambda: server.is_served_by(path))
            assert vfu.wait_until(lambda: server.status()["keeper"]["upgrade"] == "done")
            load.goes_on()


# --- what has to be understood --------------------------------------------------

def test_r30_back_is_refused_by_the_name_of_the_field(disk, this, following):
    """The host has chosen what the older one cannot do: the newer goes on, and
    nobody notices; when the host has chosen otherwise, the way back is free."""
    server, driver = disk
    server.replace(following)
    driver.feature(lab.ARBITRATION, lab.BURST_OF_32)
    before = server.status()["keeper"]
    with lab.Load(driver) as load:
        for words in (("--dry-run",), ()):
            load.goes_on()
            status, said = server.upgrade(this, *words)
            assert status == 1 and FIELD in said
            load.goes_on()
    assert server.is_served_by(following)
    after = server.status()["keeper"]
    for name in ("generation", "worker", "deaths", "upgrades", "rollbacks"):
        assert after[name] == before[name], name
    assert driver.feature(lab.ARBITRATION) == lab.BURST_OF_32
    driver.feature(lab.ARBITRATION, lab.OTHER_BURST)
    server.replace(this)
    assert driver.feature(lab.ARBITRATION) == lab.OTHER_BURST


def test_r30_this_release_has_set_it_by_itself(disk, this, following):
    """It has no such field, so to it a burst of 32 is a number like others."""
    server, driver = disk
    driver.feature(lab.ARBITRATION, lab.BURST_OF_32)
    server.replace(following)
    server.replace(this)
    assert driver.feature(lab.ARBITRATION) == lab.BURST_OF_32


def test_r30_dry_run_changes_nothing(disk, following):
    server, driver = disk
    before = server.status()["keeper"]
    with lab.Load(driver) as load:
        for _ in range(3):
            status, said = server.upgrade(following, "--dry-run")
            assert status == 0 and "possible" in said
            load.goes_on()
    after = server.status()["keeper"]
    assert after["upgrade"] == "rehearsed"
    assert (after["worker"], after["generation"]) == (before["worker"], before["generation"])


def test_r30_a_value_that_has_become_too_wide(disk, this, following, tmp_path):
    """Only the newer one has room for it, so the older refuses it by name."""
    server, _ = disk
    server.replace(following)
    data = bytearray(server.state().read_bytes())
    schema = shown(following, server.state())["schema"]
    tables = {table["name"]: {row["name"]: row for row in table["fields"]}
              for table in schema["tables"]}
    at = struct.unpack_from("<Q", data, 112 + 16)[0]
    at += tables["nvme"]["features"]["offset"] + tables["nvme-features"]["temp_over"]["offset"]
    assert struct.unpack_from("<I", data, at)[0] == 0xffff
    struct.pack_into("<I", data, at, 70000)
    path = tmp_path / "wide"
    path.write_bytes(data)
    assert subprocess.run([following, "state", "check", path], check=False).returncode == 0
    made = subprocess.run([this, "state", "check", path], capture_output=True, text=True,
                          check=False)
    assert made.returncode == 1
    assert "plain.features.temp_over: 70000 is more than 65535" in made.stderr + made.stdout


# --- deaths ---------------------------------------------------------------------

def test_r31_death_within_the_grace_rolls_back(serve, following, image):
    """Over and over, with what the newer one has written meanwhile."""
    server = serve(lab.SLOW.format(image), grace=20000)
    with server.client() as client:
        disk = lab.Disk(client)
        wanted = lab.set_features(disk)
        with lab.Load(disk) as load:
            for life in range(3):
                tool = server.upgrade_begin(following)
                assert vfu.wait_until(lambda: server.is_served_by(following))
                load.goes_on()
                os.kill(server.status()["pid"], signal.SIGKILL)
                said, _ = tool.communicate(timeout=90)
                assert tool.returncode == 1 and "the worker died (signal 9)" in said
                assert server.is_served_by(server.binary)
                assert server.status()["keeper"]["rollbacks"] == life + 1
                load.goes_on()
        lab.check_features(disk, wanted)
        load.check_all(image)


def test_r31_death_within_the_grace_and_no_way_back(serve, following, image):
    """The old binary cannot understand what the host has chosen meanwhile: the
    newer one is the only one that can go on, so it does."""
    server = serve(lab.SLOW.format(image), grace=20000)
    with server.client() as client:
        disk = lab.Disk(client)
        tool = server.upgrade_begin(following)
        assert vfu.wait_until(lambda: server.is_served_by(following))
        disk.feature(lab.ARBITRATION, lab.BURST_OF_32)
        with lab.Load(disk) as load:
            os.kill(server.status()["pid"], signal.SIGKILL)
            said, _ = tool.communicate(timeout=90)
            load.goes_on()
        assert server.is_served_by(following)
        assert tool.returncode == 1 and "the worker died (signal 9)" in said
        assert disk.feature(lab.ARBITRATION) == lab.BURST_OF_32


def test_r31_death_after_the_grace_is_followed_by_the_new_binary(disk, following):
    server, driver = disk
    server.replace(following)
    with lab.Load(driver) as load:
        for _ in range(3):
            old = server.status()["pid"]
            os.kill(old, signal.SIGKILL)
            assert vfu.wait_until(lambda: server.status()["pid"] != old)
            assert server.is_served_by(following)
            load.goes_on()


def test_r31_death_of_the_old_one_in_the_rehearsal(serve, following, stray, image):
    """It is replaced by itself, and no upgrade has happened."""
    server = serve(lab.SLOW.format(image))
    with server.client() as client, lab.Load(lab.Disk(client)) as load:
        tool = server.upgrade_begin(stray("hangs"))
        assert vfu.wait_until(lambda: server.status()["keeper"]["upgrade"] == "under way")
        os.kill(server.status()["pid"], signal.SIGKILL)
        said, _ = tool.communicate(timeout=90)
        assert tool.returncode == 1 and "the worker died (signal 9)" in said
        load.goes_on()
        assert server.is_served_by(server.binary)
        server.replace(following)


@pytest.mark.parametrize("words", [(), ("--standby", "--interrupts")], ids=["cold", "standby"])
def test_r30_deaths_at_random_between_two_layouts(this, following, words):
    """In whatever step of whichever binary, in a rehearsal, on the way."""
    made = subprocess.run(
        [this, "torture", "--every", "50ms", "--for", "8s", "--seed", "7", "--json",
         f"--upgrade={following}", *words], capture_output=True, text=True, timeout=90,
        check=False)
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert told["kills"] and told["upgrades"] and told["ios"]
    assert not any(told[name] for name in ("errors", "lost", "stale", "damaged", "twice"))


# --- binaries that are none -------------------------------------------------------

@pytest.fixture
def stray(following, tmp_path):
    """stray("hangs"): its path."""
    def make(name):
        path = tmp_path / name
        shutil.copy(following.parent / "stray", path)
        return path
    return make


REHEARSAL = {
    "refuses": "the new binary refuses: it is a stray",
    "crashes": "the new binary died (signal 6)",
    "hangs": "not ready in time",
}
SERVING = {
    "refuses-late": "the new binary refuses: it is a stray",
    "crashes-late": "the worker died (signal 6)",
    "hangs-late": "not ready in time",
    "serves-briefly": "the worker died (signal 6)",
}


def old_one_goes_on(server, load, binary, why):
    load.goes_on()
    status, said = server.upgrade(binary)
    assert status == 1 and why in said, said
    load.goes_on()
    keeper = server.status()["keeper"]
    assert keeper["upgrade"] == "refused" and why in keeper["why"]
    assert server.is_served_by(server.binary)
    return keeper


@pytest.mark.parametrize("name", REHEARSAL)
def test_r31_bad_in_the_rehearsal(disk, stray, name):
    """The old one does not even notice; a hang is over after 30 s."""
    server, driver = disk
    before = server.status()["keeper"]
    with lab.Load(driver) as load:
        after = old_one_goes_on(server, load, stray(name), REHEARSAL[name])
    assert (after["worker"], after["deaths"]) == (before["worker"], before["deaths"])


@pytest.mark.parametrize("name", SERVING)
def test_r31_bad_when_it_is_to_serve(disk, stray, following, name):
    """The old binary takes over, and a good one still can."""
    server, driver = disk
    with lab.Load(driver) as load:
        after = old_one_goes_on(server, load, stray(name), SERVING[name])
        assert after["rollbacks"] == 1
        server.replace(following)
        load.goes_on()


def test_r31_no_outboard_at_all(disk, tmp_path):
    server, driver = disk
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    text = tmp_path / "text"
    text.write_text("hello")
    text.chmod(0o755)
    with lab.Load(driver) as load:
        for binary, why in (("/bin/true", "the new binary died (exit status 0)"),
                            ("/bin/false", "the new binary died (exit status 1)"),
                            (script, "the new binary died (exit status 127)"),
                            (text, "the new binary died (exit status 127)")):
            old_one_goes_on(server, load, binary, why)
        status, said = server.upgrade(tmp_path / "nothing")
        assert status == 1 and "nothing" in said
        text.chmod(0o600)
        load.goes_on()
