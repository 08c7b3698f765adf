"""
Which ways of moving a cache are open, why the others are not, and what each would cost.

Nothing is decided here: the rules of `prepare` and `replicate` are asked as the gates ask them. Standard library only,
no I/O and no clock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from redismove import stages
from redismove.estimate import PRICES_READ, Estimate, Minutes, estimate
from redismove.facts import CacheFacts, EndpointFacts, Move, NotKnownYet
from redismove.rules import RULES, Finding, Level, Outcome, evaluate, tiers
from redismove.rules.subjects import name_of, there

PREFERENCE: Final = (stages.GEO_REPLICATION, stages.COPY, stages.RDB, stages.DUAL_WRITE, stages.NEW_CACHE)
"""The order in which open methods are recommended."""

WHY_RECOMMENDED: Final[dict[str, str]] = {
    stages.GEO_REPLICATION: "Azure keeps the target filled while applications go on, and nothing is copied by hand",
    stages.COPY: "it brings every key over while applications go on, without storage accounts and their help",
    stages.RDB: "it brings every key over by Azure's own export and import, through storage accounts in both regions",
    stages.DUAL_WRITE: "it brings over what is written or still live; applications must use this project's client",
    stages.NEW_CACHE: "nothing else is open: the target starts empty and applications fill it again",
}

_NOTICED: Final[dict[str, str]] = {
    stages.GEO_REPLICATION: (
        "nothing while the link is made and filled: the source takes reads and writes throughout, and is not restarted"
    ),
    stages.NEW_CACHE: "an empty cache after the cut-over: every read misses until applications have filled it",
    stages.RDB: "more memory and processor used on the source while it exports; it is not restarted",
    stages.DUAL_WRITE: (
        "applications use this project's client, which writes to both caches; the old cache alone decides, the new one "
        "is written in the background"
    ),
    stages.COPY: "more load on the source while keys are read, within the limit that is set; it is not restarted",
}
"""What applications notice before the cut-over, by method."""

_WRITE_PAUSE_SINCE: Final = (6, 2)
"""The first version whose CLIENT PAUSE holds writes alone (redis.io, CLIENT PAUSE)."""

_LOST: Final[dict[str, str]] = {
    stages.GEO_REPLICATION: "nothing: what was not replicated at unlink is carried over at the cut-over",
    stages.NEW_CACHE: "all data, by intent; it is to be accepted by name (redismove:acceptDataLoss)",
    stages.RDB: "nothing: what is written after the export began is carried over at the cut-over",
    stages.DUAL_WRITE: "nothing: what was not written to both is carried over at the cut-over",
    stages.COPY: "nothing: what changes during the copy is carried over at the cut-over",
}
_LOST_WITHOUT_CATCH_UP: Final = (
    "the writes made after the export began (redismove:catchUp is false); they are counted, and to be accepted by name "
    "(redismove:acceptDataLoss)"
)


def notices(move: Move, method: str, *, compare: Minutes | None = None) -> tuple[str, ...]:
    """
    Return what applications notice of moving by *method*: before the cut-over, how long writes are held, and after it.

    *compare* is how long one comparison of all keys takes: a source that does not tell its changes is held for it.
    """
    reconnect = (
        "the client goes on at the target without being started again"
        if method == stages.DUAL_WRITE
        else "one reconnect, with the target's host name and keys; applications on this project's client see no error"
    )
    return (_NOTICED[method], _hold(move, method, compare), reconnect)


def _hold(move: Move, method: str, compare: Minutes | None) -> str:
    held = "a hold of writes at the cut-over: some milliseconds"
    try:
        if method != stages.NEW_CACHE and _tells_nothing(dataclasses.replace(move, method=method)):
            about = "" if compare is None else f", about {compare.least * 60:.2g} to {compare.most * 60:.2g} s"
            held = (
                f"a hold of writes at the cut-over: as long as one comparison of all keys{about}, because the source "
                "does not tell of its changes (RM-L23)"
            )
        version = tiers.version(move.source) if move.source is not None else None
    except NotKnownYet:
        return held
    if version is not None and version < _WRITE_PAUSE_SINCE:
        held += (
            f"; Redis {version[0]}.{version[1]} cannot hold writes alone, so reads wait too, for as long as Azure "
            "takes to change the source's access keys"
        )
    return held


def _tells_nothing(move: Move) -> bool:
    rule = next(rule for rule in RULES if rule.id == "RM-L23")
    return rule.judge(move).outcome is Outcome.FAIL


def lost(move: Move, method: str) -> str:
    """Return what moving by *method* may lose."""
    return _LOST_WITHOUT_CATCH_UP if method == stages.RDB and not move.consent.catch_up else _LOST[method]


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One rule that closes a method, or that warns of something, in the words every gate uses."""

    rule: str
    title: str
    thing: str
    found: str
    allowed: str
    cure: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Option:
    """One method: whether it is open, what closes it, what it warns of, and what it would cost."""

    method: str
    open: bool
    recommended: bool
    why: str
    reasons: tuple[Reason, ...]
    notes: tuple[Reason, ...]
    not_known: tuple[str, ...]
    estimate: Estimate | None
    notices: tuple[str, ...]
    lost: str
    way: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An existing cache: whether it could be the target of a geo-replication link, and why not."""

    id: str
    name: str
    location: str
    size: str
    compatible: bool
    reasons: tuple[Reason, ...]


def plan(move: Move, *, write_bytes_per_s: float = 0.0, window_hours: float = 24.0 * 7) -> list[Option]:
    """
    Return every method in the order of the article, open or closed, each with its reasons.

    Args:
        move: source (live), target (live, where there is one) and the target as it would be declared; what it says of
            method and stage is not looked at.
        write_bytes_per_s: how much applications write to the source; 0 where it is not known.
        window_hours: how long `dual-write` writes to both caches: the longest expiry of a key.
    """
    judged = {method: _judge(move, method) for method in stages.METHODS}
    best = _recommended(move, {method for method, findings in judged.items() if _is_open(findings)})
    return [
        _option(move, method, judged[method], best, write_bytes_per_s=write_bytes_per_s, window_hours=window_hours)
        for method in stages.METHODS
    ]


def stable_summary(move: Move) -> list[dict[str, Any]]:
    """
    Return which methods are open and why the others are not, without anything that changes from reading to reading.

    For a stack's output: it depends on the settings of the source and of the declared target and on today's date alone,
    so that a second update shows no change. Empty in `cleanup`, where there is no source to move any more.
    """
    if move.source is None or move.stage == stages.CLEANUP:
        return []
    still = dataclasses.replace(
        move,
        source=dataclasses.replace(
            move.source,
            keys=None,
            databases_used=None,
            used_memory_bytes=None,
            foreign_clients=None,
            provisioning_state="Succeeded",
            # The move's own link comes and goes with its stages.
            linked_servers=tuple(
                link for link in move.source.linked_servers if name_of(link).lower() != name_of(move.target_id).lower()
            ),
        ),
        target=None,
        link=None,
        endpoint=None,
        evidence=None,
        cutover=None,
    )
    judged = {method: _judge(still, method) for method in stages.METHODS}
    best = _recommended(still, {method for method, findings in judged.items() if _is_open(findings)})
    return [
        {
            "method": method,
            "open": _is_open(findings),
            "recommended": method == best,
            "reasons": [
                {"rule": r.rule, "found": r.found, "allowed": r.allowed, "cure": r.cure}
                for r in _reasons(f for f in findings if _closes(f))
            ],
        }
        for method, findings in judged.items()
    ]


def compatible(source: CacheFacts, candidates: Iterable[CacheFacts], *, today: str) -> list[Candidate]:
    """
    Return which existing caches could be the target of a link from *source*, as the portal's "Compatible caches" does.

    Each other one comes with the rules it breaks. Compatible ones come first, then by name. *today* is an ISO date.
    """
    found = [_candidate(source, cache, today) for cache in candidates if cache.id.lower() != source.id.lower()]
    return sorted(found, key=lambda candidate: (not candidate.compatible, candidate.name.lower(), candidate.id.lower()))


def to_json(options: Iterable[Option | Candidate]) -> list[dict[str, Any]]:
    """Turn options or candidates into plain lists and dictionaries, names as Pulumi writes them ("notKnown")."""
    return [_plain(option) for option in options]


def _judge(move: Move, method: str) -> list[Finding]:
    """Ask the rules of `prepare`, and those of `replicate` too where the target is there to be judged."""
    source, target = move.source, move.target
    asked = dataclasses.replace(
        move,
        method=method,
        stage=stages.PREPARE,
        previous=stages.ADOPT,
        previous_method=method,
        declared_target=_declared_for(method, move.declared_target),
        target_id=move.target_id or (target.id if target is not None else ""),
    )
    findings = evaluate(asked, _RULES_OF_PLAN if asked.target_id else _RULES_WITHOUT_TARGET)
    if stages.REPLICATE in stages.way(method) and there(target) and there(source):
        later = dataclasses.replace(asked, stage=stages.REPLICATE, previous=stages.PREPARE)
        seen = {finding.rule.id for finding in findings if finding.outcome is Outcome.FAIL}
        findings += [f for f in evaluate(later, _RULES_OF_PLAN) if f.rule.id not in seen]
    return findings


_RULES_OF_PLAN: Final = tuple(rule for rule in RULES if not rule.id.startswith("RM-S"))
"""The rules of the way say nothing of what is possible: a plan is made at any stage."""
_NAMES_TARGET: Final = "RM-L03"
_RULES_WITHOUT_TARGET: Final = tuple(rule for rule in _RULES_OF_PLAN if rule.id != _NAMES_TARGET)


def _declared_for(method: str, declared: CacheFacts | None) -> CacheFacts | None:
    """The target as it would be declared for *method*: a link allows one replica, no zones and no persistence."""
    if declared is None or declared.exists or method != stages.GEO_REPLICATION:
        return declared
    return dataclasses.replace(
        declared,
        replicas_per_primary=1,
        zones=(),
        zonal_allocation_policy="NoZones",
        rdb_backup_enabled=False,
        aof_backup_enabled=False,
    )


_STILL_TO_BE_SET: Final = frozenset({"RM-R03"})
"""Rules that ask for a setting the method needs: told in the plan, but a method is not closed for want of it."""


def _estimate(move: Move, method: str, write_bytes_per_s: float, window_hours: float) -> Estimate | None:
    try:
        if move.source is None:
            return None
        return estimate(
            method,
            move.source,
            move.target if there(move.target) else move.declared_target,
            soak_hours=move.limits.soak_hours,
            write_bytes_per_s=write_bytes_per_s,
            window_hours=window_hours,
        )
    except NotKnownYet:
        return None


def _closes(finding: Finding) -> bool:
    unknown = finding.outcome is Outcome.NOT_KNOWN and finding.rule.level is Level.MANDATORY
    return (finding.stops or unknown) and finding.rule.id not in _STILL_TO_BE_SET


def _is_open(findings: list[Finding]) -> bool:
    return not any(_closes(finding) for finding in findings)


def _recommended(move: Move, methods: set[str]) -> str:
    if stages.NEW_CACHE in methods and move.source is not None and move.source.keys == 0:
        return stages.NEW_CACHE
    return next((method for method in PREFERENCE if method in methods), "")


def _option(
    move: Move, method: str, findings: list[Finding], best: str, *, write_bytes_per_s: float, window_hours: float
) -> Option:
    is_open = _is_open(findings)
    costs = _estimate(move, method, write_bytes_per_s, window_hours) if is_open else None
    why = ""
    if method == best:
        empty = move.source is not None and move.source.keys == 0
        why = "the source holds no key, so there is nothing to bring over" if empty else WHY_RECOMMENDED[method]
    return Option(
        method=method,
        open=is_open,
        recommended=method == best,
        why=why,
        reasons=_reasons(f for f in findings if _closes(f)),
        notes=_reasons(f for f in findings if not _closes(f)),
        not_known=tuple(f.rule.id for f in findings if f.outcome is Outcome.NOT_KNOWN),
        estimate=costs,
        notices=notices(move, method, compare=costs.compare if costs is not None else None),
        lost=lost(move, method),
        way=stages.way(method),
    )


def _reasons(findings: Iterable[Finding]) -> tuple[Reason, ...]:
    return tuple(
        Reason(
            rule=f.rule.id,
            title=f.rule.title,
            thing=f.broken.thing,
            found=f.broken.found,
            allowed=f.broken.allowed,
            cure=f.broken.cure,
            url=f.rule.source.url,
        )
        for f in findings
        if f.broken is not None
    )


def _candidate(source: CacheFacts, cache: CacheFacts, today: str) -> Candidate:
    move = Move(
        method=stages.GEO_REPLICATION,
        stage=stages.REPLICATE,
        previous=stages.PREPARE,
        previous_method=stages.GEO_REPLICATION,
        source_id=source.id,
        target_id=cache.id,
        today=today,
        now_s=0.0,
        source=source,
        target=cache,
        # What it holds is for the owner to accept; the portal's list does not ask either.
        target_made_by_stack=True,
        endpoint=EndpointFacts(resource_id=source.id),
    )
    reasons = _reasons(f for f in evaluate(move, _RULES_OF_PLAN) if _closes(f))
    return Candidate(
        id=cache.id,
        name=cache.name,
        location=cache.location,
        size=tiers.size(cache),
        compatible=not reasons,
        reasons=reasons,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return _plain_estimate(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {_camel(f.name): _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _plain_estimate(value: Estimate) -> dict[str, Any]:
    price = value.egress_price
    return {
        "dataBytes": value.data_bytes,
        "dataMeasured": value.measured,
        "writeBytesPerS": value.write_bytes_per_s,
        "crossingBytes": value.crossing_bytes,
        "egressUsd": value.egress_usd,
        "egressPrice": None
        if price is None
        else {
            "usdPerGb": price.usd_per_gb,
            "source": price.source,
            "confirmed": price.confirmed,
            "read": PRICES_READ,
        },
        "minutes": _span(value.minutes),
        "minutesByStage": {stage: _span(part) for stage, part in value.stages.items()},
        "soakHours": value.soak_hours,
        "twoCachesHours": [round(value.two_caches_hours[0], 1), round(value.two_caches_hours[1], 1)],
    }


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _span(minutes: Minutes) -> list[float]:
    return [round(minutes.least, 1), round(minutes.most, 1)]
