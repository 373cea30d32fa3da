# SPDX-License-Identifier: BSD-3-Clause
"""One QEMU with a small Linux guest: its console, its monitor, a shell in it.

The console (first serial port) goes to a file.  Commands go to a shell that
listens on the second serial port, see scripts/guest/init.  The monitor speaks
QMP.  All three are socket pairs made here, so nothing has to be waited for or
cleaned up, and they end with the process.
"""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

BOOT_TIMEOUT = 120
COMMAND_TIMEOUT = 120
CLOCK_NOISE = ("tsc:", "clocksource:", "hrtimer:", "hpet:", "sched_clock:",
               "APIC calibration", "TSC found unstable", "..MP-BIOS bug: 8254 timer")


class GuestError(Exception):
    pass


class CommandFailed(GuestError):
    def __init__(self, command, status, output):
        super().__init__(f"{command!r} ended with {status}:\n{output}")
        self.status = status
        self.output = output


def disk(path, **properties):
    """The -device argument that attaches the server at a socket."""
    return dict({"driver": "vfio-user-pci", "id": "disk0",
                 "socket": {"type": "unix", "path": str(path)}}, **properties)


class Qmp:
    """The monitor: commands, and the events that came between them."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b""
        self.events = []

    def _line(self, deadline):
        while b"\n" not in self.data:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the monitor does not answer")
            self.sock.settimeout(left)
            try:
                piece = self.sock.recv(65536)
            except TimeoutError:
                continue
            if not piece:
                raise EOFError("the monitor is gone")
            self.data += piece
        line, self.data = self.data.split(b"\n", 1)
        return json.loads(line)

    def greet(self, timeout=20):
        greeting = self._line(time.monotonic() + timeout)
        self("qmp_capabilities")
        return greeting["QMP"]["version"]["qemu"]

    def __call__(self, command, timeout=30, **arguments):
        """The reply's value; a refusal raises GuestError with its text."""
        deadline = time.monotonic() + timeout
        request = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        self.sock.sendall(json.dumps(request).encode() + b"\n")
        while True:
            reply = self._line(deadline)
            if "event" in reply:
                self.events.append(reply)
            elif "error" in reply:
                raise GuestError(reply["error"]["desc"])
            else:
                return reply["return"]

    def await_event(self, name, timeout=30):
        deadline = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event
            message = self._line(deadline)
            if "event" in message:
                self.events.append(message)


