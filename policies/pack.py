"""
Every rule as a policy.

A rule is judged on the StageGate of a move, whose inputs are the move's facts; and, where it speaks of a cache or of a
link as such, on the plain resources of other programs. A resource policy runs before its resource's step, so what it
refuses is not done; a link's two caches were looked at before it. A stack policy besides knows by dependencies which
caches a link joins where a preview does not know their names yet.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UNKNOWN_OBJECT_VALUE, UnknownValueError

from policies import reading
from redismove import stages
from redismove.facts import NOT_KNOWN, CacheFacts, FirewallRule, Limits, Move, NotKnownYet
from redismove.rules import RULES, Finding, Level, Outcome, Rule, guards

NAME: Final = "redismove"
_LONGEST_STEM: Final = 81
_PLAIN_ID: Final = "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Cache/Redis/{}"

_LIMITS: Final[dict[str, tuple[str, str, str]]] = {
    "RM-L20": ("soakHours", "soak_hours", "hours of soak after retire; the larger of this and the stack's counts"),
    "RM-L09": (
        "evidenceMaxAgeHours",
        "evidence_max_age_hours",
        "hours that evidence stays fresh; the smaller of this and the stack's counts",
    ),
    "RM-G16": (
        "maxLagBytes",
        "max_lag_bytes",
        "bytes not replicated at unlink; the smaller of this and the stack's counts",
    ),
}
"""Rules that a policy pack's configuration can make stricter: key, field of `Limits`, and what it means."""


def policies(rules: Iterable[Rule] = RULES) -> list[Policy]:
    """Return the pack's policies: one a rule, and one more for a stack where the rule speaks of links."""
    rules = tuple(rules)
    seen = Seen()
    on_resources: list[Policy] = [_on_resource(rule, seen) for rule in rules]
    return on_resources + [_on_stack(rule, seen) for rule in rules if rule.plain == "link"]


class Seen:
    """
    What the policies saw of this program so far.

    The engine shows a resource before its step, and a link after the two caches it needs.
    """

    def __init__(self) -> None:
        self.caches: dict[str, CacheFacts] = {}
        self.clusters: dict[str, CacheFacts] = {}
        self.firewall_rules: dict[str, dict[str, FirewallRule]] = {}
        self.told: set[tuple[str, str]] = set()

    def look_at(self, kind: str, props: Mapping[str, Any]) -> None:
        """Remember a cache, a cluster or a firewall rule by the cache's name."""
        if kind == "Redis":
            cache = reading.cache_of(props)
            if isinstance(cache.name, str):
                self.caches[cache.name.lower()] = cache
        elif kind == "RedisEnterprise":
            cluster = reading.cluster_of(props)
            if isinstance(cluster.name, str):
                self.clusters[cluster.name.lower()] = cluster
        elif kind == "FirewallRule":
            name, rule = reading.firewall_rule_of(props)
            if isinstance(name, str) and isinstance(rule.name, str):
                self.firewall_rules.setdefault(name.lower(), {})[rule.name] = rule

    def cache(self, name: Any) -> CacheFacts | None:
        """Return the cache of this name with the firewall rules seen so far, None where none was seen."""
        if not isinstance(name, str) or name.lower() not in self.caches:
            return None
        rules = tuple(self.firewall_rules.get(name.lower(), {}).values())
        return dataclasses.replace(self.caches[name.lower()], firewall_rules=rules)


def _described(rule: Rule) -> dict[str, Any]:
    limit = _LIMITS.get(rule.id)
    schema = None
    if limit is not None:
        schema = PolicyConfigSchema(properties={limit[0]: {"type": "number", "minimum": 0, "description": limit[2]}})
    return {
        "description": f"{rule.title[0].upper()}{rule.title[1:]} [{rule.id}]. {rule.source.says}",
        "enforcement_level": EnforcementLevel.MANDATORY if rule.level is Level.MANDATORY else EnforcementLevel.ADVISORY,
        "config_schema": schema,
        "display_name": f"{rule.id} {rule.title}",
        "severity": Severity(rule.severity),
        "remediation_steps": f"See docs/rules/{rule.id}.md; the message of a violation ends with its cure.",
        "url": rule.source.url,
        "tags": ["azure", "redis", "migration"],
    }


def _on_resource(rule: Rule, seen: Seen) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if args.resource_type == reading.GATE:
            move = _stricter(reading.move_of(args.props), rule, args.get_config())
            if not _guards(rule, move):
                args.not_applicable(f"it guards no change to this stage of this method [{rule.id}]")
            _tell(rule.judge(move), report, args.urn)
            return
        kind = reading.kind_of(args.resource_type)
        if not kind or reading.belongs_to_move(args.urn):
            return
        seen.look_at(kind, args.props)
        if kind == "Redis" and rule.plain == "cache":
            _tell(rule.judge(_alone(reading.cache_of(args.props))), report, args.urn)
        elif kind == "RedisEnterprise" and rule.plain == "cache":
            _tell(rule.judge(_alone(reading.cluster_of(args.props))), report, args.urn)
        elif kind == "Database" and rule.plain == "database":
            name = reading.cluster_name_of(args.props)
            cluster = seen.clusters.get(name.lower()) if isinstance(name, str) else None
            if cluster is not None:
                _tell(rule.judge(_alone(reading.database_of(args.props, cluster))), report, args.urn)
        elif kind == "LinkedServer" and rule.plain == "link":
            primary, secondary = (seen.cache(name) for name in reading.linked_names(args.props))
            if primary is not None and secondary is not None:
                finding = rule.judge(_pair(primary, secondary))
                if finding.outcome is not Outcome.NOT_KNOWN:
                    seen.told.add((rule.id, args.urn))
                    _tell(finding, report, args.urn)

    return ResourceValidationPolicy(name=rule.name, validate=validate, **_described(rule))


