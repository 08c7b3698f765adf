"""One pass over all keys of two servers, both ways, that makes the target what the source is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import groupby

from redismove.dataplane.carry import Carrier, CarryReport
from redismove.dataplane.connect import Server
from redismove.dataplane.errors import DataPlaneError, ReplyError
from redismove.dataplane.follow import Mark
from redismove.dataplane.keys import States, read_states
from redismove.dataplane.passes import compare_all
from redismove.dataplane.payload import Value, decode, differs_in, kind_of
from redismove.dataplane.verify.compare import Pair, compare_batch

_PROGRESS_S = 1.0
_STREAMS = 64
"""So many streams are in memory at once."""


class OutOfTime(DataPlaneError):
    """What had to be done did not fit into the time allowed."""


@dataclass
class RepairReport:
    """
    What a pass did.

    Attributes:
        compared: keys of the source that were compared.
        scanned: keys looked at on both sides.
        repaired: keys that differed and were carried over, or removed from the target.
        unsettled: keys that changed while they were carried in parts: carry them again.
        seconds: how long it took.
    """

    compared: int = 0
    scanned: int = 0
    repaired: int = 0
    unsettled: list[Mark] = field(default_factory=list)
    seconds: float = 0.0


def by_database(marks: Iterable[Mark]) -> Iterator[tuple[int, list[bytes]]]:
    """Return the keys of each database among *marks*."""
    for database, group in groupby(sorted(marks, key=lambda mark: mark[0]), key=lambda mark: mark[0]):
        yield database, [key for _, key in group]


def carry_marks(carrier: Carrier, marks: Iterable[Mark], *, probe: bool = False) -> list[Mark]:
    """Carry the keys behind *marks* over as they are now; return those to be carried again."""
    again: list[Mark] = []
    for database, keys in by_database(marks):
        again += carrier.carry(database, keys, probe=probe).unsettled
    return again


def repair(
    source: Server,
    target: Server,
    carrier: Carrier,
    *,
    deadline: float,
    on_progress: Callable[[RepairReport, int], None] | None = None,
    between: Callable[[int], None] | None = None,
    native: bool = True,
) -> RepairReport:
    """
    Compare every key by type, value and expiry, and carry each difference over as the source has it now.

    Args:
        source: only read.
        target: made equal.
        carrier: from *source* to *target*.
        deadline: monotonic time at which to give up.
        on_progress: called about once a second with what was done and how many keys there are on both sides.
        between: called after each batch with its number of keys; nothing is written then: it may carry, or wait.
        native: by the compiled loop where it can be had; its batches are big.

    Raises:
        OutOfTime: what was repaired stays repaired.
    """
    began = told = time.monotonic()
    report = RepairReport()
    expected = sum(source.databases().values()) + sum(target.databases().values())
    pair = Pair.of(source, target)

    def looked_at(database: int, count: int, different: Sequence[bytes]) -> None:
        nonlocal told
        if different:
            report.unsettled += carrier.carry(database, different, probe=pair.probe).unsettled
            report.repaired += len(different)
        report.scanned += count
        now = time.monotonic()
        report.seconds = now - began
        if now >= deadline:
            raise OutOfTime(
                f"comparing {source.address.url} with {target.address.url} did not end in time: "
                f"{report.scanned:,} of about {expected:,} keys in {report.seconds:.1f} s"
            )
        if between is not None:
            between(count)
        if on_progress is not None and now - told >= _PROGRESS_S:
            told = now
            on_progress(report, expected)

    report.compared = compare_all(pair, looked_at, native=native)
    report.seconds = time.monotonic() - began
    return report


def differing(source: Server, target: Server, marks: Iterable[Mark], pair: Pair | None = None) -> list[Mark]:
    """Return those of *marks* whose keys differ now."""
    pair = pair or Pair.of(source, target)
    return [
        (database, difference.key)
        for database, keys in by_database(marks)
        for difference in compare_batch(pair, database, keys).differences
    ]


def streams_with_groups(server: Server) -> set[Mark]:
    """Return every stream that has a group (found by SCAN TYPE stream, at each primary)."""
    found: set[Mark] = set()
    for database in server.databases():
        for node in server.nodes:
            connection = server.connection(node, database)
            cursor = b"0"
            while True:
                cursor, keys = connection.call("SCAN", cursor, "TYPE", "stream", "COUNT", 2000)
                found.update(have_groups(server, ((database, key) for key in keys)))
                if cursor == b"0":
                    break
    return found


def have_groups(server: Server, marks: Iterable[Mark]) -> set[Mark]:
    """Return those of *marks* that are streams with a group."""
    found: set[Mark] = set()
    for database, keys in by_database(marks):
        replies = server.execute([(key, ("XINFO", "GROUPS", key)) for key in keys], database)
        # Another type, or gone meanwhile: an error reply. Then it has no group.
        found.update(
            (database, key)
            for key, reply in zip(keys, replies, strict=True)
            if reply and not isinstance(reply, ReplyError)
        )
    return found


class StreamCarrier:
    """
    Carries streams over that are not as they were when they were last carried.

    What reading does to a stream's groups is not notified, so streams with groups are read again and again; most of
    them are what they were, and those cost no write.
    """

    def __init__(self) -> None:
        self._carried: dict[Mark, tuple[bytes, int]] = {}

    def forget(self, marks: Iterable[Mark]) -> None:
        """Note that somebody else carries these keys: what was carried before is no longer what the target has."""
        for mark in marks:
            self._carried.pop(mark, None)

    def forget_all(self) -> None:
        """Note that somebody else carries any key."""
        self._carried.clear()

    def carry(self, carrier: Carrier, marks: Iterable[Mark]) -> list[Mark]:
        """Carry those of *marks* over that changed since they were carried here; return them."""
        changed: list[Mark] = []
        for database, keys in by_database(marks):
            big = [key for key in keys if (database, key) in carrier.big]
            carrier.carry(database, big)
            self.forget((database, key) for key in big)
            changed += [(database, key) for key in big]
            small = [key for key in keys if (database, key) not in carrier.big]
            for start in range(0, len(small), _STREAMS):
                changed += self._carry(carrier, database, small[start : start + _STREAMS])
        return changed

    def _carry(self, carrier: Carrier, database: int, keys: Sequence[bytes]) -> list[Mark]:
        states = read_states([(carrier.source, keys)], database)[0]
        now = [
            (b"" if payload is None else blake2b(payload, digest_size=16).digest(), expires_at_ms)
            for payload, expires_at_ms in zip(states.payloads, states.expires_at_ms, strict=True)
        ]
        moved = [index for index, key in enumerate(keys) if self._carried.get((database, key)) != now[index]]
        if not moved:
            return []
        # The very bytes that were read are written: what is noted here is what the target has.
        carrier.write(
            database,
            [keys[index] for index in moved],
            States(
                [states.payloads[index] for index in moved],
                [states.expires_at_ms[index] for index in moved],
                states.slack_ms,
            ),
            CarryReport(),
        )
        self._carried.update({(database, keys[index]): now[index] for index in moved})
        return [(database, keys[index]) for index in moved]


def only_groups_differ(source: Server, target: Server, marks: Iterable[Mark]) -> set[Mark]:
    """Return those of *marks* that are streams on both sides, equal in everything but their groups."""
    found: set[Mark] = set()
    for database, keys in by_database(marks):
        for key in keys:
            states = read_states([(source, [key]), (target, [key])], database)
            payloads = [state.payloads[0] for state in states]
            streams = [decode(item).stream for item in payloads if item is not None and kind_of(item) == "stream"]
            bare = [Value("stream", stream=replace(stream, groups=[])) for stream in streams if stream is not None]
            if len(bare) == 2 and differs_in(bare[0], bare[1]) is None:
                found.add((database, key))
    return found
