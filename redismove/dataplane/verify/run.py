"""A whole verification: both directions, rounds that recheck only what differed, a report."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from redismove.dataplane.checkpoint import Checkpoint
from redismove.dataplane.connect import Node, Server
from redismove.dataplane.errors import LoginDue
from redismove.dataplane.pump import (
    MODE_COMPARE,
    MODE_EXISTS,
    WHY_BIG,
    Pump,
    Rare,
    SeenKeys,
    Windows,
    library,
    lines_to,
    mean_value_bytes,
    round_trip_s,
)
from redismove.dataplane.typed import has_field_expiries
from redismove.dataplane.verify.compare import (
    BIG_VALUE_BYTES,
    SCAN_COUNT,
    TOLERANCE_MS,
    Depth,
    Difference,
    Pair,
    compare_batch,
    databases_of,
    only_in_target,
)
from redismove.dataplane.verify.report import FIRST_DIFFERENCES, KINDS, Progress, VerifyReport, sign

RECHECK_LIMIT = 1_000_000
"""More differing keys than this are not read again: the answer is clear, and memory has an end."""
SECOND_LOOK_S = 0.1
"""A key may expire, or a change may be on its way, between the two reads of one look."""
_CHECKPOINT_S = 2.0
_MODULUS = 1 << 128


def verify(
    source: Server,
    target: Server,
    *,
    depth: Depth = "full",
    rounds: int = 3,
    tolerance_ms: int = TOLERANCE_MS,
    on_progress: Callable[[Progress], None] | None = None,
    deadline_s: float | None = None,
    known_ignored: Callable[[int, bytes], bool] | None = None,
    checkpoint: Path | None = None,
    big_value_bytes: int = BIG_VALUE_BYTES,
) -> VerifyReport:
    """
    Compare two servers completely, in both directions, and change neither.

    Every difference is read at least twice: what a write or an expiry in between made is not one. Round 1 compares
    all keys, later rounds only what differed, so that it converges under live traffic.

    Args:
        source: an open server, single or a cluster; only read.
        target: the other one, single or a cluster of any size; only read.
        depth: `keys` (there or not), `values` (type, length, expiry), `full` (each value by content).
        rounds: at most so many; at least 2 when something differs.
        tolerance_ms: how far absolute expiries may be apart.
        on_progress: called now and then.
        deadline_s: give up after so many seconds; the report then says that it is not complete.
        known_ignored: (database, key) that is allowed to differ (a marker key of our own).
        checkpoint: a file to go on from when this is stopped; removed at the end.
        big_value_bytes: values above this are compared in windows.

    Raises:
        DataPlaneError: a server was lost or does not allow what is needed; with a checkpoint the next call goes on.
    """
    run = _Run(source, target, depth, tolerance_ms, on_progress, deadline_s, known_ignored, checkpoint, big_value_bytes)
    return run.all_rounds(max(2, rounds))


class _OutOfTime(Exception):
    pass


class _Run:
    def __init__(
        self,
        source: Server,
        target: Server,
        depth: Depth,
        tolerance_ms: int,
        on_progress: Callable[[Progress], None] | None,
        deadline_s: float | None,
        known_ignored: Callable[[int, bytes], bool] | None,
        checkpoint: Path | None,
        big_value_bytes: int,
    ) -> None:
        self.source, self.target, self.depth = source, target, depth
        self.on_progress, self.known_ignored = on_progress, known_ignored
        self.started = time.monotonic()
        self.deadline = None if deadline_s is None else self.started + deadline_s
        self.pair = Pair.of(source, target, tolerance_ms=tolerance_ms, big_value_bytes=big_value_bytes)
        self.round = 1
        self.rechecked = 0
        self.found: dict[tuple[int, bytes], Difference] = {}
        self.overflow: dict[int, dict[str, int]] = {}
        self.compared: dict[int, int] = {}
        self.sums: dict[int, int] = {}
        self.scanned = 0
        self.ignored = 0
        self.notes: list[str] = []
        self.expected = sum(source.databases().values()) + sum(target.databases().values())
        identity = {"what": "verify", "depth": depth, "source": source.address.url, "target": target.address.url}
        self.checkpoint = Checkpoint(checkpoint, identity)
        self._restore()
        self._seen: SeenKeys | None = None
        self._mean_bytes = mean_value_bytes(source)
        self._live = (0, 0, 0)  # database, equal keys and sum of the pass that is running
        self._round_trips = (round_trip_s(source), round_trip_s(target)) if library() is not None else None
        self._saved = self._told = time.monotonic()

    # -- going on from a checkpoint -----------------------------------------------------------------------------

    def _restore(self) -> None:
        data = self.checkpoint.data
        self.cursors: dict[str, Any] = data.get("cursors", {})
        known = {self._run_id(server, node) for server in (self.source, self.target) for node in server.nodes}
        if any(row["run_id"] not in known for row in self.cursors.values()):
            # Cursors of a restarted server mean nothing any more, and counts without them would count twice.
            self.notes.append("a server was restarted since the checkpoint: compared again from the start")
            self.cursors = {}
            return
        self.compared = {int(key): value for key, value in data.get("compared", {}).items()}
        self.sums = {int(key): int(value) for key, value in data.get("sums", {}).items()}
        self.scanned = data.get("scanned", 0)
        for database, key, kind, reason in data.get("found", []):
            self._note(Difference(database, b64decode(key), kind, reason))

    def _run_id(self, server: Server, node: Node) -> str:
        return server.run_id(node)

    def _save(self, *, now: bool = False) -> None:
        if self.checkpoint.path is None or not (now or time.monotonic() - self._saved > _CHECKPOINT_S):
            return
        database, equal, total = self._live
        compared, sums = dict(self.compared), dict(self.sums)
        if equal:
            compared[database] = compared.get(database, 0) + equal
            sums[database] = (sums.get(database, 0) + total) % _MODULUS
        self.checkpoint.data = {
            "cursors": self.cursors,
            "compared": compared,
            "sums": {key: str(value) for key, value in sums.items()},
            "scanned": self.scanned,
            "found": [
                (item.database, b64encode(item.key).decode(), item.kind, item.reason) for item in self.found.values()
            ],
        }
        self.checkpoint.save()
        self._saved = time.monotonic()

    # -- rounds -------------------------------------------------------------------------------------------------

    def all_rounds(self, rounds: int) -> VerifyReport:
        complete = True
        try:
            self._first_round()
            while self.found and self.round < rounds and not self.overflow:
                self.round += 1
                time.sleep(SECOND_LOOK_S)
                self._recheck()
        except _OutOfTime:
            complete = False
            self._save(now=True)
            self.notes.append(
                f"the time limit ended it in round {self.round}, after {self.scanned} keys of about {self.expected}"
            )
        except BaseException:
            self._save(now=True)
            raise
        if complete:
            self.checkpoint.remove()
        return self._report(complete)

    def _first_round(self) -> None:
        for database in databases_of(self.source, self.target):
            self._seen = self._new_seen(database)
            try:
                for side, server in (("source", self.source), ("target", self.target)):
                    for node in server.nodes:
                        if server.has_database(database):
                            self._scan(side, server, node, database)
            finally:
                self._forget_seen()

    def _new_seen(self, database: int) -> SeenKeys | None:
        """Remember which keys were compared, so that the target's keys need not be asked for on the source."""
        keys = self.source.databases().get(database, 0)
        begun = any(name.startswith("source ") and name.endswith(f" {database}") for name in self.cursors)
        if not self._round_trips or begun or self.depth != "full" or keys > SeenKeys.MOST_KEYS:
            return None
        return SeenKeys(keys)

    def _forget_seen(self) -> None:
        if self._seen is not None:
            self._seen.close()
            self._seen = None

    def _scan(self, side: str, server: Server, node: Node, database: int) -> None:
        name = f"{side} {node} {database}"
        row = self.cursors.setdefault(name, {"cursor": "0", "done": False, "run_id": self._run_id(server, node)})
        if row["done"]:
            return
        self._tell()
        other = self.target if side == "source" else self.source
        if self._round_trips and other.has_database(database) and (side == "target" or self.depth == "full"):
            while not row["done"]:
                try:
                    self._scan_natively(side, server, node, database, row)
                except LoginDue:
                    self._forget_seen()  # of the keys after the cursor some are in it already
            return
        connection = server.connection(node, database)
        while True:
            connection.select(database)
            cursor, keys = connection.call("SCAN", row["cursor"], "COUNT", SCAN_COUNT)
            if keys:
                self._look(side, database, keys)
            row["cursor"] = cursor.decode()
            row["done"] = cursor == b"0"
            self._save(now=row["done"])
            if row["done"]:
                return

    def _scan_natively(self, side: str, server: Server, node: Node, database: int, row: dict[str, Any]) -> None:
        """The same by the compiled loop; what it does not find equal is looked at here."""
        assert self._round_trips is not None
        compares = side == "source"
        other = self.target if compares else self.source
        lines, table = lines_to(other, database)
        pump: Pump | None = None
        try:
            others = list(lines)
            lines += [server.new_connection(node, database) for _ in range(2 if compares else 1)]
            pump = Pump(
                MODE_COMPARE if compares else MODE_EXISTS,
                lines[len(others)],
                lines[-1] if compares else None,
                others,
                absolute=(server.absolute_expiry, other.absolute_expiry),
                line_of_slot=table,
                cursor=row["cursor"],
                windows=Windows.for_comparing(
                    max(self._round_trips), self._round_trips[0 if compares else 1], big_bytes=self.pair.big_value_bytes
                ),
            )
            pump.settings(
                skew_ms=self.pair.skew_ms,
                database=database,
                tolerance_ms=self.pair.tolerance_ms,
                hash_by_dump=has_field_expiries(server) or has_field_expiries(other),
                mget=(not server.clustered, not other.clustered),
                mean_bytes=self._mean_bytes,
            )
            if self._seen is not None and (compares or self._seen.whole):
                pump.use_seen(self._seen)
            self._drive(pump, side, database, row)
        finally:
            if pump is not None:
                self._live = (0, 0, 0)
                if compares:
                    self.compared[database] = self.compared.get(database, 0) + pump.stats.settled_equal
                    self.sums[database] = (self.sums.get(database, 0) + _sum_of(pump)) % _MODULUS
                self.scanned += pump.stats.scanned
                row["cursor"], row["done"] = pump.safe_cursor, bool(pump.stats.finished)
                pump.close()
            for connection in lines:
                connection.close()
        self._save(now=True)

    def _drive(self, pump: Pump, side: str, database: int, row: dict[str, Any]) -> None:
        def on_rare(rares: list[Rare]) -> None:
            if side == "target":
                for difference in only_in_target(self.pair, database, [item.key for item in rares]):
                    self._note(difference)
                for item in rares:
                    pump.rare_done(item)
                return
            big = [item.key for item in rares if item.why == WHY_BIG]
            keys = [item.key for item in rares]
            outcome = compare_batch(self.pair, database, keys, self.depth, digests=True, big=big)
            for difference in outcome.differences:
                self._note(difference)
            equal = {key: blake2b(framed, digest_size=16).digest() for key, framed in outcome.digests}
            for item in rares:
                pump.rare_done(item, equal.get(item.key))

        def on_tick() -> float:
            if side == "source":
                self._live = (database, pump.stats.settled_equal, _sum_of(pump))
            row["cursor"] = pump.safe_cursor
            self._save()
            self._tell(pump.stats.scanned, pump.stats.equal)
            return 0.05

        pump.drive(on_rare, on_tick)

    def _look(self, side: str, database: int, keys: Sequence[bytes]) -> None:
        if side == "source":
            outcome = compare_batch(self.pair, database, keys, self.depth, digests=True)
            self._add(database, outcome.digests)
            found = outcome.differences
        else:
            found = only_in_target(self.pair, database, keys)
        self.scanned += len(keys)
        for difference in found:
            self._note(difference)
        self._tell()

    def _add(self, database: int, digests: Iterable[tuple[bytes, bytes]]) -> None:
        total = self.sums.get(database, 0)
        count = 0
        for _, framed in digests:
            total += int.from_bytes(blake2b(framed, digest_size=16).digest(), "little")
            count += 1
        self.sums[database] = total % _MODULUS
        self.compared[database] = self.compared.get(database, 0) + count

    def _recheck(self) -> None:
        before = self.found
        self.found = {}
        self.rechecked = 0
        by_database: dict[int, list[bytes]] = {}
        for database, key in before:
            by_database.setdefault(database, []).append(key)
        for database, keys in by_database.items():
            for start in range(0, len(keys), SCAN_COUNT):
                batch = keys[start : start + SCAN_COUNT]
                try:
                    outcome = compare_batch(self.pair, database, batch, self.depth, digests=True)
                except BaseException:
                    self.found = {**before, **self.found}
                    raise
                self._add(database, outcome.digests)
                self.rechecked += len(batch)
                for difference in outcome.differences:
                    self._note(difference)
                try:
                    self._tell()
                except _OutOfTime:
                    self.found = before
                    raise

    def _note(self, difference: Difference) -> None:
        if self.known_ignored is not None and self.known_ignored(difference.database, difference.key):
            self.ignored += 1
            return
        if len(self.found) >= RECHECK_LIMIT and (difference.database, difference.key) not in self.found:
            row = self.overflow.setdefault(difference.database, dict.fromkeys(KINDS, 0))
            row[difference.kind] += 1
            return
        self.found[difference.database, difference.key] = difference

    def _tell(self, scanning: int = 0, equal: int = 0) -> None:
        now = time.monotonic()
        if self.deadline is not None and now > self.deadline:
            raise _OutOfTime
        if self.on_progress is not None and now - self._told > 0.2:
            self._told = now
            compared = sum(self.compared.values()) + equal if self.round == 1 else self.rechecked
            different = len(self.found) + sum(sum(row.values()) for row in self.overflow.values())
            self.on_progress(
                Progress(self.round, compared, self.scanned + scanning, self.expected, different, now - self.started)
            )

    # -- the answer ---------------------------------------------------------------------------------------------

    def _report(self, complete: bool) -> VerifyReport:
        databases: dict[int, dict[str, int]] = {}

        def row(database: int) -> dict[str, int]:
            return databases.setdefault(database, {"compared": 0, **dict.fromkeys(KINDS, 0)})

        for database, compared in self.compared.items():
            row(database)["compared"] += compared
        for difference in self.found.values():
            row(difference.database)[difference.kind] += 1
            row(difference.database)["compared"] += 1
        for database, counts in self.overflow.items():
            for kind, number in counts.items():
                row(database)[kind] += number
                row(database)["compared"] += number
        if self.overflow:
            self.notes.append(f"more than {RECHECK_LIMIT} keys differ; they were read once")
        total = {name: sum(counts[name] for counts in databases.values()) for name in ("compared", *KINDS)}
        different = sum(total[kind] for kind in KINDS)
        ordered = sorted(self.found.values(), key=lambda item: (item.database, item.key))
        return VerifyReport(
            equal=complete and not different,
            complete=complete,
            depth=self.depth,
            counts=total,
            databases=dict(sorted(databases.items())),
            first_differences=ordered[:FIRST_DIFFERENCES],
            rounds=self.round,
            duration_s=time.monotonic() - self.started,
            signature=sign(self.depth, databases, self.sums),
            source=_describe(self.source),
            target=_describe(self.target),
            tolerance_ms=self.pair.tolerance_ms,
            ignored=self.ignored,
            notes=self.notes,
        )


def _sum_of(pump: Pump) -> int:
    return int(pump.stats.sum_high) << 64 | int(pump.stats.sum_low)


def _describe(server: Server) -> str:
    version = ".".join(map(str, server.version))
    shards = f", {len(server.nodes)} shards" if server.clustered else ""
    return f"{server.address.url} ({server.flavour} {version}{shards})"
