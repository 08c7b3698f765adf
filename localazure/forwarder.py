"""
Forwards the ports of a cache on which no redis-server listens itself.

A clustered cache's 6380 and 6379 (10000 of Redis Enterprise) reach shard 0; the node port 15000 (and 13000) of a cache
that is not clustered reaches its one redis-server. Runs in the ARM server: after a kill these ports come back with it.
"""

from __future__ import annotations

import asyncio
import contextlib

from localazure.redis_process import RedisSpec

CHUNK_BYTES = 1 << 16


class Forwarders:
    """The forwarded ports of all caches."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, int], asyncio.Server] = {}
        self._connections: dict[tuple[str, int], set[asyncio.Task[None]]] = {}

    async def open(self, spec: RedisSpec) -> None:
        """Bring the forwarded ports of a cache to its specification; raises OSError when a port is taken."""
        wanted = spec.forwards
        for host, port in list(self._servers):
            if host == spec.host and port not in wanted:
                await self._close((host, port))
        for port, to_port in wanted.items():
            address = (spec.host, port)
            if address not in self._servers:
                self._servers[address] = await self._listen(address, to_port)

    async def close(self, spec: RedisSpec) -> None:
        """Close the forwarded ports of a cache."""
        for address in list(self._servers):
            if address[0] == spec.host:
                await self._close(address)

    async def close_all(self) -> None:
        """Close every forwarded port."""
        for address in list(self._servers):
            await self._close(address)

    async def _listen(self, address: tuple[str, int], to_port: int) -> asyncio.Server:
        tasks: set[asyncio.Task[None]] = set()
        self._connections[address] = tasks

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await _forward(reader, writer, address[0], to_port)
            finally:
                tasks.discard(task)

        return await asyncio.start_server(serve, address[0], address[1])

    async def _close(self, address: tuple[str, int]) -> None:
        server = self._servers.pop(address)
        server.close()
        for task in list(self._connections.pop(address, ())):
            task.cancel()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection(host, port)
    except OSError:
        writer.close()
        return
    directions = [
        asyncio.create_task(_copy(reader, far_writer)),
        asyncio.create_task(_copy(far_reader, writer)),
    ]
    try:
        # When one side is closed the other is too: a client that redis cut must see it.
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for direction in directions:
            direction.cancel()
        for end in (writer, far_writer):
            with contextlib.suppress(OSError, RuntimeError):
                end.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
