"""
For each rule the cases that pass, that fail and that it does not speak of.

Each case changes one point of a move that may go on (`moves.move`). Messages of the failing ones are kept in
`tests/unit/golden/rule_messages.json`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from redismove import stages
from redismove.facts import (
    MANAGED,
    AccessPolicy,
    AccessPolicyAssignment,
    ContainerGroupFacts,
    EndpointFacts,
    FirewallRule,
    Move,
    PopulationFacts,
    ScheduleEntry,
)
from redismove.rules import Outcome
from tests.support.moves import (
    GONE,
    HOUR_S,
    NOW_S,
    ON_SOURCE,
    ON_TARGET,
    OTHER_SUBSCRIPTION,
    SOURCE_ID,
    STORAGE,
    SUBSCRIPTION,
    TARGET_ID,
    TARGET_STORAGE,
    cache_id,
    carried,
    change,
    copy_job,
    cutover,
    evidence,
    link,
    managed,
    move,
    source,
    target,
)

GEO, NEW, RDB, DUAL, COPY = (
    stages.GEO_REPLICATION,
    stages.NEW_CACHE,
    stages.RDB,
    stages.DUAL_WRITE,
    stages.COPY,
)
OTHER_ID = cache_id("somebody")
OFFICE = FirewallRule(name="office", start_ip="10.0.0.0", end_ip="10.0.0.255")
OPEN = FirewallRule(name="all", start_ip="0.0.0.0", end_ip="255.255.255.255")
JOB_GROUP = ContainerGroupFacts(
    id="/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerInstance/containerGroups/redismove-copy-1",
    name="redismove-copy-1",
    location="eastus",
)
SUBNET = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/jobs"
SHOP = FirewallRule(name="shop", start_ip="10.1.0.0", end_ip="10.1.0.9")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One move and what a rule must say of it."""

    name: str
    move: Move
    outcome: Outcome


def passes(name: str, made: Move) -> Case:
    """The rule holds."""
    return Case(name=name, move=made, outcome=Outcome.PASS)


def fails(name: str, made: Move) -> Case:
    """The rule is broken."""
    return Case(name=name, move=made, outcome=Outcome.FAIL)


def silent(name: str, made: Move) -> Case:
    """The rule does not speak of it."""
    return Case(name=name, move=made, outcome=Outcome.NOT_APPLICABLE)


def _no_source(stage: str, method: str = GEO, **changes: Any) -> Move:
    return move(stage, method, source=None, **changes)


def _declared(stage: str, method: str = GEO, **changes: Any) -> Move:
    return move(stage, method, declared_target=changes)


def _managed_declared(stage: str = "prepare", method: str = COPY, **changes: Any) -> Move:
    return move(stage, method, declared_target=managed(exists=False, **changes))


def _by_entra(*, policies: tuple[str, ...], **changes: Any) -> Move:
    """A source that takes no access keys, and the policies of whoever runs the move."""
    who = "11111111-2222-3333-4444-555555555555"
    admitted = tuple(
        AccessPolicyAssignment(name=f"a{number}", object_id=who, object_id_alias="mover", access_policy_name=policy)
        for number, policy in enumerate(policies)
    )
    of_source = {"access_keys_disabled": True, "access_policy_assignments": admitted, **changes.pop("source", {})}
    return move("verify", COPY, **{"source": of_source, "signed_in_object_id": who, **changes})


def _tier(name: str, method: str, stage: str = "prepare") -> Move:
    size = {
        "Basic": {"sku_name": "Basic", "sku_family": "C", "sku_capacity": 1},
        "Standard": {"sku_name": "Standard", "sku_family": "C", "sku_capacity": 1},
        "Premium": {},
        "Enterprise": {"product": MANAGED, "sku_name": "Enterprise_E10", "sku_family": "", "sku_capacity": 2},
        "Enterprise Flash": {
            "product": MANAGED,
            "sku_name": "EnterpriseFlash_F300",
            "sku_family": "",
            "sku_capacity": 3,
        },
        "Azure Managed Redis": {"product": MANAGED, "sku_name": "Balanced_B10", "sku_family": "", "sku_capacity": 0},
    }[name]
    return move(stage, method, source=source(**size))


WAY: dict[str, list[Case]] = {
    "RM-S05": [
        passes("adopt", move("adopt")),
        passes("verify of copy", move("verify", COPY)),
        fails("no such method", change(move("adopt"), method="teleport")),
        fails("no such stage", change(move("adopt"), stage="finish")),
        fails("unlink of copy", change(move("verify", COPY), stage="unlink")),
        fails("replicate of new-cache", change(move("prepare", NEW), stage="replicate")),
    ],
    "RM-S01": [
        passes("adopt in a new stack", move("adopt")),
        passes("one forward", move("prepare")),
        passes("the same again", move("prepare", previous="prepare")),
        passes("one back", move("prepare", previous="replicate")),
        passes("straight to adopt", move("adopt", previous="retire")),
        passes("from unlink to replicate", move("replicate", previous="unlink")),
        passes("from cleanup back to retire while the source is there", move("retire", previous="cleanup")),
        passes("cleanup again", move("cleanup", previous="cleanup", source=None)),
        passes("from prepare to cutover of new-cache", move("cutover", NEW)),
        passes("from verify to cutover of copy", move("cutover", COPY)),
        fails("prepare in a new stack", move("prepare", previous="")),
        fails("two forward", move("verify", previous="prepare")),
        fails("two back", move("prepare", previous="verify")),
        fails("from cutover to replicate", move("replicate", previous="cutover")),
        fails("from verify to cutover over unlink", move("cutover", previous="verify")),
        fails("from cleanup back to retire when the source is gone", move("retire", previous="cleanup", source=None)),
        fails(
            "from cleanup back to retire when the source is no more",
            move("retire", previous="cleanup", source={"exists": False}),
        ),
        fails("from cleanup to adopt", move("adopt", previous="cleanup")),
        fails("from a stage that the method does not have", move("verify", COPY, previous="unlink")),
    ],
    "RM-S02": [
        passes("not fixed yet", move("adopt")),
        passes("the same", move("prepare")),
        passes("the same in other letters", move("prepare", fixed_source_id=SOURCE_ID.upper())),
        fails("another", move("prepare", fixed_source_id=OTHER_ID)),
    ],
    "RM-S03": [
        passes("not fixed yet", move("prepare")),
        passes("the same in other letters", move("verify", fixed_target_id=TARGET_ID.upper())),
        fails("another", move("verify", fixed_target_id=OTHER_ID)),
        fails("none", move("verify", target_id="")),
    ],
    "RM-S04": [
        passes("the same", move("verify")),
        passes("nothing recorded", move("verify", previous_method="")),
        passes("another after adopt", move("prepare", COPY, previous_method=GEO)),
        passes("another in a new stack", move("adopt", previous="", previous_method=COPY)),
        fails("another after prepare", move("replicate", COPY, previous_method=GEO)),
        fails("another on the way to adopt", move("adopt", COPY, previous="prepare", previous_method=GEO)),
    ],
}

