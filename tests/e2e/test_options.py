# SPDX-License-Identifier: BSD-3-Clause
"""What a user can choose: doorbells, interrupts, namespaces, read-only."""
import hashlib
import os
import signal

import pytest

from guest import disk

VERIFIED = ("fio --name=v --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio --rw=randwrite "
            "--bs=8k --iodepth=16 --size=64M --io_size=16M --verify=crc32c --verify_fatal=1")


def interrupts(guest):
    """How many interrupts each line of /proc/interrupts that is ours has had."""
    found = {}
    for line in guest.sh("grep nvme0 /proc/interrupts").splitlines():
        words = line.split()
        counts = [int(word) for word in words[1:] if word.isdigit()]
        found[words[-1]] = (sum(counts), line)
    return found


def commands(guest):
    log = guest.json("nvme smart-log /dev/nvme0 -o json")
    return log["host_read_commands"] + log["host_write_commands"]


@pytest.mark.parametrize("doorbells", ["adaptive", "trapped", "mapped"])
def test_doorbells(scene, baseline, doorbells):
    scene.nvme(keys=f"doorbells={doorbells}")
    guest = scene.guest(disk(scene.socket()), cpus=2)
    guest.sh(VERIFIED, timeout=300)
    shadow = guest.json("nvme id-ctrl /dev/nvme0 -o json")["oacs"] & 0x100
    assert bool(shadow) == (doorbells == "adaptive")
    assert set(guest.kernel_complaints()) - baseline == set()


def check_interrupts(guest, baseline, enabled, disabled, chip):
    before, issued = interrupts(guest), commands(guest)
    assert before
    guest.sh(VERIFIED, timeout=300)
    issued = commands(guest) - issued
    after = interrupts(guest)
    raised = sum(n for n, _ in after.values()) - sum(n for n, _ in before.values())
    print(f'{raised} interrupts for {issued} commands')
    assert issued and raised
    # A level that stays up with nothing to do would go on and on.
    quiet = interrupts(guest)
    guest.sh("sleep 2")
    assert sum(n for n, _ in interrupts(guest).values()) - \
        sum(n for n, _ in quiet.values()) < 10
    assert all(chip in line for _, line in after.values()), after
    text = guest.sh("lspci -vv -d ::0108")
    assert all(f"{name}: Enable+" in text for name in enabled), text
    assert not any(f"{name}: Enable+" in text for name in disabled), text
    assert set(guest.kernel_complaints()) - baseline == set()


def test_msix(scene, baseline):
    scene.nvme()
    guest = scene.guest(disk(scene.socket()), cpus=2)
    check_interrupts(guest, baseline, ["MSI-X"], ["MSI"], "MSIX")


def test_msi(scene, baseline):
    scene.nvme(keys="msix=off")
    guest = scene.guest(disk(scene.socket()), cpus=2)
    check_interrupts(guest, baseline, ["MSI"], ["MSI-X"], "MSI")
    assert "MSI-X" not in guest.sh("lspci -vv -d ::0108")


@pytest.mark.parametrize("doorbells", ["adaptive", "trapped", "mapped"])
def test_intx(scene, baseline, doorbells):
    """QEMU takes an access to the device for the end of a level interrupt, so
    how often the guest is interrupted until it makes one depends on how busy
    the machine is; but it ends."""
    scene.nvme(keys=f"doorbells={doorbells}")
    guest = scene.guest(disk(scene.socket()), cpus=2, cmdline="pci=nomsi")
    check_interrupts(guest, baseline, [], ["MSI", "MSI-X"], "IO-APIC")


def test_two_namespaces(scene):
    """Each its own image; what goes to one does not show in the other."""
    one, two = scene.image("one.img", 64 << 20), scene.image("two.img", 96 << 20)
    scene.server(f"nvme,socket={scene.socket()},drive=file:{one},drive=file:{two}")
    guest = scene.guest(disk(scene.socket()))
    # Linux numbers its nodes in the order of discovery.
    nodes = {guest.sh(f"cat /sys/block/{node}/nsid"): node for node in ("nvme0n1", "nvme0n2")}
    sizes = {nsid: int(guest.sh(f"cat /sys/block/{node}/size")) * 512
             for nsid, node in nodes.items()}
    assert sizes == {"1": 64 << 20, "2": 96 << 20}
    for nsid, node in nodes.items():
        guest.sh(f"yes namespace{nsid} | dd of=/dev/{node} bs=64k count=16 "
                 "iflag=fullblock oflag=direct")
    for nsid, node in nodes.items():
        assert guest.sh(f"head -c 10 /dev/{node}") == f"namespace{nsid}"
        guest.sh(f"sync; nvme flush /dev/{node}")
    assert one.read_bytes()[:10] == b"namespace1"
    assert two.read_bytes()[:10] == b"namespace2"


