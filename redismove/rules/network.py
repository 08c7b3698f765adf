"""Network and sign-in: the target is no more open than the source, and can be reached by those who use it."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from redismove import stages
from redismove.facts import MANAGED, REDIS, CacheFacts, FirewallRule, Move
from redismove.rules import pages
from redismove.rules.model import Broken, Level, Rule
from redismove.rules.subjects import (
    ALL_METHODS,
    endpoint_on_target,
    known,
    linked,
    listed,
    name_of,
    source_called,
    target_called,
    targets,
    there,
)

_GEO: Final = frozenset({stages.GEO_REPLICATION})
_PREPARING: Final = frozenset({stages.PREPARE})
_ALL_ACCESS: Final = {REDIS: "Data Owner", MANAGED: "default"}
_BEFORE_CUTOVER: Final = frozenset({stages.PREPARE, stages.REPLICATE, stages.VERIFY, stages.UNLINK, stages.CUTOVER})
_AS_SOURCE: Final = "change it in Azure, or go back to prepare, which declares the target like the source"


def _pair(move: Move) -> bool:
    return there(move.source) and bool(targets(move)) and not endpoint_on_target(move)


def _redis_pair(move: Move) -> bool:
    return _pair(move) and all(cache.product != MANAGED for _, cache in targets(move))


def _managed_pair(move: Move) -> bool:
    return _pair(move) and any(cache.product == MANAGED for _, cache in targets(move))


def tls(cache: CacheFacts) -> tuple[int, int]:
    """Return the lowest TLS version a cache takes as numbers, (1, 2); what says nothing else counts as 1.2."""
    match = re.fullmatch(r"(\d+)\.(\d+)", cache.minimum_tls_version.strip())
    return (int(match[1]), int(match[2])) if match else (1, 2)


def _no_lower_tls(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if tls(cache) < tls(source):
            return Broken(
                thing=called,
                found=f"minimumTlsVersion {cache.minimum_tls_version}",
                allowed=f"{source.minimum_tls_version or '1.2'}, the source's, or higher",
                cure=_AS_SOURCE,
            )
    return None


def _no_new_plain_port(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if cache.non_ssl_port_enabled and not source.non_ssl_port_enabled:
            return Broken(
                thing=called,
                found="the port without TLS open",
                allowed="closed, as on the source",
                cure=_AS_SOURCE,
            )
    return None


def _plain_port_kept(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if source.non_ssl_port_enabled and not cache.non_ssl_port_enabled:
            return Broken(
                thing=called,
                found="the port without TLS closed",
                allowed="open, as on the source, while an application uses it",
                cure="let applications use TLS before the cut-over; the port of the target is closed",
            )
    return None


def _no_new_public_access(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if source.public_network_access == "Disabled" and cache.public_network_access != "Disabled":
            return Broken(
                thing=called,
                found=f"publicNetworkAccess {cache.public_network_access}",
                allowed="Disabled, as on the source",
                cure=_AS_SOURCE,
            )
    return None


def _reachable(move: Move) -> Broken | None:
    target = known(move.target)
    if target.public_network_access != "Disabled" or target.private_endpoints or target.subnet_id:
        return None
    return Broken(
        thing=target_called(move),
        found="public access disabled and no private endpoint",
        allowed="a way for applications to reach it",
        cure=f"make a private endpoint for {name_of(target.id)} (while linked: unlink, add it, link again)",
    )


def _no_new_access_keys(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if source.access_keys_disabled and not cache.access_keys_disabled:
            return Broken(
                thing=called,
                found="sign-in by access keys enabled",
                allowed="disabled, as on the source",
                cure=_AS_SOURCE,
            )
    return None


def _keys_for_fence(move: Move) -> Broken | None:
    source = known(move.source)
    if not source.access_keys_disabled:
        return None
    return Broken(
        thing=source_called(move),
        found="sign-in by access keys disabled",
        allowed="enabled, for a fence by new keys",
        cure=(
            "take the applications' Entra access to the source away yourself at the cut-over: a connection that is "
            "only cut comes back; a Redis without CLIENT PAUSE WRITE cannot hold writes either, and "
            "redismove:cutover.acceptOpenFence says that every application does, as those on redismove's client"
        ),
    )


def _mover_admitted(move: Move) -> Broken | None:
    who = move.signed_in_object_id
    for called, cache in ((source_called(move), move.source), (target_called(move), move.target)):
        if cache is None or not cache.exists or cache.admits(who):
            continue
        policy = _ALL_ACCESS[cache.product]
        return Broken(
            thing=called,
            found=f"sign-in by Entra alone, and {listed(cache.policies_of(who)) or 'no access policy'} for principal "
            f"{who}, who runs this",
            allowed=f"access policy {policy}: the mover reads and writes every key and cuts connections",
            cure=f"assign it access policy {policy} of {name_of(cache.id)} (portal: Authentication, or "
            "`az redis access-policy-assignment create`)",
        )
    return None


def _span(rule: FirewallRule) -> tuple[int, int]:
    try:
        return int(ipaddress.ip_address(rule.start_ip)), int(ipaddress.ip_address(rule.end_ip))
    except ValueError:
        return (0, -1)  # what is no address admits nobody


def admits(rules: tuple[FirewallRule, ...], address: str) -> bool:
    """Whether firewall *rules* let *address* in; no rules let everybody in."""
    if not rules:
        return True
    number = int(ipaddress.ip_address(address))
    return any(first <= number <= last for first, last in map(_span, rules))


def address_of(cache: CacheFacts) -> str:
    """Return a cache's IP address where the facts have one, else ""."""
    for text in (cache.static_ip, cache.host_name):
        try:
            return str(ipaddress.ip_address(text.strip()))
        except ValueError:
            continue
    return ""