LIFE: dict[str, list[Case]] = {
    "RM-L01": [
        passes("there", move("adopt")),
        fails("none", _no_source("adopt")),
        fails("no more", move("prepare", source={"exists": False})),
        fails("gone at retire", _no_source("retire")),
    ],
    "RM-L02": [
        passes("Succeeded", move("prepare")),
        passes(
            "a deletion that failed",
            move("cleanup", previous="cleanup", source={"provisioning_state": "Failed"}),
        ),
        fails("failed before it is deleted", move("cleanup", source={"provisioning_state": "Failed"})),
        fails("failed, at another stage", move("retire", previous="cleanup", source={"provisioning_state": "Failed"})),
        fails("scaling, at cleanup", move("cleanup", previous="cleanup", source={"provisioning_state": "Scaling"})),
        fails("scaling", move("prepare", source={"provisioning_state": "Scaling"})),
        silent("gone at cleanup", _no_source("cleanup")),
        silent("no more at cleanup", move("cleanup", source={"exists": False})),
    ],
    "RM-L03": [passes("named", move("prepare")), fails("none", move("prepare", target_id=""))],
    "RM-L04": [
        passes("runs", move("replicate")),
        fails("none", move("replicate", target=None)),
        fails("no more", move("cleanup", target={"exists": False})),
        passes(
            "updating, but the way leads back",
            move("unlink", previous="cutover", target={"provisioning_state": "Updating"}),
        ),
        fails("updating", move("verify", target={"provisioning_state": "Updating"})),
        fails("gone after the unlink", move("cutover", target=None)),
        fails("gone on the way back to a new link", move("replicate", previous="unlink", target=None)),
        fails("gone while applications use it", move("retire", target=None)),
        fails("could not be made", move("prepare", target=target(provisioning_state="Failed"))),
        silent("not there yet", move("prepare")),
        silent("being updated, at prepare", move("prepare", target=target(provisioning_state="Updating"))),
        silent("no more, at prepare", move("prepare", target=target(exists=False, provisioning_state="Failed"))),
    ],
    "RM-L05": [
        passes("before unlink", move("unlink")),
        passes("before cutover", move("cutover", COPY)),
        fails("none before unlink", move("unlink", evidence=None)),
        fails("none before cutover", move("cutover", evidence=None)),
        fails("none, endpoint not read", move("cutover", evidence=None, endpoint=None)),
        fails(
            "link not read, but the source lists it",
            move(
                "unlink",
                evidence=None,
                link=None,
                source={"linked_servers": (f"{SOURCE_ID}/linkedServers/ORDERS-west",)},
            ),
        ),
        silent("link gone already", move("unlink", evidence=None, link=GONE)),
        silent("link not read and not listed", move("unlink", evidence=None, link=None, source={"linked_servers": ()})),
        silent("link not read, no source", move("unlink", evidence=None, link=None, source=None)),
        silent("applications on the target already", move("cutover", evidence=None, endpoint=ON_TARGET)),
    ],
    "RM-L06": [
        passes("ours", move("unlink")),
        passes("ours in other letters", move("unlink", evidence={"source_id": SOURCE_ID.upper()})),
        fails("another source", move("unlink", evidence={"source_id": OTHER_ID})),
        fails("another target", move("unlink", evidence={"target_id": OTHER_ID})),
        fails("another method", move("unlink", evidence={"method": COPY})),
        silent("none", move("unlink", evidence=None)),
        silent("link gone", move("unlink", link=GONE)),
    ],
    "RM-L07": [
        passes("clean", move("unlink")),
        fails("a key only in the source", move("unlink", evidence={"only_in_source": 1})),
        fails("a key only in the target", move("cutover", COPY, evidence={"only_in_target": 1})),
        fails(
            "keys not equal",
            move(
                "cutover",
                RDB,
                evidence={"different": 4, "first_differences": ("db0:a", "db0:b", "db0:c", "db0:d")},
            ),
        ),
        silent("none", move("unlink", evidence=None)),
        silent("rdb without catch-up", move("cutover", RDB, evidence={"different": 4}, consent={"catch_up": False})),
        silent("applications on the target", move("cutover", COPY, evidence={"different": 1}, endpoint=ON_TARGET)),
    ],
    "RM-L08": [
        passes("full", move("unlink")),
        passes("an empty source", move("unlink", source={"keys": 0}, evidence={"keys_compared": 0})),
        passes("keys not counted", move("unlink", source={"keys": None}, evidence={"keys_compared": 0})),
        passes("no source to ask", move("unlink", source=None, evidence={"keys_compared": 0})),
        fails("only keys", move("unlink", evidence={"depth": "keys"})),
        fails("nothing compared", move("unlink", evidence={"keys_compared": 0})),
        silent("none", move("unlink", evidence=None)),
    ],
    "RM-L09": [
        passes("an hour old", move("unlink")),
        passes("just old enough", move("unlink", evidence={"made_at_s": NOW_S - 24 * HOUR_S})),
        passes("a little from now", move("unlink", evidence={"made_at_s": NOW_S + 300})),
        passes(
            "old, but the team allows it",
            move("unlink", evidence={"made_at_s": NOW_S - 30 * HOUR_S}, limits={"evidence_max_age_hours": 30.0}),
        ),
        fails("too old", move("unlink", evidence={"made_at_s": NOW_S - 24 * HOUR_S - 1})),
        fails("too old for cutover", move("cutover", COPY, evidence={"made_at_s": NOW_S - 25 * HOUR_S})),
        fails("from tomorrow", move("unlink", evidence={"made_at_s": NOW_S + 24 * HOUR_S})),
        fails("from a little later", move("unlink", evidence={"made_at_s": NOW_S + 301})),
        silent("old at cutover after unlink", move("cutover", evidence={"made_at_s": NOW_S - 99 * HOUR_S})),
        silent("none", move("unlink", evidence=None)),
    ],
    "RM-L27": [
        passes("after it began", move("unlink")),
        passes("as it began", move("unlink", stage_since_s=NOW_S - HOUR_S)),
        fails("before it began", move("unlink", stage_since_s=NOW_S - HOUR_S + 1)),
        fails("before the verify of a copy", move("cutover", COPY, stage_since_s=NOW_S)),
        silent("none", move("unlink", evidence=None)),
        silent("after unlink", move("cutover", stage_since_s=NOW_S)),
        silent("link gone", move("unlink", link=GONE, stage_since_s=NOW_S)),
    ],
    "RM-L10": [
        passes("alike", move("unlink")),
        fails("one differs", move("unlink", evidence={"settings_differ": ("firewall_rules",)})),
        fails(
            "many differ",
            move("cutover", COPY, evidence={"settings_differ": ("a", "b", "c", "d", "e", "f", "g")}),
        ),
        silent("none", move("unlink", evidence=None)),
    ],
    "RM-L11": [
        passes("accepted", move("cutover", NEW)),
        passes("accepted in other letters", move("cutover", NEW, consent={"accept_data_loss": "Orders-East"})),
        passes(
            "rdb without catch-up",
            move("cutover", RDB, consent={"catch_up": False, "accept_data_loss": "orders-east"}),
        ),
        fails("nothing accepted", move("cutover", NEW, consent={"accept_data_loss": ""})),
        fails("another cache's", move("cutover", NEW, consent={"accept_data_loss": "orders-west"})),
        fails("rdb without catch-up, nothing accepted", move("cutover", RDB, consent={"catch_up": False})),
        silent("rdb with catch-up", move("cutover", RDB)),
        silent(
            "applications on the target", move("cutover", NEW, consent={"accept_data_loss": ""}, endpoint=ON_TARGET)
        ),
    ],
    "RM-L28": [
        passes(
            "accepted",
            move("prepare", NEW, previous="cutover", endpoint=ON_TARGET, consent={"accept_data_loss": "orders-west"}),
        ),
        fails(
            "nothing accepted",
            move("prepare", NEW, previous="cutover", endpoint=ON_TARGET, consent={"accept_data_loss": ""}),
        ),
        fails(
            "the consent of the way there",
            move("adopt", NEW, previous="retire", endpoint=ON_TARGET, consent={"accept_data_loss": "orders-east"}),
        ),
        silent("applications on the source", move("prepare", NEW)),
        silent("the Endpoint not there yet", move("adopt", NEW)),
    ],
    "RM-L12": [
        passes("empty", move("replicate", target_made_by_stack=False, target={"keys": 0})),
        passes(
            "accepted",
            move(
                "replicate",
                target_made_by_stack=False,
                target={"keys": 5},
                consent={"accept_erase": "Orders-West"},
            ),
        ),
        fails("holds keys", move("replicate", target_made_by_stack=False, target={"keys": 5})),
        fails("holds a key, at prepare", move("prepare", COPY, target=target(keys=1))),
        fails("not counted", move("replicate", RDB, target_made_by_stack=False)),
        fails(
            "another one accepted",
            move(
                "replicate",
                target_made_by_stack=False,
                target={"keys": 5},
                consent={"accept_erase": "orders-east"},
            ),
        ),
        fails(
            "holds keys though another copy is recorded",
            move("replicate", COPY, target_made_by_stack=False, target={"keys": 5}, carried=carried(RDB)),
        ),
        silent("made by this stack", move("replicate", target={"keys": 5})),
        silent("not there", move("prepare")),
        silent("no more", move("replicate", target_made_by_stack=False, target={"keys": 5, "exists": False})),
        silent("linked already", move("replicate", target_made_by_stack=False, target={"keys": 5}, link=link())),
        silent(
            "copied already",
            move("replicate", COPY, target_made_by_stack=False, target={"keys": 5}, carried=carried(COPY)),
        ),
    ],
    "RM-L13": [
        passes("applications on the source", move("replicate")),
        passes("no endpoint yet", move("replicate", endpoint=None)),
        passes("copy", move("replicate", COPY)),
        fails("applications on the target", move("replicate", endpoint=ON_TARGET)),
        fails("linking again on the way back", move("verify", previous="unlink", link=GONE, endpoint=ON_TARGET)),
        fails(
            "over a target that is not fenced yet",
            move("replicate", endpoint=EndpointFacts(resource_id=SOURCE_ID, phase="fencing")),
        ),
        fails("copy over applications", move("replicate", COPY, endpoint=ON_TARGET)),
        silent("linked already", move("verify")),
        silent("copy is over", move("verify", COPY, endpoint=ON_TARGET)),
    ],
    "RM-L14": [
        passes("source", move("prepare")),
        passes("target, in other letters", move("retire", endpoint=EndpointFacts(resource_id=TARGET_ID.lower()))),
        fails("another cache", move("prepare", endpoint=EndpointFacts(resource_id=OTHER_ID))),
        fails("another cache, no target", move("adopt", target_id="", endpoint=EndpointFacts(resource_id=OTHER_ID))),
        silent("no endpoint", move("adopt")),
    ],
    "RM-L15": [
        passes("cutover again", move("cutover", endpoint=EndpointFacts(resource_id=TARGET_ID, phase="fencing"))),
        passes(
            "the way back again",
            move("unlink", previous="cutover", endpoint=EndpointFacts(resource_id=SOURCE_ID, phase="fencing")),
        ),
        passes(
            "the way back of copy again",
            move("verify", COPY, previous="cutover", endpoint=EndpointFacts(resource_id=SOURCE_ID, phase="fencing")),
        ),
        passes(
            "the way straight back again",
            move("adopt", previous="adopt", endpoint=EndpointFacts(resource_id=SOURCE_ID, phase="fencing")),
        ),
        passes(
            "prepare again, that began it",
            move("prepare", previous="prepare", endpoint=EndpointFacts(resource_id=SOURCE_ID, phase="fencing")),
        ),
        fails(
            "retire again, when it leads back",
            move("cutover", previous="cutover", endpoint=EndpointFacts(resource_id=OTHER_ID, phase="fencing")),
        ),
        fails(
            "adopt, when another stage began it",
            move("adopt", previous="unlink", endpoint=EndpointFacts(resource_id=SOURCE_ID, phase="fencing")),
        ),
        fails(
            "adopt, when it began forwards",
            move("adopt", previous="adopt", endpoint=EndpointFacts(resource_id=TARGET_ID, phase="fencing")),
        ),
        fails("on to retire", move("retire", endpoint=EndpointFacts(resource_id=TARGET_ID, phase="fencing"))),
        fails(
            "link again while the way back is not finished",
            move("replicate", previous="unlink", endpoint=EndpointFacts(resource_id=SOURCE_ID, phase="fencing")),
        ),
        fails(
            "adopt while the cut-over is not finished",
            move("adopt", previous="cutover", endpoint=EndpointFacts(resource_id=TARGET_ID, phase="fencing")),
        ),
        silent("settled", move("retire")),
        silent("no endpoint", move("adopt")),
    ],
    "RM-L16": [
        passes("on the target", move("retire")),
        fails("on the source", move("retire", endpoint=ON_SOURCE)),
        fails("no endpoint", move("cleanup", endpoint=None)),
        silent("source gone", _no_source("cleanup", endpoint=ON_SOURCE)),
    ],
    "RM-L17": [
        passes("recorded", move("retire")),
        passes("recorded in other letters", move("retire", cutover={"to_id": TARGET_ID.lower()})),
        fails("none", move("retire", cutover=None)),
        fails("backwards", move("retire", cutover={"from_id": TARGET_ID, "to_id": SOURCE_ID})),
        fails("from elsewhere", move("retire", cutover={"from_id": OTHER_ID})),
        fails("to elsewhere", move("retire", cutover={"to_id": OTHER_ID})),
        fails("not fenced", move("cleanup", cutover={"fenced": False})),
        silent("source gone", _no_source("cleanup", cutover=None)),
    ],
    "RM-L18": [
        passes("nothing lost", move("retire")),
        passes("rdb with catch-up", move("retire", RDB)),
        fails("a difference", move("retire", cutover={"differences": 1})),
        fails("a difference at cleanup", move("cleanup", COPY, cutover={"differences": 3})),
        silent("none recorded", move("retire", cutover=None)),
        silent("new-cache", move("retire", NEW, cutover={"differences": 1})),
        silent("rdb without catch-up", move("retire", RDB, cutover={"differences": 1}, consent={"catch_up": False})),
        silent("source gone", _no_source("cleanup", cutover={"differences": 1})),
    ],
    "RM-L19": [
        passes("nobody", move("retire")),
        fails("not read", move("retire", source={"foreign_clients": None})),
        fails("one client", move("cleanup", source={"foreign_clients": ("default at 10.0.0.4:5000",)})),
        fails(
            "seven clients",
            move("retire", source={"foreign_clients": tuple(f"default at 10.0.0.{n}:5000" for n in range(7))}),
        ),
        silent("source gone", _no_source("cleanup")),
    ],
    "RM-L20": [
        passes("long ago", move("cleanup")),
        passes("just long enough", move("cleanup", stage_since_s=NOW_S - 24 * HOUR_S)),
        passes("no soak asked for", move("cleanup", stage_since_s=NOW_S, limits={"soak_hours": 0.0})),
        passes("cleanup again", move("cleanup", previous="cleanup", stage_since_s=NOW_S - 1)),
        fails("too early", move("cleanup", stage_since_s=NOW_S - 24 * HOUR_S + 1)),
        fails("retired in the future", move("cleanup", stage_since_s=NOW_S + HOUR_S)),
        fails("never retired", move("cleanup", previous="cutover")),
        fails("no time recorded", move("cleanup", stage_since_s=0.0)),
        fails(
            "cleanup again, cut over this morning",
            move(
                "cleanup",
                previous="cleanup",
                cutover={"finished_at_s": NOW_S - 6 * HOUR_S},
                stage_since_s=NOW_S - 48 * HOUR_S,
            ),
        ),
        fails(
            "cleanup again, no cut-over recorded",
            move("cleanup", previous="cleanup", cutover=None, stage_since_s=NOW_S - HOUR_S),
        ),
        silent("source gone", _no_source("cleanup", stage_since_s=NOW_S)),
    ],
    "RM-L21": [
        passes("confirmed", move("cleanup")),
        passes("confirmed in other letters", move("cleanup", consent={"confirm_delete": "ORDERS-EAST"})),
        fails("nothing", move("cleanup", consent={"confirm_delete": ""})),
        fails("another", move("cleanup", consent={"confirm_delete": "orders-west"})),
        silent("source gone", _no_source("cleanup", consent={"confirm_delete": ""})),
    ],
    "RM-L22": [
        passes("no link", move("cleanup")),
        fails(
            "linked to another",
            move("cleanup", source={"linked_servers": (f"{SOURCE_ID}/linkedServers/orders-north",)}),
        ),
        fails("our link is there", move("cleanup", link=link())),
        silent("source gone", _no_source("cleanup")),
    ],
    "RM-L25": [
        passes("the same", move("replicate")),
        fails("another region", _declared("replicate", location="northeurope")),
        fails("another product", _declared("retire", product=MANAGED)),
        fails("a subnet", _declared("replicate", subnet_id="/subscriptions/s/subnets/a")),
        fails("zones", _declared("cutover", zones=("1", "2"))),
        fails("a foreign cache with zones", move("prepare", target=target(zones=("1", "2", "3")))),
        fails(
            "another clustering policy",
            move(
                "prepare",
                COPY,
                declared_target=managed(exists=False, clustering_policy="NoCluster"),
                target=managed(clustering_policy="OSSCluster"),
            ),
        ),
        passes(
            "a managed target whose database is yet to be made",
            move(
                "prepare",
                COPY,
                declared_target=managed(exists=False, clustering_policy="NoCluster"),
                target=managed(clustering_policy="", provisioning_state="NoDatabase"),
            ),
        ),
        silent("nothing declared", move("replicate", declared_target=None)),
        silent("not made yet", move("prepare")),
        silent("no more", move("replicate", target={"exists": False, "location": "eastasia"})),
    ],
    "RM-L26": [
        passes("in no link", move("replicate", RDB)),
        fails("in a link", move("replicate", RDB, target={"linked_servers": (f"{TARGET_ID}/linkedServers/other",)})),
        silent("not there", move("prepare", COPY)),
    ],
    "RM-L23": [
        passes("KA", move("prepare")),
        passes(
            "every class by its letter",
            move("prepare", source={"redis_configuration": {"notify-keyspace-events": "Kg$lshzxet"}}),
        ),
        passes(
            "switched on by prepare",
            move("prepare", source={"redis_configuration": {}}, consent={"enable_notifications": True}),
        ),
        fails("off", move("prepare", source={"redis_configuration": {}})),
        fails("not told of a managed one", change(_tier("Enterprise", COPY), source={"redis_configuration": {}})),
        fails("no keyspace events", move("prepare", source={"redis_configuration": {"notify-keyspace-events": "EA"}})),
        fails(
            "streams missing",
            move("prepare", source={"redis_configuration": {"notify-keyspace-events": "Kg$lshzxe"}}),
        ),
        fails(
            "Basic",
            move(
                "prepare",
                COPY,
                source={"sku_name": "Basic", "sku_family": "C", "redis_configuration": {}},
            ),
        ),
        silent("no source", _no_source("prepare")),
    ],
    "RM-L24": [
        passes("keys", move("prepare")),
        fails("none", move("prepare", source={"keys": 0})),
        silent("not counted", move("prepare", source={"keys": None})),
        silent("no source", _no_source("prepare")),
    ],
}

