"""Which cache answers: decisions without I/O that both clients make alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    ClusterError,
    ConnectionError,  # noqa: A004  redis-py's own name
    MasterDownError,
    NoPermissionError,
    ReadOnlyError,
    RedisClusterException,
    TimeoutError,  # noqa: A004  redis-py's own name
    TryAgainError,
)

from redismove.dual_write.carrying import Verdict
from redismove.dual_write.commands import Call, Kind
from redismove.dual_write.errors import CommandRefused, IterationLost
from redismove.dual_write.settings import SettingInvalid
from redismove.endpoint import Endpoint, EndpointEntry

CANNOT_ANSWER: Final = (
    AuthenticationError,
    ClusterDownError,
    ClusterError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    OSError,
    ReadOnlyError,
    RedisClusterException,
    TimeoutError,
    TryAgainError,
)
"""Errors that say something of a server (among them LOADING, MASTERDOWN), and nothing of the command."""

_NOT_OPTIONS: Final = {
    "host": "the Endpoint names the cache",
    "port": "the Endpoint names the cache",
    "url": "the Endpoint names the cache",
    "unix_socket_path": "the Endpoint names the cache",
    "ssl": "the Endpoint says whether a cache speaks TLS",
    "connection_class": "the Endpoint says whether a cache speaks TLS",
    "connection_pool": "there is a pool for each cache",
    "username": "credentials are asked for by the cache's resource id",
    "password": "credentials are asked for by the cache's resource id",
    "credential_provider": "credentials are asked for by the cache's resource id",
    "single_connection_client": "no connection spans two caches",
    "cache": "what is kept in the client would hide a change of caches",
    "cache_config": "what is kept in the client would hide a change of caches",
}


def check_options(options: dict[str, Any]) -> None:
    """Raise SettingInvalid for an option of redis-py that has no meaning here."""
    for name, value in options.items():
        if name in _NOT_OPTIONS and value is not None:
            raise SettingInvalid(f"option {name} is not possible with dual-write: {_NOT_OPTIONS[name]}; leave it out")


def same_caches(document: Endpoint, first: EndpointEntry, second: EndpointEntry) -> bool:
    """Both caches are still written, and they are these."""
    dual = document.dual_write
    return dual is not None and dual.active and document.entry == first and dual.second == second


def verdict(document: Endpoint, first: EndpointEntry, second: EndpointEntry) -> Verdict:
    """Return whether keys may be carried from *first* to *second* now."""
    if not same_caches(document, first, second):
        return Verdict.OVER
    # A cut-over compares and carries by itself while it holds; nobody else may write its target then.
    return Verdict.GO if document.state == "open" else Verdict.HOLD


def mode_of(document: Endpoint) -> str:
    """Return the Endpoint's dual-write mode, "off" without one."""
    return "off" if document.dual_write is None else document.dual_write.mode


class Breaker:
    """
    Leaves a server alone for a while after it failed.

    Args:
        rest_s: for how long, in seconds.
    """

    def __init__(self, rest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rest_s = rest_s
        self._clock = clock
        self._until = float("-inf")

    @property
    def closed(self) -> bool:
        """The server may be asked."""
        return self._clock() >= self._until

    def trip(self) -> None:
        """It has failed."""
        self._until = self._clock() + self._rest_s


# -- cursors --------------------------------------------------------------------------------------------------------
# A cursor means something to the server that gave it alone, so ours say which one that was: twice the server's, plus 1
# for the target's. 0 stays 0: the beginning and the end.


def cursor_out(cursor: Any, entry: EndpointEntry) -> int:
    """Return a server's cursor as the application sees it."""
    return int(cursor) * 2 + (entry.role == "target") if int(cursor) else 0


def cursor_in(args: Sequence[Any], call: Call) -> tuple[list[Any], str | None]:
    """Return a command with the server's own cursor, and the role of the server that gave it (None: a beginning)."""
    found = list(args)
    try:
        cursor = int(found[call.cursor])
    except (IndexError, ValueError, TypeError):
        return found, None  # the server will refuse it
    found[call.cursor] = cursor // 2
    return found, ("target" if cursor % 2 else "source") if cursor else None


def entry_of_role(role: str, document: Endpoint) -> EndpointEntry:
    """Return the cache on which an iteration goes on. Raises IterationLost."""
    if document.entry.role == role:
        return document.entry
    dual = document.dual_write
    if dual is not None and dual.active and dual.second is not None and dual.second.role == role:
        return dual.second
    raise IterationLost(
        f"an iteration (SCAN) was begun on the {role}, which is not in use any more; begin it again with cursor 0"
    )


def everywhere(call: Call, options: dict[str, Any], *, clustered: bool) -> dict[str, Any]:
    """Return the options with which redis-py asks all of a cluster; by itself it asks one node for DBSIZE or KEYS."""
    if clustered and call.everything and call.name in ("DBSIZE", "FLUSHDB", "KEYS"):
        return {"target_nodes": "primaries", **options}
    return options


def for_a_pipeline(call: Call, *, clustered: bool = False) -> Call:
    """Return *call*. Raises CommandRefused where it has no right meaning in a pipeline."""
    if call.cursor:
        raise CommandRefused(f"{call.name} in a pipeline", "an iteration goes on where it began; use the client")
    if clustered and call.everything:
        raise CommandRefused(f"{call.name} in a pipeline on a cluster", "it is for all nodes; use the client")
    return call


def only_reads(calls: Sequence[Call]) -> bool:
    """Every command may be answered by either cache."""
    return all(call.kind is Kind.READ for call in calls)
