# SPDX-License-Identifier: BSD-3-Clause
"""One `outboard serve` process."""
import os
import pathlib
import selectors
import signal
import subprocess
import time

READY_TIMEOUT = 20
END_TIMEOUT = 30


class ServerError(Exception):
    pass


def children(pid):
    """A process's children, oldest first."""
    text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def environment(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:     # it has just died
        return b""


class Server:
    """Serves the devices, each given as the text of its --device option."""

    def __init__(self, outboard, log, *devices, options=(), environment=None):
        self.log = log
        self.may_abandon = False
        self.arguments = [str(outboard), "serve", *map(str, options)]
        for device in devices:
            self.arguments += ["--device", str(device)]
        self.started = time.monotonic()
        with open(log, "ab") as err:
            self.process = subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=err,
                env=dict(os.environ, **(environment or {})))
        self.pid = self.process.pid
        try:
            self.ready_line = self._await_ready()
        except BaseException:
            self.kill()
            raise
        self.ready_after = time.monotonic() - self.started

    def _await_ready(self):
        deadline = self.started + READY_TIMEOUT
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            line = b""
            while not line.endswith(b"\n"):
                if not selector.select(max(0, deadline - time.monotonic())):
                    raise ServerError(f"not ready after {READY_TIMEOUT} s")
                byte = os.read(self.process.stdout.fileno(), 1)
                if not byte:
                    status = self.process.wait()
                    raise ServerError(f"ended with {status}: {self.log_text()}")
                line += byte
        return line.decode().rstrip("\n")

    def log_text(self):
        return self.log.read_text(errors="replace")

    def workers(self):
        """Oldest first: who serves, then who waits.  The keeper has other children,
        without this word in their environment."""
        return [child for child in children(self.pid)
                if b"OUTBOARD_KEEPER=" in environment(child)]

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def close(self):
        """Ends it as a user does; it has to end well."""
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(END_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.kill()
                raise ServerError("does not end on SIGTERM") from None
        self.process.stdout.close()
        if self.may_abandon and "does not answer" in self.log_text():
            return
        if self.process.returncode:
            raise ServerError(f"ended with {self.process.returncode}: {self.log_text()}")