TIERS: dict[str, list[Case]] = {
    "RM-T01": [
        passes("Premium", _tier("Premium", GEO)),
        fails("Basic", _tier("Basic", GEO)),
        fails("Standard", _tier("Standard", GEO)),
        fails("Enterprise", _tier("Enterprise", GEO)),
        fails("Enterprise Flash", _tier("Enterprise Flash", GEO)),
        fails("Azure Managed Redis", _tier("Azure Managed Redis", GEO)),
        silent("no source", _no_source("prepare")),
    ],
    "RM-T02": [
        passes("Premium", _tier("Premium", RDB)),
        passes("Enterprise", _tier("Enterprise", RDB)),
        passes("Enterprise Flash", _tier("Enterprise Flash", RDB)),
        passes("Azure Managed Redis", _tier("Azure Managed Redis", RDB)),
        fails("Basic", _tier("Basic", RDB)),
        fails("Standard", _tier("Standard", RDB)),
        silent("no source", _no_source("prepare", RDB)),
    ],
    "RM-T03": [
        passes("Basic", _tier("Basic", DUAL)),
        passes("Standard", _tier("Standard", DUAL)),
        passes("Premium", _tier("Premium", DUAL)),
        fails("Enterprise", _tier("Enterprise", DUAL)),
        fails("Enterprise Flash", _tier("Enterprise Flash", DUAL)),
        fails("Azure Managed Redis", _tier("Azure Managed Redis", DUAL)),
        silent("no source", _no_source("prepare", DUAL)),
    ],
    "RM-T04": [
        passes("P1", move("prepare")),
        passes("C0", _declared("prepare", COPY, sku_name="Basic", sku_family="C", sku_capacity=0)),
        passes("C6", _declared("prepare", COPY, sku_name="Standard", sku_family="C", sku_capacity=6)),
        passes("Balanced_B10", _managed_declared()),
        fails("P6", _declared("prepare", sku_capacity=6)),
        fails("C7", _declared("prepare", COPY, sku_name="Standard", sku_family="C", sku_capacity=7)),
        fails("Premium with C", _declared("prepare", sku_family="C", sku_capacity=3)),
        fails("Standard with P", _declared("prepare", COPY, sku_name="Standard")),
        fails("no such tier", _declared("prepare", COPY, sku_name="Gold", sku_family="C")),
        fails("no such managed size", _managed_declared(sku_name="Balanced_B11")),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-T05": [
        passes("the same", move("prepare")),
        passes("larger", _declared("prepare", sku_capacity=2)),
        passes(
            "Standard as large as Premium",
            _declared("prepare", COPY, sku_name="Standard", sku_family="C", sku_capacity=3),
        ),
        passes("three shards each", move("prepare", source={"shard_count": 3}, declared_target={"shard_count": 3})),
        passes("a managed one", _managed_declared()),
        passes("a size that is not known is not for this rule", _declared("prepare", sku_capacity=9)),
        passes("a source whose size is not known", move("prepare", source={"sku_capacity": 9})),
        fails("smaller", move("prepare", source={"sku_capacity": 2})),
        fails("fewer shards", move("prepare", COPY, source={"shard_count": 3}, declared_target={"shard_count": 2})),
        fails("a smaller managed one", _managed_declared(sku_name="Balanced_B3")),
        fails(
            "live one smaller", move("replicate", target={"sku_name": "Standard", "sku_family": "C", "sku_capacity": 2})
        ),
        silent("no target", move("prepare", declared_target=None)),
        silent("no source", _no_source("prepare")),
    ],
    "RM-T06": [
        passes("the same", move("prepare", NEW)),
        fails("smaller", move("prepare", NEW, source={"sku_capacity": 5})),
        silent("no target", move("prepare", NEW, declared_target=None)),
    ],
    "RM-T07": [
        passes("fits", change(_managed_declared(), source={"used_memory_bytes": 9 * 1024**3})),
        passes("fits just", change(_managed_declared(), source={"used_memory_bytes": int(12 * 1024**3 * 0.8)})),
        passes(
            "a size that is not known is not for this rule",
            change(_managed_declared(sku_name="Balanced_B11"), source={"used_memory_bytes": 99 * 1024**3}),
        ),
        fails("does not", change(_managed_declared(), source={"used_memory_bytes": int(12 * 1024**3 * 0.8) + 1})),
        silent("not read", _managed_declared()),
        silent("not managed", move("prepare", source={"used_memory_bytes": 99 * 1024**3})),
        silent("no target", move("prepare", declared_target=None, source={"used_memory_bytes": 1})),
    ],
    "RM-T08": [
        passes("another", move("prepare")),
        fails("the same", _declared("prepare", location="eastus")),
        fails("the live one in the same", move("replicate", target={"location": "eastus"})),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-T09": [
        passes("another", move("prepare")),
        fails("the same, in another group", move("adopt", target_id=cache_id("Orders-East", group="other"))),
        silent("none", move("adopt", target_id="")),
    ],
    "RM-T10": [
        passes("letters and hyphens", move("prepare")),
        passes("63 letters", move("prepare", target_id=cache_id("a" * 63))),
        fails("64 letters", move("prepare", target_id=cache_id("a" * 64))),
        fails("two hyphens", move("prepare", target_id=cache_id("a--b"))),
        fails("a hyphen at the end", move("prepare", target_id=cache_id("a-"))),
        fails("a dot", move("prepare", target_id=cache_id("a.b"))),
        fails("61 letters, managed", change(_managed_declared(), target_id=cache_id("a" * 61))),
        passes("60 letters, managed", change(_managed_declared(), target_id=cache_id("a" * 60))),
        silent("none", move("prepare", target_id="")),
    ],
    "RM-T11": [
        passes("the source's", move("adopt")),
        passes("in other letters", move("adopt", signed_in_subscription_id=SUBSCRIPTION.upper())),
        fails("another", move("adopt", signed_in_subscription_id=OTHER_SUBSCRIPTION)),
        silent("not read", move("adopt", signed_in_subscription_id="")),
    ],
    "RM-T12": [
        passes("the same", move("prepare", RDB)),
        passes("the same, written short", _declared("prepare", RDB, redis_version="6")),
        passes("newer", _declared("prepare", RDB, redis_version="7.4")),
        passes("not said", _declared("prepare", RDB, redis_version="latest")),
        passes("source not said", move("prepare", RDB, source={"redis_version": ""})),
        fails("older", _declared("prepare", RDB, redis_version="4.0")),
        fails("older by a little", move("prepare", RDB, source={"redis_version": "6.2.14"})),
        silent("no target", move("prepare", RDB, declared_target=None)),
    ],
    "RM-T13": [
        passes("the same", move("prepare", COPY)),
        fails("older", _declared("prepare", COPY, redis_version="4.0.14")),
        silent("no target", move("prepare", COPY, declared_target=None)),
    ],
    "RM-T14": [
        passes("Premium today", move("prepare")),
        passes("Premium on the last day", move("prepare", today="2028-09-30")),
        passes("managed later", change(_managed_declared(), today="2030-01-01")),
        passes("Enterprise before", change(_managed_declared(sku_name="Enterprise_E10"), today="2026-03-31")),
        fails("Premium after the end", move("prepare", today="2028-10-01")),
        fails("Enterprise", change(_managed_declared(sku_name="Enterprise_E10"), today="2026-04-01")),
        fails("Enterprise Flash", _managed_declared(sku_name="EnterpriseFlash_F300")),
        silent("there already", move("prepare", target=target())),
        silent("none declared", move("prepare", declared_target=None)),
    ],
    "RM-T15": [
        passes("before", move("prepare", today="2026-03-31")),
        passes("when it is closed anyway", move("prepare", today="2028-10-01")),
        passes("managed", _managed_declared()),
        fails("Premium", move("prepare")),
        fails("from the first day", move("prepare", today="2026-04-01")),
        fails("to the last day", move("prepare", today="2028-09-30")),
        fails("Standard", _declared("prepare", COPY, sku_name="Standard", sku_family="C", sku_capacity=3)),
        fails("Basic", _declared("prepare", COPY, sku_name="Basic", sku_family="C", sku_capacity=3)),
        silent("there already", move("prepare", target=target())),
    ],
    "RM-T16": [
        passes("16 each", move("prepare")),
        passes(
            "as many",
            move(
                "prepare",
                source={"redis_configuration": {"databases": "32"}},
                declared_target={"redis_configuration": {"databases": "32"}},
            ),
        ),
        passes(
            "one, and only 0 is used",
            _only_zero := move("prepare", COPY, source={"databases_used": (0,)}, declared_target={"shard_count": 1}),
        ),
        passes("one, and none is used", change(_only_zero, source={"databases_used": ()})),
        passes("one, not read", change(_only_zero, source={"databases_used": None})),
        passes("not a number", move("prepare", source={"redis_configuration": {"databases": "many"}})),
        passes(
            "one to one",
            move("prepare", source={"shard_count": 1, "databases_used": (0,)}, declared_target={"shard_count": 1}),
        ),
        fails("fewer", move("prepare", source={"redis_configuration": {"databases": "32"}})),
        fails("fewer, two", move("prepare", declared_target={"redis_configuration": {"databases": "2"}})),
        fails("one, and others are used", change(_only_zero, source={"databases_used": (0, 1, 3)})),
        fails("managed, and another is used", change(_managed_declared(), source={"databases_used": (1,)})),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-T17": [
        passes("16 each", move("prepare")),
        passes("read", change(_managed_declared(), source={"databases_used": (0,)})),
        passes("one each", move("prepare", COPY, source={"shard_count": 2}, declared_target={"shard_count": 2})),
        fails("managed", _managed_declared()),
        fails("clustered", _declared("prepare", COPY, shard_count=1)),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-T18": [
        passes("the same", move("prepare")),
        passes("higher", _managed_declared()),
        passes("Standard to Premium", _tier("Standard", COPY)),
        fails("Standard", _declared("prepare", COPY, sku_name="Standard", sku_family="C", sku_capacity=3)),
        fails(
            "Basic after Standard",
            change(_tier("Standard", COPY), declared_target={"sku_name": "Basic", "sku_family": "C"}),
        ),
        fails("Premium after Enterprise", _tier("Enterprise", RDB)),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-T19": [
        passes("as many", move("prepare")),
        passes("more", _declared("prepare", sku_capacity=2)),
        passes("not known of managed", _managed_declared()),
        passes("not known of a managed source", _tier("Enterprise", RDB)),
        fails("fewer", _declared("prepare", COPY, sku_name="Standard", sku_family="C", sku_capacity=3)),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-T20": [
        passes("small", _managed_declared(clustering_policy="NoCluster")),
        passes("the largest", _managed_declared(clustering_policy="NoCluster", sku_name="Balanced_B20")),
        passes("another policy", _managed_declared(clustering_policy="EnterpriseCluster", sku_name="Balanced_B50")),
        passes("no such size", _managed_declared(clustering_policy="NoCluster", sku_name="Balanced_B2")),
        fails("too large", _managed_declared(clustering_policy="NoCluster", sku_name="Balanced_B50")),
        silent("not managed", move("prepare")),
    ],
    "RM-T21": [
        passes("none to none", _managed_declared(clustering_policy="NoCluster")),
        passes("none to one endpoint", _managed_declared(clustering_policy="EnterpriseCluster")),
        passes(
            "a cluster to a cluster",
            change(_managed_declared(clustering_policy="OSSCluster"), source={"shard_count": 2}),
        ),
        fails("none to a cluster", _managed_declared(clustering_policy="OSSCluster")),
        fails(
            "a cluster to one endpoint",
            change(_managed_declared(clustering_policy="EnterpriseCluster"), source={"shard_count": 2}),
        ),
        silent("not managed", move("prepare")),
        silent("no source", change(_managed_declared(), source=None)),
    ],
    "RM-T22": [
        passes(
            "all", change(_managed_declared(modules=("RedisJSON", "RediSearch")), source={"modules": ("RedisJSON",)})
        ),
        fails("none", change(_managed_declared(), source={"modules": ("RedisJSON", "RediSearch")})),
        fails("one is missing", change(_managed_declared(modules=("RedisJSON",)), source={"modules": ("RedisBloom",)})),
        silent("none needed", _managed_declared()),
    ],
}


