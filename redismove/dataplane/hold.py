"""
Hold the writes on a server: CLIENT PAUSE with mode WRITE, at every primary.

What is known of it (measured on 6.2, 7.0 and Valkey 9.1): reads, CLIENT, AUTH, INFO, DUMP and PING on a subscription
run, every write waits; at the timeout every waiting command is run and acknowledged; a client that was killed meanwhile
has its command dropped; a pause can be lengthened and not shortened, only UNPAUSE ends it; it outlives the connection
that asked for it. Redis 6.0 knows no mode and would hold our own reads too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from redismove.dataplane.connect import Connection, exchange, pack
from redismove.dataplane.errors import DataPlaneError, ReplyError, explain


class HoldFailed(DataPlaneError):
    """The writes could not be held, or not for as long as needed."""


def write_pause_refusal(connections: Sequence[Connection]) -> str | None:
    """
    Tell why a server cannot hold its writes by CLIENT PAUSE WRITE; None when it can.

    It is tried, for one millisecond: versions do not tell what a service allows. It ends a pause that is in force.
    """
    for connection in connections:
        for command in (("CLIENT", "PAUSE", 1, "WRITE"), ("CLIENT", "UNPAUSE")):
            (reply,) = connection.pipeline([command])
            if isinstance(reply, ReplyError):
                return f"{connection.where} answers CLIENT {command[1]} with: {reply}"
    return None


def pause_in_force(connection: Connection, *, patience_s: float = 0.05) -> bool:
    """
    Tell whether the writes of a server are held now; uses up *connection*, which has no other use.

    PUBLISH to a channel that nobody hears counts as a write: it waits while there is a pause. The connection is closed
    with the command still waiting, and a waiting command of a closed connection is dropped.
    """
    connection.send("PUBLISH", "redismove:is-there-a-pause", "")
    try:
        return connection.read_reply(patience_s) is None
    finally:
        connection.close()


class WritePause:
    """
    A pause of all writes at the primaries that *connections* returns one connection to, each.

    Attributes:
        began_at: monotonic time before the first PAUSE was sent; 0 before that.
    """

    def __init__(self, connections: Callable[[], Sequence[Connection]]) -> None:
        self._connections = connections
        self.began_at = 0.0
        self._ends_at = 0.0

    def begin(self, pause_ms: int) -> None:
        """
        Hold the writes for *pause_ms*; when this returns no write runs at any primary.

        Raises:
            HoldFailed: a primary refused.
        """
        self.began_at = time.monotonic()
        self._send(pause_ms)
        self._ends_at = self.began_at + pause_ms / 1000

    def lengthen(self, pause_ms: int) -> None:
        """
        Make the pause last *pause_ms* from now on.

        Raises:
            HoldFailed: a primary refused, or the pause may have run out before it was lengthened.
        """
        asked_at = time.monotonic()
        self._send(pause_ms)
        if time.monotonic() >= self._ends_at:
            raise HoldFailed("the pause may have run out before it was lengthened: writes may have been made meanwhile")
        self._ends_at = asked_at + pause_ms / 1000

    @property
    def remaining_s(self) -> float:
        """How long the pause lasts at the least, in seconds."""
        return self._ends_at - time.monotonic()

    def _send(self, pause_ms: int) -> None:
        # To all at once: the first primary's writers wait until the last one holds.
        command = pack([("CLIENT", "PAUSE", pause_ms, "WRITE")])
        connections = self._connections()
        replies = exchange([(connection, command) for connection in connections])
        for connection, (reply,) in zip(connections, replies, strict=True):
            if isinstance(reply, ReplyError):
                raise HoldFailed(str(explain(reply, connection.where, "CLIENT PAUSE WRITE")))
