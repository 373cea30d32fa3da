# SPDX-License-Identifier: BSD-3-Clause
"""Kills the serving process of an `outboard serve` again and again."""
import os
import signal
import threading
import time

SUCCESSION_TIMEOUT = 60


class Killer:
    """SIGKILL to the worker every so many seconds, while the block runs.

    Each kill has to be followed by another worker, or leaving the block fails.
    The next kill waits until that one serves: a device that kills three workers
    in the same place is given up, so three must not die before they could do
    anything.  Every eighth kill is followed by another at once, which meets the
    successor while it loads.
    """

    def __init__(self, server, every=0.2):
        self.server = server
        self.every = every
        self.kills = 0
        self.problem = None
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, traceback):
        self.stopped.set()
        self.thread.join()
        if self.problem and kind is None:
            raise self.problem

    def _run(self):
        try:
            while not self.stopped.wait(self.every):
                self._kill_one()
                if self.kills % 8 == 7:
                    self._kill_one()
                self._await(lambda: self._served() >= self.served)
        except Exception as error:  # told when the block ends
            self.problem = error

    def _served(self):
        return self.server.log_text().count(" serves after ")

    def _await(self, condition):
        deadline = time.monotonic() + SUCCESSION_TIMEOUT
        while not condition():
            if time.monotonic() > deadline or not self.server.alive():
                raise AssertionError(f"no successor of kill {self.kills}: "
                                     f"{self.server.log_text()[-1500:]}")
            time.sleep(0.001)

    def _kill_one(self):
        self._await(self.server.workers)
        killed = self.server.workers()[0]
        self.served = self._served() + 1
        os.kill(killed, signal.SIGKILL)
        self.kills += 1
        self._await(lambda: killed not in self.server.workers())
        self._await(self.server.workers)
