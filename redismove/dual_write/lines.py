"""The carrying's connections for the synchronous client: one worker thread drives them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004  redis-py's own name
    RedisError,
    ResponseError,
)

from redismove.application import _Cache
from redismove.dual_write.carrying import (
    Allowed,
    Apart,
    Carrying,
    Exchange,
    Line,
    Nodes,
    Reset,
    Side,
    SideFailed,
    Split,
    Verdict,
    Wait,
)

IDLE_CHECK_S: Final = 1.0
"""A connection that was idle for longer is looked at before it is used."""

_NOT_FOR_A_LINE = ("cache", "event_dispatcher", "himport", "legacy_responses", "maint", "oss_cluster", "orig_")


def line_arguments(arguments: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Return what a connection for carrying is made with, out of an application's connection's own."""
    kept = {name: value for name, value in arguments.items() if not name.startswith(_NOT_FOR_A_LINE)}
    return {
        **kept,
        "decode_responses": False,
        "protocol": 2,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "health_check_interval": 0,
    }


def sentence(error: BaseException) -> str:
    """What went wrong, in a line."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else 'no further word'}"


class SyncLine(Line):
    """A line with its connection."""

    def __init__(self, side: Side, node: str, connection: Any) -> None:
        super().__init__(side, node)
        self.connection = connection
        self.used_at = 0.0

    def ready(self) -> None:
        """Connect where needed."""
        if self.connection.is_connected and time.monotonic() - self.used_at > IDLE_CHECK_S:
            try:
                ended = self.connection.can_read()
            except (RedisError, OSError):
                ended = True
            if ended:
                self.connection.disconnect()
        if not self.connection.is_connected:
            self.greeted = False
            self.connection.connect()
        self.used_at = time.monotonic()

    def send(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Send without reading."""
        # redis-py would connect again by itself, and a WATCH would be gone without a word.
        if not self.connection.is_connected:
            raise ConnectionError("the connection is closed")
        self.connection.send_packed_command(self.connection.pack_commands(commands), check_health=False)

    def read(self, count: int) -> list[Any]:
        """Read so many replies; error replies are values."""
        replies: list[Any] = []
        for _ in range(count):
            try:
                replies.append(self.connection.read_response(disable_decoding=True))
            except ResponseError as error:
                replies.append(error)
        return replies

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(RedisError, OSError):
            self.connection.disconnect()


class Servers:
    """The servers of one side and the lines to them."""

    def __init__(self, side: Side, make: Callable[[], _Cache], timeout_s: float) -> None:
        self._side = side
        self._make = make
        self._timeout_s = timeout_s
        self._cache: _Cache | None = None
        self._lines: dict[str, list[SyncLine]] = {}

    def apart(self, keys: Sequence[bytes]) -> list[SyncLine]:
        """Return a line of its own for each key."""
        used: dict[str, int] = {}
        found = []
        for key in keys:
            node = self._node(key)
            number = used[node] = used.get(node, 0) + 1
            found.append(self._line(node, number - 1))
        return found

    def split(self, keys: Sequence[bytes]) -> list[tuple[SyncLine, list[bytes]]]:
        """Return a line to each server that has some of the keys, with these."""
        parts: dict[str, list[bytes]] = {}
        for key in keys:
            parts.setdefault(self._node(key), []).append(key)
        return [(self._line(node, 0), mine) for node, mine in parts.items()]

    def nodes(self) -> list[SyncLine]:
        """Return a line to each primary."""
        client = self._client()
        if isinstance(client, RedisCluster):
            return [self._line(node.name, 0) for node in client.get_primaries()]
        return [self._line("", 0)]

    def reset(self) -> None:
        """Close the lines, and ask who serves what before the next use."""
        for lines in self._lines.values():
            for line in lines:
                line.close()
        cache = self._cache
        if cache is not None and isinstance(cache.client, RedisCluster):
            self.close()
            self._cache = None

    def close(self) -> None:
        """Close everything."""
        for lines in self._lines.values():
            for line in lines:
                line.close()
        self._lines.clear()
        if self._cache is not None:
            with contextlib.suppress(RedisError, OSError):
                self._cache.client.close()

    def forget_credentials(self) -> None:
        """Ask the application for them before the next login."""
        if self._cache is not None:
            self._cache.credentials.forget()

    def _client(self) -> Any:
        if self._cache is None:
            self._cache = self._make()
        return self._cache.client

    def _node(self, key: bytes) -> str:
        client = self._client()
        if isinstance(client, RedisCluster):
            node = client.nodes_manager.get_node_from_slot(key_slot(key))
            return str(node.name)
        return ""

    def _line(self, node: str, number: int) -> SyncLine:
        lines = self._lines.setdefault(node, [])
        if number == len(lines):
            client = self._client()
            if isinstance(client, RedisCluster):
                client = client.get_redis_connection(client.get_node(node_name=node))
            pool = client.connection_pool
            arguments = line_arguments(pool.connection_kwargs, self._timeout_s)
            lines.append(SyncLine(self._side, node, pool.connection_class(**arguments)))
        line = lines[number]
        line.ready()
        return line


