"""The carrying's connections for the asynchronous client: one task drives them. The twin of `lines`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004  redis-py's own name
    RedisError,
    ResponseError,
)

from redismove.dual_write.aio_follow import AsyncCache
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
from redismove.dual_write.lines import IDLE_CHECK_S, line_arguments, sentence


class AsyncLine(Line):
    """A line with its connection."""

    def __init__(self, side: Side, node: str, connection: Any) -> None:
        super().__init__(side, node)
        self.connection = connection
        self.used_at = 0.0

    async def ready(self) -> None:
        """Connect where needed."""
        if self.connection.is_connected and time.monotonic() - self.used_at > IDLE_CHECK_S:
            try:
                ended = await self.connection.can_read()
            except (RedisError, OSError):
                ended = True
            if ended:
                await self.connection.disconnect()
        if not self.connection.is_connected:
            self.greeted = False
            await self.connection.connect()
        self.used_at = time.monotonic()

    async def send(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Send without reading."""
        # redis-py would connect again by itself, and a WATCH would be gone without a word.
        if not self.connection.is_connected:
            raise ConnectionError("the connection is closed")
        await self.connection.send_packed_command(self.connection.pack_commands(commands), check_health=False)

    async def read(self, count: int) -> list[Any]:
        """Read so many replies; error replies are values."""
        replies: list[Any] = []
        for _ in range(count):
            try:
                replies.append(await self.connection.read_response(disable_decoding=True))
            except ResponseError as error:
                replies.append(error)
        return replies

    async def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(RedisError, OSError):
            await self.connection.disconnect(nowait=True)


class AsyncServers:
    """The servers of one side and the lines to them."""

    def __init__(self, side: Side, make: Callable[[], AsyncCache], timeout_s: float) -> None:
        self._side = side
        self._make = make
        self._timeout_s = timeout_s
        self._cache: AsyncCache | None = None
        self._lines: dict[str, list[AsyncLine]] = {}

    async def apart(self, keys: Sequence[bytes]) -> list[AsyncLine]:
        """Return a line of its own for each key."""
        used: dict[str, int] = {}
        found = []
        for key in keys:
            node = await self._node(key)
            number = used[node] = used.get(node, 0) + 1
            found.append(await self._line(node, number - 1))
        return found

    async def split(self, keys: Sequence[bytes]) -> list[tuple[AsyncLine, list[bytes]]]:
        """Return a line to each server that has some of the keys, with these."""
        parts: dict[str, list[bytes]] = {}
        for key in keys:
            parts.setdefault(await self._node(key), []).append(key)
        return [(await self._line(node, 0), mine) for node, mine in parts.items()]

    async def nodes(self) -> list[AsyncLine]:
        """Return a line to each primary."""
        client = await self._client()
        names = [node.name for node in client.get_primaries()] if isinstance(client, RedisCluster) else [""]
        return [await self._line(name, 0) for name in names]

    async def reset(self) -> None:
        """Close the lines, and ask who serves what before the next use."""
        if self._cache is not None and isinstance(self._cache.client, RedisCluster):
            await self.close()
            self._cache = None
            return
        for lines in self._lines.values():
            for line in lines:
                await line.close()

    async def close(self) -> None:
        """Close everything."""
        for lines in self._lines.values():
            for line in lines:
                await line.close()
        self._lines.clear()
        if self._cache is not None:
            await self._cache.aclose()

    def forget_credentials(self) -> None:
        """Ask the application for them before the next login."""
        if self._cache is not None:
            self._cache.credentials.forget()

    async def _client(self) -> Any:
        if self._cache is None:
            self._cache = self._make()
        await self._cache.ready()
        return self._cache.client

    async def _node(self, key: bytes) -> str:
        client = await self._client()
        if isinstance(client, RedisCluster):
            return str(client.nodes_manager.get_node_from_slot(key_slot(key)).name)
        return ""

    async def _line(self, node: str, number: int) -> AsyncLine:
        lines = self._lines.setdefault(node, [])
        if number == len(lines):
            client = await self._client()
            source: Any = (
                client.get_node(node_name=node) if isinstance(client, RedisCluster) else client.connection_pool
            )
            arguments = line_arguments(source.connection_kwargs, self._timeout_s)
            lines.append(AsyncLine(self._side, node, source.connection_class(**arguments)))
        line = lines[number]
        await line.ready()
        return line


