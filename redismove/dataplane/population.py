"""
Is the target sufficiently populated? What stage verify of method dual-write measures.

While applications write to both caches, a key reaches the target with its next write, and a key that is never written
again leaves the source when it expires. So the target lacks less and less, and the day on which it will be enough can
be told from the expiries of what it lacks: "after writing to the two caches for a week, you'll be certain the new cache
contains all non-expired session information" (Microsoft's article on moving caches, dual-write). A key that lacks and
never expires is not waited for: the cut-over carries it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from redismove.dataplane.connect import Node, Server
from redismove.dataplane.errors import ReplyError, explain
from redismove.dataplane.keys import NO_KEY, read_states
from redismove.dataplane.slots import TEMPORARY_PREFIX
from redismove.dataplane.verify.compare import Depth, Pair, compare_keys, scan_batches

BUCKET_S = 60
"""Expiries are counted by the minute in which they end."""
RECHECK_KEYS = 10_000
"""So many keys that lacked are looked at again at the end; a key that is just being written lacks for a moment."""
_RANDOM_KEYS = 500


@dataclass(frozen=True, kw_only=True)
class Population:
    """
    What was found on the target of what is live on the source.

    Attributes:
        total_keys: that the source says it has (expired ones that are not removed yet among them).
        keys: live ones that were compared; fewer than `total_keys` where they were sampled.
        sampled: only some were compared, drawn at random.
        equal: of `keys`, on the target with the same type, value and expiry.
        missing, different: of `keys`, not on the target, or other there.
        without_expiry: of `keys`, those that never expire.
        lacking_without_expiry: of `missing` and `different`, those that never expire.
        lacking_by_minute: how many of the others expire in which minute from `measured_at_s` on (0 is the first).
        longest_expiry_s: how long the key that lives longest has still to live, in seconds; 0 without any expiry.
        longest_lacking_expiry_s: the same among those that lack.
        measured_at_s: Unix time.
    """

    total_keys: int
    keys: int
    equal: int
    missing: int
    different: int
    without_expiry: int
    lacking_without_expiry: int
    lacking_by_minute: Mapping[int, int] = field(default_factory=dict)
    longest_expiry_s: float = 0.0
    longest_lacking_expiry_s: float = 0.0
    sampled: bool = False
    measured_at_s: float = 0.0

    @property
    def lacking(self) -> int:
        """Keys that are missing or different on the target."""
        return self.missing + self.different

    @property
    def share(self) -> float:
        """Share of the live keys that the target has as the source has them, 0 to 1; 1 when there is none."""
        return self.equal / self.keys if self.keys else 1.0

    @property
    def margin(self) -> float:
        """How far the true share may be from `share`, in 95 of 100 samples; 0 where every key was compared."""
        if not self.sampled or not self.keys:
            return 0.0
        if self.share in (0.0, 1.0):
            return min(1.0, 3 / self.keys)  # the rule of three: nothing was seen of what is this rare
        return 1.96 * math.sqrt(self.share * (1 - self.share) / self.keys)

    def enough_at_s(self, required_share: float = 1.0) -> float | None:
        """When the target will have *required_share*; see `enough_at_s`."""
        return enough_at_s(
            keys=self.keys,
            lacking_without_expiry=self.lacking_without_expiry,
            lacking_by_minute=self.lacking_by_minute,
            measured_at_s=self.measured_at_s,
            required_share=required_share,
        )

    def to_json(self, required_share: float = 1.0) -> dict[str, Any]:
        """Return the figures as JSON has them, times as Unix time."""
        return {
            "totalKeys": self.total_keys,
            "keys": self.keys,
            "sampled": self.sampled,
            "equal": self.equal,
            "missing": self.missing,
            "different": self.different,
            "share": self.share,
            "margin": self.margin,
            "withoutExpiry": self.without_expiry,
            "lackingWithoutExpiry": self.lacking_without_expiry,
            "longestExpirySeconds": self.longest_expiry_s,
            "longestLackingExpirySeconds": self.longest_lacking_expiry_s,
            "measuredAt": self.measured_at_s,
            "requiredShare": required_share,
            "enoughAt": self.enough_at_s(required_share),
        }

    def summary(self, required_share: float = 1.0) -> str:
        """Return one sentence for people."""
        drawn = f", drawn from {self.total_keys}, give or take {self.margin:.1%}" if self.sampled else ""
        parts = [f"{self.share:.2%} of {self.keys} live keys{drawn} are on the target as on the source"]
        if self.lacking:
            parts.append(f"{self.missing} are missing and {self.different} differ")
        if self.lacking_without_expiry:
            parts.append(f"{self.lacking_without_expiry} of these never expire and are carried at the cut-over")
        at_s = self.enough_at_s(required_share)
        if at_s is None:
            parts.append(f"waiting alone will not make it {required_share:.2%}")
        elif at_s <= self.measured_at_s:
            parts.append(f"that is enough ({required_share:.2%} asked for)")
        else:
            day = datetime.fromtimestamp(at_s, UTC)
            parts.append(f"it will be {required_share:.2%} by {day:%Y-%m-%d %H:%M} UTC at the latest")
        return "; ".join(parts)


def enough_at_s(
    *,
    keys: int,
    lacking_without_expiry: int,
    lacking_by_minute: Mapping[int, int],
    measured_at_s: float,
    required_share: float = 1.0,
) -> float | None:
    """
    When at most 1 - *required_share* of the keys will lack on the target, at the latest.

    A key that lacks stops doing so when it is written again or when it expires, whichever comes first; only the second
    is certain. Pure: the same figures give the same answer.

    Args:
        keys: live keys that were compared.
        lacking_without_expiry: of them, those that lack and never expire.
        lacking_by_minute: of them, how many of the others that lack expire in which minute after *measured_at_s*.
        measured_at_s: Unix time.
        required_share: 0 to 1.

    Returns:
        Unix time, *measured_at_s* when it is so already; None when waiting will not do: too many never expire.
    """
    if not 0 <= required_share <= 1:
        raise ValueError(f"required_share is {required_share}, allowed is 0 to 1")
    # Not more than what is allowed may lack; 1e-9 takes back what floats lose (0.9 of 10 keys leaves one, not 0.99...).
    allowed = math.floor((1 - required_share) * keys + 1e-9)
    to_go = lacking_without_expiry + sum(lacking_by_minute.values()) - allowed
    if to_go <= 0:
        return measured_at_s
    for minute in sorted(lacking_by_minute):
        to_go -= lacking_by_minute[minute]
        if to_go <= 0:
            return measured_at_s + (minute + 1) * BUCKET_S
    return None


def population(
    source: Server,
    target: Server,
    *,
    sample_keys: int | None = None,
    depth: Depth = "full",
    tolerance_ms: int = 5,
    on_progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.time,
) -> Population:
    """
    Compare the live keys of the source, or a sample of them, with the target. Both are only read.

    Args:
        source: the cache that applications write first.
        target: the other one.
        sample_keys: compare about so many, drawn at random (RANDOMKEY), where the source has more; None: all (SCAN).
        depth: `values` compares type, length and expiry, `full` every value.
        tolerance_ms: how far absolute expiries may be apart.
        on_progress: called with keys compared so far and keys expected.
        clock: Unix time, for `measured_at_s`.

    Raises:
        DataPlaneError: a server was lost, or does not allow what is needed.
    """
    sizes = source.databases()
    total = sum(sizes.values())
    sampled = sample_keys is not None and sample_keys < total
    count = _Count(source, target, Pair.of(source, target, tolerance_ms=tolerance_ms), depth, clock())
    for database, size in sizes.items():
        if sampled:
            assert sample_keys is not None
            batches = _sample(source, database, max(1, round(sample_keys * size / total)))
        else:
            batches = _everything(source, database)
        for keys in batches:
            count.add(database, [key for key in keys if not key.startswith(TEMPORARY_PREFIX)])
            if on_progress is not None:
                on_progress(count.keys, min(total, sample_keys or total))
    count.look_again()
    return count.result(total, sampled=sampled)


def _everything(source: Server, database: int) -> Iterator[list[bytes]]:
    for node in source.nodes:
        # SCAN may give a key twice, within a batch most often.
        yield from (list(dict.fromkeys(keys)) for keys in scan_batches(source, node, database))


def _sample(source: Server, database: int, wanted: int) -> Iterator[list[bytes]]:
    """About *wanted* different keys, each shard by its size."""
    sizes = {node: _size(source, node, database) for node in source.nodes}
    total = sum(sizes.values())
    for node, size in sizes.items():
        if not size:
            continue
        share = max(1, round(wanted * size / total))
        drawn: set[bytes] = set()
        # The same key comes up again and again where nearly all are asked for: not for ever.
        for _ in range(5 + 4 * share // _RANDOM_KEYS):
            replies = source.connection(node, database).pipeline([("RANDOMKEY",)] * min(_RANDOM_KEYS, 2 * share))
            fresh: dict[bytes, None] = {}
            for reply in replies:
                if isinstance(reply, ReplyError):
                    raise explain(reply, str(node), "RANDOMKEY")
                if reply is not None and reply not in drawn and len(drawn) + len(fresh) < share:
                    fresh[reply] = None
            drawn.update(fresh)
            if fresh:
                yield list(fresh)
            if len(drawn) >= share:
                break


def _size(source: Server, node: Node, database: int) -> int:
    return int(source.connection(node, database).call("DBSIZE"))


class _Count:
    """The figures while they are gathered."""

    def __init__(self, source: Server, target: Server, pair: Pair, depth: Depth, now_s: float) -> None:
        self.source, self.target, self.pair, self.depth = source, target, pair, depth
        self.measured_at_s = now_s
        self.now_ms = source.now_ms()
        self.keys = self.missing = self.different = self.without_expiry = 0
        self.longest_ms = 0
        self.doubtful: dict[tuple[int, bytes], tuple[str, int]] = {}
        self.lacking_without_expiry = 0
        self.lacking_by_minute: dict[int, int] = {}
        self.longest_lacking_ms = 0

    def add(self, database: int, keys: list[bytes]) -> None:
        """Compare some keys."""
        found = self._compare(database, keys)
        for key, expires_at_ms in zip(keys, self._expiries(database, keys), strict=True):
            if expires_at_ms == NO_KEY:
                continue
            self.keys += 1
            if expires_at_ms < 0:
                self.without_expiry += 1
            else:
                self.longest_ms = max(self.longest_ms, expires_at_ms - self.now_ms)
            if key in found:
                if len(self.doubtful) < RECHECK_KEYS:
                    self.doubtful[database, key] = (found[key], expires_at_ms)
                else:
                    self._lacks(found[key], expires_at_ms)

    def look_again(self) -> None:
        """Compare once more what lacked: a key that was just being written does not count."""
        by_database: dict[int, list[bytes]] = {}
        for database, key in self.doubtful:
            by_database.setdefault(database, []).append(key)
        for database, keys in by_database.items():
            found = self._compare(database, keys)
            for key, expires_at_ms in zip(keys, self._expiries(database, keys), strict=True):
                _, before_ms = self.doubtful[database, key]
                if expires_at_ms == NO_KEY:  # gone meanwhile
                    self.keys -= 1
                    self.without_expiry -= before_ms < 0
                elif key in found:
                    self._lacks(found[key], expires_at_ms)

    def _compare(self, database: int, keys: list[bytes]) -> dict[bytes, str]:
        differences = compare_keys(self.source, self.target, database, keys, depth=self.depth, pair=self.pair)
        return {found.key: found.kind for found in differences if found.kind != "only_in_target"}

    def _expiries(self, database: int, keys: list[bytes]) -> Iterable[int]:
        return read_states([(self.source, keys)], database, payloads=False)[0].expires_at_ms

    def _lacks(self, kind: str, expires_at_ms: int) -> None:
        if kind == "only_in_source":
            self.missing += 1
        else:
            self.different += 1
        if expires_at_ms < 0:
            self.lacking_without_expiry += 1
            return
        rest_ms = max(0, expires_at_ms - self.now_ms)
        minute = rest_ms // (BUCKET_S * 1000)
        self.lacking_by_minute[minute] = self.lacking_by_minute.get(minute, 0) + 1
        self.longest_lacking_ms = max(self.longest_lacking_ms, rest_ms)

    def result(self, total: int, *, sampled: bool) -> Population:
        """The figures."""
        return Population(
            total_keys=total,
            keys=self.keys,
            equal=self.keys - self.missing - self.different,
            missing=self.missing,
            different=self.different,
            without_expiry=self.without_expiry,
            lacking_without_expiry=self.lacking_without_expiry,
            lacking_by_minute=dict(sorted(self.lacking_by_minute.items())),
            longest_expiry_s=self.longest_ms / 1000,
            longest_lacking_expiry_s=self.longest_lacking_ms / 1000,
            sampled=sampled,
            measured_at_s=self.measured_at_s,
        )
