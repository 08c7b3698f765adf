"""
May this be sent, now? What the clients that follow an Endpoint ask last of all, of the Endpoint and of the connection.

Between looking at the Endpoint and sending a command an application may stand still: a collection of garbage, a busy
machine. A whole cut-over may pass meanwhile. So it is asked twice more, at the places where the answer still holds:

- A connection, once it is logged in, is used only if the Endpoint, read after that, names its cache. A cut-over
  switches before it lets a source go and cuts every connection that is there by then: who comes later sees the switch.
  Without this an application that stood still could fetch the new key of the cache it has left, and write to it.
- A command is sent only if the document looked at is fresh and the server has not closed the connection. A server that
  has closed runs nothing, so a command that was not sent for this reason may be sent to the next cache.

`Attempt` notes whether anything was handed to a connection: nothing else tells an unsent command from one of unknown
outcome. redis-py may answer for a lost connection with the error of what it tried next, or send a part of a cluster's
pipeline again.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004  redis-py's own name
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004  redis-py's own name
    TryAgainError,
)

from redismove.endpoint import Endpoint, EndpointEntry, EndpointWatcher

REFUSED_WHOLE: Final = (ReadOnlyError, BusyLoadingError, MasterDownError)
"""Error replies by which a server says that it ran nothing; the Endpoint may name one that does."""

REDIRECTED: Final = (MovedError, AskError, TryAgainError, ClusterDownError)
"""Error replies by which a cluster's node says that it ran nothing, and redis-py asks another."""

_OF_THE_CLIENT: Final = frozenset(
    {
        b"*1\r\n$4\r\nPING\r\n",
        b"*1\r\n$6\r\nASKING\r\n",
        b"*1\r\n$7\r\nCOMMAND\r\n",
        b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n",
    }
)
_ASKS_FOR_KEYS: Final = b"\r\n$7\r\nCOMMAND\r\n$7\r\nGETKEYS\r\n"

_TCP_ESTABLISHED: Final = 1  # include/net/tcp_states.h


class NotSent(RedisError):
    """Nothing was sent: the Endpoint sends nobody to this cache now, or the server has closed the connection."""


@dataclass
class Attempt:
    """
    One try to run something of the caller's on one cache.

    Attributes:
        whole: it is one command, of which a server runs all or nothing.
        sent: something was handed to a connection, and may have been run.
        lost: a connection that something was handed to failed: nothing more may be sent of this.
        repeat: it may be run twice, so that neither matters.
    """

    whole: bool
    repeat: bool
    sent: bool = False
    lost: BaseException | None = None

    def check(self) -> None:
        """
        See that more of it may be sent: redis-py would send a part of what was lost again.

        Raises:
            the error of the connection that was lost.
        """
        if self.lost is not None and not self.repeat:
            raise self.lost

    def note(self, error: RedisError) -> None:
        """Note what sending or reading ended with: an error reply, or a connection that failed."""
        if isinstance(error, ResponseError | BusyLoadingError):
            # A node of a cluster that sends us elsewhere ran nothing.
            if self.whole and isinstance(error, REDIRECTED):
                self.sent = False
        elif self.sent and isinstance(error, ConnectionError | TimeoutError):
            self.lost = error

    def outcome(self, error: BaseException) -> tuple[bool, BaseException]:
        """
        Tell whether surely nothing was executed, *error* having ended it, and with which error the caller is told so.

        That error's `surely_not_executed` says the same. For a lost connection a cluster's client answers with the
        error of what it tried next: then it is that of the connection.
        """
        unsent = not self.sent or (self.whole and self.lost is None and isinstance(error, REFUSED_WHOLE))
        told = error if unsent or self.lost is None else self.lost
        told.surely_not_executed = unsent  # type: ignore[attr-defined]
        return unsent, told


doing: ContextVar[Attempt | None] = ContextVar("attempt", default=None)
"""What this thread or task is at; None where nothing of the caller's is run."""


@contextlib.contextmanager
def during(attempt: Attempt | None) -> Iterator[None]:
    """What is sent here belongs to *attempt*; with None it is nothing of the caller's."""
    token = doing.set(attempt)
    try:
        yield
    finally:
        doing.reset(token)


def is_of_the_client(pieces: Sequence[bytes]) -> bool:
    """Tell whether packed bytes are a question of redis-py's own, asked on the way to the caller's command."""
    return len(pieces) == 1 and (pieces[0] in _OF_THE_CLIENT or pieces[0].find(_ASKS_FOR_KEYS, 0, 64) > 0)


class HasSocketOptions(Protocol):
    """A socket, or asyncio's view of one."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """As socket.socket's."""
        ...


def check_open(connection: HasSocketOptions | None) -> None:
    """
    See that the server has not closed a connection, as far as this machine's TCP knows (Linux; elsewhere unknown).

    Asking takes a microsecond, and no other thread is let in between the answer and what is done with it.

    Raises:
        NotSent: it has.
    """
    if connection is None or sys.platform != "linux":
        return
    try:
        state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return  # not TCP
    if state != _TCP_ESTABLISHED:
        raise NotSent("the server has closed the connection")


class Admission:
    """
    Asks the Endpoint for the connections to one cache.

    Args:
        watcher: knows the Endpoint.
        entry: the cache, as the Endpoint named it.
        patience_s: how long a hold is respected at most, in seconds.
    """

    def __init__(self, watcher: EndpointWatcher, entry: EndpointEntry, patience_s: float) -> None:
        self.watcher = watcher
        self._entry = entry
        self._patience_s = patience_s

    def check_command(self, document: Endpoint) -> None:
        """
        See that a command may be sent to this cache.

        Args:
            document: read not longer ago than a cut-over gives notice.

        Raises:
            NotSent: not now.
        """
        if document.entry != self._entry:
            raise NotSent(f"the Endpoint names {document.entry.host} now, and no longer {self._entry.host}")
        if self.watcher.must_wait(document, self._patience_s):
            raise NotSent(f"the Endpoint says hold, so nothing is sent to {self._entry.host} now")

    def check_connection(self, document: Endpoint) -> None:
        """
        See that a connection to this cache may be used, or kept for later use.

        Args:
            document: read after the connection was logged in.

        Raises:
            NotSent: it may not.
            ConnectionError: the same where nothing of the caller's is run: what redis-py and its users expect.
        """
        if document.next == self._entry:
            return
        try:
            self.check_command(document)
        except NotSent as error:
            if doing.get() is None:
                raise ConnectionError(str(error)) from None
            raise
