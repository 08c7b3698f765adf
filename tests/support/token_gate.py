"""
Entra tokens as a cache on Azure takes them: a password that ends, and with it every connection logged in by it.

A gate in front of a real Redis server notes which token each connection logged in with last, and cuts it at the
token's end; the server's ACL takes only tokens that are valid.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from redismove.dataplane.connect import Secret, ServerAddress
from tests.support.redis_servers import RedisProcess

USER = "11111111-2222-3333-4444-555555555555"
_AUTH = re.compile(rb"\$4\r\nAUTH\r\n\$36\r\n%b\r\n\$32\r\n([0-9a-f]{32})\r\n" % USER.encode())


@dataclass
class TokenGate:
    """
    A door to a server.

    Attributes:
        lives_s: how long a token is valid.
        issued: tokens so far.
        cut: connections that were cut because their token had ended.
        renewed: logins on connections that were logged in already.
    """

    server: RedisProcess
    lives_s: float
    issued: int = 0
    cut: int = 0
    renewed: int = 0
    _ends: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _over: threading.Event = field(default_factory=threading.Event)

    def token(self) -> tuple[str, float]:
        """The current token and its end; a new one in the last third of its life, as azure-identity does."""
        with self._lock:
            now = time.time()
            newest = max(self._ends, key=lambda token: self._ends[token], default=None)
            if newest is None or self._ends[newest] - now < self.lives_s / 3:
                newest = secrets.token_hex(16)
                self.issued += 1
                self._ends[newest] = now + self.lives_s
                valid = [f">{token}" for token, end in self._ends.items() if end > now]
                with self.server.connect() as connection:
                    connection.call("ACL", "SETUSER", USER, "on", "resetpass", "~*", "&*", "+@all", *valid)
            return newest, self._ends[newest]

    def address(self, *, end_is_known: bool = True) -> ServerAddress:
        """How to come in by this door."""
        secret = Secret(self.token if end_is_known else lambda: self.token()[0])
        return ServerAddress("127.0.0.1", self._listener.getsockname()[1], username=USER, password=secret)

    def serve(self) -> None:
        self._listener.settimeout(0.1)
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def stop(self) -> None:
        self._over.set()

    def close(self) -> None:
        self._listener.close()

    def _relay(self, client: socket.socket) -> None:
        token: str | None = None
        with client, socket.create_connection(("127.0.0.1", self.server.port)) as server:
            while not self._over.is_set():
                ends_at = self._ends[token] if token else time.time() + 10
                if time.time() >= ends_at:
                    self.cut += 1
                    return
                ready, _, _ = select.select([client, server], [], [], min(0.05, max(0.0, ends_at - time.time())))
                for end in ready:
                    try:
                        data = end.recv(1 << 18)
                    except OSError:
                        return
                    if not data:
                        return
                    if end is client and (found := _AUTH.search(data)):
                        self.renewed += token is not None
                        token = found[1].decode()
                        if token not in self._ends:
                            return
                    with contextlib.suppress(OSError):
                        (server if end is client else client).sendall(data)


@contextmanager
def token_gate(server: RedisProcess, *, lives_s: float) -> Iterator[TokenGate]:
    """A gate for the length of a block."""
    gate = TokenGate(server, lives_s)
    thread = threading.Thread(target=gate.serve)
    thread.start()
    try:
        yield gate
    finally:
        gate.stop()
        thread.join()
        gate.close()