def _on_stack(rule: Rule, seen: Seen) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for link in args.resources:
            if reading.kind_of(link.resource_type) != "LinkedServer" or reading.belongs_to_move(link.urn):
                continue
            pair = _joined(link, args.resources)
            if pair is not None and (rule.id, link.urn) not in seen.told:
                _tell(rule.judge(_pair(*pair)), report, link.urn)

    return StackValidationPolicy(
        name=f"{rule.name[:_LONGEST_STEM].rstrip('-')}-in-stack", validate=validate, **_described(rule)
    )


def _stricter(move: Move, rule: Rule, config: Mapping[str, Any]) -> Move:
    limit = _LIMITS.get(rule.id)
    if limit is None or limit[0] not in config or move.limits is NOT_KNOWN:
        return move
    key, field, _ = limit
    choose = max if field == "soak_hours" else min
    limits: Limits = dataclasses.replace(move.limits, **{field: choose(getattr(move.limits, field), config[key])})
    return dataclasses.replace(move, limits=limits)


def _guards(rule: Rule, move: Move) -> bool:
    try:
        return guards(rule, move)
    except NotKnownYet:
        return True


def _tell(finding: Finding, report: ReportViolation, urn: str) -> None:
    """Report what is broken; what a preview does not know yet goes to the engine's own notice, and is no pass."""
    if finding.outcome is Outcome.FAIL:
        report(finding.message, urn)
    elif finding.outcome is Outcome.NOT_KNOWN and finding.rule.level is Level.MANDATORY:
        raise UnknownValueError(UNKNOWN_OBJECT_VALUE, [finding.message])


def _today() -> str:
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()


def _plain_move(**facts: Any) -> Move:
    return Move(today=_today(), now_s=0.0, previous=stages.ADOPT, **facts)


def _alone(cache: CacheFacts) -> Move:
    """A cache by itself, as one that is about to be made: nothing tells a policy whether it is there already."""
    return _plain_move(
        method=stages.NEW_CACHE,
        stage=stages.PREPARE,
        source_id="",
        target_id=cache.name,
        declared_target=dataclasses.replace(cache, exists=False),
        roles=("cache", "cache"),
    )


def _pair(primary: CacheFacts, secondary: CacheFacts) -> Move:
    """A primary and a secondary as a link is about to join them."""
    apart = bool(primary.subscription_id) and bool(secondary.subscription_id)
    here = primary.subscription_id if apart else "-"
    there = secondary.subscription_id if apart else "-"
    return _plain_move(
        method=stages.GEO_REPLICATION,
        stage=stages.REPLICATE,
        source_id=_PLAIN_ID.format(here, "-", primary.name),
        target_id=_PLAIN_ID.format(there, "-", secondary.name),
        source=primary,
        declared_target=secondary,
        roles=("primary", "secondary"),
    )


def _joined(link: PolicyResource, resources: Iterable[PolicyResource]) -> tuple[CacheFacts, CacheFacts] | None:
    """Return primary and secondary of *link*, found among *resources* by name, or by what its properties come from."""
    by_name: dict[str, CacheFacts] = {}
    firewall: dict[str, list[FirewallRule]] = {}
    for resource in resources:
        kind = reading.kind_of(resource.resource_type)
        if kind == "Redis":
            cache = reading.cache_of(resource.props)
            by_name[cache.name.lower() if isinstance(cache.name, str) else resource.urn] = cache
        elif kind == "FirewallRule":
            name, rule = reading.firewall_rule_of(resource.props)
            if isinstance(name, str):
                firewall.setdefault(name.lower(), []).append(rule)

    def found(name: Any, property_name: str) -> CacheFacts | None:
        cache = by_name.get(name.lower()) if isinstance(name, str) else None
        if cache is None:
            origins = [r for r in link.property_dependencies.get(property_name, []) if reading.kind_of(r.resource_type)]
            cache = reading.cache_of(origins[0].props) if len(origins) == 1 else None
        if cache is None or not isinstance(cache.name, str):
            return cache
        return dataclasses.replace(cache, firewall_rules=tuple(firewall.get(cache.name.lower(), ())))

    primary_name, secondary_name = reading.linked_names(link.props)
    holder, other = ("name", "linkedRedisCacheId")
    if reading.is_reversed(link.props):
        holder, other = other, holder
    primary, secondary = found(primary_name, holder), found(secondary_name, other)
    return None if primary is None or secondary is None else (primary, secondary)