def _both(**changes: Any) -> Move:
    return move("replicate", source=changes, target=changes, declared_target=changes)


GEO_RULES: dict[str, list[Case]] = {
    "RM-G01": [
        passes("Premium", move("prepare")),
        fails("Standard", _declared("prepare", sku_name="Standard", sku_family="C", sku_capacity=3)),
        fails("managed", _managed_declared(method=GEO)),
        fails("the live one", move("replicate", target={"sku_name": "Standard", "sku_family": "C"})),
        silent("linked", move("verify", target={"sku_name": "Standard"})),
        silent("no target", move("prepare", declared_target=None)),
        silent("back to prepare", move("prepare", previous="replicate", declared_target={"sku_name": "Standard"})),
    ],
    "RM-G02": [
        passes("the same", move("prepare")),
        passes("the same in other letters", move("prepare", target_id=TARGET_ID.upper())),
        fails("another", move("prepare", target_id=cache_id("orders-west", OTHER_SUBSCRIPTION))),
        silent("linked", move("verify", target_id=cache_id("orders-west", OTHER_SUBSCRIPTION))),
        silent("no target", move("prepare", target_id="")),
    ],
    "RM-G03": [
        passes("not linked", move("replicate")),
        passes(
            "the source lists our own link, that is gone",
            move("replicate", source={"linked_servers": (f"{SOURCE_ID}/linkedServers/Orders-West",)}),
        ),
        passes(
            "the target lists our own link, that is gone",
            move("replicate", target={"linked_servers": (f"{TARGET_ID}/linkedServers/orders-east",)}),
        ),
        passes(
            "our own link, in other letters",
            move(
                "replicate",
                source_id=SOURCE_ID.upper(),
                target_id=TARGET_ID.upper(),
                source={"linked_servers": (f"{SOURCE_ID}/linkedServers/orders-west",)},
                target={"linked_servers": (f"{TARGET_ID}/linkedServers/orders-east",)},
            ),
        ),
        fails("source", move("prepare", source={"linked_servers": (f"{SOURCE_ID}/linkedServers/orders-north",)})),
        fails("target", move("replicate", target={"linked_servers": (f"{TARGET_ID}/linkedServers/orders-north",)})),
        silent("linked to each other", move("verify")),
        silent("neither is there", _no_source("prepare")),
        passes(
            "one that is no more",
            move("replicate", target={"exists": False, "linked_servers": ("x/orders-north",)}),
        ),
    ],
    "RM-G04": [
        passes("one", move("replicate")),
        fails("source has two", move("prepare", source={"replicas_per_primary": 2})),
        fails("target has three", _declared("prepare", replicas_per_primary=3)),
        fails("the live target has none", move("replicate", target={"replicas_per_primary": 0})),
        silent("linked", move("verify", target={"replicas_per_primary": 2})),
        fails(
            "source has two, no target yet", move("prepare", source={"replicas_per_primary": 2}, declared_target=None)
        ),
        fails(
            "target has two, no source to compare", _no_source("prepare", declared_target={"replicas_per_primary": 2})
        ),
        silent("neither is there", _no_source("prepare", declared_target=None)),
    ],
    "RM-G05": [
        passes("neither", move("replicate")),
        passes("three each", _both(shard_count=3)),
        fails("two and three", move("prepare", source={"shard_count": 3}, declared_target={"shard_count": 2})),
        fails("not clustered and one", _declared("prepare", shard_count=1)),
        fails("one and not clustered", move("prepare", source={"shard_count": 1})),
        silent("linked", move("verify", target={"shard_count": 2})),
    ],
    "RM-G06": [
        passes("off", move("replicate")),
        fails("RDB on the source", move("prepare", source={"rdb_backup_enabled": True})),
        fails("AOF on the target", move("replicate", target={"aof_backup_enabled": True})),
        fails(
            "both on the target as declared",
            _declared("prepare", rdb_backup_enabled=True, aof_backup_enabled=True),
        ),
        silent("linked", move("verify", target={"aof_backup_enabled": True})),
    ],
    "RM-G07": [
        passes("none", move("replicate")),
        passes("source says NoZones", move("prepare", source={"zonal_allocation_policy": "NoZones"})),
        passes("the live target says nothing", move("replicate", target={"zonal_allocation_policy": ""})),
        fails("source in two", move("prepare", source={"zones": ("1", "2")})),
        fails("source by Azure's choice", move("prepare", source={"zonal_allocation_policy": "Automatic"})),
        fails("target left to Azure", _declared("prepare", zonal_allocation_policy="")),
        fails("target in one", _declared("prepare", zones=("1",))),
        silent("linked", move("verify", target={"zones": ("1", "2")})),
    ],
    "RM-G08": [
        passes("the same", move("replicate")),
        passes("the same, written short", _declared("prepare", redis_version="6")),
        passes("not said", _declared("prepare", redis_version="latest")),
        passes("source not said", move("prepare", source={"redis_version": ""})),
        fails("newer", _declared("prepare", redis_version="7.2")),
        fails("older", _declared("prepare", redis_version="4.0")),
        silent("linked", move("verify", target={"redis_version": "4.0"})),
    ],
    "RM-G09": [
        passes(
            "it has one",
            move("replicate", target={"public_network_access": "Disabled", "private_endpoints": ("pe",)}),
        ),
        fails("it has none", move("replicate", target={"public_network_access": "Disabled"})),
        silent("open", move("replicate")),
        silent("linked", move("verify", target={"public_network_access": "Disabled"})),
        silent("no target", move("replicate", target=None)),
    ],
    "RM-G10": [
        passes(
            "it has one",
            move("replicate", source={"private_endpoints": ("a",)}, target={"private_endpoints": ("b",)}),
        ),
        fails("it has none", move("replicate", source={"private_endpoints": ("a", "b")})),
        silent("source has none", move("replicate")),
        silent("linked", move("verify", source={"private_endpoints": ("a",)})),
        silent(
            "without public access it is another rule's",
            move("replicate", source={"private_endpoints": ("a",)}, target={"public_network_access": "Disabled"}),
        ),
        silent("no target", move("prepare", source={"private_endpoints": ("a",)})),
        silent("no source", _no_source("replicate")),
    ],
    "RM-G11": [
        passes("from source to target", move("verify")),
        passes("in other letters", move("verify", link={"primary_id": SOURCE_ID.upper()})),
        fails("reversed", move("unlink", link={"primary_id": TARGET_ID, "secondary_id": SOURCE_ID})),
        fails("another primary", move("unlink", link={"primary_id": OTHER_ID})),
        fails("another secondary", move("unlink", link={"secondary_id": OTHER_ID})),
        silent("no link", move("replicate")),
        silent("not read", move("verify", link=None)),
    ],
    "RM-G12": [
        passes("Succeeded", move("verify")),
        fails("no link", move("verify", link=GONE)),
        fails("not read", move("verify", link=None)),
        fails("linking", move("verify", link={"provisioning_state": "Linking"})),
    ],
    "RM-G23": [
        passes("Succeeded", move("replicate", link=link())),
        passes("linking", move("verify", link={"provisioning_state": "Linking"})),
        fails("failed", move("verify", link={"provisioning_state": "Failed"})),
        silent("no link", move("replicate", link=GONE)),
    ],
    "RM-G13": [
        passes("Succeeded", move("unlink")),
        passes("being removed", move("unlink", link={"provisioning_state": "Deleting"})),
        passes("being unlinked", move("unlink", link={"provisioning_state": "Unlinking"})),
        passes("a removal that failed", move("unlink", previous="unlink", link={"provisioning_state": "Failed"})),
        fails("failed before", move("unlink", link={"provisioning_state": "Failed"})),
        fails("still filling", move("unlink", link={"provisioning_state": "Linking"})),
        silent("gone", move("unlink", link=GONE)),
        silent("not read", move("unlink", link=None)),
    ],
    "RM-G14": [
        passes("gone", move("cutover")),
        fails("there", move("cutover", link=link())),
        fails("not read", move("retire", link=None)),
        fails(
            "not read, but listed",
            move("cutover", link=None, source={"linked_servers": (f"{SOURCE_ID}/linkedServers/orders-west",)}),
        ),
        silent("source gone", _no_source("cleanup", link=None)),
    ],
    "RM-G15": [
        passes("Succeeded", move("unlink")),
        fails("linking", move("unlink", evidence={"link_state": "Linking"})),
        silent("no evidence", move("unlink", evidence=None)),
        silent("gone", move("unlink", link=GONE, evidence={"link_state": ""})),
    ],
    "RM-G16": [
        passes("none", move("unlink")),
        passes("as much as is allowed", move("unlink", evidence={"lag_bytes": 1_048_576})),
        passes("not seen", move("unlink", evidence={"lag_bytes": -1})),
        passes("a marker key arrived", move("unlink", consent={"allow_marker_key": True})),
        fails("more", move("unlink", evidence={"lag_bytes": 1_048_577})),
        fails(
            "a marker key did not arrive",
            move("unlink", evidence={"lag_bytes": -1}, consent={"allow_marker_key": True}),
        ),
        fails("more than the team allows", move("unlink", evidence={"lag_bytes": 15}, limits={"max_lag_bytes": 14})),
        silent("no evidence", move("unlink", evidence=None)),
        silent("gone", move("unlink", link=GONE)),
    ],
    "RM-G22": [
        passes("seen", move("unlink")),
        passes("a marker key", move("unlink", evidence={"lag_bytes": -1}, consent={"allow_marker_key": True})),
        fails("not seen", move("unlink", evidence={"lag_bytes": -1})),
        silent("gone", move("unlink", link=GONE)),
    ],
    "RM-G17": [
        passes("as it is", move("verify")),
        fails("larger", _declared("verify", sku_capacity=2)),
        fails("another tier", _declared("unlink", sku_name="Standard", sku_family="C", sku_capacity=3)),
        fails(
            "before it is unlinked on the way back",
            move("prepare", previous="replicate", link=link(), target=target(), declared_target={"sku_capacity": 3}),
        ),
        silent("not linked", _declared("replicate", sku_capacity=2)),
        silent("nothing declared", move("verify", declared_target=None)),
        silent("no target", move("verify", target=None)),
    ],
    "RM-G18": [
        passes("as it is", move("verify")),
        fails("more", _declared("verify", shard_count=3)),
        fails("none", move("verify", target={"shard_count": 2})),
        silent("not linked", _declared("replicate", shard_count=2)),
    ],
    "RM-G19": [
        passes("off", move("verify")),
        fails("RDB", _declared("verify", rdb_backup_enabled=True)),
        fails("AOF", _declared("unlink", aof_backup_enabled=True)),
        fails("both", _declared("unlink", rdb_backup_enabled=True, aof_backup_enabled=True)),
        silent("not linked", _declared("replicate", rdb_backup_enabled=True)),
    ],
    "RM-G20": [
        passes("as it is", move("verify")),
        fails("disabled", _declared("verify", access_keys_disabled=True)),
        fails("enabled", move("verify", target={"access_keys_disabled": True})),
        silent("not linked", _declared("replicate", access_keys_disabled=True)),
    ],
    "RM-G21": [
        passes("none", move("verify")),
        passes("one less", move("verify", target={"private_endpoints": ("a",)})),
        fails(
            "a new one",
            move("verify", target={"private_endpoints": ("a",)}, declared_target={"private_endpoints": ("a", "b")}),
        ),
        silent("not linked", _declared("replicate", private_endpoints=("a",))),
    ],
}


