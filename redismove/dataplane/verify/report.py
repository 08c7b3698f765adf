"""What a verification found, as numbers, words, JSON, and a signature."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from redismove.dataplane.verify.compare import Depth, Difference

KINDS = ("only_in_source", "only_in_target", "type", "value", "expiry")
FIRST_DIFFERENCES = 20


@dataclass(frozen=True)
class Progress:
    """
    How far a verification is.

    Attributes:
        round: from 1.
        compared: keys of the source side compared so far (round 1), or rechecked (later rounds).
        scanned: keys looked at on both sides.
        expected: keys on both sides when it began (an estimate: expired keys count).
        different: keys that differ so far.
        elapsed_s: since the start.
    """

    round: int
    compared: int
    scanned: int
    expected: int
    different: int
    elapsed_s: float


@dataclass
class VerifyReport:
    """
    The answer.

    Attributes:
        equal: nothing differs, and everything was looked at.
        complete: False when the deadline ended it early; then `equal` is False too.
        depth: `keys`, `values` or `full`.
        counts: `compared`, and one number per kind of difference.
        databases: the same counts per database.
        first_differences: some of them, with database, key and reason.
        rounds: how many were made.
        duration_s: all of it.
        keys_per_s: compared keys by duration.
        signature: SHA-256 over depth, databases, counts and the digest of every equal key: the same data gives the
            same signature, in whatever order, on whatever server version. The time of an expiry is not part of it
            (only that there is one), nor is a key's idle time. Empty when not everything was looked at.
        source, target: what was compared (addresses, versions).
    """

    equal: bool
    complete: bool
    depth: Depth
    counts: dict[str, int]
    databases: dict[int, dict[str, int]]
    first_differences: list[Difference]
    rounds: int
    duration_s: float
    signature: str
    source: str = ""
    target: str = ""
    tolerance_ms: int = 0
    ignored: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def keys_per_s(self) -> float:
        """Keys compared per second."""
        return self.counts["compared"] / self.duration_s if self.duration_s else 0.0

    @property
    def different(self) -> int:
        """How many keys differ, of any kind."""
        return sum(self.counts[kind] for kind in KINDS)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "equal": self.equal,
            "complete": self.complete,
            "depth": self.depth,
            "counts": self.counts,
            "databases": {str(database): counts for database, counts in self.databases.items()},
            "different": self.different,
            "first_differences": [
                {"database": item.database, "key": printable(item.key), "kind": item.kind, "reason": item.reason}
                for item in self.first_differences
            ],
            "rounds": self.rounds,
            "duration_s": round(self.duration_s, 3),
            "keys_per_s": round(self.keys_per_s),
            "tolerance_ms": self.tolerance_ms,
            "ignored": self.ignored,
            "source": self.source,
            "target": self.target,
            "notes": self.notes,
            "signature": self.signature,
        }

    def summary(self) -> str:
        """One line for people."""
        if self.equal:
            return (
                f"equal: {self.counts['compared']} keys compared at depth {self.depth} in {self.duration_s:.1f} s "
                f"({self.keys_per_s:,.0f} keys/s), no difference"
            )
        parts = [f"{self.counts[kind]} {kind.replace('_', ' ')}" for kind in KINDS if self.counts[kind]]
        state = "different" if self.different else "not finished"
        found = ", ".join(parts) or "; ".join(self.notes)
        return f"{state}: {self.counts['compared']} keys compared at depth {self.depth}; {found}"


def printable(key: bytes) -> str:
    """A key as text: itself where it is printable, else with escapes; cut when very long."""
    text = key.decode("utf-8", "backslashreplace")
    text = text if text.isprintable() else ascii(key)[2:-1]
    return text if len(text) <= 200 else text[:200] + "..."


def sign(depth: Depth, databases: dict[int, dict[str, int]], sums: dict[int, int]) -> str:
    """SHA-256 over what was compared."""
    content = {
        "depth": depth,
        "databases": {
            str(number): databases[number] for number in sorted(databases) if any(databases[number].values())
        },
        "digests": {str(number): f"{sums[number]:032x}" for number in sorted(sums) if sums[number]},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
