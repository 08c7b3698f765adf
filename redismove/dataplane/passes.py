"""One comparison of everything on two servers, both ways: by the compiled loop where it can be had, else in Python."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from redismove.dataplane.connect import Connection, Node, Server
from redismove.dataplane.errors import LoginDue
from redismove.dataplane.pump import lines_to, mean_value_bytes, round_trip_s
from redismove.dataplane.typed import has_field_expiries
from redismove.dataplane.verify.compare import Pair, compare_batch, databases_of, only_in_target, scan_batches
from redismove.dataplane.verify.native import (
    MODE_COMPARE,
    MODE_EXISTS,
    READS,
    SCANS,
    WHY_BIG,
    Loop,
    Rare,
    Windows,
    library,
)

Looked = Callable[[int, int, list[bytes]], None]
"""Told of a database, how many keys were looked at since the last time, and which turned out to be different."""
_TICK_S = 0.05


def compare_all(pair: Pair, looked: Looked, *, native: bool = True) -> int:
    """
    Compare every key of both servers by type, value and expiry.

    What is written meanwhile may be found different or not: whoever needs more follows the servers.

    Args:
        pair: the servers; only read.
        looked: is told how it goes; may write to the servers. A key may be named twice.
        native: False takes the Python path, on which nothing is on its way while `looked` runs.

    Returns:
        How many keys of the source were compared.

    Raises:
        DataPlaneError: a lost connection, a refused command; whatever `looked` raises.
    """
    compared = 0
    mean_bytes = mean_value_bytes(pair.source)
    for database in databases_of(pair.source, pair.target):
        both = all(server.has_database(database) for server in (pair.source, pair.target))
        quick = native and both and library() is not None
        for server, compares in ((pair.source, True), (pair.target, False)):
            for node in server.nodes:
                one = _Pass(pair, server, node, database, compares, looked)
                count = one.natively(mean_bytes) if quick else one.in_python()
                compared += count if compares else 0
    return compared


class _Pass:
    """Over one primary and database: of the source to compare, of the target to find what the source lacks."""

    def __init__(self, pair: Pair, server: Server, node: Node, database: int, compares: bool, looked: Looked) -> None:
        self.pair, self.server, self.node, self.database = pair, server, node, database
        self.compares, self.looked = compares, looked
        self.scanned = 0

    def different(self, keys: Sequence[bytes], big: Collection[bytes] = ()) -> list[bytes]:
        if self.compares:
            found = compare_batch(self.pair, self.database, keys, big=big).differences
        else:
            found = only_in_target(self.pair, self.database, keys)
        return list(dict.fromkeys(difference.key for difference in found))

    def in_python(self) -> int:
        for keys in scan_batches(self.server, self.node, self.database):
            self.scanned += len(keys)
            self.looked(self.database, len(keys), self.different(keys))
        return self.scanned

    def natively(self, mean_bytes: float) -> int:
        cursor: str | None = "0"
        while cursor is not None:
            cursor = self._go_on(cursor, mean_bytes)
        return self.scanned

    def _go_on(self, cursor: str, mean_bytes: float) -> str | None:
        """Go on from a cursor; return where to go on with new connections, or None at the end."""
        pair, server = self.pair, self.server
        other = pair.target if server is pair.source else pair.source
        connections: list[Connection] = []
        loop: Loop | None = None
        try:
            connections, table = lines_to(other, self.database)
            lines = list(enumerate(connections))
            for number in (SCANS, READS) if self.compares else (SCANS,):
                connections.append(server.new_connection(self.node, self.database))
                lines.append((number, connections[-1]))
            trips_s = [round_trip_s(one) for one in (server, other)]
            loop = Loop(
                MODE_COMPARE if self.compares else MODE_EXISTS,
                lines,
                absolute=(server.absolute_expiry, other.absolute_expiry),
                line_of_slot=table,
                cursor=cursor,
                windows=Windows.of(max(trips_s), trips_s[0], big_bytes=pair.big_value_bytes),
            )
            loop.settings(
                skew_ms=pair.skew_ms,
                database=self.database,
                tolerance_ms=pair.tolerance_ms,
                hash_by_dump=has_field_expiries(server) or has_field_expiries(other),
                mget=(not server.clustered, not other.clustered),
                mean_bytes=mean_bytes,
            )
            self._drive(loop)
            return None
        except LoginDue:
            # The tokens of these connections end soon; what was on its way is read again.
            return loop.safe_cursor if loop is not None else cursor
        finally:
            if loop is not None:
                loop.close()
            for connection in connections:
                connection.close()

    def _drive(self, loop: Loop) -> None:
        told = 0

        def tell(different: list[bytes]) -> None:
            nonlocal told
            new = int(loop.stats.scanned) - told
            told += new
            self.scanned += new
            if new or different:
                self.looked(self.database, new, different)

        def on_rare(rares: list[Rare]) -> None:
            tell(self.different([item.key for item in rares], [item.key for item in rares if item.why == WHY_BIG]))
            for item in rares:
                loop.rare_done(item)

        def on_tick() -> float:
            tell([])
            return _TICK_S

        loop.drive(on_rare, on_tick)
        tell([])
