# SPDX-License-Identifier: BSD-3-Clause
"""A client that has posted something and is silent, while others of the process make so
much traffic that the ring's results of then are gone when the worker dies."""
import os
import signal
import time

import vfu

DISK = "nvme,queues=2,drive=null:64M"
INTMS = 0x0c
DOORBELL = 0x1000
CSTS = 0x1c
MORE_THAN_A_RING = 6000


def post(client, register, value, number):
    data = vfu.access(0, register, 4, value.to_bytes(4, "little"))
    client.send(vfu.message(vfu.REGION_WRITE, data, number, vfu.NO_REPLY))


def test_what_a_silent_client_posted_is_not_taken_off_twice(serve):
    server = serve(DISK, DISK)
    silent, busy = (vfu.Client(server.socket(number)) for number in range(2))
    silent.negotiate()
    busy.negotiate()
    post(silent, DOORBELL, 1, 77)
    time.sleep(0.2)
    for _ in range(MORE_THAN_A_RING):
        busy.read_int(0, CSTS, 4)
    os.kill(server.status()["pid"], signal.SIGKILL)
    post(silent, INTMS, 5, 78)
    # Its connection goes on, and the new message was not taken for the old one.
    assert silent.read_int(0, INTMS, 4) == 5
    assert busy.read_int(0, CSTS, 4) == 0
