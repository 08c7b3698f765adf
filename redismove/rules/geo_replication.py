"""Passive geo-replication: what Azure asks of two caches before it links them, and forbids while they are linked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from redismove import stages
from redismove.facts import REDIS, CacheFacts, Move
from redismove.rules import pages
from redismove.rules.model import Broken, Level, Rule
from redismove.rules.subjects import (
    both,
    going_back,
    known,
    linked,
    listed,
    name_of,
    same_id,
    source_called,
    subscription_of,
    target_called,
    targets,
    there,
)
from redismove.rules.tiers import PREMIUM, size, tier, version

_GEO: Final = frozenset({stages.GEO_REPLICATION})
_MAKING: Final = frozenset({stages.PREPARE, stages.REPLICATE, stages.VERIFY})
_LINKED: Final = frozenset({stages.PREPARE, stages.REPLICATE, stages.VERIFY, stages.UNLINK})
_AFTER_LINK: Final = frozenset({stages.CUTOVER, stages.RETIRE, stages.CLEANUP})

_OTHER_METHOD: Final = "choose redismove:method rdb or copy, which do without a link"
_NOT_ZONED: Final = ("", "NoZones")
_LEAVING: Final = ("Deleting", "Unlinking")


def _will_link(move: Move) -> bool:
    """Whether this update makes the link or prepares for it; what Azure has accepted is not judged again."""
    if linked(move):
        return False
    return not (move.stage == stages.PREPARE and going_back(move))


def _pair(move: Move) -> bool:
    return _will_link(move) and there(move.source) and bool(targets(move))


def _either(move: Move) -> bool:
    """One cache alone can rule a link out: a plan is made before there is a target."""
    return _will_link(move) and len(both(move)) > 0


def _both_premium(move: Move) -> Broken | None:
    for called, cache in targets(move):
        if cache.product != REDIS or tier(cache) != PREMIUM:
            return Broken(
                thing=called,
                found=f"tier {tier(cache)}",
                allowed=f"{PREMIUM}: both caches of a link are",
                cure="set redismove:target.kind to redis and redismove:target.sku to P1 to P5",
            )
    return None


def _same_subscription(move: Move) -> Broken | None:
    mine, theirs = subscription_of(move.source_id), subscription_of(move.target_id)
    if mine == theirs:
        return None
    return Broken(
        thing=target_called(move),
        found=f"subscription {theirs}",
        allowed=f"{mine}, the source's",
        cure="remove redismove:target.subscriptionId, or choose redismove:method rdb or copy",
    )


def _not_linked_elsewhere(move: Move) -> Broken | None:
    partners = {name_of(move.source_id).lower(), name_of(move.target_id).lower()}
    for called, cache in ((source_called(move), move.source), (target_called(move), move.target)):
        if cache is None or not cache.exists:
            continue
        others = [name_of(link) for link in cache.linked_servers if name_of(link).lower() not in partners]
        if others:
            return Broken(
                thing=called,
                found=f"linked to {listed(others)}",
                allowed="no other link: a pair has two caches",
                cure=f"remove that link first, or {_OTHER_METHOD}",
            )
    return None


def _one_replica(move: Move) -> Broken | None:
    for called, cache in both(move):
        if cache.replicas_per_primary != 1:
            return Broken(
                thing=called,
                found=f"replicasPerPrimary {cache.replicas_per_primary}",
                allowed="1",
                cure=f"set it to 1 on the cache, or {_OTHER_METHOD}",
            )
    return None


def _shards(cache: CacheFacts) -> str:
    if cache.shard_count == 0:
        return "no clustering"
    return "1 shard" if cache.shard_count == 1 else f"{cache.shard_count} shards"


def _same_shards(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if cache.shard_count != source.shard_count:
            return Broken(
                thing=called,
                found=_shards(cache),
                allowed=f"{_shards(source)}, as {source_called(move)} has",
                cure=(
                    "name a target that is not made yet (clustering cannot be undone), or give this one as many, "
                    f"or {_OTHER_METHOD}"
                ),
            )
    return None


def _no_persistence(move: Move) -> Broken | None:
    for called, cache in both(move):
        kinds = [kind for kind, on in (("RDB", cache.rdb_backup_enabled), ("AOF", cache.aof_backup_enabled)) if on]
        if kinds:
            return Broken(
                thing=called,
                found=f"persistence ({' and '.join(kinds)}) on",
                allowed="off on both caches while they are linked",
                cure=f"switch it off there (and on the target on again after unlink), or {_OTHER_METHOD}",
            )
    return None


def _zoned(cache: CacheFacts) -> str:
    if cache.zones:
        return f"zones {', '.join(cache.zones)}"
    if cache.zonal_allocation_policy not in _NOT_ZONED:
        return f"zonalAllocationPolicy {cache.zonal_allocation_policy}"
    return ""


def _no_zones(move: Move) -> Broken | None:
    for called, cache in both(move):
        found = _zoned(cache)
        if not found and not cache.exists and cache.zonal_allocation_policy != "NoZones":
            # Left out, Azure takes zones by itself where the region has them.
            found = "no zonalAllocationPolicy"
        if found:
            return Broken(
                thing=called,
                found=found,
                allowed="no zone redundancy on either cache (zonalAllocationPolicy NoZones)",
                cure=f"zones cannot be taken off a cache: name a target that is not made yet, or {_OTHER_METHOD}",
            )
    return None


def _same_version(move: Move) -> Broken | None:
    source = known(move.source)
    mine = version(source)
    for called, cache in targets(move):
        theirs = version(cache)
        if mine is not None and theirs is not None and mine != theirs:
            return Broken(
                thing=called,
                found=f"Redis {cache.redis_version}",
                allowed=f"Redis {source.redis_version}, the source's",
                cure=f"name a target that is not made yet, so that it gets the source's version, or {_OTHER_METHOD}",
            )
    return None


def _links_without_public_access(move: Move) -> bool:
    return _will_link(move) and there(move.target) and known(move.target).public_network_access == "Disabled"


def _links_source_with_private_endpoints(move: Move) -> bool:
    return (
        _will_link(move)
        and there(move.source)
        and there(move.target)
        and len(known(move.source).private_endpoints) > 0
        and known(move.target).public_network_access != "Disabled"
    )


def _private_link_first(move: Move) -> Broken | None:
    target = known(move.target)
    if target.private_endpoints:
        return None
    return Broken(
        thing=target_called(move),
        found="no private endpoint and public access disabled",
        allowed="a private endpoint before it is linked: none can be added while it is",
        cure=f"make a private endpoint for {name_of(target.id)} in its region, then run the same command again",
    )


def _private_link_told(move: Move) -> Broken | None:
    source, target = known(move.source), known(move.target)
    if target.private_endpoints:
        return None
    return Broken(
        thing=target_called(move),
        found="no private endpoint",
        allowed=f"one before it is linked, if applications need it (the source has {listed(source.private_endpoints)})",
        cure="make it before stage replicate; later it means: unlink, add it, link again",
    )


def _right_direction(move: Move) -> Broken | None:
    link = known(move.link)
    if same_id(link.primary_id, move.source_id) and same_id(link.secondary_id, move.target_id):
        return None
    return Broken(
        thing="the link",
        found=f"{name_of(link.primary_id)} is the primary, {name_of(link.secondary_id)} the secondary",
        allowed=f"{source_called(move)} as the primary, {target_called(move)} as the secondary",
        cure="somebody failed over or linked others: find out where applications write, then remove that link by hand",
    )


def _link_ready(move: Move) -> Broken | None:
    called = f"the link {name_of(move.source_id)}-{name_of(move.target_id)}"
    again = "go back to replicate: `pulumi config set redismove:stage replicate`"
    if not linked(move):
        return Broken(thing=called, found="no link", allowed="a link in state Succeeded", cure=again)
    if move.link is None:
        return Broken(thing=called, found="state not read", allowed="Succeeded", cure="run the same command again")
    if move.link.provisioning_state == "Succeeded":
        return None
    return Broken(
        thing=called,
        found=f"state {move.link.provisioning_state}",
        allowed="Succeeded",
        cure="wait until Azure has finished with it, then run the same command again",
    )


def _link_not_failed(move: Move) -> Broken | None:
    if move.link is None or move.link.provisioning_state != "Failed":
        return None
    return Broken(
        thing=f"the link {name_of(move.source_id)}-{name_of(move.target_id)}",
        found="state Failed",
        allowed="Succeeded, or no link yet",
        cure="go back to prepare, which removes it, and link again: `pulumi config set redismove:stage prepare`",
    )


def _link_whole(move: Move) -> Broken | None:
    link = known(move.link)
    # An unlink that Azure could not carry out leaves it so: it was whole when that was let begin.
    failed_unlink = link.provisioning_state == "Failed" and move.previous == stages.UNLINK
    if link.provisioning_state in ("Succeeded", *_LEAVING) or failed_unlink:
        return None
    return Broken(
        thing=f"the link {name_of(link.primary_id)}-{name_of(link.secondary_id)}",
        found=f"state {link.provisioning_state}",
        allowed="Succeeded",
        cure="wait until the target is filled; removing the link now would leave it half filled",
    )


def _link_gone(move: Move) -> Broken | None:
    called = f"the link {name_of(move.source_id)}-{name_of(move.target_id)}"
    if linked(move):
        state = move.link.provisioning_state if move.link is not None else "listed by the source"
        return Broken(
            thing=called,
            found=f"still there ({state})",
            allowed="no link: a linked target takes no writes",
            cure="unlink first: `pulumi config set redismove:stage unlink` and `pulumi up`",
        )
    if move.link is None:
        return Broken(thing=called, found="not read", allowed="a 404 from Azure", cure="run the same command again")
    return None


def _evidence_link(move: Move) -> Broken | None:
    evidence = known(move.evidence)
    if evidence.link_state == "Succeeded":
        return None
    return Broken(
        thing="the evidence",
        found=f'link state "{evidence.link_state}"',
        allowed='"Succeeded"',
        cure="go back to verify and run it again: `pulumi config set redismove:stage verify`",
    )


def _evidence_while_linked(move: Move) -> bool:
    return linked(move) and move.evidence is not None


def _evidence_lag(move: Move) -> Broken | None:
    lag, most = known(move.evidence).lag_bytes, move.limits.max_lag_bytes
    # Below zero nothing was seen: without a marker key that is only told, with one it means that it did not arrive.
    arrived = lag >= 0 or not move.consent.allow_marker_key
    if arrived and lag <= most:
        return None
    return Broken(
        thing="the evidence",
        found=f"{lag} bytes not replicated" if arrived else "a marker key that did not arrive in the target",
        allowed=f"{most} bytes or fewer; the cut-over carries these over",
        cure="wait until the target has caught up, then go back to verify: `pulumi config set redismove:stage verify`",
    )


def _unchanged(
    what: str, value: Callable[[CacheFacts], Any], shown: Callable[[CacheFacts], str]
) -> Callable[[Move], Broken | None]:
    def check(move: Move) -> Broken | None:
        live, declared = known(move.target), known(move.declared_target)
        if value(live) == value(declared):
            return None
        return Broken(
            thing=f"{target_called(move)} as declared",
            found=f"{what} {shown(declared)}",
            allowed=f"{shown(live)}, as it is, while it is linked",
            cure="take the change back; make it from stage cutover on, or go back to prepare first and change it then",
        )

    return check


def _changes_linked(move: Move) -> bool:
    return linked(move) and there(move.target) and move.declared_target is not None


def _persistence_shown(cache: CacheFacts) -> str:
    kinds = [kind for kind, on in (("RDB", cache.rdb_backup_enabled), ("AOF", cache.aof_backup_enabled)) if on]
    return " and ".join(kinds) or "off"


def _no_new_private_endpoint(move: Move) -> Broken | None:
    live, declared = known(move.target), known(move.declared_target)
    new = [name for name in declared.private_endpoints if name not in live.private_endpoints]
    if not new:
        return None
    return Broken(
        thing=f"{target_called(move)} as declared",
        found=f"a new private endpoint {listed(new)}",
        allowed="those it had when it was linked",
        cure="go back to prepare, add it, and link again",
    )


def _lag_seen(move: Move) -> Broken | None:
    if known(move.evidence).lag_bytes >= 0 or move.consent.allow_marker_key:
        return None
    return Broken(
        thing="the evidence",
        found="no replication offsets to tell the lag by",
        allowed="the lag, or a marker key that was seen to arrive",
        cure="set redismove:allowMarkerKey to true (one key of ours is written to the source), and verify again",
    )


RULES: tuple[Rule, ...] = (
    Rule(
        id="RM-G01",
        title="both caches of a link are Premium",
        plain="link",
        source=pages.article("Both caches are Premium tier caches."),
        methods=_GEO,
        stages=_MAKING,
        applies=lambda move: _will_link(move) and bool(targets(move)),
        check=_both_premium,
        backward=True,
    ),
    Rule(
        id="RM-G02",
        title="both caches of a link are in the same subscription",
        plain="link",
        source=pages.article("Both caches are in the same Azure subscription."),
        methods=_GEO,
        stages=_MAKING,
        applies=lambda move: _will_link(move) and bool(move.target_id),
        check=_same_subscription,
        backward=True,
    ),
    Rule(
        id="RM-G03",
        title="neither cache is linked to another one",
        source=pages.geo("A cache that is already linked to another one cannot be linked."),
        methods=_GEO,
        stages=_MAKING,
        applies=lambda move: _will_link(move) and (there(move.source) or there(move.target)),
        check=_not_linked_elsewhere,
        backward=True,
    ),
    Rule(
        id="RM-G04",
        title="both caches of a link have one replica",
        plain="link",
        source=pages.geo("Geo-replication needs exactly one replica per primary."),
        methods=_GEO,
        stages=_MAKING,
        applies=_either,
        check=_one_replica,
        backward=True,
    ),
    Rule(
        id="RM-G05",
        title="both caches of a link have the same number of shards, or neither is clustered",
        plain="link",
        source=pages.article(
            "Clustering is supported if both caches have clustering enabled and have the same number of shards."
        ),
        methods=_GEO,
        stages=_MAKING,
        applies=_pair,
        check=_same_shards,
        backward=True,
    ),
    Rule(
        id="RM-G06",
        title="persistence is off on both caches of a link",
        plain="link",
        source=pages.article("Persistence isn't supported with geo-replication."),
        methods=_GEO,
        stages=_MAKING,
        applies=_either,
        check=_no_persistence,
        backward=True,
    ),
    Rule(
        id="RM-G07",
        title="neither cache of a link is zone redundant",
        plain="link",
        source=pages.article("Zone Redundancy isn't supported with geo-replication."),
        methods=_GEO,
        stages=_MAKING,
        applies=_either,
        check=_no_zones,
        backward=True,
    ),
    Rule(
        id="RM-G08",
        title="both caches of a link run the same version of Redis",
        plain="link",
        source=pages.geo("Both caches have the same Redis server version."),
        methods=_GEO,
        stages=_MAKING,
        applies=_pair,
        check=_same_version,
        backward=True,
    ),
    Rule(
        id="RM-G09",
        title="a target without public access has its private endpoint before it is linked",
        source=pages.geo("Private links cannot be added while the caches are linked: unlink, add, link again."),
        methods=_GEO,
        stages=frozenset({stages.REPLICATE, stages.VERIFY}),
        applies=_links_without_public_access,
        check=_private_link_first,
        backward=True,
    ),
    Rule(
        id="RM-G10",
        title="private endpoints are made before linking",
        source=pages.geo("Private links cannot be added while the caches are linked: unlink, add, link again."),
        methods=_GEO,
        stages=frozenset({stages.PREPARE, stages.REPLICATE}),
        applies=_links_source_with_private_endpoints,
        check=_private_link_told,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-G11",
        title="the link goes from the source to the target",
        source=pages.article("Any data that was in the secondary linked cache before the link was added is removed."),
        methods=_GEO,
        stages=frozenset({stages.PREPARE, stages.REPLICATE, stages.VERIFY, stages.UNLINK, stages.CUTOVER}),
        applies=lambda move: move.link is not None and move.link.exists,
        check=_right_direction,
        severity="critical",
        backward=True,
    ),
    Rule(
        id="RM-G12",
        title="the link is made before it is verified",
        source=pages.article("Once the replication process is complete, the link status changes to Succeeded."),
        methods=_GEO,
        stages=frozenset({stages.VERIFY}),
        check=_link_ready,
    ),
    Rule(
        id="RM-G13",
        title="a link is removed only after it has filled the target",
        source=pages.article(
            "Once your new cache is populated with all necessary data, remove the link between the two caches."
        ),
        methods=_GEO,
        stages=frozenset({stages.UNLINK}),
        applies=lambda move: move.link is not None and move.link.exists,
        check=_link_whole,
        severity="critical",
    ),
    Rule(
        id="RM-G14",
        title="the link is gone before applications use the target",
        source=pages.article(
            "The secondary linked cache is read-only; when the unlinking completes it takes reads and writes."
        ),
        methods=_GEO,
        stages=_AFTER_LINK,
        applies=lambda move: there(move.source),
        check=_link_gone,
        severity="critical",
    ),
    Rule(
        id="RM-G15",
        title="the evidence saw the link in order",
        source=pages.article("Once the replication process is complete, the link status changes to Succeeded."),
        methods=_GEO,
        stages=frozenset({stages.UNLINK}),
        applies=_evidence_while_linked,
        check=_evidence_link,
        severity="critical",
    ),
    Rule(
        id="RM-G16",
        title="the target lags little when the link is removed",
        source=pages.geo("The metric Geo Replication Data Sync Offset shows the bytes not yet replicated."),
        methods=_GEO,
        stages=frozenset({stages.UNLINK}),
        applies=_evidence_while_linked,
        check=_evidence_lag,
    ),
    Rule(
        id="RM-G17",
        title="a linked cache is not scaled",
        source=pages.article("You can't scale either cache while the caches are linked."),
        methods=_GEO,
        stages=_LINKED,
        applies=_changes_linked,
        check=_unchanged("size", lambda c: (c.sku_name.lower(), size(c)), size),
        backward=True,
    ),
    Rule(
        id="RM-G18",
        title="the shards of a linked cache stay as many",
        source=pages.article("You can't change the number of shards if the cache has clustering enabled."),
        methods=_GEO,
        stages=_LINKED,
        applies=_changes_linked,
        check=_unchanged("clustering:", lambda c: c.shard_count, _shards),
        backward=True,
    ),
    Rule(
        id="RM-G19",
        title="persistence stays off while caches are linked",
        source=pages.article("You can't enable persistence on either cache."),
        methods=_GEO,
        stages=_LINKED,
        applies=_changes_linked,
        check=_unchanged("persistence", lambda c: (c.rdb_backup_enabled, c.aof_backup_enabled), _persistence_shown),
        backward=True,
    ),
    Rule(
        id="RM-G20",
        title="access keys stay enabled or disabled while caches are linked",
        source=pages.entra("Access keys of geo-replicated caches: unlink, disable them, link again."),
        methods=_GEO,
        stages=_LINKED,
        applies=_changes_linked,
        check=_unchanged(
            "access keys",
            lambda c: c.access_keys_disabled,
            lambda c: "disabled" if c.access_keys_disabled else "enabled",
        ),
        backward=True,
    ),
    Rule(
        id="RM-G21",
        title="no private endpoint is added while caches are linked",
        source=pages.geo("Private links cannot be added while the caches are linked: unlink, add, link again."),
        methods=_GEO,
        stages=_LINKED,
        applies=_changes_linked,
        check=_no_new_private_endpoint,
        backward=True,
    ),
    Rule(
        id="RM-G22",
        title="the lag of the target was seen",
        source=pages.geo("The metric Geo Replication Data Sync Offset shows the bytes not yet replicated."),
        methods=_GEO,
        stages=frozenset({stages.UNLINK}),
        applies=_evidence_while_linked,
        check=_lag_seen,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-G23",
        title="a link that failed is removed before it is made again",
        source=pages.geo("A link's properties cannot be changed, and a link that exists cannot be made again."),
        methods=_GEO,
        stages=frozenset({stages.REPLICATE, stages.VERIFY}),
        applies=linked,
        check=_link_not_failed,
        backward=True,
    ),
)
