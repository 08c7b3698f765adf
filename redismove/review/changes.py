"""What an update would do, in words: each step of the engine as a sentence for people."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from redismove.facts import CacheFacts, Move
from redismove.review.preview import GATE, Step

_REPLACING: Final = frozenset(
    {"replace", "create-replacement", "delete-replaced", "import-replacement", "discard-replaced", "read-replacement"}
)
_UNCHANGING: Final = frozenset({"same", "read", "refresh"})
_OWN: Final = "pulumi-python:dynamic/redismove:"
_RECORDS: Final = frozenset({GATE, f"{_OWN}LinkReady"})
"""Own resources that only record: nothing outside the state changes with them."""
_CACHES: Final = ("Redis", "RedisEnterprise")
_PARTS: Final = {
    "Database": ("database", "databaseName"),
    "FirewallRule": ("firewall rule", "ruleName"),
    "PatchSchedule": ("patch schedule", "default"),
    "AccessPolicy": ("access policy", "accessPolicyName"),
    "AccessPolicyAssignment": ("assignment of access", "accessPolicyAssignmentName"),
}


class Kind(enum.Enum):
    """What becomes of a resource, in the order in which it is told."""

    DELETED = "deleted"
    LEFT = "left"
    CHANGED = "changed"
    CREATED = "created"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One sentence. `destroys`: something in Azure is gone afterwards."""

    kind: Kind
    words: str
    resource: str
    destroys: bool = False


@dataclass(frozen=True, kw_only=True)
class Changes:
    """All of them, deletions first; `records` counts entries of the state alone, which are not told one by one."""

    told: tuple[Change, ...]
    records: int

    @property
    def destroys(self) -> tuple[Change, ...]:
        """What is gone from Azure afterwards."""
        return tuple(change for change in self.told if change.destroys)


def of(steps: Iterable[Step], move: Move) -> Changes:
    """Tell *steps* in words; *move* knows which cache is which."""
    steps = tuple(steps)
    told: dict[tuple[str, str], Change] = {}
    records = 0
    for step in steps:
        if step.type.startswith("pulumi:"):
            continue  # the engine's own: providers and the stack
        change = None if _goes_with_source(step, steps) else _change(step, move)
        if change is not None:
            told[change.resource, change.words] = change
        elif step.op not in _UNCHANGING:
            records += 1
    order = {kind: place for place, kind in enumerate(Kind)}
    return Changes(
        told=tuple(sorted(told.values(), key=lambda c: (order[c.kind], not c.destroys, c.words))), records=records
    )


def _goes_with_source(step: Step, steps: tuple[Step, ...]) -> bool:
    """Whether a setting of the source leaves the state because the source itself is deleted."""
    return step.type == f"{_OWN}KeyspaceNotifications" and any(
        other.name == "source"
        and other.type.rsplit(":", 1)[-1] in _CACHES
        and other.op == "delete"
        and not other.retained
        for other in steps
    )


def name_in(resource_id: Any) -> str:
    """Return the last part of a resource id in quotation marks."""
    return f'"{str(resource_id).rstrip("/").rsplit("/", 1)[-1]}"'


def _change(step: Step, move: Move) -> Change | None:
    if step.type in _RECORDS or step.type.startswith("redismove:index:"):
        return None
    if step.op in _UNCHANGING:
        return _protection(step, move)
    if step.type.startswith(_OWN):
        return _own(step)
    if step.type.startswith("azure-native"):
        kind = step.type.rsplit(":", 1)[-1]
        if kind in _CACHES:
            return _cache(step, move)
        if kind == "LinkedServer":
            return _link(step)
        if kind in _PARTS:
            return _part(step, *_PARTS[kind])
    return _any(step)


def _protection(step: Step, move: Move) -> Change | None:
    if step.protected_before == step.protected_after or not step.type.startswith("azure-native"):
        return None
    thing = _called(step, move) if step.type.rsplit(":", 1)[-1] in _CACHES else f'"{step.name}"'
    words = (
        f"{thing} is protected from now on: Pulumi refuses to delete it"
        if step.protected_after
        else f"{thing} loses its protection; it is not deleted by this"
    )
    return Change(kind=Kind.CHANGED, words=words, resource=step.name)


