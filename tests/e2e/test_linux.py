# SPDX-License-Identifier: BSD-3-Clause
"""A stock Linux guest uses the disk: one boot, many looks at it."""
import json
import re

import pytest

from guest import disk

SIZE = 256 << 20
SERIAL = "OB0001"
MODEL = "Outboard test disk"


@pytest.fixture(scope="module")
def linux(shared_scene):
    scene = shared_scene
    scene.nvme(keys=f"serial={SERIAL},model={MODEL}")
    # iomem: nvme show-regs maps the BAR beside the driver.
    guest = scene.guest(disk(scene.socket()), cpus=2, cmdline="iomem=relaxed")
    guest.sh("test -b /dev/nvme0n1")
    guest.image = scene.folder / "disk.img"
    return guest


def test_kernel_finds_it_without_complaint(linux, baseline):
    assert set(linux.kernel_complaints()) - baseline == set()
    assert int(linux.sh("cat /sys/block/nvme0n1/size")) * 512 == SIZE
    driver = linux.sh("readlink /sys/class/nvme/nvme0/device/driver")
    assert driver.endswith("/nvme")


def test_pci_function(linux):
    text = linux.sh("lspci -vvnn -d ::0108")
    assert "Non-Volatile memory controller" in text
    assert "MSI-X: Enable+" in text
    assert "Kernel driver in use: nvme" in text


def test_identify_controller(linux):
    found = linux.json("nvme id-ctrl /dev/nvme0 -o json")
    assert found["sn"].strip() == SERIAL
    assert found["mn"].strip() == MODEL
    assert found["nn"] >= 1
    assert found["ver"] >= 0x10400


def test_identify_namespace(linux):
    found = linux.json("nvme id-ns /dev/nvme0n1 -o json")
    block = 1 << found["lbafs"][found["flbas"] & 15]["ds"]
    assert found["nsze"] * block == SIZE
    assert found["ncap"] <= found["nsze"]


def test_list(linux):
    assert "/dev/nvme0n1" in linux.sh("nvme list")
    devices = linux.json("nvme list -o json")["Devices"]
    assert SERIAL in json.dumps(devices)
    namespaces = linux.json("nvme list-ns /dev/nvme0 -o json")
    assert [entry["nsid"] for entry in namespaces["nsid_list"]] == [1]


def test_smart_log_counts(linux):
    def written():
        return linux.json("nvme smart-log /dev/nvme0 -o json")["host_write_commands"]
    before = written()
    linux.sh("dd if=/dev/zero of=/dev/nvme0n1 bs=4k count=16 oflag=direct")
    assert written() >= before + 16
    log = linux.json("nvme smart-log /dev/nvme0 -o json")
    assert log["critical_warning"] == 0
    assert log["media_errors"] == 0
    assert 200 < log["temperature"] < 400


def test_error_log(linux):
    log = linux.json("nvme error-log /dev/nvme0 -o json")
    assert all(entry["error_count"] == 0 for entry in log["errors"])


@pytest.mark.parametrize("feature, name", [
    (1, "Arbitration"), (2, "Power Management"), (4, "Temperature Threshold"),
    (5, "Error Recovery"), (6, "Volatile Write Cache"), (7, "Number of Queues"),
    (8, "Interrupt Coalescing"), (9, "Interrupt Vector Configuration"),
    (0xa, "Write Atomicity"), (0xb, "Async"), (0xe, "Timestamp")])
def test_get_feature(linux, feature, name):
    text = linux.sh(f"nvme get-feature /dev/nvme0 -n 1 -f {feature} -H")
    assert name.split()[0] in text


def test_set_feature(linux):
    """The write cache off and on again, as nvme-cli's users do."""
    for value in (0, 1):
        linux.sh(f"nvme set-feature /dev/nvme0 -f 6 --value={value}")
        text = linux.sh("nvme get-feature /dev/nvme0 -f 6")
        assert int(text.rsplit("value:", 1)[1], 16) == value