def _storage(**changes: Any) -> Move:
    return move("replicate", RDB, source_storage=changes)


def _populated(**changes: Any) -> Move:
    """A window of five hours, shorter than the longest expiry, and what its evidence measured."""
    measured = PopulationFacts(
        **{"measured_at_s": NOW_S - HOUR_S, "keys": 100, "share": 1.0, "required_share": 1.0}
        | {"enough_at_s": NOW_S - HOUR_S}
        | changes
    )
    return move("cutover", DUAL, carried={"longest_expiry_s": 7 * 24 * HOUR_S}, evidence={"population": measured})


OTHER_METHODS: dict[str, list[Case]] = {
    "RM-R01": [
        passes("Premium", move("prepare", RDB)),
        passes("managed", _managed_declared(method=RDB)),
        passes("Enterprise", _managed_declared(method=RDB, sku_name="Enterprise_E10")),
        passes("Enterprise Flash", _managed_declared(method=RDB, sku_name="EnterpriseFlash_F300")),
        fails("Standard", _declared("prepare", RDB, sku_name="Standard", sku_family="C", sku_capacity=3)),
        silent("no target", move("prepare", RDB, declared_target=None)),
    ],
    "RM-R02": [
        passes("Premium to Premium", move("prepare", RDB)),
        passes("Premium to managed", _managed_declared(method=RDB)),
        passes("managed to managed", change(_tier("Azure Managed Redis", RDB), declared_target=managed(exists=False))),
        fails("Enterprise to Premium", _tier("Enterprise", RDB)),
        silent("no target", move("prepare", RDB, declared_target=None)),
        silent("no source", _no_source("prepare", RDB)),
    ],
    "RM-R03": [
        passes("both", move("replicate", RDB)),
        fails("none of the source", move("replicate", RDB, source_storage=None)),
        fails("none of the target", move("replicate", RDB, target_storage=None)),
        silent("imported", move("replicate", RDB, source_storage=None, carried=carried(RDB))),
    ],
    "RM-R04": [
        passes("each in its own", move("replicate", RDB)),
        passes("no cache to compare with", move("replicate", RDB, target=None, declared_target=None)),
        fails("source's elsewhere", _storage(location="westus2")),
        fails("target's elsewhere", move("replicate", RDB, target_storage={"location": "eastus"})),
        silent("imported", move("replicate", RDB, carried=carried(RDB))),
        silent("none", move("replicate", RDB, source_storage=None, target_storage=None)),
    ],
    "RM-R05": [
        passes("general purpose", move("replicate", RDB)),
        passes("old general purpose", _storage(kind="Storage")),
        passes(
            "a managed target takes block blobs",
            move("prepare", RDB, target_storage={"kind": "BlobStorage"}, declared_target=managed(exists=False)),
        ),
        fails("hierarchical", _storage(hierarchical_namespace=True)),
        fails("blob storage", move("replicate", RDB, target_storage={"kind": "BlobStorage"})),
        fails(
            "blob storage, no cache known",
            move("replicate", RDB, target=None, declared_target=None, target_storage={"kind": "BlobStorage"}),
        ),
        silent("imported", move("replicate", RDB, carried=carried(RDB))),
    ],
    "RM-R06": [
        passes("open", move("replicate", RDB)),
        passes(
            "closed, by identity of a trusted service",
            move("replicate", RDB, source_storage={"open_to_all_networks": False}, consent={"managed_identity": True}),
        ),
        fails("closed", _storage(open_to_all_networks=False)),
        fails(
            "closed to trusted services too",
            move(
                "replicate",
                RDB,
                source_storage={"open_to_all_networks": False, "trusted_services": False},
                consent={"managed_identity": True},
            ),
        ),
        fails(
            "closed to a managed target",
            move(
                "prepare",
                RDB,
                target_storage={"open_to_all_networks": False},
                consent={"managed_identity": True},
                declared_target=managed(exists=False),
            ),
        ),
        silent("imported", move("replicate", RDB, carried=carried(RDB))),
    ],
    "RM-R07": [
        passes("shared keys", move("replicate", RDB)),
        passes(
            "by identity",
            move("replicate", RDB, source_storage={"shared_key_access": False}, consent={"managed_identity": True}),
        ),
        fails("no shared keys", _storage(shared_key_access=False)),
        fails(
            "managed knows signed URLs only",
            move(
                "prepare",
                RDB,
                target_storage={"shared_key_access": False},
                consent={"managed_identity": True},
                declared_target=managed(exists=False),
            ),
        ),
        silent("imported", move("replicate", RDB, carried=carried(RDB))),
    ],
    "RM-R08": [
        passes("the same", move("replicate", RDB)),
        passes("the same in other letters", _storage(subscription_id=SUBSCRIPTION.upper())),
        passes(
            "another, by identity",
            move(
                "replicate",
                RDB,
                source_storage={"subscription_id": OTHER_SUBSCRIPTION},
                consent={"managed_identity": True},
            ),
        ),
        passes(
            "no cache to compare with",
            move("replicate", RDB, source=None, source_storage={"subscription_id": OTHER_SUBSCRIPTION}),
        ),
        fails("another", _storage(subscription_id=OTHER_SUBSCRIPTION)),
        fails("target's another", move("replicate", RDB, target_storage={"subscription_id": OTHER_SUBSCRIPTION})),
        silent("imported", move("replicate", RDB, carried=carried(RDB))),
    ],
    "RM-R09": [
        passes(
            "both have one",
            move(
                "replicate",
                RDB,
                consent={"managed_identity": True},
                source={"identity_type": "SystemAssigned"},
                target={"identity_type": "UserAssigned"},
                declared_target={"identity_type": "UserAssigned"},
            ),
        ),
        passes(
            "managed needs none",
            move(
                "replicate",
                RDB,
                consent={"managed_identity": True},
                source={"identity_type": "SystemAssigned"},
                target=managed(),
                declared_target=managed(exists=False),
            ),
        ),
        passes(
            "no source",
            move(
                "replicate",
                RDB,
                consent={"managed_identity": True},
                source=None,
                target={"identity_type": "UserAssigned"},
                declared_target={"identity_type": "UserAssigned"},
            ),
        ),
        fails("source has none", move("replicate", RDB, consent={"managed_identity": True})),
        fails(
            "target has none",
            move("replicate", RDB, consent={"managed_identity": True}, source={"identity_type": "SystemAssigned"}),
        ),
        silent("not used", move("replicate", RDB)),
        silent("imported", move("replicate", RDB, consent={"managed_identity": True}, carried=carried(RDB))),
    ],
    "RM-R10": [
        passes("one", move("verify", RDB)),
        passes("three of three", move("verify", RDB, carried={"files_exported": 3, "files_imported": 3})),
        fails("two of three", move("verify", RDB, carried={"files_exported": 3, "files_imported": 2})),
        fails("none of none", move("verify", RDB, carried={"files_exported": 0, "files_imported": 0})),
        fails("not imported", move("verify", RDB, carried=None)),
        fails("of another cache", move("verify", RDB, carried={"target_id": OTHER_ID})),
        fails("of another source", move("verify", RDB, carried={"source_id": OTHER_ID})),
    ],
    "RM-C01": [
        passes("complete", move("verify", COPY)),
        passes("more written than read", move("verify", COPY, carried={"keys_written": 1001})),
        passes("one written that finished at the first second", move("verify", COPY, carried={"finished_at_s": 0.5})),
        fails("not all answered", move("verify", COPY, carried={"keys_written": 999})),
        fails("not finished", move("verify", COPY, carried={"finished_at_s": 0.0})),
        fails("none", move("verify", COPY, carried=None)),
        fails("of another method", move("verify", COPY, carried=carried(RDB))),
    ],
    "RM-C02": [
        passes("small", move("replicate", COPY, source={"used_memory_bytes": 10 * 1024**3})),
        passes("not read", move("replicate", COPY)),
        fails("large", move("replicate", COPY, source={"used_memory_bytes": 10 * 1024**3 + 1})),
        silent("no source", _no_source("replicate", COPY)),
        silent(
            "copied",
            move("replicate", COPY, source={"used_memory_bytes": 99 * 1024**3}, carried=carried(COPY)),
        ),
        silent(
            "a job copies",
            move("replicate", COPY, source={"used_memory_bytes": 99 * 1024**3}, copy_job=copy_job()),
        ),
    ],
    "RM-C03": [
        passes("the source's region", move("replicate", COPY, copy_job=copy_job())),
        passes("a group there", move("replicate", COPY, copy_job=copy_job(), copy_groups=(JOB_GROUP,))),
        fails("declared elsewhere", move("replicate", COPY, copy_job=copy_job(location="westus2"))),
        fails(
            "made elsewhere",
            move(
                "replicate",
                COPY,
                copy_job=copy_job(),
                copy_groups=(JOB_GROUP, dataclasses.replace(JOB_GROUP, location="westus2")),
            ),
        ),
        silent("inside the update", move("replicate", COPY)),
        silent("copied", move("replicate", COPY, copy_job=copy_job(location="westus2"), carried=carried(COPY))),
        silent("no source", _no_source("replicate", COPY, copy_job=copy_job())),
    ],
    "RM-C04": [
        passes("open to all", move("replicate", COPY, copy_job=copy_job())),
        passes(
            "rules that let all in", move("replicate", COPY, copy_job=copy_job(), source={"firewall_rules": (OPEN,)})
        ),
        passes(
            "closed, and a subnet",
            move(
                "replicate",
                COPY,
                copy_job=copy_job(subnet_id=SUBNET),
                source={"public_network_access": "Disabled", "subnet_id": SUBNET, "firewall_rules": (OFFICE,)},
            ),
        ),
        fails("not public", move("replicate", COPY, copy_job=copy_job(), source={"public_network_access": "Disabled"})),
        fails("in a virtual network", move("replicate", COPY, copy_job=copy_job(), source={"subnet_id": SUBNET})),
        fails("firewall rules", move("replicate", COPY, copy_job=copy_job(), source={"firewall_rules": (OFFICE,)})),
        fails(
            "the target is not public",
            move("replicate", COPY, copy_job=copy_job(), target={"public_network_access": "Disabled"}),
        ),
        fails(
            "the target will not be public",
            move("prepare", COPY, copy_job=copy_job(), declared_target={"public_network_access": "Disabled"}),
        ),
        fails(
            "a subnet of another subscription",
            move("replicate", COPY, copy_job=copy_job(subnet_id=SUBNET.replace(SUBSCRIPTION, OTHER_SUBSCRIPTION))),
        ),
        silent("inside the update", move("replicate", COPY, source={"public_network_access": "Disabled"})),
    ],
    "RM-C05": [
        passes("usual", move("replicate", COPY, copy_job=copy_job())),
        passes("the most", move("replicate", COPY, copy_job=copy_job(cpu=4.0, memory_gb=16.0))),
        passes("the least", move("replicate", COPY, copy_job=copy_job(cpu=1.0, memory_gb=1.0))),
        fails("too many CPUs", move("replicate", COPY, copy_job=copy_job(cpu=4.5))),
        fails("too much memory", move("replicate", COPY, copy_job=copy_job(memory_gb=16.5))),
        fails("less than a CPU", move("replicate", COPY, copy_job=copy_job(cpu=0.5))),
        fails("less than 1 GB", move("replicate", COPY, copy_job=copy_job(memory_gb=0.5))),
        silent("inside the update", move("replicate", COPY)),
    ],
    "RM-C06": [
        passes("none", move("cutover", COPY)),
        fails("one", move("cutover", COPY, copy_groups=(JOB_GROUP,))),
        fails("one at cleanup", move("cleanup", COPY, copy_groups=(JOB_GROUP,))),
    ],
    "RM-C07": [
        passes("access keys", move("replicate", COPY, copy_job=copy_job())),
        fails(
            "none at the source",
            move("replicate", COPY, copy_job=copy_job(), source={"access_keys_disabled": True}),
        ),
        fails(
            "none at the target",
            move("replicate", COPY, copy_job=copy_job(), target={"access_keys_disabled": True}),
        ),
        silent("inside the update", move("replicate", COPY)),
    ],
    "RM-D01": [
        passes("open", move("verify", DUAL)),
        passes("opened a moment ago", move("verify", DUAL, carried={"started_at_s": 0.5})),
        fails("never opened", move("verify", DUAL, carried=None)),
        fails("not opened", move("verify", DUAL, carried={"started_at_s": 0.0})),
        fails("of another source", move("verify", DUAL, carried={"source_id": OTHER_ID})),
        fails("of another target", move("verify", DUAL, carried={"target_id": OTHER_ID})),
        fails("of another method", move("cutover", DUAL, carried=carried(COPY))),
        silent("applications on the target", move("cutover", DUAL, carried=None, endpoint=ON_TARGET)),
    ],
    "RM-D02": [
        passes("long enough", move("verify", DUAL, carried={"longest_expiry_s": 5 * HOUR_S})),
        fails("too short", move("verify", DUAL, carried={"longest_expiry_s": 5 * HOUR_S + 1})),
        fails("a week", move("cutover", DUAL, carried={"longest_expiry_s": 7 * 24 * HOUR_S})),
        passes("a week, and measured that it is all there", _populated(enough_at_s=NOW_S)),
        passes("a week, measured when the window opened", _populated(measured_at_s=NOW_S - 5 * HOUR_S)),
        fails("a week, and measured that it takes longer", _populated(enough_at_s=NOW_S + 1)),
        fails("a week, and measured that waiting will not do", _populated(enough_at_s=-1.0)),
        fails("a week, measured in a window before this one", _populated(measured_at_s=NOW_S - 5 * HOUR_S - 1)),
        fails("a week, measured for another method", change(_populated(), evidence={"method": COPY})),
        fails("a week, evidence without a measurement", change(_populated(), evidence={"population": None})),
        silent("not open", move("verify", DUAL, carried=None)),
        silent(
            "applications on the target",
            move("cutover", DUAL, carried={"longest_expiry_s": 99 * HOUR_S}, endpoint=ON_TARGET),
        ),
    ],
}


