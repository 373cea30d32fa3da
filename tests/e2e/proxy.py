# SPDX-License-Identifier: BSD-3-Clause
"""Stand between the conductor and what it speaks to, line by line.

`ControlProxy` is a server's control socket, `MonitorProxy` QEMU's monitor: a rule
sees each request and says what becomes of it.  `StreamProxy` sees the stream that a
request comes with, too.  `LinkProxy` is the way of QEMU's stream, which can be cut or
blocked.  Descriptors pass.
"""
import array
import fcntl
import json
import os
import socket
import threading

PASS, CUT, HANG = "pass", "cut", "hang"


def receive(sock, size=65536):
    data, controls, _, _ = sock.recvmsg(size, socket.CMSG_SPACE(16 * 4))
    fds = array.array("i")
    for level, kind, value in controls:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(value[:len(value) - len(value) % 4])
    return data, list(fds)


def send(sock, data, fds=()):
    controls = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sent = sock.sendmsg([data], controls)
    sock.sendall(data[sent:])
    for fd in fds:
        os.close(fd)


class Proxy:
    """rule(request) returns PASS, CUT, HANG, or the text of an error."""

    key = "method"

    def __init__(self, path, behind, rule):
        self.path = path
        self.behind = behind
        self.rule = rule
        self.seen = []
        self.open = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self.behind))
            except OSError:
                client.close()
                continue
            self.open += [client, server]
            threading.Thread(target=self._back, args=(server, client), daemon=True).start()
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _back(self, server, client):
        try:
            while data := server.recv(65536):
                client.sendall(data)
        except OSError:
            pass
        self._drop(client, server)

    @staticmethod
    def _drop(*socks):
        for sock in socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _serve(self, client, server):
        pending, fds = b"", []
        try:
            while True:
                data, more = receive(client)
                if not data:
                    break
                pending, fds = pending + data, fds + more
                while b"\n" in pending:
                    line, pending = pending.split(b"\n", 1)
                    if not self._line(client, server, line + b"\n", fds):
                        return
                    fds = []
        except OSError:
            pass
        finally:
            for fd in fds:
                os.close(fd)
        self._drop(client, server)

    def _line(self, client, server, line, fds):
        request = json.loads(line)
        self.seen.append(request.get(self.key))
        said = self.rule(request)
        if said == PASS:
            send(server, line, fds)
            return True
        for fd in fds:
            os.close(fd)
        fds.clear()
        if said == HANG:
            return True
        if said == CUT:
            self._drop(client, server)
            return False
        client.sendall(json.dumps(self.answer(request, said)).encode() + b"\n")
        return True

    def close(self):
        self._drop(self.listener, *self.open)
        self.listener.close()


class ControlProxy(Proxy):
    @staticmethod
    def answer(request, said):
        """A text is an error, anything else a result."""
        what = ({"error": {"code": -32000, "message": said}} if isinstance(said, str)
                else {"result": said})
        return {"jsonrpc": "2.0", "id": request["id"], **what}


class StreamProxy(ControlProxy):
    """The first stream that `method` comes with stands still behind its first `after`
    bytes until `deed` is done."""

    def __init__(self, path, behind, method, after, deed):
        self.method = method
        self.after = after
        self.deeds = [deed]
        super().__init__(path, behind, lambda request: PASS)

    def _line(self, client, server, line, fds):
        if self.deeds and json.loads(line)[self.key] == self.method:
            fds[:] = [self._tap(fds[0], self.deeds.pop())]
        return super()._line(client, server, line, fds)

    def _tap(self, fd, deed):
        """The end for the server of a pipe whose other end leads to fd."""
        read, write = os.pipe()
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            source, sink, given = fd, write, read
        else:
            source, sink, given = read, fd, write
        threading.Thread(target=self._carry, args=(source, sink, deed), daemon=True).start()
        return given

    def _carry(self, source, sink, deed):
        passed = 0
        try:
            while data := os.read(source, 4096):
                if passed < self.after <= passed + len(data):
                    deed()
                passed += len(data)
                while data:
                    data = data[os.write(sink, data):]
        except BrokenPipeError:
            pass
        finally:
            os.close(source)
            os.close(sink)


class MonitorProxy(Proxy):
    key = "execute"

    @staticmethod
    def answer(request, said):
        what = ({"error": {"class": "GenericError", "desc": said}} if isinstance(said, str)
                else {"return": said})
        return {"id": request.get("id"), **what}


class LinkProxy:
    """A TCP port on the way to another; `full` stops it, `cut` ends it."""

    def __init__(self, target):
        self.target = target
        self.passed = 0
        self.full = threading.Event()
        self.socks = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        try:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.target))
            self.socks += [client, server]
            while not self.full.is_set() and (data := client.recv(65536)):
                server.sendall(data)
                self.passed += len(data)
            if not self.full.is_set():
                server.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def cut(self):
        for sock in (*self.socks, self.listener):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.cut()
        for sock in (*self.socks, self.listener):
            sock.close()
