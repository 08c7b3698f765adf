"""Servers shared by the tests of the data plane: started once a session, emptied before each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from redismove.dataplane.connect import Connection, Server
from tests.support.redis_servers import RedisProcess, start_redis


@pytest.fixture(scope="session")
def running() -> Iterator[Callable[[str, int], RedisProcess]]:
    """Gives the n-th server of a kind, starting it when it is first asked for."""
    servers: dict[tuple[str, int], RedisProcess] = {}

    def get(kind: str, number: int) -> RedisProcess:
        if (kind, number) not in servers:
            servers[kind, number] = start_redis(kind)
        return servers[kind, number]

    try:
        yield get
    finally:
        for server in servers.values():
            server.stop()


@pytest.fixture
def opened(running: Callable[[str, int], RedisProcess]) -> Iterator[Callable[[str, int], Server]]:
    """Opens the n-th server of a kind, empty; everything is closed after the test."""
    servers: list[Server] = []

    def get(kind: str, number: int) -> Server:
        server = Server.open(running(kind, number).address)
        servers.append(server)
        server.connection().call("FLUSHALL")
        return server

    try:
        yield get
    finally:
        for server in servers:
            server.close()


@pytest.fixture
def source(opened: Callable[[str, int], Server]) -> Server:
    """An empty Redis 7.0."""
    return opened("7.0", 0)


@pytest.fixture
def target(opened: Callable[[str, int], Server]) -> Server:
    """Another empty Redis 7.0."""
    return opened("7.0", 1)


@pytest.fixture
def old(opened: Callable[[str, int], Server]) -> Server:
    """An empty Redis 6.2."""
    return opened("6.2", 0)


@pytest.fixture
def connection(source: Server) -> Connection:
    """The kept connection to `source`."""
    return source.connection()