def _cache(step: Step, move: Move) -> Change:
    cache = _called(step, move)
    if step.op in _REPLACING:
        return Change(
            kind=Kind.DELETED,
            words=f"{cache} is deleted with everything it holds, and another one is made in its place"
            if not step.retained
            else f"{cache} stays in Azure, and the stack takes another one in its place",
            resource=step.name,
            destroys=not step.retained,
        )
    if step.op == "delete":
        if step.retained:
            words = f"{cache} leaves the stack and stays in Azure with everything it holds"
            return Change(kind=Kind.LEFT, words=words, resource=step.name)
        words = f"{cache} is deleted with everything it holds"
        return Change(kind=Kind.DELETED, words=words, resource=step.name, destroys=True)
    if step.op == "import":
        words = f"{cache} is taken into the stack as it is; nothing is written to it"
        return Change(kind=Kind.CREATED, words=words, resource=step.name)
    if step.op == "create":
        words = f"{cache} is made, {_size(step.after)}"
        return Change(kind=Kind.CREATED, words=words, resource=step.name)
    return Change(kind=Kind.CHANGED, words=f"{cache} is changed: {_properties(step)}", resource=step.name)


def _link(step: Step) -> Change:
    inputs = step.before or step.after
    primary, secondary = name_in(inputs.get("name", "?")), name_in(inputs.get("linkedServerName", "?"))
    link = f"the link {primary}-{secondary}"
    if step.op == "delete":
        words = f"{link} is removed; after this {secondary} keeps its data and takes writes"
        return Change(kind=Kind.DELETED, words=words, resource=step.name, destroys=True)
    if step.op in _REPLACING:
        words = f"{link} is removed and made again; {secondary} is erased and filled anew"
        return Change(kind=Kind.DELETED, words=words, resource=step.name, destroys=True)
    if step.op == "import":
        words = f"{link} is taken into the stack as it is"
        return Change(kind=Kind.CREATED, words=words, resource=step.name)
    if step.op == "create":
        words = f"{link} is made: {secondary} is erased, filled from {primary}, and takes no writes while it is linked"
        return Change(kind=Kind.CREATED, words=words, resource=step.name)
    return Change(kind=Kind.CHANGED, words=f"{link} is changed: {_properties(step)}", resource=step.name)


def _part(step: Step, called: str, key: str) -> Change:
    inputs = step.before or step.after
    cache = name_in(inputs.get("cacheName") or inputs.get("name", "?"))
    name = inputs.get(key)
    thing = f"{called} {name_in(name)} of {cache}" if name and name != "default" else f"the {called} of {cache}"
    return _plainly(step, thing)


def _own(step: Step) -> Change:
    kind = step.type.removeprefix(_OWN)
    source, target = (name_in(_either(step, key) or "?") for key in ("sourceId", "targetId"))
    if kind == "Evidence":
        if step.op == "delete":
            words = f"the evidence of {source} and {target} is forgotten; it must be made again before it is needed"
            return Change(kind=Kind.LEFT, words=words, resource=step.name)
        again = " again" if step.op == "update" else ""
        words = (
            f"{source} and {target} are compared{again}, depth {step.after.get('depth', '?')}; the evidence is recorded"
        )
        return Change(kind=Kind.CREATED, words=words, resource=step.name)
    if kind == "Endpoint":
        return _endpoint(step)
    if kind == "KeyspaceNotifications":
        if step.op == "delete":
            words = f"notify-keyspace-events of {source} is put back to what it was"
            return Change(kind=Kind.CHANGED, words=words, resource=step.name)
        words = f"notify-keyspace-events is switched on at {source}, so that its changes can be followed"
        return Change(kind=Kind.CHANGED, words=words, resource=step.name)
    if kind == "TargetPosture":
        return Change(kind=Kind.CHANGED, words=f"{_posture(step)} at {target}", resource=step.name)
    return _plainly(step, f'{kind} "{step.name}"', destroys=False)