class AsyncWorker:
    """
    Runs a `Carrying` in a task of the running loop. Marking wakes it; it ends when its carrying does.

    Args:
        allowed: looks at the Endpoint.
    """

    def __init__(
        self, carrying: Carrying, first: AsyncServers, second: AsyncServers, allowed: Callable[[], Awaitable[Verdict]]
    ) -> None:
        self._carrying = carrying
        self._servers = {Side.FIRST: first, Side.SECOND: second}
        self._allowed = allowed
        self._woken = asyncio.Event()
        self._closing = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="redismove-dual-write")

    @property
    def alive(self) -> bool:
        """The task has not ended."""
        return not self._task.done()

    def wake(self) -> None:
        """Something is marked."""
        self._woken.set()

    def finish(self, within_s: float) -> None:
        """Carry what is marked, for at most so many seconds, and end."""
        self._carrying.close_at = time.monotonic() + within_s
        self._carrying.closing = True
        self._closing.set()
        self._woken.set()

    async def join(self, seconds: float) -> None:
        """Wait for the end, and end it then whatever it does."""
        done, _ = await asyncio.wait([self._task], timeout=seconds)
        if not done:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
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
                    result = await self._perform(action)
                except SideFailed as error:
                    failure = error
        finally:
            work.close()
            for servers in self._servers.values():
                await servers.close()

    async def _perform(self, action: Any) -> Any:
        match action:
            case Exchange():
                return await self._exchange(action)
            case Apart(side, keys):
                return await self._guarded(side, self._servers[side].apart(keys))
            case Split(side, keys):
                return await self._guarded(side, self._servers[side].split(keys))
            case Nodes(side):
                return await self._guarded(side, self._servers[side].nodes())
            case Reset(side):
                return await self._servers[side].reset()
            case Allowed():
                return await self._allowed()
            case Wait(seconds, until_woken):
                return await self._wait(seconds, until_woken)
        raise AssertionError(action)

    async def _wait(self, seconds: float | None, until_woken: bool) -> None:
        event = self._woken if until_woken else self._closing
        if self._carrying.closing:
            remaining_s = max(0.0, self._carrying.close_at - time.monotonic())
            seconds = remaining_s if seconds is None else min(seconds, remaining_s)
            event = self._woken if until_woken else asyncio.Event()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)
        self._woken.clear()

    async def _guarded(self, side: Side, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except AuthenticationError as error:
            self._servers[side].forget_credentials()
            raise SideFailed(side, sentence(error)) from None
        except (RedisError, OSError) as error:
            raise SideFailed(side, sentence(error)) from None
        except Exception as error:  # noqa: BLE001  what the application's credentials raise, and its words are its own
            raise SideFailed(side, type(error).__name__) from None

    async def _exchange(self, action: Exchange) -> list[list[Any]]:
        line: Line | None = None
        try:
            for line, commands in action.requests:
                assert isinstance(line, AsyncLine)
                await line.send(commands)
            replies = []
            for line, commands in action.requests:
                assert isinstance(line, AsyncLine)
                replies.append(await line.read(len(commands)))
                line.used_at = time.monotonic()
            return replies
        except BaseException as error:
            # What is still on its way would be taken for the answer to the next command.
            for other, _ in action.requests:
                assert isinstance(other, AsyncLine)
                await other.close()
            if line is not None and isinstance(error, RedisError | OSError):
                raise SideFailed(line.side, sentence(error)) from None
            raise