def _pair(stage: str = "prepare", method: str = GEO, *, at_source: dict[str, Any], at_target: dict[str, Any]) -> Move:
    return move(stage, method, source=at_source, declared_target=at_target)


_WITH_SUBNET = {"subnet_id": "/subscriptions/s/virtualNetworks/east/subnets/redis"}

NETWORK: dict[str, list[Case]] = {
    "RM-N01": [
        passes("the same", move("prepare")),
        passes("higher", _pair(at_source={"minimum_tls_version": "1.0"}, at_target={})),
        passes("neither says", _pair(at_source={"minimum_tls_version": ""}, at_target={"minimum_tls_version": ""})),
        passes("no number", _pair(at_source={"minimum_tls_version": ""}, at_target={"minimum_tls_version": "newest"})),
        fails("lower", _declared("prepare", minimum_tls_version="1.1")),
        fails(
            "lower, source says nothing",
            _pair(at_source={"minimum_tls_version": ""}, at_target={"minimum_tls_version": "1.0"}),
        ),
        fails(
            "lower by more", _pair(at_source={"minimum_tls_version": "2.0"}, at_target={"minimum_tls_version": "1.3"})
        ),
        silent("no target", move("prepare", declared_target=None)),
        silent("no source", _no_source("prepare")),
        silent(
            "applications on the target", move("cutover", endpoint=ON_TARGET, target={"minimum_tls_version": "1.0"})
        ),
    ],
    "RM-N02": [
        passes("closed", move("prepare")),
        passes(
            "open on both", _pair(at_source={"non_ssl_port_enabled": True}, at_target={"non_ssl_port_enabled": True})
        ),
        fails("opened", _declared("prepare", non_ssl_port_enabled=True)),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-N03": [
        passes("closed", move("prepare")),
        passes(
            "open on both", _pair(at_source={"non_ssl_port_enabled": True}, at_target={"non_ssl_port_enabled": True})
        ),
        fails("closed now", move("prepare", source={"non_ssl_port_enabled": True})),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-N04": [
        passes("open on both", move("prepare")),
        passes(
            "closed on both",
            _pair(at_source={"public_network_access": "Disabled"}, at_target={"public_network_access": "Disabled"}),
        ),
        passes("closed now", _declared("prepare", public_network_access="Disabled")),
        fails("opened", move("prepare", source={"public_network_access": "Disabled"})),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-N05": [
        passes("open", move("verify")),
        passes(
            "a private endpoint",
            move("verify", target={"public_network_access": "Disabled", "private_endpoints": ("a",)}),
        ),
        passes("a subnet", move("verify", target={"public_network_access": "Disabled", **_WITH_SUBNET})),
        fails("neither", move("verify", target={"public_network_access": "Disabled"})),
        silent("no target", move("verify", target=None)),
        silent("applications on it", move("cutover", endpoint=ON_TARGET, target={"public_network_access": "Disabled"})),
    ],
    "RM-N06": [
        passes("enabled on both", move("prepare")),
        passes(
            "disabled on both",
            _pair(at_source={"access_keys_disabled": True}, at_target={"access_keys_disabled": True}),
        ),
        passes("disabled now", _declared("prepare", access_keys_disabled=True)),
        fails("enabled", move("prepare", source={"access_keys_disabled": True})),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-N07": [
        passes("enabled", move("prepare")),
        fails("disabled", move("prepare", source={"access_keys_disabled": True})),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-N08": [
        passes(
            "admitted",
            move("replicate", source={"firewall_rules": (OFFICE, SHOP)}, target={"host_name": "10.1.0.9"}),
        ),
        passes(
            "admitted by its address in the network",
            move(
                "replicate",
                source={"firewall_rules": (OFFICE,)},
                target={"static_ip": "10.0.0.0", "host_name": "10.9.9.9"},
            ),
        ),
        fails(
            "not admitted", move("replicate", source={"firewall_rules": (OFFICE,)}, target={"host_name": "10.1.0.9"})
        ),
        fails(
            "rules of no use",
            move(
                "verify",
                previous="unlink",
                link=GONE,
                source={"firewall_rules": (FirewallRule(name="odd", start_ip="here", end_ip="there"),)},
                target={"host_name": "10.1.0.10"},
            ),
        ),
        silent("no firewall", move("replicate", target={"host_name": "10.1.0.9"})),
        silent("address not known", move("replicate", source={"firewall_rules": (OFFICE,)})),
        silent("linked", move("verify", source={"firewall_rules": (OFFICE,)}, target={"host_name": "10.1.0.9"})),
        silent("no target", move("replicate", source={"firewall_rules": (OFFICE,)}, target=None)),
        silent("no source", _no_source("replicate")),
    ],
    "RM-N09": [
        fails("told", move("prepare", source={"firewall_rules": (OFFICE, SHOP)})),
        fails("told, address not known", move("replicate", source={"firewall_rules": (OFFICE,)})),
        silent("no firewall", move("prepare")),
        silent(
            "the other rule can tell",
            move("replicate", source={"firewall_rules": (OFFICE,)}, target={"host_name": "10.1.0.9"}),
        ),
        silent("linked", move("verify", source={"firewall_rules": (OFFICE,)})),
        silent("no source", _no_source("prepare")),
    ],
    "RM-N10": [
        passes("neither", move("prepare")),
        passes("both", _pair(at_source={"firewall_rules": (OFFICE,)}, at_target={"firewall_rules": (SHOP,)})),
        fails("source alone", move("prepare", source={"firewall_rules": (OFFICE, SHOP)})),
        silent("managed", change(_managed_declared(), source={"firewall_rules": (OFFICE,)})),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-N11": [
        passes("neither", move("prepare")),
        passes("source alone is another rule's", move("prepare", source={"firewall_rules": (OFFICE,)})),
        passes("more", _pair(at_source={"firewall_rules": (OFFICE,)}, at_target={"firewall_rules": (SHOP, OFFICE)})),
        passes(
            "another name",
            _pair(
                at_source={"firewall_rules": (OFFICE,)},
                at_target={"firewall_rules": (FirewallRule(name="o", start_ip="10.0.0.0", end_ip="10.0.0.255"),)},
            ),
        ),
        fails(
            "one missing", _pair(at_source={"firewall_rules": (OFFICE, SHOP)}, at_target={"firewall_rules": (OFFICE,)})
        ),
        silent("managed", change(_managed_declared(), source={"firewall_rules": (OFFICE,)})),
    ],
    "RM-N12": [
        passes("no firewall", _managed_declared()),
        passes(
            "closed",
            change(_managed_declared(public_network_access="Disabled"), source={"firewall_rules": (OFFICE,)}),
        ),
        fails("open", change(_managed_declared(), source={"firewall_rules": (OFFICE, SHOP)})),
        silent("not managed", move("prepare", source={"firewall_rules": (OFFICE,)})),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-N13": [
        passes("none", move("prepare")),
        passes(
            "its own",
            _pair(
                at_source=_WITH_SUBNET, at_target={"subnet_id": "/subscriptions/s/virtualNetworks/west/subnets/redis"}
            ),
        ),
        passes(
            "the same in the same region",
            _pair(at_source=_WITH_SUBNET, at_target={**_WITH_SUBNET, "location": "eastus"}),
        ),
        fails(
            "the source's", _pair(at_source=_WITH_SUBNET, at_target={"subnet_id": _WITH_SUBNET["subnet_id"].upper()})
        ),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-N14": [
        fails("told", move("prepare", source=_WITH_SUBNET)),
        silent("no subnet", move("prepare")),
        silent("linked", move("verify", source=_WITH_SUBNET)),
        silent("no source", _no_source("prepare")),
    ],
    "RM-N15": [
        passes("a subnet of its own", _pair(at_source=_WITH_SUBNET, at_target={"subnet_id": "/subscriptions/s/west"})),
        fails("none", move("prepare", source=_WITH_SUBNET)),
        silent("no subnet", move("prepare")),
        silent("no target", move("prepare", source=_WITH_SUBNET, declared_target=None)),
    ],
    "RM-N16": [
        passes("it has one", _pair(at_source={"private_endpoints": ("a",)}, at_target={"private_endpoints": ("b",)})),
        fails("it has none", move("prepare", source={"private_endpoints": ("a", "b")})),
        silent("the source has none", move("prepare")),
        silent("no target", move("prepare", source={"private_endpoints": ("a",)}, declared_target=None)),
    ],
    "RM-N17": [
        fails("told", _managed_declared()),
        silent("not managed", move("prepare")),
    ],
    "RM-N18": [
        fails("told", move("prepare", source={"identity_type": "SystemAssigned, UserAssigned"})),
        silent("none", move("prepare")),
        silent("user-assigned", move("prepare", source={"identity_type": "UserAssigned"})),
        silent("no target", move("prepare", source={"identity_type": "SystemAssigned"}, declared_target=None)),
    ],
    "RM-N20": [
        passes("admitted", _by_entra(policies=("Data Owner",))),
        passes("by a policy of the team's own", _by_entra(policies=("Mover",))),
        passes("of two one is enough", _by_entra(policies=("Data Reader", "Data Owner"))),
        passes("access keys", _by_entra(policies=(), source={"access_keys_disabled": False})),
        passes("no target yet", _by_entra(policies=("Data Owner",), target=None)),
        fails("nobody", _by_entra(policies=())),
        fails("a reader", _by_entra(policies=("Data Reader",))),
        fails(
            "another",
            _by_entra(policies=("Data Owner",), signed_in_object_id="22222222-3333-4444-5555-666666666666"),
        ),
        fails(
            "not at the target",
            _by_entra(policies=("Data Owner",), target={"access_keys_disabled": True}),
        ),
        silent("not asked for", move("verify")),
    ],
    "RM-N19": [
        passes("nothing to take over", change(_managed_declared(), source={"redis_configuration": {}})),
        fails("notifications", _managed_declared()),
        fails(
            "all of it",
            change(
                _managed_declared(),
                source={
                    "patch_schedule": (ScheduleEntry(day_of_week="Monday", start_hour_utc=3),),
                    "access_policies": (AccessPolicy(name="p", permissions="+@read ~*"),),
                    "rdb_backup_enabled": True,
                },
            ),
        ),
        fails("AOF", change(_managed_declared(), source={"redis_configuration": {}, "aof_backup_enabled": True})),
        silent("not managed", move("prepare")),
    ],
}