@pytest.mark.parametrize("command", [
    "nvme fw-log /dev/nvme0",
    "nvme effects-log /dev/nvme0",
    "nvme changed-ns-list-log /dev/nvme0",
    "nvme list-ctrl /dev/nvme0",
    "nvme ns-descs /dev/nvme0n1",
    "nvme get-ns-id /dev/nvme0n1",
    "nvme supported-log-pages /dev/nvme0",
    "nvme get-log /dev/nvme0 --log-id=2 --log-len=512",
    "nvme read /dev/nvme0n1 --start-block=0 --block-count=7 --data-size=4096 > /dev/null",
    "nvme flush /dev/nvme0n1",
    "nvme verify /dev/nvme0n1 --start-block=0 --block-count=7",
])
def test_usual_calls(linux, command):
    linux.sh(command)


def test_registers(linux):
    text = linux.sh("nvme show-regs /dev/nvme0 -H")
    assert re.search(r"Ready \(RDY\): Yes|RDY.*: Yes", text)


def test_unknown_log_page_is_refused_and_nothing_else(linux, baseline):
    status, text = linux.run("nvme get-log /dev/nvme0 --log-id=0xbf --log-len=512")
    assert status != 0
    assert "INVALID" in text.upper()
    linux.sh("dd if=/dev/nvme0n1 of=/dev/null bs=1M count=4 iflag=direct")


def test_file_system(linux):
    linux.sh("""
        set -e
        mkfs.ext4 -q -F /dev/nvme0n1
        mount -t ext4 -o discard /dev/nvme0n1 /mnt
        mkdir /mnt/tree
        cp -r /lib/modules /mnt/tree
        dd if=/dev/urandom of=/mnt/random bs=1M count=16
        (cd /mnt; find . -type f -exec md5sum {} +) > /tmp/sums
        umount /mnt
        echo 3 > /proc/sys/vm/drop_caches
        e2fsck -f -n /dev/nvme0n1
        mount -t ext4 /dev/nvme0n1 /mnt
        (cd /mnt; md5sum -c -s /tmp/sums)
        umount /mnt
    """, timeout=300)


def test_fio_verifies(linux):
    """Random mixed block sizes, writes and reads, with trim and flush."""
    linux.sh("""fio --name=mixed --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio
        --rw=randwrite --bsrange=4k-128k --blockalign=4k --iodepth=16 --size=192M
        --io_size=96M --verify=crc32c --verify_fatal=1 --verify_backlog=64
        --fsync=32 --random_generator=lfsr --norandommap=0 --randseed=7
        """.replace("\n", " "), timeout=600)
    linux.sh("""fio --name=trim --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio
        --rw=randtrimwrite --bs=16k --iodepth=8 --size=64M --io_size=24M
        --verify=crc32c --verify_fatal=1
        """.replace("\n", " "), timeout=600)


def test_discard_reaches_the_image(linux):
    linux.sh("dd if=/dev/urandom of=/dev/nvme0n1 bs=1M count=64 oflag=direct && sync")
    before = linux.image.stat().st_blocks
    linux.sh("blkdiscard -o 0 -l $((64 << 20)) /dev/nvme0n1")
    after = linux.image.stat().st_blocks
    assert before - after >= (60 << 20) // 512
    linux.sh("! dd if=/dev/nvme0n1 bs=1M count=1 iflag=direct | tr -d '\\0' | grep -q .")


def test_write_zeroes(linux):
    """The kernel's zero-out becomes Write Zeroes."""
    linux.sh("dd if=/dev/urandom of=/dev/nvme0n1 bs=1M count=2 oflag=direct")
    linux.sh("nvme write-zeroes /dev/nvme0n1 --start-block=0 --block-count=127")
    zeroed = linux.sh("dd if=/dev/nvme0n1 bs=512 count=128 iflag=direct | tr -d '\\0' | wc -c")
    assert zeroed.splitlines()[-1].strip() == "0" or "\n0" in zeroed
    left = linux.sh("dd if=/dev/nvme0n1 bs=512 skip=128 count=8 iflag=direct 2>/dev/null"
                    " | tr -d '\\0' | wc -c")
    assert int(left) > 3000


def test_nothing_was_complained_of(linux, baseline):
    """After all of the above (this file runs from top to bottom)."""
    complaints = [line for line in linux.kernel_complaints()
                  if line not in baseline and ("nvme" in line or "I/O error" in line
                                               or "EXT4" in line or "blk" in line)]
    assert complaints == []
