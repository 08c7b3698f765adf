"""A whole verification: both directions, rounds that recheck only what differed, a report."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

from redismove.dataplane.checkpoint import Checkpoint
from redismove.dataplane.connect import Node, Server, wait_until_all_answer
from redismove.dataplane.errors import (
    AuthenticationFailed,
    CertificateRejected,
    ClusterMoved,
    ConnectionLost,
    ConnectionRefused,
    DataPlaneError,
    LoginDue,
    ServerNotReady,
    ServerTimeout,
)
from redismove.dataplane.pump import lines_to, mean_value_bytes, open_together, round_trip_s
from redismove.dataplane.typed import has_field_expiries
from redismove.dataplane.verify.compare import (
    BIG_VALUE_BYTES,
    SCAN_COUNT,
    TOLERANCE_MS,
    Depth,
    Difference,
    Outcome,
    Pair,
    compare_batch,
    databases_of,
    only_in_target,
)
from redismove.dataplane.verify.native import (
    MODE_COMPARE,
    MODE_EXISTS,
    READS,
    SCANS,
    SCANS_OTHER,
    WHY_BIG,
    Loop,
    Rare,
    SeenKeys,
    Windows,
    library,
)
from redismove.dataplane.verify.report import FIRST_DIFFERENCES, KINDS, Progress, VerifyReport, sign

RECHECK_LIMIT = 1_000_000
"""More differing keys than this are not read again: the answer is clear, and memory has an end."""
SECOND_LOOK_S = 0.1
"""A key may expire, or a change may be on its way, between the two reads of one look."""
_CHECKPOINT_S = 2.0
_RECOVER_WITHIN_S = 60.0
_MOST_STARTS = 5
"""So often a comparison begins again because a cluster's nodes changed meanwhile."""
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
        self._who = self._serving()
        self._whole = True
        self._unsettled: dict[tuple[int, bytes], int] = {}
        self._settled = 0
        self._restore()
        self._seen: SeenKeys | None = None
        self._mean_bytes = mean_value_bytes(source)
        self._again = 0
        self._ridden: list[tuple[Node, int]] = []
        self._live = (0, 0, 0)  # database, equal keys and sum of the pass that is running
        self._round_trips = (round_trip_s(source), round_trip_s(target)) if library() is not None else None
        self._saved = self._told = time.monotonic()

    # -- going on from a checkpoint -----------------------------------------------------------------------------

    def _restore(self) -> None:
        data = self.checkpoint.data
        self.cursors: dict[str, Any] = {}
        if data and data.get("who") != self._who:
            # Cursors of another process mean nothing, and what was compared may not be what is there now.
            self.notes.append(
                "a server was restarted since the checkpoint, or others serve its slots: compared again from the start"
            )
            return
        self.cursors = data.get("cursors", {})
        self.compared = {int(key): value for key, value in data.get("compared", {}).items()}
        self.sums = {int(key): int(value) for key, value in data.get("sums", {}).items()}
        self.overflow = {int(key): value for key, value in data.get("overflow", {}).items()}
        self.scanned = data.get("scanned", 0)
        self.ignored = data.get("ignored", 0)
        for database, key, kind, reason in data.get("found", []):
            self.found[database, b64decode(key)] = Difference(database, b64decode(key), kind, reason)

    def _serving(self) -> list[list[Any]]:
        """Which process serves which slots, on either side."""
        return [
            [side, str(node), server.run_id(node), [list(slots) for slots in node.slots]]
            for side, server in (("source", self.source), ("target", self.target))
            for node in server.nodes
        ]

    def _forget_all(self) -> None:
        """Begin anew: nothing that was compared counts any more."""
        self.cursors, self.compared, self.sums, self.overflow, self.found = {}, {}, {}, {}, {}
        self.scanned = self.ignored = self.rechecked = 0
        self.round = 1
        self._ridden = []

    def _drop_unsettled(self) -> None:
        """Forget differences beyond the cursor: their keys are scanned again."""
        for place, batch in self._unsettled.items():
            if batch >= self._settled:
                self.found.pop(place, None)
        self._unsettled = {}

    def _save(self, *, now: bool = False) -> None:
        if (
            not self._whole
            or self.checkpoint.path is None
            or not (now or time.monotonic() - self._saved > _CHECKPOINT_S)
        ):
            return
        database, equal, total = self._live
        compared, sums = dict(self.compared), dict(self.sums)
        if equal:
            compared[database] = compared.get(database, 0) + equal
            sums[database] = (sums.get(database, 0) + total) % _MODULUS
        self.checkpoint.data = {
            "who": self._who,
            "cursors": self.cursors,
            "compared": compared,
            "sums": {key: str(value) for key, value in sums.items()},
            "overflow": self.overflow,
            "scanned": self.scanned,
            "ignored": self.ignored,
            "found": [
                (item.database, b64encode(item.key).decode(), item.kind, item.reason)
                for place, item in self.found.items()
                if self._unsettled.get(place, -1) < self._settled
            ],
        }
        self.checkpoint.save()
        self._saved = time.monotonic()

    @contextmanager
    def _one_step(self) -> Iterator[None]:
        """What counts changes together: stopped inside of it, the checkpoint stays as it was."""
        self._whole = False
        yield
        self._whole = True

    # -- rounds -------------------------------------------------------------------------------------------------

    def all_rounds(self, rounds: int) -> VerifyReport:
        complete = True
        try:
            self._settle(rounds)
        except _OutOfTime:
            complete = False
            self._save(now=True)
            self.notes.append(
                f"the time limit ended it in round {self.round}, after {self.scanned} keys of about {self.expected}"
            )
        except DataPlaneError as error:
            self._save(now=True)
            raise type(error)(f"{str(error).rstrip('.')} ({self._so_far()}).") from None
        except BaseException:
            self._save(now=True)
            raise
        if complete:
            self.checkpoint.remove()
        return self._report(complete)

    def _so_far(self) -> str:
        how = (
            f"the same call goes on from {self.checkpoint.path}"
            if self.checkpoint.path
            else "with a checkpoint file the next call could go on from there"
        )
        return (
            f"verification got to {self.scanned:,} of about {self.expected:,} keys in round {self.round}, with "
            f"{self._different:,} that differ, and says nothing about the rest; {how}"
        )

    @property
    def _different(self) -> int:
        return len(self.found) + sum(sum(row.values()) for row in self.overflow.values())

    def _settle(self, rounds: int) -> None:
        """All rounds; once more where a cluster's nodes change meanwhile."""
        deadline: float | None = None
        while True:
            try:
                self._first_round()
                while self.found and self.round < rounds and not self.overflow:
                    self.round += 1
                    time.sleep(SECOND_LOOK_S)
                    self._recheck()
                if not self._others_serve():
                    return
            except (ConnectionLost, ServerTimeout, ConnectionRefused, ServerNotReady) as error:
                if not (self.source.clustered or self.target.clustered):
                    raise
                deadline = deadline or time.monotonic() + _RECOVER_WITHIN_S
                if time.monotonic() > deadline:
                    raise
                self._recover(error, deadline)
            self._drop_unsettled()
            if self._others_serve():
                self._who = self._serving()
                self._forget_all()
                self._again += 1
                if self._again > _MOST_STARTS:
                    raise ClusterMoved(
                        f"The nodes of {self.source.address.url} or {self.target.address.url} changed {self._again} "
                        "times during the verification; wait until the clusters are at rest and run again."
                    )
                self.notes.append("a failover or moving slots changed who serves what: compared again from the start")

    def _others_serve(self) -> bool:
        """In a cluster others serve now what was compared: a failover may have lost writes, moving slots hide keys."""
        if not (self.source.clustered or self.target.clustered):
            return False
        self.source.refresh_nodes()
        self.target.refresh_nodes()
        return self._serving() != self._who

    def _recover(self, error: DataPlaneError, deadline: float) -> None:
        """Wait until both sides answer again."""
        try:
            wait_until_all_answer((self.source, self.target), deadline)
        except (AuthenticationFailed, CertificateRejected):
            raise
        except DataPlaneError:
            raise error from None

    def _first_round(self) -> None:
        for database in databases_of(self.source, self.target):
            self._seen = self._new_seen(database)
            try:
                for side, server in (("source", self.source), ("target", self.target)):
                    for node in server.nodes if server.has_database(database) else ():
                        self._scan(side, server, node, database)
                    self._take_ridden(database)
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
        self._ridden = []
        if self._seen is not None:
            self._seen.close()
            self._seen = None

    def _scan(self, side: str, server: Server, node: Node, database: int) -> None:
        name = f"{side} {node} {database}"
        row = self.cursors.setdefault(name, {"cursor": "0", "done": False})
        if row["done"]:
            return
        self._tell()
        other = self.target if side == "source" else self.source
        if self._round_trips and other.has_database(database) and (side == "target" or self.depth == "full"):
            while not row["done"]:
                try:
                    self._scan_natively(side, server, node, database, row)
                except LoginDue:
                    self._drop_unsettled()
                    self._forget_seen()  # of the keys after the cursor some are in it already
            return
        connection = server.connection(node, database)
        while True:
            connection.select(database)
            cursor, keys = connection.call("SCAN", row["cursor"], "COUNT", SCAN_COUNT)
            outcome = self._look(side, database, keys)
            with self._one_step():
                self._take(database, outcome)
                self.scanned += len(keys)
                row["cursor"], row["done"] = cursor.decode(), cursor == b"0"
            self._save(now=row["done"])
            self._tell()
            if row["done"]:
                return

    def _scan_natively(self, side: str, server: Server, node: Node, database: int, row: dict[str, Any]) -> None:
        """The same by the compiled loop; what it does not find equal is looked at here."""
        assert self._round_trips is not None
        compares = side == "source"
        other = self.target if compares else self.source
        rider = self._rider(database) if compares else None
        connections, table = lines_to(other, database)
        loop: Loop | None = None
        try:
            lines = list(enumerate(connections))
            connections += open_together(server, [node] * (2 if compares else 1), database)
            lines.append((SCANS, connections[len(lines)]))
            if compares:
                lines.append((READS, connections[-1]))
            if rider is not None:
                connections.append(other.new_connection(rider, database))
                lines.append((SCANS_OTHER, connections[-1]))
            loop = Loop(
                MODE_COMPARE if compares else MODE_EXISTS,
                lines,
                absolute=(server.absolute_expiry, other.absolute_expiry),
                line_of_slot=table,
                cursor=row["cursor"],
                windows=Windows.of(
                    max(self._round_trips), self._round_trips[0 if compares else 1], big_bytes=self.pair.big_value_bytes
                ),
            )
            loop.settings(
                skew_ms=self.pair.skew_ms,
                database=database,
                tolerance_ms=self.pair.tolerance_ms,
                hash_by_dump=has_field_expiries(server) or has_field_expiries(other),
                mget=(not server.clustered, not other.clustered),
                mean_bytes=self._mean_bytes,
            )
            if self._seen is not None and (compares or self._seen.whole):
                loop.use_seen(self._seen)
            self._drive(loop, side, database, row)
            if rider is not None:
                self._ridden.append((rider, loop.stats.other_scanned))
        finally:
            if loop is not None:
                with self._one_step():
                    self._live = (0, 0, 0)
                    if compares:
                        self.compared[database] = self.compared.get(database, 0) + loop.stats.settled_equal
                        self.sums[database] = (self.sums.get(database, 0) + _sum_of(loop)) % _MODULUS
                    self.scanned += loop.stats.scanned
                    self._settled = loop.stats.settled
                    row["cursor"], row["done"] = loop.safe_cursor, bool(loop.stats.finished)
                loop.close()
            for connection in connections:
                connection.close()
        self._save(now=True)

    def _rider(self, database: int) -> Node | None:
        """A node of the target whose scan can go along with a scan of the source."""
        if self._seen is None or self.target.databases().get(database, 0) > self._seen.expected:
            return None
        ridden = {node for node, _ in self._ridden}
        return next((node for node in self.target.nodes if node not in ridden), None)

    def _take_ridden(self, database: int) -> None:
        """The target's keys were all met on the source: its nodes that were scanned meanwhile need no other scan."""
        if self._seen is not None and self._seen.covers:
            for node, scanned in self._ridden:
                self.cursors[f"target {node} {database}"] = {"cursor": "0", "done": True}
                self.scanned += scanned
        self._ridden = []

    def _drive(self, loop: Loop, side: str, database: int, row: dict[str, Any]) -> None:
        self._unsettled, self._settled = {}, 0

        def note(differences: Iterable[Difference], rares: list[Rare]) -> None:
            batches = {item.key: item.batch for item in rares}
            for difference in differences:
                self._unsettled[database, difference.key] = batches[difference.key]
                self._note(difference)

        def on_rare(rares: list[Rare]) -> None:
            if side == "target":
                note(only_in_target(self.pair, database, [item.key for item in rares]), rares)
                for item in rares:
                    loop.rare_done(item)
                return
            big = [item.key for item in rares if item.why == WHY_BIG]
            keys = [item.key for item in rares]
            outcome = compare_batch(self.pair, database, keys, self.depth, digests=True, big=big)
            note(outcome.differences, rares)
            equal = {key: blake2b(framed, digest_size=16).digest() for key, framed in outcome.digests}
            for item in rares:
                loop.rare_done(item, equal.get(item.key))

        def on_tick() -> float:
            with self._one_step():
                if side == "source":
                    self._live = (database, loop.stats.settled_equal, _sum_of(loop))
                row["cursor"], self._settled = loop.safe_cursor, loop.stats.settled
            self._save()
            self._tell(loop.stats.scanned, loop.stats.equal)
            return 0.05

        loop.drive(on_rare, on_tick)

    def _look(self, side: str, database: int, keys: Sequence[bytes]) -> Outcome:
        if side == "source":
            return compare_batch(self.pair, database, keys, self.depth, digests=True)
        return Outcome(only_in_target(self.pair, database, keys) if keys else [], [])

    def _take(self, database: int, outcome: Outcome) -> None:
        self._add(database, outcome.digests)
        for difference in outcome.differences:
            self._note(difference)

    def _add(self, database: int, digests: Iterable[tuple[bytes, bytes]]) -> None:
        total = self.sums.get(database, 0)
        count = 0
        for _, framed in digests:
            total += int.from_bytes(blake2b(framed, digest_size=16).digest(), "little")
            count += 1
        self.sums[database] = total % _MODULUS
        self.compared[database] = self.compared.get(database, 0) + count

    def _recheck(self) -> None:
        by_database: dict[int, list[bytes]] = {}
        for database, key in self.found:
            by_database.setdefault(database, []).append(key)
        self.rechecked = 0
        for database, keys in by_database.items():
            for start in range(0, len(keys), SCAN_COUNT):
                batch = keys[start : start + SCAN_COUNT]
                outcome = compare_batch(self.pair, database, batch, self.depth, digests=True)
                with self._one_step():
                    for key in batch:
                        del self.found[database, key]
                    self._take(database, outcome)
                self.rechecked += len(batch)
                self._save()
                self._tell()

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
            scanned = self.scanned + scanning
            self.on_progress(
                Progress(self.round, compared, scanned, self.expected, self._different, now - self.started)
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
            signature=sign(self.depth, databases, self.sums) if complete else "",
            source=_describe(self.source),
            target=_describe(self.target),
            tolerance_ms=self.pair.tolerance_ms,
            ignored=self.ignored,
            notes=self.notes,
        )


def _sum_of(loop: Loop) -> int:
    return int(loop.stats.sum_high) << 64 | int(loop.stats.sum_low)


def _describe(server: Server) -> str:
    version = ".".join(map(str, server.version))
    shards = f", {len(server.nodes)} shards" if server.clustered else ""
    return f"{server.address.url} ({server.flavour} {version}{shards})"