POSTURE: dict[str, list[Case]] = {
    "RM-P01": [
        passes("zones", _declared("prepare", COPY, zones=("1", "2"))),
        passes("zones by Azure's choice", _declared("prepare", COPY, zonal_allocation_policy="Automatic")),
        passes("zones to be chosen", _declared("prepare", COPY, zonal_allocation_policy="UserDefined")),
        fails("suspended", move("prepare")),
        fails("suspended until it is unlinked", move("unlink")),
        fails("a link that is still there", move("cutover", link=link())),
        fails("due again", move("cutover")),
        fails("another method", move("prepare", COPY)),
        silent("not Premium", _declared("prepare", COPY, sku_name="Standard", sku_family="C", sku_capacity=3)),
        silent("no target", move("prepare", declared_target=None)),
    ],
    "RM-P02": [
        passes("RDB", _declared("prepare", COPY, rdb_backup_enabled=True)),
        passes("AOF", _declared("prepare", COPY, aof_backup_enabled=True)),
        passes("asked for, and switched on now", move("cutover", consent={"persistence": "rdb"})),
        fails("suspended", move("replicate")),
        fails("suspended, and asked for", move("unlink", consent={"persistence": "aof"})),
        fails("asked for, before its stage", move("verify", COPY, consent={"persistence": "rdb"})),
        fails("due again", move("retire")),
        fails("another method", move("verify", COPY)),
        silent("managed", _managed_declared()),
    ],
}

CASES: dict[str, list[Case]] = {**WAY, **LIFE, **TIERS, **GEO_RULES, **OTHER_METHODS, **NETWORK, **POSTURE}

__all__ = ["CASES", "STORAGE", "TARGET_STORAGE", "Case", "cutover", "evidence"]