class Worker(threading.Thread):
    """
    Runs a `Carrying`. Marking wakes it; it ends when its carrying does.

    Args:
        allowed: looks at the Endpoint.
    """

    def __init__(
        self, carrying: Carrying, first: Servers, second: Servers, allowed: Callable[[], Verdict], name: str
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._carrying = carrying
        self._servers = {Side.FIRST: first, Side.SECOND: second}
        self._allowed = allowed
        self._woken = threading.Event()
        self._closing = threading.Event()

    def wake(self) -> None:
        """Something is marked."""
        self._woken.set()

    def finish(self, within_s: float) -> None:
        """Carry what is marked, for at most so many seconds, and end."""
        self._carrying.close_at = time.monotonic() + within_s
        self._carrying.closing = True
        self._closing.set()
        self._woken.set()

    def run(self) -> None:
        """Do what the carrying asks for."""
        work = self._carrying.run()
        result: Any = None
        failure: SideFailed | None = None
        try:
            while True:
                try:
                    action = work.throw(failure) if failure is not None else work.send(result)
                except StopIteration:
                    return
                result = failure = None
                try:
                    result = self._perform(action)
                except SideFailed as error:
                    failure = error
        finally:
            work.close()
            for servers in self._servers.values():
                servers.close()

    def _perform(self, action: Any) -> Any:
        match action:
            case Exchange():
                return self._exchange(action)
            case Apart(side, keys):
                return self._guarded(side, lambda: self._servers[side].apart(keys))
            case Split(side, keys):
                return self._guarded(side, lambda: self._servers[side].split(keys))
            case Nodes(side):
                return self._guarded(side, self._servers[side].nodes)
            case Reset(side):
                return self._servers[side].reset()
            case Allowed():
                return self._allowed()
            case Wait(seconds, until_woken):
                return self._wait(seconds, until_woken)
        raise AssertionError(action)

    def _wait(self, seconds: float | None, until_woken: bool) -> None:
        event = self._woken if until_woken else self._closing
        if self._carrying.closing:
            remaining_s = max(0.0, self._carrying.close_at - time.monotonic())
            seconds = remaining_s if seconds is None else min(seconds, remaining_s)
            event = self._woken if until_woken else threading.Event()
        event.wait(seconds)
        self._woken.clear()

    def _guarded(self, side: Side, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except AuthenticationError as error:
            self._servers[side].forget_credentials()
            raise SideFailed(side, sentence(error)) from None
        except (RedisError, OSError) as error:
            raise SideFailed(side, sentence(error)) from None
        except Exception as error:  # noqa: BLE001  what the application's credentials raise, and its words are its own
            raise SideFailed(side, type(error).__name__) from None

    def _exchange(self, action: Exchange) -> list[list[Any]]:
        line: Line | None = None
        try:
            for line, commands in action.requests:
                assert isinstance(line, SyncLine)
                line.send(commands)
            replies = []
            for line, commands in action.requests:
                assert isinstance(line, SyncLine)
                replies.append(line.read(len(commands)))
                line.used_at = time.monotonic()
            return replies
        except BaseException as error:
            # What is still on its way would be taken for the answer to the next command.
            for other, _ in action.requests:
                assert isinstance(other, SyncLine)
                other.close()
            if line is not None and isinstance(error, RedisError | OSError):
                raise SideFailed(line.side, sentence(error)) from None
            raise
