"""
Make keys on the target exactly what they are on the source now.

DUMP and RESTORE with REPLACE and an absolute expiry where the target takes the payload; by type inside MULTI/EXEC
where it does not (a newer server's payload on an older one); in parts through a temporary key and RENAME where a
value is too big. Readers of the target never see half a value. Never a relative expiry: it would be stretched by the
time it waits, and a remaining time of 0 would make a key permanent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from redismove.dataplane.connect import Command, Packed, Server, clock_skew_ms, pack
from redismove.dataplane.errors import CannotCarry, DatabaseMissing, ReplyError, explain
from redismove.dataplane.keys import NO_EXPIRY, NO_KEY, States, keyed, read_states
from redismove.dataplane.parts import copy_commands, kind_and_length
from redismove.dataplane.payload import Value, decode
from redismove.dataplane.slots import temporary_key
from redismove.dataplane.typed import write_commands

BATCH_BYTES = 8 << 20
"""Aim for so many bytes of values in memory at once."""
BATCH_KEYS = 4096
SMALLEST_BATCH_KEYS = 8
BIG_VALUE_BYTES = 32 << 20
"""Values that MEMORY USAGE puts above this are carried in parts."""
ONE_TRANSACTION_ELEMENTS = 5000
_TEMPORARY_EXPIRY_MS = 3_600_000
"""A temporary key left by a killed program goes by itself."""
_SETTLE_TRIES = 3


@dataclass
class CarryReport:
    """
    What was done.

    Attributes:
        keys: looked at.
        carried: written on the target.
        deleted: not on the source, so removed from the target.
        by_type: of the carried, written by their type's commands because RESTORE was refused.
        in_parts: of the carried, too big for one reply.
        payload_bytes: bytes of DUMP payloads read.
        unsettled: (database, key) in parts that changed while they were read; carry them again.
    """

    keys: int = 0
    carried: int = 0
    deleted: int = 0
    by_type: int = 0
    in_parts: int = 0
    payload_bytes: int = 0
    unsettled: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, other: CarryReport) -> None:
        """Add another report's numbers to this one."""
        self.keys += other.keys
        self.carried += other.carried
        self.deleted += other.deleted
        self.by_type += other.by_type
        self.in_parts += other.in_parts
        self.payload_bytes += other.payload_bytes
        self.unsettled += other.unsettled


