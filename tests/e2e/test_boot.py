# SPDX-License-Identifier: BSD-3-Clause
"""The harness itself, and guests that boot from the disk."""
import shutil

from guest import disk


def test_bare_guest_boots(lab, baseline):
    """Without a device of ours: what every other test here relies on."""
    assert not [line for line in baseline if "nvme" in line or "vfio" in line]


def boot_from_disk(scene, extra=()):
    image = scene.folder / "boot.img"
    shutil.copyfile(scene.lab.boot_image, image)
    scene.nvme(drive=f"file:{image}")
    guest = scene.guest(disk(scene.socket()), direct=False, extra=extra)
    assert "guest.booted" in guest.sh("cat /proc/cmdline")
    # The same bytes, now by the kernel's own driver.
    guest.sh("mount -t vfat -o ro /dev/nvme0n1p1 /mnt && test -s /mnt/vmlinuz")
    return guest


def test_boot_seabios(scene):
    guest = boot_from_disk(scene)
    assert "GRUB-UP" in guest.console_text()
    assert guest.run("test -d /sys/firmware/efi")[0] != 0


def test_boot_ovmf(scene):
    variables = scene.folder / "vars.fd"
    shutil.copyfile(scene.lab.ovmf_vars, variables)
    guest = boot_from_disk(scene, extra=(
        "-drive", f"if=pflash,format=raw,readonly=on,file={scene.lab.ovmf_code}",
        "-drive", f"if=pflash,format=raw,file={variables}"))
    assert "GRUB-UP" in guest.console_text()
    guest.sh("test -d /sys/firmware/efi")
