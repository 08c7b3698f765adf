"""
Copy every key of one Redis to another: as fast as the servers let it be, exact, and able to go on after a stop.

One pass reads each key once. What is written meanwhile is carried by following the source (the cut-over does) or by
another pass; `verify` says whether anything is left. The source is only read; the target gets every key of the source
exactly (RESTORE REPLACE ABSTTL) and keeps what it had besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from redismove.dataplane.carry import BIG_VALUE_BYTES, Carrier, CarryReport, refused_by_version
from redismove.dataplane.checkpoint import Checkpoint, Keeper
from redismove.dataplane.connect import Connection, Node, Server, wait_until_all_answer
from redismove.dataplane.errors import (
    CannotCarry,
    ConnectionLost,
    ConnectionRefused,
    DataPlaneError,
    LoginDue,
    ProtocolViolation,
    ReplyError,
    ServerNotReady,
    ServerTimeout,
)
from redismove.dataplane.pump import (
    WHY_BIG,
    WHY_DIVERTED,
    WHY_ERROR,
    WHY_EXPIRY,
    Pump,
    Rare,
    Windows,
    library,
    lines_to,
    mean_value_bytes,
    open_together,
    round_trip_s,
)
from redismove.dataplane.throttle import (
    GUARD_EVERY_S,
    OTHERS_PER_S,
    Limits,
    SourceGuard,
    Throttle,
    judge,
    others_are_there,
)

Engine = Literal["auto", "native", "python"]
_CHECKPOINT_EVERY_S = 1.0
_PROGRESS_EVERY_S = 0.2
_LOOK_EVERY_S = 0.05
_THROTTLED_TICK_S = 0.001
_RECOVER_WITHIN_S = 60.0
"""A cluster that fails over gets this long to come back."""
_LONG_LINE_S = 0.02
_LONG_LINE_CONNECTIONS = 4
"""One TCP connection cannot fill a long fat line: its window is smaller than rate times round trip."""
_SCAN_ALONE_S = 0.03
_SCAN_BESIDE_OTHERS_S = 0.003
"""A SCAN of many keys keeps the source from its other users; over a long line it has to give many."""


@dataclass(frozen=True)
class CopyProgress:
    """
    Where a copy is.

    Attributes:
        scanned, copied: keys read from SCAN, and written to the target.
        expected: keys of the source when it began (an estimate).
        payload_bytes: bytes of values read.
        keys_per_s, mb_per_s: over the last seconds.
        remaining_s: by the last seconds' rate; None before there is one.
        shares: done, 0 to 1.
        slowed_by: why it goes slower than it could, None when it does not.
        elapsed_s: of this run.
    """

    scanned: int
    copied: int
    expected: int
    payload_bytes: int
    keys_per_s: float
    mb_per_s: float
    remaining_s: float | None
    share: float
    slowed_by: str | None
    elapsed_s: float


@dataclass
class CopyReport:
    """
    What a copy did.

    Attributes:
        scanned: keys that SCAN gave (a key may come twice while the source's table is resized).
        copied: written to the target; by_type, in_parts: of these, not by RESTORE in one piece.
        gone: were deleted or expired before they were read.
        unsettled: keys in parts that kept changing: (database, key); carry them again.
        payload_bytes: of values read.
        duration_s, moving_s: all of it, and without what comes before the first key (logins, clocks, topology).
        resumed: it went on from a checkpoint; the numbers are of this run alone.
        engine: `native` or `python`.
    """

    scanned: int = 0
    copied: int = 0
    by_type: int = 0
    in_parts: int = 0
    gone: int = 0
    payload_bytes: int = 0
    duration_s: float = 0.0
    moving_s: float = 0.0
    databases: dict[int, int] = field(default_factory=dict)
    unsettled: list[tuple[int, bytes]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    resumed: bool = False
    engine: str = "python"

    @property
    def keys_per_s(self) -> float:
        """Copied keys by time."""
        return self.copied / self.duration_s if self.duration_s else 0.0

    def merge(self, other: CopyReport) -> None:
        """Add what another shard's task did."""
        for name in ("scanned", "copied", "by_type", "in_parts", "gone", "payload_bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for database, keys in other.databases.items():
            self.databases[database] = self.databases.get(database, 0) + keys
        self.unsettled += other.unsettled
        self.notices += [notice for notice in other.notices if notice not in self.notices]
        self.resumed = self.resumed or other.resumed
        self.engine = other.engine

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "scanned": self.scanned,
            "copied": self.copied,
            "by_type": self.by_type,
            "in_parts": self.in_parts,
            "gone": self.gone,
            "payload_bytes": self.payload_bytes,
            "duration_s": round(self.duration_s, 3),
            "keys_per_s": round(self.keys_per_s),
            "mb_per_s": round(self.payload_bytes / self.duration_s / 1e6, 1) if self.duration_s else 0.0,
            "databases": {str(database): keys for database, keys in sorted(self.databases.items())},
            "unsettled": len(self.unsettled),
            "resumed": self.resumed,
            "engine": self.engine,
            "notices": self.notices,
        }


class CopyStopped(DataPlaneError):
    """A copy that could not go on; `cause` has the reason, the sentence also how far it got and how to go on."""

    def __init__(self, message: str, cause: DataPlaneError) -> None:
        super().__init__(message)
        self.cause = cause

    def __reduce__(self) -> tuple[type[CopyStopped], tuple[str, DataPlaneError]]:
        return type(self), (str(self), self.cause)  # it travels from workers


def copy(
    source: Server,
    target: Server,
    *,
    limits: Limits | None = None,
    checkpoint: Path | Keeper | None = None,
    engine: Engine = "auto",
    nodes: Sequence[str] | None = None,
    on_progress: Callable[[CopyProgress], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
    big_value_bytes: int = BIG_VALUE_BYTES,
) -> CopyReport:
    """
    Copy every key, in every database, from every primary.

    Args:
        source: an open server; only read.
        target: where to; its other keys stay.
        limits: how fast it may go, and how the source must feel; changeable while it runs.
        checkpoint: a file (or who keeps it) to go on from when this is stopped or killed; removed at the end.
        engine: `native` (compiled on first use), `python`, or `auto`: native where it can be had.
        nodes: only these primaries of the source ("host:port", or slots as "0-5460"); None for all.
        on_progress: called several times a second.
        on_notice: called with one sentence when something is done in another way, or slower, and why.
        big_value_bytes: longer values are carried in parts.

    Raises:
        CopyStopped: with how far it got and how to go on.
    """
    run = _Run(source, target, limits or Limits(), checkpoint, engine, on_progress, on_notice, big_value_bytes)
    try:
        return run.all_parts(nodes)
    except DataPlaneError as error:
        run.save(now=True)
        where = f" with the checkpoint {checkpoint}" if checkpoint else ""
        again = "goes on from there" if checkpoint else "begins anew (give a checkpoint file to go on instead)"
        raise CopyStopped(
            f"{error} {run.report.copied:,} of about {run.expected:,} keys were copied; "
            f"the same command{where} {again}.",
            error,
        ) from None
    except BaseException:
        run.save(now=True)
        raise
    finally:
        run.close()


class _Run:
    def __init__(
        self,
        source: Server,
        target: Server,
        limits: Limits,
        checkpoint: Path | Keeper | None,
        engine: Engine,
        on_progress: Callable[[CopyProgress], None] | None,
        on_notice: Callable[[str], None] | None,
        big_value_bytes: int,
    ) -> None:
        self.source, self.target, self.limits = source, target, limits
        self.on_progress, self.on_notice = on_progress, on_notice
        self.big_value_bytes = big_value_bytes
        self.report = CopyReport()
        self.started = time.monotonic()
        self.expected = sum(source.databases().values())
        identity = {"what": "copy", "source": source.address.url, "target": target.address.url}
        self.checkpoint = Checkpoint(checkpoint, identity)
        self.report.resumed = self.checkpoint.resumed
        self.parts: dict[str, Any] = self.checkpoint.data.setdefault("parts", {})
        self.native = engine != "python" and library() is not None
        if engine == "native" and not self.native:
            raise CannotCarry(
                "The compiled engine cannot be had here (no C compiler, or it is switched off); use python."
            )
        self.report.engine = "native" if self.native else "python"
        self.carrier = Carrier(source, target, big_value_bytes=big_value_bytes)
        self.throttle = Throttle(limits)
        self.guard: SourceGuard | None = None
        self._guarded_at = self._saved_at = self._told_at = self.started
        self._rates: list[tuple[float, int, int]] = [(self.started, 0, 0)]
        self._live = (0, 0, 0)  # scanned, copied, bytes of the pass that is running
        self.mean_bytes = mean_value_bytes(source)
        self.others_are_there = False
        self.values_are_big = self.mean_bytes > 65_536
        self.carrier.expect(self.mean_bytes)

    def close(self) -> None:
        if self.guard is not None:
            self.guard.close()
            self.guard = None

    def notice(self, sentence: str) -> None:
        if sentence not in self.report.notices:
            self.report.notices.append(sentence)
        if self.on_notice is not None:
            self.on_notice(sentence)

    # -- parts: one primary, one database -----------------------------------------------------------------------

    def all_parts(self, nodes: Sequence[str] | None) -> CopyReport:
        self._check_databases()
        data = self.checkpoint.data
        if data.setdefault("shape", self._shape()) != self._shape():
            self._begin_again()
        while True:
            databases = sorted(self.source.databases())
            for node, database in [(node, database) for node in self._chosen(nodes) for database in databases]:
                self._one_part(node, database)
            if data["shape"] == self._shape():
                break
            self._begin_again()
        self.report.duration_s = time.monotonic() - self.started
        for database, key in list(self.report.unsettled):
            again = self.carrier.carry(database, [key], probe=True)
            if not again.unsettled:
                self.report.unsettled.remove((database, key))
        self.report.duration_s = time.monotonic() - self.started
        self._tell(force=True)
        self.checkpoint.remove()
        return self.report

    def _chosen(self, nodes: Sequence[str] | None) -> list[Node]:
        if nodes is None:
            return list(self.source.nodes)
        chosen = [node for node in self.source.nodes if str(node) in nodes or slots_of(node) in nodes]
        if len(chosen) < len(nodes):
            raise CannotCarry(
                f"No one primary of {self.source.address.host}:{self.source.address.port} is or serves "
                f"{', '.join(nodes)} now: slots were moved; begin again with its primaries of now."
            )
        return chosen

    def _shape(self) -> dict[str, list[str]]:
        """
        What must not change from the first key to the last.

        A slot that moves between primaries of the source takes its keys from one that was not scanned yet to one that
        was. Another process of the target (a failover, a restart) may lack what its predecessor had acknowledged last.
        """
        try:
            self.source.refresh_nodes()
            self.target.refresh_nodes()
            target = sorted(self.target.run_id(node) for node in self.target.nodes)
        except (ConnectionLost, ServerTimeout, ConnectionRefused, ServerNotReady):
            if not (self.source.clustered or self.target.clustered):
                raise
            self.close()
            wait_until_all_answer((self.source, self.target), time.monotonic() + _RECOVER_WITHIN_S)
            target = sorted(self.target.run_id(node) for node in self.target.nodes)
        return {
            "source": [slots_of(node) if node.slots else "all" for node in self.source.nodes],
            "target": target,
        }

    def _begin_again(self) -> None:
        now, before = self._shape(), self.checkpoint.data["shape"]
        what = "slots of the source were moved"
        if now["target"] != before["target"]:
            what = "the target is served by another process than before, which may lack what was written last"
        self.notice(f"{what}: everything is scanned again")
        self.checkpoint.data["shape"] = now
        self.parts.clear()
        self.save(now=True)

    def _check_databases(self) -> None:
        for database, keys in self.source.databases().items():
            if keys and not self.target.has_database(database):
                raise CannotCarry(
                    f"The source has {keys:,} keys in database {database}, which {self.target.address.host}:"
                    f"{self.target.address.port} does not have; use a target with that database, or move them first."
                )

    def _one_part(self, node: Node, database: int) -> None:
        name = f"{slots_of(node)} db{database}"
        deadline: float | None = None
        before = self.report.scanned
        while True:
            try:
                node = self._current(node)
                run_id = self.source.run_id(node)
                row = self.parts.setdefault(name, {"cursor": "0", "done": False, "run_id": run_id})
                if row["done"]:
                    return
                if row["run_id"] != run_id:  # its cursors mean nothing to another process
                    row.update(cursor="0", run_id=run_id)
                    self.notice(f"{node} is another process than before: database {database} is scanned from the start")
                (self._native_part if self.native else self._python_part)(node, database, row)
                self.report.databases[database] = self.report.databases.get(database, 0) + self.report.scanned - before
                row["done"] = True
                self.save(now=True)
                return
            except LoginDue:
                continue  # new connections log in with the next token, and go on from the cursor
            except (ConnectionLost, ServerTimeout, ConnectionRefused, ServerNotReady) as error:
                if not (self.source.clustered or self.target.clustered):
                    raise
                now = time.monotonic()
                deadline = deadline or now + _RECOVER_WITHIN_S
                if now > deadline:
                    raise
                self.notice(f"{error} The cluster is asked again who serves what, and the copy goes on.")
                self.close()
                wait_until_all_answer((self.source, self.target), deadline)

    def _current(self, node: Node) -> Node:
        """The primary that serves this node's slots now (another one after a failover)."""
        if not node.slots or node in self.source.nodes:
            return node
        for other in self.source.nodes:
            if other.slots and other.slots[0] == node.slots[0]:
                return other
        raise ServerNotReady(f"Nobody serves the slots of {node} alone any more; begin again without the checkpoint.")

    # -- the Python path ----------------------------------------------------------------------------------------

    def _python_part(self, node: Node, database: int, row: dict[str, Any]) -> None:
        begun = time.monotonic()
        with self.source.new_connection(node, database) as scanner:
            while True:
                cursor, keys = scanner.call("SCAN", row["cursor"], "COUNT", 1000)
                for batch in self._paced(keys):
                    self.report.scanned += len(batch)
                    self._take(self.carrier.carry(database, batch, probe=True))
                    self._tick(node, 0)
                row["cursor"] = cursor.decode()
                self.save()
                self._tick(node, 0)
                if cursor == b"0":
                    self.report.moving_s += time.monotonic() - begun
                    return

    def _paced(self, keys: list[bytes]) -> Iterator[list[bytes]]:
        position = 0
        while position < len(keys):
            mean_bytes = self.report.payload_bytes / max(1, self.report.copied)
            allowed = self.throttle.allowance(mean_bytes)
            if allowed == 0:
                time.sleep(_THROTTLED_TICK_S)
                continue
            size = len(keys) - position if allowed < 0 else allowed
            yield keys[position : position + size]
            position += size

    def _take(self, done: CarryReport) -> None:
        self.report.copied += done.carried
        self.report.by_type += done.by_type
        self.report.in_parts += done.in_parts
        self.report.gone += done.deleted
        self.report.payload_bytes += done.payload_bytes
        self.report.unsettled += done.unsettled
        if done.by_type:
            self._say_by_type()

    def _say_by_type(self) -> None:
        sentence = (
            f"{_version(self.target)} refuses the payloads of {_version(self.source)}: "
            "keys are written by their types' commands from here on (exact, and slower)"
        )
        if sentence not in self.report.notices:
            self.notice(sentence)

    # -- the compiled path --------------------------------------------------------------------------------------

    def _native_part(self, node: Node, database: int, row: dict[str, Any]) -> None:
        round_trips = round_trip_s(self.source), round_trip_s(self.target)
        fan = _LONG_LINE_CONNECTIONS if round_trips[1] > _LONG_LINE_S else 1
        if round_trips[0] > _LONG_LINE_S:  # there SCAN's COUNT is large; later the guard knows
            self.others_are_there = others_are_there(self.source, node)
        windows = Windows.for_lines(*round_trips, big_bytes=self.big_value_bytes)
        targets, table = lines_to(self.target, database, fan=fan)
        readers: list[Connection] = []
        pump: Pump | None = None
        try:
            readers += open_together(self.source, [node, node], database)
            pump = Pump(
                readers[0],
                readers[1],
                targets,
                absolute=self.source.absolute_expiry,
                line_of_slot=table,
                fan=fan,
                cursor=row["cursor"],
                windows=windows,
            )
            pump.set_values(skew_ms=self.carrier.skew_ms, mean_bytes=self.mean_bytes)
            pump.set_lines(*round_trips, self.mean_bytes)
            if self.carrier.by_type:
                pump.divert()
            begun = time.monotonic()
            self._drive(pump, node, database, row)
            self.report.moving_s += time.monotonic() - (pump.first_key_at or begun)
        except ProtocolViolation:
            self.source.connection(node, database).call("SCAN", 0, "COUNT", 1)  # asked alone, a refusal says why
            raise
        finally:
            if pump is not None:
                self._live = (0, 0, 0)
                self.report.scanned += pump.stats.scanned
                self.report.copied += pump.stats.restored
                self.report.payload_bytes += pump.stats.payload_bytes
                row["cursor"] = pump.safe_cursor if not pump.stats.finished else "0"
                pump.close()
            for connection in (*targets, *readers):
                connection.close()

    def _drive(self, pump: Pump, node: Node, database: int, row: dict[str, Any]) -> None:
        stats = pump.stats

        def on_rare(rares: list[Rare]) -> None:
            self._rare(pump, database, rares)

        looked_at = 0.0

        def on_tick() -> float:
            nonlocal looked_at
            now = time.monotonic()
            if now - looked_at > _LOOK_EVERY_S:
                looked_at = now
                self._live = (stats.scanned, stats.restored, stats.payload_bytes)
                self._tick(node, stats.issued * 2)
                row["cursor"] = pump.safe_cursor
                self.save()
            pump.set_pace(
                self.throttle.rate(stats.mean_bytes),
                scan_most_s=_SCAN_BESIDE_OTHERS_S if self.others_are_there else _SCAN_ALONE_S,
            )
            return _LOOK_EVERY_S

        on_tick()
        pump.drive(on_rare, on_tick, tick_s=0.0)
        if stats.scanned != stats.done:
            raise CannotCarry(
                f"{node} gave {stats.scanned:,} keys and {stats.done:,} were dealt with; run it again, and report this."
            )

    def _rare(self, pump: Pump, database: int, rares: list[Rare]) -> None:
        probe = self.values_are_big
        for item in rares:
            if item.why == WHY_BIG:
                self.carrier.big.add((database, item.key))
            elif item.why == WHY_ERROR and refused_by_version(ReplyError(item.text)) and not self.carrier.by_type:
                self.carrier.by_type = True
                pump.divert()
                self._say_by_type()
        # Another error is met again by the carrier, who knows which side said it to which command.
        restored_before = {item.key for item in rares if item.why not in (WHY_ERROR, WHY_BIG, WHY_DIVERTED)}
        done = self.carrier.carry(database, [item.key for item in rares], probe=probe)
        # Keys whose expiry is only made exact were counted when they were restored.
        self._take(done)
        if restored_before:
            self.report.copied = max(0, self.report.copied - _counted_twice(rares, done))
        for item in rares:
            pump.rare_done(item)

    # -- now and then -------------------------------------------------------------------------------------------

    def save(self, *, now: bool = False) -> None:
        if self.checkpoint.path is not None and (now or time.monotonic() - self._saved_at > _CHECKPOINT_EVERY_S):
            self.checkpoint.save()
            self._saved_at = time.monotonic()

    def _tick(self, node: Node, own_commands: int) -> None:
        now = time.monotonic()
        if now - self._guarded_at > GUARD_EVERY_S / 4:
            self._guarded_at = now
            if self.limits.refresh():
                self.notice(
                    f"limits are now {self.limits.keys_per_s or 'no'} keys/s, {self.limits.mb_per_s or 'no'} MB/s"
                )
            self._look_at_source(node, own_commands)
        self._tell()

    def _look_at_source(self, node: Node, own_commands: int) -> None:
        if self.guard is None or str(node) != self._guarded_node:
            self.close()
            self.guard = SourceGuard(self.source, node)
            self._guarded_node = str(node)
        self.guard.own_commands = own_commands or 3 * self.report.scanned
        reading = self.guard.take()
        if reading is None:
            return
        self.others_are_there = reading.others_per_s > OTHERS_PER_S
        reason = judge(reading, self.limits)
        was = self.throttle.reason
        self.throttle.note(reason, self._rate()[0])
        if reason and was is None:
            self.notice(f"slower: {reason}")
        elif was and reason is None:
            self.notice("faster again: the source has recovered")

    _guarded_node = ""

    def _rate(self) -> tuple[float, float]:
        newest, oldest = self._rates[-1], self._rates[0]
        seconds = newest[0] - oldest[0]
        if seconds <= 0:
            return 0.0, 0.0
        return (newest[1] - oldest[1]) / seconds, (newest[2] - oldest[2]) / seconds

    def _tell(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._told_at < _PROGRESS_EVERY_S:
            return
        self._told_at = now
        scanned, copied, size = self.report.scanned, self.report.copied, self.report.payload_bytes
        scanned, copied, size = scanned + self._live[0], copied + self._live[1], size + self._live[2]
        self._rates.append((now, copied, size))
        while self._rates[0][0] < now - 5:
            self._rates.pop(0)
        if self.on_progress is None:
            return
        keys_per_s, bytes_per_s = self._rate()
        left = max(0, self.expected - scanned)
        bound = self.throttle.rate(size / max(1, copied))
        self.on_progress(
            CopyProgress(
                scanned=scanned,
                copied=copied,
                expected=self.expected,
                payload_bytes=size,
                keys_per_s=keys_per_s,
                mb_per_s=bytes_per_s / 1e6,
                remaining_s=left / keys_per_s if keys_per_s else None,
                share=min(1.0, scanned / self.expected) if self.expected else 1.0,
                slowed_by=self.throttle.reason or ("its limits" if bound is not None else None),
                elapsed_s=now - self.started,
            )
        )


def _counted_twice(rares: Sequence[Rare], done: CarryReport) -> int:
    return min(done.carried, sum(item.why == WHY_EXPIRY for item in rares))


def slots_of(node: Node) -> str:
    return ",".join(f"{first}-{last}" for first, last in node.slots) or str(node)


def _version(server: Server) -> str:
    return f"{server.address.host}:{server.address.port} ({server.flavour} {'.'.join(map(str, server.version))})"