class Carrier:
    """
    Carries keys from one server to another; only reads the source.

    Attributes:
        by_type: None until a RESTORE was answered; True when the target refuses the source's payloads.
        big: (database, key) known to be too big for one reply.
        skew_ms: how far the target's clock is ahead of the source's (measured when made; 0 when it cannot be told).
    """

    def __init__(self, source: Server, target: Server, *, big_value_bytes: int = BIG_VALUE_BYTES) -> None:
        self.source = source
        self.target = target
        self.big_value_bytes = big_value_bytes
        self.by_type: bool | None = None
        self.big: set[tuple[int, bytes]] = set()
        self.skew_ms = clock_skew_ms(source, target)
        self._batch_keys = 64

    def expect(self, mean_bytes: float) -> None:
        """Begin with batches for values of this size instead of feeling the way."""
        if mean_bytes > 0:
            self._batch_keys = max(SMALLEST_BATCH_KEYS, min(BATCH_KEYS, int(BATCH_BYTES / (mean_bytes + 64))))

    def carry(self, database: int, keys: Iterable[bytes], *, probe: bool = False) -> CarryReport:
        """
        Make each key on the target what it is on the source now; a key that the source lacks is deleted.

        Args:
            database: on both sides.
            keys: any number; each once.
            probe: ask for the size of each first (one more round trip), so that a value too big for one reply is
                carried in parts; without it only keys in `big` are.

        Raises:
            OutOfMemory, ReadOnlyServer, CommandBlocked, ConnectionLost, CannotCarry, ...: what was carried before
            stays carried; calling again with the same keys is safe.
        """
        report = CarryReport()
        todo = list(keys)
        # A cluster has database 0 alone, and would be asked for the keys of that one.
        if not self.source.has_database(database):
            self.write(database, todo, States([None] * len(todo), [NO_KEY] * len(todo)), report)
            return report
        if not self.target.has_database(database):
            raise DatabaseMissing(
                f"{self.target.address.host}:{self.target.address.port} has no database {database}, where the source "
                f"has or had {len(todo):,} keys to be carried; use a target with that database, or move them first."
            )
        position = 0
        while position < len(todo):
            batch = todo[position : position + self._batch_keys]
            position += len(batch)
            if probe:
                self._probe(database, batch)
            whole = batch
            if self.big:
                whole = [key for key in batch if (database, key) not in self.big]
                for key in batch:
                    if (database, key) in self.big:
                        self.carry_in_parts(database, key, report)
            if whole:
                states = read_states([(self.source, whole)], database)[0]
                self._adapt(states)
                self.write(database, whole, states, report)
        return report

    def write(self, database: int, keys: Sequence[bytes], states: States, report: CarryReport) -> None:
        """
        Write what was read of the source (`read_states`) to the target.

        Args:
            database: on the target.
            keys: in the order of `states`.
            states: payloads and expiries.
            report: is added to.
        """
        report.keys += len(keys)
        restore: list[tuple[bytes, Packed]] = []
        restored: list[tuple[bytes, bytes, int]] = []
        by_type: list[tuple[bytes, bytes, int]] = []
        for key, payload, expires_at_ms in zip(keys, states.payloads, states.expires_at_ms, strict=True):
            if payload is None:
                restore.append((key, Packed(keyed("UNLINK", [key]), 1)))
                restored.append((key, b"", 0))
                report.deleted += 1
                continue
            report.payload_bytes += len(payload)
            at_ms = max(1, expires_at_ms + self.skew_ms) if expires_at_ms >= 0 else 0
            if self.by_type:
                by_type.append((key, payload, at_ms))
                continue
            restore.append((key, Packed(restore_command(key, payload, at_ms), 1)))
            restored.append((key, payload, at_ms))
        replies = self.target.execute(restore, database) if restore else []
        for (key, payload, at_ms), reply in zip(restored, replies, strict=True):
            if isinstance(reply, ReplyError):
                if not refused_by_version(reply):
                    raise explain(reply, self.target.address.url, "RESTORE" if payload else "UNLINK")
                self.by_type = True
                by_type.append((key, payload, at_ms))
            elif payload:
                report.carried += 1
                if self.by_type is None:
                    self.by_type = False
        self._write_by_type(database, by_type, report)

    def _adapt(self, states: States) -> None:
        """Next time as many keys as fit into BATCH_BYTES, going by the biggest of these."""
        biggest_bytes = max((len(payload) for payload in states.payloads if payload), default=0)
        fitting = BATCH_BYTES // (biggest_bytes + 64)
        self._batch_keys = max(SMALLEST_BATCH_KEYS, min(BATCH_KEYS, fitting, self._batch_keys * 4))

    def _probe(self, database: int, keys: Sequence[bytes]) -> None:
        sizes = self.source.execute([(key, ("MEMORY", "USAGE", key, "SAMPLES", 5)) for key in keys], database)
        for key, size_bytes in zip(keys, sizes, strict=True):
            if isinstance(size_bytes, int) and size_bytes > self.big_value_bytes:
                self.big.add((database, key))
            elif self.big and isinstance(size_bytes, int):
                self.big.discard((database, key))

    # -- by type ------------------------------------------------------------------------------------------------

    def _write_by_type(self, database: int, items: Sequence[tuple[bytes, bytes, int]], report: CarryReport) -> None:
        """Write (key, payload, expiry) by the commands of their types, as many together as memory allows."""
        waiting: list[tuple[bytes, Sequence[Command]]] = []
        size_bytes = 0
        for key, payload, at_ms in items:
            value = decode(payload)
            if _elements(value) > ONE_TRANSACTION_ELEMENTS or len(payload) > BATCH_BYTES:
                self._write_through_temporary(
                    database, key, [list(write_commands(temporary_key(key), value, self.target))], at_ms
                )
            else:
                expiry: list[Command] = [("PEXPIREAT", key, at_ms)] if at_ms else []
                commands = [*write_commands(key, value, self.target), *expiry]
                # SET alone replaces whatever was there, its expiry too.
                waiting.append(
                    (key, commands if commands[0][0] == "SET" and len(commands) == 1 else [("DEL", key), *commands])
                )
                size_bytes += len(payload)
                if size_bytes >= BATCH_BYTES:
                    self._transactions(database, waiting)
                    waiting, size_bytes = [], 0
            report.carried += 1
            report.by_type += 1
        self._transactions(database, waiting)

    def _transactions(self, database: int, of_keys: Sequence[tuple[bytes, Sequence[Command]]]) -> None:
        """Run the commands of each key at once, those of all keys in one pipeline."""
        packed = [
            (key, pack(commands if len(commands) == 1 else [("MULTI",), *commands, ("EXEC",)]))
            for key, commands in of_keys
        ]
        replies = self.target.execute(packed, database) if packed else []
        for (_, commands), reply in zip(of_keys, replies, strict=True):
            outcome = reply[-1] if len(commands) > 1 else [reply]
            if isinstance(outcome, ReplyError):
                reasons = [queued for queued in reply[:-1] if isinstance(queued, ReplyError)]
                raise explain(reasons[0] if reasons else outcome, self.target.address.url, str(commands[-1][0]))
            for command, answer in zip(commands, outcome, strict=True):
                if isinstance(answer, ReplyError):
                    raise explain(answer, self.target.address.url, str(command[0]))

    def _write_through_temporary(
        self, database: int, key: bytes, pieces: Iterable[Sequence[Command]], at_ms: int
    ) -> None:
        """Build the value under another name in the same slot, then put it in place at once."""
        temporary = temporary_key(key)
        self._all(database, key, [("UNLINK", temporary)])
        first = True
        for piece in pieces:
            if piece:
                self._all(database, key, piece)
            if first and piece:
                self._all(database, key, [("PEXPIRE", temporary, _TEMPORARY_EXPIRY_MS)])
                first = False
        expiry: Command = ("PEXPIREAT", key, at_ms) if at_ms else ("PERSIST", key)
        self._transactions(database, [(key, [("RENAME", temporary, key), expiry])])

    def _all(self, database: int, key: bytes, commands: Sequence[Command]) -> None:
        for command, reply in zip(
            commands, self.target.execute([(key, command) for command in commands], database), strict=True
        ):
            if isinstance(reply, ReplyError):
                raise explain(reply, self.target.address.url, str(command[0]))

    # -- in parts -----------------------------------------------------------------------------------------------

    def carry_in_parts(self, database: int, key: bytes, report: CarryReport) -> None:
        """Rebuild one key window by window under a temporary name, then put it in place."""
        report.keys += 1
        for attempt in range(_SETTLE_TRIES):
            kind, length = kind_and_length(self.source, database, key)
            expires_at_ms = read_states([(self.source, [key])], database, payloads=False)[0].expires_at_ms[0]
            if kind == "none":
                self._all(database, key, [("UNLINK", key)])
                report.deleted += 1
                return
            at_ms = 0 if expires_at_ms == NO_EXPIRY else max(1, expires_at_ms + self.skew_ms)
            try:
                self._write_through_temporary(
                    database,
                    key,
                    copy_commands(self.source, database, key, kind, temporary_key(key), self.target),
                    at_ms,
                )
            except ReplyError as error:
                # It changed its type or went away while it was read.
                if error.code == "WRONGTYPE" or "no such key" in str(error):
                    if attempt + 1 < _SETTLE_TRIES:
                        continue
                    raise CannotCarry(
                        f"Key {key[:80]!r} in database {database} changed its type each time it was read; "
                        "carry it again."
                    ) from None
                raise
            if (
                kind_and_length(self.source, database, key)
                == (kind, length)
                == kind_and_length(self.target, database, key)
            ):
                break
        else:
            report.unsettled.append((database, key))
        report.carried += 1
        report.in_parts += 1


def _elements(value: Value) -> int:
    if value.stream is not None:
        return len(value.stream.entries) + sum(len(group.pending) for group in value.stream.groups)
    return len(value.items) + len(value.scores) + len(value.fields)


def restore_command(key: bytes, payload: bytes, at_ms: int) -> bytes:
    """RESTORE with REPLACE and an absolute expiry (0: none), as RESP."""
    if not at_ms:
        return b"*5\r\n$7\r\nRESTORE\r\n$%d\r\n%b\r\n$1\r\n0\r\n$%d\r\n%b\r\n$7\r\nREPLACE\r\n" % (
            len(key),
            key,
            len(payload),
            payload,
        )
    expiry = b"%d" % at_ms
    return b"*6\r\n$7\r\nRESTORE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n" % (
        len(key),
        key,
        len(expiry),
        expiry,
        len(payload),
        payload,
    )


def refused_by_version(reply: ReplyError) -> bool:
    """RESTORE did not take the payload because it comes from another version."""
    text = str(reply)
    return "payload version or checksum" in text or "Bad data format" in text
