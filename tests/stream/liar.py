# SPDX-License-Identifier: BSD-3-Clause
"""A server that answers every message with something: often what was due,
often of another size, with other numbers, or refused for no reason.  The same
seed is the same server."""
import random
import socket
import struct
import threading

HEADER = struct.Struct("<HHIII")
VERSION, FEATURE, MIG_READ = 1, 16, 17
CAPS = b'{"capabilities":{"max_data_xfer_size":%d,"outboard_precopy_info":true,' \
       b'"outboard_error_text":true}}\0'
EDGES = [0, 1, 2, 7, 8, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, 2**63 - 1, 2**63, 2**64 - 1]
ERRORS = [0, 1, 2, 11, 16, 22, 25, 71, 95, 110, 4096, 0xffffffff]
# Bytes that an answer to GET has behind argsz and flags.
SIZES = {1: 8, 2: 8, 8: 24, 9: 8, 0xfb00: 16, 0xfb01: 256}


class Liar:
    def __init__(self, path, seed):
        self.random = random.Random(seed)
        self.state = 2
        self.reads = self.random.randrange(6)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(20)
        assert not self.thread.is_alive()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                try:
                    self.talk(client)
                except (OSError, EOFError):
                    pass

    def take(self, client, size):
        data = b""
        while len(data) < size:
            piece = client.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def talk(self, client):
        while True:
            number, command, size, flags, _ = HEADER.unpack(self.take(client, HEADER.size))
            payload = self.take(client, size - HEADER.size)
            if flags & 16:
                continue
            error, answer = 0, self.answer(command, payload)
            if command != VERSION and self.random.random() < 0.1:
                answer, error = self.twist(answer)
            if answer is None:
                return
            client.sendall(HEADER.pack(number, command, HEADER.size + len(answer),
                                       33 if error else 1, error) + answer)

    def number(self, size):
        value = self.random.choice(EDGES) if self.random.random() < 0.6 else \
            self.random.getrandbits(64)
        return (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def twist(self, answer):
        """(payload or None to hang up, error)"""
        draw = self.random.randrange(7)
        if draw == 0:
            return None, 0
        if draw == 1:
            return self.random.choice([b"", answer]), self.random.choice(ERRORS)
        if draw == 2:
            return answer[:self.random.randrange(len(answer) + 1)], 0
        if draw == 3:
            return answer + self.random.randbytes(self.random.randrange(300)), 0
        if draw == 4:
            return self.random.randbytes(len(answer)), 0
        at = self.random.randrange(len(answer) // 4 + 1) * 4
        new = self.number(4)
        return answer[:at] + new + answer[at + 4:], 0

    def answer(self, command, payload):
        if command == VERSION:
            return struct.pack("<HH", 0, 1) + CAPS % self.random.choice([1, 64, 4096, 1 << 20])
        if command == FEATURE:
            return self.feature(payload)
        if command == MIG_READ:
            return self.data(struct.unpack_from("<I", payload, 4)[0])
        if command in (4, 5, 7):
            return payload + bytes(64 - len(payload)) if len(payload) < 64 else payload
        return b""

    def feature(self, payload):
        flags, = struct.unpack_from("<I", payload, 4)
        kind = flags & 0xffff
        if flags & 1 << 18:
            return payload
        if flags & 1 << 17:
            if kind == 2:
                self.state, = struct.unpack_from("<I", payload, 8)
                self.reads = self.random.randrange(6)
            return b""
        body = self.number(8) * 4 if kind != 0xfb01 else self.random.randbytes(256)
        if kind == 1:
            body = struct.pack("<Q", 7)
        elif kind == 2:
            body = struct.pack("<II", self.state, 0)
        return (payload + body)[:8 + SIZES.get(kind, 8)]

    def data(self, asked):
        """Ends some day, so that the tests do."""
        self.reads -= 1
        given = asked if self.reads > 0 else self.random.randrange(asked) if asked else 0
        given = min(given, 1 << 16) if self.reads <= 0 else given
        return struct.pack("<II", 8 + given, given) + self.random.randbytes(given)