def _posture(step: Step) -> str:
    before, after = str(step.before.get("persistence") or ""), str(step.after.get("persistence") or "")
    if step.op == "delete":
        after = ""
    parts = [f"{before.upper()} persistence is switched off"] if before and before != after else []
    parts += [f"{after.upper()} persistence is switched on"] if after and before != after else []
    if step.op != "delete" and step.after.get("notifications") is not None:
        parts.append("notify-keyspace-events is set as the source had it")
    return " and ".join(parts) or "persistence is set again"


def _endpoint(step: Step) -> Change:
    before, after = step.before.get("active"), step.after.get("active", "source")
    names = {side: name_in(_either(step, f"{side}Id") or "?") for side in ("source", "target")}
    if step.op == "delete":
        words = "the stack forgets the Endpoint; applications stay where they are"
        return Change(kind=Kind.LEFT, words=words, resource=step.name)
    if turns(step):
        words = f"applications are sent from {names[_other(after)]} to {names[str(after)]}: the cut-over, below"
        return Change(kind=Kind.CHANGED, words=words, resource=step.name)
    if before is None:
        words = f"the Endpoint document is written: applications use {names[str(after)]}"
        return Change(kind=Kind.CREATED, words=words, resource=step.name)
    words = f"the Endpoint document is written again: applications go on using {names[str(after)]}"
    return Change(kind=Kind.CHANGED, words=words, resource=step.name)


def turns(step: Step) -> bool:
    """Whether this step sends applications to the other cache."""
    if step.type != f"{_OWN}Endpoint" or step.op in ("same", "delete", "read"):
        return False
    return str(step.before.get("active") or "source") != str(step.after.get("active") or "source")


def _other(side: Any) -> str:
    return "source" if side == "target" else "target"


def _any(step: Step) -> Change:
    return _plainly(step, f'{step.type} "{step.name}"')


def _plainly(step: Step, thing: str, *, destroys: bool = True) -> Change:
    if step.op in _REPLACING:
        words = f"{thing} is deleted and made again"
        return Change(kind=Kind.DELETED, words=words, resource=step.name, destroys=destroys and not step.retained)
    if step.op.startswith(("delete", "discard")):
        if step.retained:
            return Change(kind=Kind.LEFT, words=f"{thing} leaves the stack and stays in Azure", resource=step.name)
        return Change(kind=Kind.DELETED, words=f"{thing} is deleted", resource=step.name, destroys=destroys)
    if step.op in ("create", "import"):
        made = "made" if step.op == "create" else "taken into the stack as it is"
        return Change(kind=Kind.CREATED, words=f"{thing} is {made}", resource=step.name)
    return Change(kind=Kind.CHANGED, words=f"{thing} is changed: {_properties(step)}", resource=step.name)


def _called(step: Step, move: Move) -> str:
    inputs = step.before or step.after
    name = str(inputs.get("clusterName") or inputs.get("name", step.name))
    role = {"source": "the source ", "target": "the target "}.get(step.name, "the cache ")
    location = next((f" ({cache.location})" for cache in _caches(move) if cache.name.lower() == name.lower()), "")
    return f'{role}"{name}"{location}'


def _caches(move: Move) -> list[CacheFacts]:
    return [cache for cache in (move.source, move.target, move.declared_target) if cache is not None]


def _size(inputs: Mapping[str, Any]) -> str:
    sku = inputs.get("sku") or {}
    shards = int(inputs.get("shardCount") or 0)
    size = f"{sku.get('name', '?')} {sku.get('family', '')}{int(sku.get('capacity') or 0)}"
    return f"{size}, {shards} shards" if shards else size


def _properties(step: Step) -> str:
    """Name what differs, without the values: a value may be a secret."""
    names = {key for key in {*step.before, *step.after} if step.before.get(key) != step.after.get(key)}
    shown = sorted(name for name in names if not name.startswith("__"))
    return ", ".join(f"`{name}`" for name in shown) or "its record in the state"


def _either(step: Step, key: str) -> Any:
    return step.after.get(key) or step.before.get(key)
