"""What the source's own users feel: 10,000 writes a second, with a copy of 20,000 keys a second and without."""

from __future__ import annotations

import select
import statistics
import subprocess
import sys
import time
from pathlib import Path

import hiredis

from redismove.dataplane.connect import Connection
from tests.support.redis_servers import RedisProcess

WRITES_PER_S = 10_000
KEYS_PER_S = 20_000
CONNECTIONS = 20
SECONDS = 4.0
ROUNDS = 3


def p99_with_and_without(source: RedisProcess, target: RedisProcess) -> tuple[float, float]:
    """The 99th percentile of the writers' latency in ms: without the copy, and with it (medians of rounds)."""
    without, beside = [], []
    for _ in range(ROUNDS):
        without.append(_p99_ms(source))
        command = [sys.executable, "-m", "bench.timed", "copy", source.url, target.url, str(KEYS_PER_S)]
        process = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)
        try:
            begun = time.monotonic()
            with target.connect() as connection:
                while not connection.call("DBSIZE"):
                    if time.monotonic() > begun + 20 or process.poll() is not None:
                        raise SystemExit("the copy beside the writers did not begin")
                    select.select([], [], [], 0.02)
            beside.append(_p99_ms(source))
        finally:
            process.terminate()
            process.wait(10)
        with target.connect() as connection:
            connection.call("FLUSHALL")
    return statistics.median(without), statistics.median(beside)


def _p99_ms(source: RedisProcess) -> float:
    """Writers that keep their pace whatever the answers do, each on the next of some connections."""
    connections = [source.connect() for _ in range(CONNECTIONS)]
    sent_at: dict[int, list[float]] = {connection.fileno(): [] for connection in connections}
    by_descriptor = {connection.fileno(): connection for connection in connections}
    poller = select.epoll()
    for connection in connections:
        poller.register(connection.fileno(), select.EPOLLIN)
    latencies: list[float] = []
    room = memoryview(bytearray(4096))
    begun = time.perf_counter()
    sent = 0
    try:
        while (now := time.perf_counter() - begun) < SECONDS:
            due = int(now * WRITES_PER_S)
            while sent < due:
                connection = connections[sent % CONNECTIONS]
                command = hiredis.pack_command(("SET", f"user:{sent % 5000}", sent))
                _send(connection, command)
                sent_at[connection.fileno()].append(time.perf_counter())
                sent += 1
            for descriptor, _ in poller.poll(0.0002):
                received = by_descriptor[descriptor].receive_into(room)
                answered = received // len(b"+OK\r\n")
                at = time.perf_counter()
                waiting = sent_at[descriptor]
                latencies += [at - one for one in waiting[:answered]]
                del waiting[:answered]
    finally:
        poller.close()
        for connection in connections:
            connection.close()
    latencies.sort()
    return latencies[int(len(latencies) * 0.99)] * 1000


def _send(connection: Connection, command: bytes) -> None:
    data = memoryview(command)
    while data:
        data = data[connection.send_some(data) :]
