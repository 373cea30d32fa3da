# SPDX-License-Identifier: BSD-3-Clause
"""Reboots, resets, plugging, kills: the disk and its data outlive them."""
import time

import pytest

from guest import GuestError, disk

PORT = "pcie-root-port,id=port0,chassis=1,slot=1"

# A known pattern on the first 32 MiB, on the medium when it returns.
WRITE = ("fio --name=known --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio --rw=write "
         "--bs=64k --iodepth=8 --size=32M --verify=crc32c --do_verify=0 --end_fsync=1")
CHECK = ("fio --name=known --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio --rw=read "
         "--bs=64k --iodepth=8 --size=32M --verify=crc32c --verify_only --verify_fatal=1")
# Load beside it, on the rest, until something ends it.
LOAD = ("fio --name=load --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio --rw=randwrite "
        "--bs=4k --iodepth=32 --offset=64M --size=128M --time_based --runtime=600 "
        "> /tmp/load.log 2>&1 &")
QUICK = ("fio --name=quick --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio --rw=randrw "
         "--bs=4k --iodepth=8 --offset=32M --size=16M --io_size=4M --verify=crc32c "
         "--verify_fatal=1")


def complaints(guest, baseline):
    return sorted(set(guest.kernel_complaints()) - baseline)


@pytest.mark.parametrize("how", ["guest", "machine"])
def test_reboot(scene, baseline, how):
    scene.nvme()
    guest = scene.guest(disk(scene.socket()))
    guest.sh(WRITE, timeout=300)
    if how == "guest":
        guest.start_command("reboot -f")
    else:
        guest.sh(LOAD)
        guest.qmp("system_reset")
    guest.await_agent()
    guest.sh(CHECK, timeout=300)
    guest.sh(QUICK, timeout=300)
    assert complaints(guest, baseline) == []


def test_power_off(scene):
    """The guest says goodbye; QEMU goes; the server serves the next one."""
    server = scene.nvme()
    guest = scene.guest(disk(scene.socket()))
    guest.sh(WRITE, timeout=300)
    guest.start_command("poweroff -f")
    assert guest.process.wait(60) == 0
    scene.guest(disk(scene.socket())).sh(CHECK, timeout=300)
    assert server.alive()


def test_qemu_killed_under_load(scene, baseline):
    """SIGKILL in the middle of writes: the same server, a new QEMU, and all
    that was flushed."""
    server = scene.nvme()
    guest = scene.guest(disk(scene.socket()), cpus=2)
    guest.sh(WRITE, timeout=300)
    for _ in range(3):
        guest.sh(LOAD)
        guest.sh("sleep 1; test -d /proc/$(pidof -s fio)")
        guest.kill()
        guest = scene.guest(disk(scene.socket()), cpus=2)
        guest.sh(CHECK, timeout=300)
        assert server.alive()
    guest.sh(QUICK, timeout=300)
    assert complaints(guest, baseline) == []


def test_unplug_and_plug_20_times(scene, baseline):
    """Without MSI-X: QEMU 11.1 aborts when a vfio-user device that has it is
    unplugged, whoever serves it."""
    server = scene.nvme(keys="msix=off")
    guest = scene.guest(PORT)
    for turn in range(20):
        guest.plug(disk(scene.socket(), bus="port0"))
        guest.sh("for i in $(seq 300); do test -b /dev/nvme0n1 && exit 0; sleep 0.1; done; exit 1")
        if turn in (0, 19):
            guest.sh(QUICK, timeout=300)
            assert "MSI-X" not in guest.sh("lspci -vv -d ::0108")
        else:
            guest.sh("dd if=/dev/nvme0n1 of=/dev/null bs=1M count=2 iflag=direct")
        guest.unplug("disk0")
    assert server.alive() and guest.alive()


@pytest.fixture(scope="module")
def resettable(shared_scene):
    shared_scene.nvme()
    guest = shared_scene.guest(disk(shared_scene.socket()))
    guest.sh(WRITE, timeout=300)
    guest.slot = guest.sh("basename $(readlink /sys/class/nvme/nvme0/device)")
    return guest


def check_io(guest):
    guest.sh(CHECK, timeout=300)
    guest.sh(QUICK, timeout=300)


def test_controller_reset(resettable):
    for _ in range(3):
        resettable.sh("nvme reset /dev/nvme0")
    check_io(resettable)


def test_controller_reset_under_load(resettable):
    """The driver takes its commands back and issues them again."""
    resettable.sh(QUICK.replace("--io_size=4M", "--io_size=24M") +
                  " > /tmp/quick.log 2>&1 & sleep 0.5; nvme reset /dev/nvme0; wait $!",
                  timeout=300)
    check_io(resettable)


