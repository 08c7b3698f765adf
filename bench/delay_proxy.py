"""A TCP proxy that makes a line long: every byte arrives half the round trip later. Its own process."""

from __future__ import annotations

import argparse
import select
import socket
import sys
import time
from collections import deque

CHUNK_BYTES = 1 << 18
TICK_S = 0.001
"""A long line is served so often: woken by every packet, the proxy would take the servers' CPU and measure itself."""
MOST_BYTES = 64 << 20


class Way:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, sink: socket.socket, delay_s: float) -> None:
        self.source, self.sink, self.delay_s = source, sink, delay_s
        self.queue: deque[tuple[float, memoryview]] = deque()
        self.size = 0
        self.ended = False

    def take(self) -> None:
        """Read what is there."""
        try:
            data = self.source.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return
        self.queue.append((time.monotonic() + self.delay_s, memoryview(data)))
        self.size += len(data)

    def give(self) -> bool:
        """Send what is due; True when the sink takes no more now."""
        now = time.monotonic()
        while self.queue and self.queue[0][0] <= now:
            due, data = self.queue[0]
            try:
                sent = self.sink.send(data)
            except BlockingIOError:
                return True
            except OSError:
                self.ended, self.queue = True, deque()
                return False
            self.size -= sent
            if sent == len(data):
                self.queue.popleft()
            else:
                self.queue[0] = (due, data[sent:])
                return True
        return False


def serve(listener: socket.socket, target: tuple[str, int], round_trip_s: float) -> None:
    """Forward for ever."""
    ways: list[Way] = []
    listener.setblocking(False)
    tick_s = TICK_S if round_trip_s > 10 * TICK_S else 0.0
    while True:
        if tick_s and ways:
            time.sleep(tick_s)
        readers: list[socket.socket] = [listener]
        writers: list[socket.socket] = []
        timeout_s = 1.0
        for way in ways:
            full = way.give()
            if full:
                writers.append(way.sink)
            elif way.queue:
                timeout_s = min(timeout_s, max(0.0, way.queue[0][0] - time.monotonic()))
            if not way.ended and way.size < MOST_BYTES:
                readers.append(way.source)
        for way in list(ways):
            if way.ended and not way.queue and way in ways:
                for other in [other for other in ways if way.source in (other.source, other.sink)]:
                    ways.remove(other)
                way.source.close()
                way.sink.close()
        readable = [item for item in readers if item.fileno() >= 0]
        ready, _, _ = select.select(readable, [item for item in writers if item.fileno() >= 0], [], timeout_s)
        for item in ready:
            if item is listener:
                client, _ = listener.accept()
                server = socket.create_connection(target)
                for end in (client, server):
                    end.setblocking(False)
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ways += [Way(client, server, round_trip_s / 2), Way(server, client, round_trip_s / 2)]
        for way in ways:
            if way.source in ready:
                way.take()


def main() -> None:
    """`python -m bench.delay_proxy TARGET_PORT ROUND_TRIP_MS`: prints its own port first."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("round_trip_ms", type=float)
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    serve(listener, ("127.0.0.1", options.port), options.round_trip_ms / 1000)


if __name__ == "__main__":
    main()