def test_image_grows_under_the_guest(scene):
    """The operator grows the image and says so; the guest's disk grows."""
    image = scene.image(size=64 << 20)
    server = scene.server(f"nvme,socket={scene.socket()},drive=file:{image}")
    guest = scene.guest(disk(scene.socket()))
    assert guest.sh("cat /sys/block/nvme0n1/size") == str((64 << 20) // 512)
    with open(image, "r+b") as file:
        file.truncate(96 << 20)
    os.kill(server.pid, signal.SIGUSR1)
    guest.sh(f"i=0; while [ $i -lt 100 ] && [ $(cat /sys/block/nvme0n1/size) != "
             f"{(96 << 20) // 512} ]; do i=$((i + 1)); sleep 0.1; done")
    assert guest.sh("cat /sys/block/nvme0n1/size") == str((96 << 20) // 512)
    guest.sh("echo at the end | dd of=/dev/nvme0n1 bs=512 seek=180000 conv=sync oflag=direct")
    assert image.read_bytes()[180000 * 512:][:10] == b"at the end"


def test_readonly(scene):
    image = scene.image(size=64 << 20)
    with open(image, "r+b") as file:
        file.write(b"not to be changed")
    before = hashlib.sha256(image.read_bytes()).digest()
    image.chmod(0o444)
    scene.nvme(keys="readonly=on", drive=f"file:{image}")
    guest = scene.guest(disk(scene.socket()))
    assert guest.sh("cat /sys/block/nvme0n1/ro") == "1"
    assert guest.sh("head -c 17 /dev/nvme0n1") == "not to be changed"
    assert guest.run("dd if=/dev/zero of=/dev/nvme0n1 bs=4k count=1 oflag=direct")[0] != 0
    # Past the kernel's own flag: the device refuses by itself.
    status, text = guest.run("nvme write-zeroes /dev/nvme0n1 --start-block=0 --block-count=7")
    assert status != 0, text
    assert hashlib.sha256(image.read_bytes()).digest() == before


def test_two_devices_in_one_process(scene):
    disks = [scene.image(f"{name}.img", 64 << 20) for name in ("a", "b")]
    scene.server(*(f"nvme,socket={scene.socket(image.stem)},drive=file:{image},"
                   f"serial={image.stem}" for image in disks))
    guest = scene.guest(*(disk(scene.socket(image.stem), id=image.stem) for image in disks))
    serials = guest.sh("cat /sys/class/nvme/nvme*/serial").split()
    assert sorted(serials) == ["a", "b"]
    guest.sh("for n in 0 1; do " + VERIFIED.replace("nvme0n1", "nvme${n}n1") +
             " & done; wait", timeout=400)
    guest.sh("for n in 0 1; do cat /sys/class/nvme/nvme$n/serial > /dev/nvme${n}n1; done; sync")
    assert [image.read_bytes()[:1] for image in disks] == [b"a", b"b"]


def test_edu(scene, baseline):
    """The teaching device, driven from inside the guest."""
    scene.server(f"edu,socket={scene.socket('edu')}")
    # Its DMA engine reaches the first 256 MiB.
    guest = scene.guest(disk(scene.socket("edu"), id="edu0"), memory=256)
    slot = guest.sh("lspci -Dn -d 1234:11e8 | cut -d' ' -f1")
    assert slot, guest.sh("lspci -nn")
    guest.sh("echo 1234 11e8 > /sys/bus/pci/drivers/uio_pci_generic/new_id")
    text = guest.sh(f"edu /sys/bus/pci/devices/{slot} /dev/uio0")
    for what in ("identification", "liveness", "factorial", "dma", "interrupts", "all well"):
        assert f"edu: {what}" in text
    assert set(guest.kernel_complaints()) - baseline == set()