def _secondary_admitted(move: Move) -> Broken | None:
    source, target = known(move.source), known(move.target)
    address = address_of(target)
    if admits(source.firewall_rules, address):
        return None
    return Broken(
        thing=source_called(move),
        found=f"no firewall rule for {address}, the address of {target_called(move)}",
        allowed="one: a link does not work through the firewall without",
        cure=(
            f"run `az redis firewall-rules create --name {name_of(move.source_id)} --rule-name {_rule_name(move)} "
            f"--start-ip {address} --end-ip {address}`"
        ),
    )


def _rule_name(move: Move) -> str:
    return name_of(move.target_id).replace("-", "_")


def _links_through_firewall(move: Move) -> bool:
    return (
        not linked(move)
        and there(move.source)
        and there(move.target)
        and move.source is not None
        and move.target is not None
        and bool(move.source.firewall_rules)
    )


def _secondary_told(move: Move) -> Broken | None:
    source = known(move.source)
    return Broken(
        thing=source_called(move),
        found=f"{len(source.firewall_rules)} firewall rules",
        allowed=f"one for the address of {target_called(move)} among them before it is linked",
        cure=f"look its address up once it is made, and add it (rule name {_rule_name(move)})",
    )


def _closed_like_source(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if source.firewall_rules and not cache.firewall_rules:
            return Broken(
                thing=called,
                found="no firewall rule: everybody may connect",
                allowed=f"the source's rules ({listed([rule.name for rule in source.firewall_rules])})",
                cure=_AS_SOURCE,
            )
    return None


def _same_firewall(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if not cache.firewall_rules:
            continue
        spans = {_span(rule) for rule in cache.firewall_rules}
        missing = [rule.name for rule in source.firewall_rules if _span(rule) not in spans]
        if missing:
            return Broken(
                thing=called,
                found=f"no firewall rule like the source's {listed(missing)}",
                allowed="the source's rules; others besides",
                cure=_AS_SOURCE,
            )
    return None


def _managed_closed(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if cache.product == MANAGED and source.firewall_rules and cache.public_network_access != "Disabled":
            return Broken(
                thing=called,
                found="public access enabled, and Azure Managed Redis has no firewall rules",
                allowed=f"it disabled: the source admits only {listed([r.name for r in source.firewall_rules])}",
                cure="disable public access on the target and give applications a private endpoint",
            )
    return None


def _subnet_of_region(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if (
            cache.subnet_id
            and cache.subnet_id.lower() == source.subnet_id.lower()
            and cache.location != source.location
        ):
            return Broken(
                thing=called,
                found=f"subnet {cache.subnet_id}, the source's",
                allowed=f"a subnet in {cache.location}: a subnet lies in one region",
                cure="give the target a subnet of its own region, or none",
            )
    return None


def _vnet_caveats(move: Move) -> Broken | None:
    source = known(move.source)
    return Broken(
        thing=source_called(move),
        found=f"subnet {source.subnet_id}",
        allowed="a connection between the networks of both caches that Azure supports for a link",
        cure=(
            "connect the two VNets by a VPN gateway (VNet peering does not do across regions) and open TCP 15000 to "
            "15999 in and out for the whole subnet of both caches"
        ),
    )


def _vnet_not_carried(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if not cache.subnet_id:
            return Broken(
                thing=called,
                found="no subnet",
                allowed=f"a way from the applications of subnet {source.subnet_id} to it",
                cure="give the target a private endpoint in a network that these applications reach",
            )
    return None


def _private_endpoints_carried(move: Move) -> Broken | None:
    source = known(move.source)
    for called, cache in targets(move):
        if not cache.private_endpoints:
            return Broken(
                thing=called,
                found="no private endpoint",
                allowed=f"one for each of the source's that applications use ({listed(source.private_endpoints)})",
                cure="make them in the target's region; they are not carried over",
            )
    return None


def _other_port(move: Move) -> Broken | None:
    for called, cache in targets(move):
        if cache.product == MANAGED:
            return Broken(
                thing=called,
                found="port 10000, either with TLS or without",
                allowed="the ports that applications use today (6380, 6379)",
                cure="let applications take host and port from the endpoint, and use TLS",
            )
    return None


def _identity_told(move: Move) -> Broken | None:
    source = known(move.source)
    return Broken(
        thing=target_called(move),
        found=f"an identity of its own ({source.identity_type})",
        allowed="the role assignments that the source's identity has",
        cure="repeat these role assignments for the target's identity; Azure gives each cache another one",
    )


def _schedule_told(move: Move) -> Broken | None:
    source = known(move.source)
    left = [
        what
        for what, has in (
            ("patch schedule", bool(source.patch_schedule)),
            ("access policies", bool(source.access_policies)),
            ("persistence", source.rdb_backup_enabled or source.aof_backup_enabled),
            ("keyspace notifications", bool(source.notify_keyspace_events)),
        )
        if has
    ]
    if not left:
        return None
    return Broken(
        thing=target_called(move),
        found=f"Azure Managed Redis, which does not take over {listed(left)}",
        allowed="a target set up for what applications need of these",
        cure="set them up on the target by hand before the cut-over",
    )


RULES: tuple[Rule, ...] = (
    Rule(
        id="RM-N01",
        title="the target asks for TLS at least as new as the source",
        plain="link",
        source=pages.geo("Before a failover check that firewall, port and TLS settings are alike."),
        methods=ALL_METHODS,
        stages=_BEFORE_CUTOVER,
        applies=_pair,
        check=_no_lower_tls,
    ),
    Rule(
        id="RM-N02",
        title="the target opens no port without TLS that the source keeps closed",
        plain="link",
        source=pages.geo("Before a failover check that firewall, port and TLS settings are alike."),
        methods=ALL_METHODS,
        stages=_BEFORE_CUTOVER,
        applies=_pair,
        check=_no_new_plain_port,
    ),
    Rule(
        id="RM-N03",
        title="applications that use the port without TLS find it on the target",
        source=pages.geo("Before a failover check that firewall, port and TLS settings are alike."),
        methods=ALL_METHODS,
        stages=_BEFORE_CUTOVER,
        applies=_pair,
        check=_plain_port_kept,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-N04",
        title="a source without public access gets a target without",
        plain="link",
        source=pages.private_link("publicNetworkAccess Disabled leaves private endpoints as the only way in."),
        methods=ALL_METHODS,
        stages=_BEFORE_CUTOVER,
        applies=_pair,
        check=_no_new_public_access,
        severity="critical",
    ),
    Rule(
        id="RM-N05",
        title="applications can reach the target",
        source=pages.private_link("publicNetworkAccess Disabled leaves private endpoints as the only way in."),
        methods=ALL_METHODS,
        stages=frozenset({stages.VERIFY, stages.UNLINK, stages.CUTOVER}),
        applies=lambda move: there(move.target) and not endpoint_on_target(move),
        check=_reachable,
    ),
    Rule(
        id="RM-N06",
        title="a source without access keys gets a target without",
        plain="link",
        source=pages.entra("disableAccessKeyAuthentication leaves Microsoft Entra as the only sign-in."),
        methods=ALL_METHODS,
        stages=_BEFORE_CUTOVER,
        applies=_pair,
        check=_no_new_access_keys,
        severity="critical",
    ),
    Rule(
        id="RM-N07",
        title="the source can be fenced by new access keys",
        source=pages.entra("disableAccessKeyAuthentication leaves Microsoft Entra as the only sign-in."),
        methods=ALL_METHODS,
        stages=frozenset({stages.PREPARE, stages.CUTOVER}),
        applies=_pair,
        check=_keys_for_fence,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-N08",
        title="the source's firewall admits the secondary",
        source=pages.geo("Add the secondary cache's IP address to the primary cache's firewall rules."),
        methods=_GEO,
        stages=frozenset({stages.REPLICATE, stages.VERIFY}),
        applies=lambda move: (
            _links_through_firewall(move) and move.target is not None and bool(address_of(move.target))
        ),
        check=_secondary_admitted,
        backward=True,
    ),
    Rule(
        id="RM-N09",
        title="the secondary's address is added to the source's firewall before linking",
        plain="link",
        source=pages.geo("Add the secondary cache's IP address to the primary cache's firewall rules."),
        methods=_GEO,
        stages=frozenset({stages.PREPARE, stages.REPLICATE}),
        applies=lambda move: (
            not linked(move)
            and move.source is not None
            and bool(move.source.firewall_rules)
            and not (move.target is not None and address_of(move.target))
        ),
        check=_secondary_told,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-N10",
        title="a source behind a firewall gets a target behind one",
        plain="link",
        source=pages.geo("Keep the firewall rules of both caches alike before a failover."),
        methods=ALL_METHODS,
        stages=_BEFORE_CUTOVER,
        applies=_redis_pair,
        check=_closed_like_source,
        severity="critical",
    ),
    Rule(
        id="RM-N11",
        title="the target's firewall admits what the source's admits",
        plain="link",
        source=pages.geo("Keep the firewall rules of both caches alike before a failover."),
        methods=ALL_METHODS,
        stages=frozenset({stages.PREPARE, stages.CUTOVER}),
        applies=_redis_pair,
        check=_same_firewall,
    ),
    Rule(
        id="RM-N12",
        title="a managed target is not open where the source has a firewall",
        source=pages.migrate("Azure Managed Redis has no firewall rules; use Private Link."),
        methods=ALL_METHODS,
        stages=_BEFORE_CUTOVER,
        applies=_managed_pair,
        check=_managed_closed,
        severity="critical",
    ),
    Rule(
        id="RM-N13",
        title="the target's subnet lies in its region",
        source=pages.vnet("A cache is injected into a subnet of a virtual network in its own region."),
        methods=ALL_METHODS,
        stages=_PREPARING,
        applies=_pair,
        check=_subnet_of_region,
    ),
    Rule(
        id="RM-N14",
        title="the virtual networks of linked caches are connected as Azure supports it",
        plain="link",
        source=pages.geo("Caches in different VNets are supported with caveats; across regions not by VNet peering."),
        methods=_GEO,
        stages=frozenset({stages.PREPARE, stages.REPLICATE}),
        applies=lambda move: not linked(move) and move.source is not None and bool(move.source.subnet_id),
        check=_vnet_caveats,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-N15",
        title="applications in the source's virtual network can reach the target",
        source=pages.vnet("Azure Managed Redis and caches without a subnet are reached by public or private endpoint."),
        methods=ALL_METHODS,
        stages=_PREPARING,
        applies=lambda move: _pair(move) and move.source is not None and bool(move.source.subnet_id),
        check=_vnet_not_carried,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-N16",
        title="private endpoints are made again for the target",
        source=pages.private_link("A private endpoint belongs to one cache and lies in one region."),
        methods=ALL_METHODS,
        stages=frozenset({stages.PREPARE, stages.CUTOVER}),
        applies=lambda move: _pair(move) and move.source is not None and bool(move.source.private_endpoints),
        check=_private_endpoints_carried,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-N17",
        title="applications of a managed target use its port",
        source=pages.managed("Azure Managed Redis listens on port 10000, with TLS or without."),
        methods=ALL_METHODS,
        stages=frozenset({stages.PREPARE, stages.CUTOVER}),
        applies=_managed_pair,
        check=_other_port,
        level=Level.ADVISORY,
        severity="medium",
    ),
    Rule(
        id="RM-N18",
        title="the target's own identity gets the source's role assignments",
        source=pages.migrate("Azure's own migration tool warns of identities: they are not carried over."),
        methods=ALL_METHODS,
        stages=_PREPARING,
        applies=lambda move: _pair(move) and move.source is not None and "SystemAssigned" in move.source.identity_type,
        check=_identity_told,
        level=Level.ADVISORY,
        severity="low",
    ),
    Rule(
        id="RM-N19",
        title="what a managed target does not take over is set up by hand",
        source=pages.migrate(
            "Azure's own migration tool warns of schedule, access policies, persistence and notifications."
        ),
        methods=ALL_METHODS,
        stages=_PREPARING,
        applies=_managed_pair,
        check=_schedule_told,
        level=Level.ADVISORY,
        severity="low",
    ),
    Rule(
        id="RM-N20",
        title="who runs the move may sign in to caches without access keys",
        source=pages.entra("Configure a data access policy for the user or principal: Data Owner allows everything."),
        methods=ALL_METHODS,
        stages=_BEFORE_CUTOVER | {stages.RETIRE},
        backward=True,
        applies=lambda move: bool(move.signed_in_object_id),
        check=_mover_admitted,
    ),
)