class Guest:
    def __init__(self, lab, logs, devices=(), cmdline="", memory=384, cpus=1,
                 machine="q35", direct=True, extra=()):
        self.lab = lab
        self.console = logs / "console.log"
        self.qemu_log = logs / "qemu.log"
        self.serial = 0
        self.agent_data = b""
        host, ends = zip(*(socket.socketpair() for _ in range(3)))
        self._console_sock, self._agent, monitor = host
        arguments = [str(lab.qemu), "-accel", lab.accel,
                     "-machine", f"{machine},memory-backend=mem0",
                     "-m", f"{memory}M", "-smp", str(cpus),
                     "-object", f"memory-backend-memfd,id=mem0,size={memory}M,share=on",
                     "-nodefaults", "-display", "none"]
        for name, end in zip(("console", "agent", "monitor"), ends):
            arguments += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
        arguments += ["-serial", "chardev:console", "-serial", "chardev:agent",
                      "-qmp", "chardev:monitor"]
        if direct:
            arguments += ["-kernel", str(lab.kernel), "-initrd", str(lab.initrd),
                          "-append", "console=ttyS0 quiet panic=-1 trace_clock=local "
                          + cmdline]
        arguments += extra
        for device in devices:
            arguments += ["-device", device if isinstance(device, str)
                          else json.dumps(device)]
        with open(self.qemu_log, "ab") as log:
            log.write((" ".join(arguments) + "\n").encode())
            log.flush()
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[end.fileno() for end in ends])
        for end in ends:
            end.close()
        threading.Thread(target=self._copy_console, daemon=True).start()
        self.qmp = Qmp(monitor)

    def _copy_console(self):
        with open(self.console, "ab", buffering=0) as out:
            try:
                while data := self._console_sock.recv(65536):
                    out.write(data)
            except OSError:
                pass

    def console_text(self):
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def qemu_said(self):
        """All that QEMU wrote; the first line of the log is its command."""
        return self.qemu_log.read_text(errors="replace").split("\n", 1)[1]

    def _complain(self, what):
        tail = self.console_text()[-1500:]
        qemu = self.qemu_log.read_text(errors="replace")[-1500:]
        raise GuestError(f"{what}\n--- console\n{tail}\n--- qemu\n{qemu}")

    def _agent_until(self, pattern, timeout):
        """What the shell wrote up to a match, and the match."""
        deadline = time.monotonic() + timeout
        while True:
            if match := re.search(pattern, self.agent_data):
                before = self.agent_data[:match.start()]
                self.agent_data = self.agent_data[match.end():]
                return before.decode(errors="replace"), match
            left = deadline - time.monotonic()
            if left <= 0:
                self._complain(f"no answer within {timeout} s, "
                               f"so far: {self.agent_data[-500:]!r}")
            self._agent.settimeout(left)
            try:
                data = self._agent.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if not data:
                self.process.wait(10)
                self._complain(f"QEMU ended with status {self.process.returncode}")
            self.agent_data += data

    def boot(self, timeout=BOOT_TIMEOUT):
        """Waits until the guest takes commands."""
        try:
            self.version = self.qmp.greet()
        except (EOFError, ConnectionError):
            self.process.wait(10)
            self._complain(f"QEMU ended with status {self.process.returncode}")
        return self.await_agent(timeout)

    def await_agent(self, timeout=BOOT_TIMEOUT):
        self._agent_until(rb"AGENT-UP\r?\n", timeout)
        return self

    def start_command(self, command):
        """For a command that the machine does not outlive."""
        self._agent.sendall(f"( {command}\n) </dev/null 2>&1\n".encode())

    def run(self, command, timeout=COMMAND_TIMEOUT):
        """(status, output) of a shell command in the guest."""
        self.serial += 1
        end = f"END-OF-COMMAND-{self.serial}"
        self._agent.sendall(f"( {command}\n) </dev/null 2>&1; status=$?; "
                            f"echo; echo {end} $status\n".encode())
        output, match = self._agent_until(rf"\r?\n{end} (\d+)\r?\n".encode(), timeout)
        return int(match[1]), output.replace("\r\n", "\n")

    def sh(self, command, timeout=COMMAND_TIMEOUT):
        """The output of a command that has to succeed."""
        status, output = self.run(command, timeout)
        if status:
            raise CommandFailed(command, status, output)
        return output.strip("\n")

    def json(self, command, timeout=COMMAND_TIMEOUT):
        return json.loads(self.sh(command, timeout))

    def kernel_complaints(self):
        """Kernel messages of level warning and worse, without their times.
        What an emulated CPU's clock says on a busy host is not counted."""
        lines = self.sh("dmesg -r").splitlines()
        found = (re.match(r"<(\d+)>\[[ 0-9.]+\] (.*)", line) for line in lines)
        return [m[2] for m in found if m and int(m[1]) & 7 <= 4
                and not m[2].startswith(CLOCK_NOISE)]

    def plug(self, device, timeout=30):
        self.qmp("device_add", timeout, **device)

    def unplug(self, name, timeout=60):
        self.qmp("device_del", id=name)
        self.qmp.await_event("DEVICE_DELETED", timeout)

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        """SIGKILL, as a host out of memory would."""
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        if self.alive():
            try:
                self.qmp("quit", 5)
                self.process.wait(10)
            except (OSError, EOFError, TimeoutError, GuestError,
                    subprocess.TimeoutExpired):
                self.kill()
        for sock in (self._console_sock, self._agent, self.qmp.sock):
            sock.close()