def test_function_level_reset(resettable):
    device = f"/sys/bus/pci/devices/{resettable.slot}"
    assert "flr" in resettable.sh(f"cat {device}/reset_method").split()
    resettable.sh(f"echo flr > {device}/reset_method; echo 1 > {device}/reset")
    resettable.sh("for i in $(seq 100); do grep -q live /sys/class/nvme/nvme0/state && exit 0; "
                  "sleep 0.1; done; exit 1")
    check_io(resettable)


def test_power_management_reset(resettable):
    device = f"/sys/bus/pci/devices/{resettable.slot}"
    if "pm" not in resettable.sh(f"cat {device}/reset_method; echo default > "
                                 f"{device}/reset_method; cat {device}/reset_method").split():
        pytest.skip("the device keeps its state over D3hot (No_Soft_Reset)")
    resettable.sh(f"echo pm > {device}/reset_method; echo 1 > {device}/reset")
    check_io(resettable)


def test_unbind_and_bind(resettable):
    driver = "/sys/bus/pci/drivers/nvme"
    for _ in range(3):
        resettable.sh(f"echo {resettable.slot} > {driver}/unbind; ! test -e /dev/nvme0n1")
        resettable.sh(f"echo {resettable.slot} > {driver}/bind; test -b /dev/nvme0n1")
    check_io(resettable)


def test_remove_and_rescan(resettable):
    resettable.sh(f"echo 1 > /sys/bus/pci/devices/{resettable.slot}/remove; "
                  "! test -e /dev/nvme0n1; echo 1 > /sys/bus/pci/rescan; "
                  "test -b /dev/nvme0n1")
    check_io(resettable)


def test_resets_left_no_complaint(resettable, baseline):
    """Restoring after a reset is not an error; a timeout would be."""
    assert [line for line in complaints(resettable, baseline)
            if "timeout" in line.lower() or "error" in line.lower()
            or "fail" in line.lower()] == []


def test_stopped_guest_finds_its_io_done(scene):
    scene.nvme()
    guest = scene.guest(disk(scene.socket()))
    guest.sh(WRITE, timeout=300)
    guest.sh(LOAD)
    for _ in range(3):
        guest.qmp("stop")
        time.sleep(0.5)
        guest.qmp("cont")
    guest.sh("kill $(pidof fio); wait")
    check_io(guest)


def test_r11_second_client_is_refused_at_once(scene):
    """QEMU waits five seconds for a silent server, with its VM frozen; a
    refusal names a reason instead."""
    scene.nvme()
    guest = scene.guest(PORT, disk(scene.socket()))
    with pytest.raises(GuestError) as refused:
        guest.plug(disk(scene.socket(), id="disk1", bus="port0"))
    assert "timed out" not in str(refused.value)
    assert guest.alive()
    guest.sh(QUICK, timeout=300)


def test_missing_server_is_an_error_not_an_end(scene):
    scene.nvme()
    guest = scene.guest(PORT, disk(scene.socket()))
    with pytest.raises(GuestError):
        guest.plug(disk(scene.socket("nobody"), id="disk1", bus="port0"))
    guest.sh(QUICK, timeout=300)


def test_r8_frozen_drive_freezes_nothing_else(scene):
    """One disk answers after 8 s, the other at once, in one process.  QEMU's
    monitor and the guest's register accesses go on; so does the other disk."""
    slow, quick = scene.image("slow.img", 64 << 20), scene.image("quick.img", 64 << 20)
    server = scene.server(
        f"nvme,socket={scene.socket('slow')},drive=delay:8000000:file:{slow},serial=slow",
        f"nvme,socket={scene.socket('quick')},drive=file:{quick},serial=quick")
    server.may_abandon = True   # it waits 5 s for a drive when it ends
    guest = scene.guest(PORT, disk(scene.socket("quick"), id="quick"))
    guest.plug(disk(scene.socket("slow"), id="slow", bus="port0"))
    guest.sh("for i in $(seq 300); do test -c /dev/nvme1 && exit 0; sleep 0.1; done; exit 1")
    # The slow disk's partition scan reads and waits meanwhile.
    for _ in range(5):
        assert guest.qmp("query-status", timeout=4)["running"]
        assert guest.sh("cat /sys/class/nvme/nvme1/serial", timeout=20).strip() == "slow"
        guest.sh("nvme id-ctrl /dev/nvme1 > /dev/null", timeout=20)
        guest.sh("lspci -xxx -d ::0108 > /dev/null", timeout=20)
    guest.sh(QUICK.replace("--offset=32M ", ""), timeout=120)
    guest.sh("for i in $(seq 600); do test -b /dev/nvme1n1 && exit 0; sleep 0.1; done; exit 1")
    guest.sh("dd if=/dev/nvme1n1 of=/dev/null bs=4k count=1 iflag=direct", timeout=60)
