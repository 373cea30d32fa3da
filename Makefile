# SPDX-License-Identifier: BSD-3-Clause
# A thin front; meson and ninja build.  `make help` lists what there is.

BUILD	= build

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

help:
	@echo 'make          build; the command is $(BUILD)/outboard'
	@echo 'make run      serve a disk, drive it with the built-in client, explain'
	@echo 'make vm       the same disk in a real VM, a shell on the console'
	@echo 'make vm-migrate  a VM moves between two QEMUs while it does I/O'
	@echo 'make check    everything tested; scripts/check STEP... for a part'
	@echo 'make soak     move a guest to and fro, and call it back, for long'
	@echo 'make bench    measure, against the floor and against fio; writes a page'
	@echo 'make install  with PREFIX (/usr/local) and DESTDIR'
	@echo 'make clean    remove what was built; disks in ./run stay'

PREFIX	= /usr/local

$(BUILD)/build.ninja:
	@scripts/install-deps build
	@meson setup --prefix $(PREFIX) -Dtests=auto $(BUILD)

run vm: all
	@scripts/install-deps $@
	@scripts/$@ $(BUILD)/outboard

bench: all
	@scripts/install-deps bench vm
	@scripts/bench $(BUILD)/outboard

vm-migrate: all
	@scripts/install-deps vm
	@scripts/vm-migrate $(BUILD)/outboard

soak:
	@scripts/install-deps build check vm
	@meson setup --prefix $(PREFIX) --reconfigure -Dtests=enabled $(BUILD)
	@ninja -C $(BUILD)
	@scripts/soak

check:
	@scripts/install-deps build check vm
	@scripts/check

install: all
	@meson configure --prefix $(PREFIX) $(BUILD)
	@meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-sanitize $(BUILD)-race $(BUILD)-fuzz

.PHONY: all help run vm vm-migrate bench soak check install clean
