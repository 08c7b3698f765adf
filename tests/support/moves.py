"""Moves as the gates see them: one that may go on at each stage of each method, for a test to change in one point."""

from __future__ import annotations

import dataclasses
from typing import Any

from redismove import stages
from redismove.facts import (
    MANAGED,
    CacheFacts,
    CarriedFacts,
    CopyJobFacts,
    CutoverFacts,
    EndpointFacts,
    EvidenceFacts,
    LinkFacts,
    Move,
    StorageFacts,
)

SUBSCRIPTION = "1111aaaa-1111-1111-1111-111111111111"
OTHER_SUBSCRIPTION = "2222bbbb-2222-2222-2222-222222222222"
NOW_S = 1_795_500_000.0
TODAY = "2026-11-24"
HOUR_S = 3600.0


def cache_id(name: str, subscription: str = SUBSCRIPTION, group: str = "rg") -> str:
    """The full resource id of a cache."""
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Cache/Redis/{name}"


SOURCE_ID = cache_id("orders-east")
TARGET_ID = cache_id("orders-west")

STORAGE = StorageFacts(
    id="/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/eastfiles",
    name="eastfiles",
    location="eastus",
    subscription_id=SUBSCRIPTION,
)
TARGET_STORAGE = dataclasses.replace(
    STORAGE, id=STORAGE.id.replace("east", "west"), name="westfiles", location="westus2"
)


def source(**changes: Any) -> CacheFacts:
    """A Premium P1 in eastus that can be moved by every method."""
    return dataclasses.replace(
        CacheFacts(
            id=SOURCE_ID,
            name="orders-east",
            resource_group="rg",
            subscription_id=SUBSCRIPTION,
            location="eastus",
            host_name="orders-east.redis.cache.windows.net",
            minimum_tls_version="1.2",
            redis_configuration={"notify-keyspace-events": "KA"},
            keys=1000,
            foreign_clients=(),
        ),
        **changes,
    )


def target(**changes: Any) -> CacheFacts:
    """A Premium P1 in westus2, made like the source."""
    return dataclasses.replace(
        CacheFacts(
            id=TARGET_ID,
            name="orders-west",
            resource_group="rg",
            subscription_id=SUBSCRIPTION,
            location="westus2",
            host_name="orders-west.redis.cache.windows.net",
            minimum_tls_version="1.2",
            zonal_allocation_policy="NoZones",
            redis_configuration={"notify-keyspace-events": "KA"},
        ),
        **changes,
    )


def managed(**changes: Any) -> CacheFacts:
    """An Azure Managed Redis B10 in westus2."""
    made = target(
        product=MANAGED,
        sku_name="Balanced_B10",
        sku_family="",
        sku_capacity=0,
        redis_version="7.4",
        zonal_allocation_policy="",
    )
    return dataclasses.replace(made, **changes)


def evidence(**changes: Any) -> EvidenceFacts:
    """Clean evidence of a geo-replicated pair, one hour old."""
    return dataclasses.replace(
        EvidenceFacts(
            source_id=SOURCE_ID,
            target_id=TARGET_ID,
            method=stages.GEO_REPLICATION,
            made_at_s=NOW_S - HOUR_S,
            depth="full",
            link_state="Succeeded",
            keys_compared=1000,
        ),
        **changes,
    )


def link(**changes: Any) -> LinkFacts:
    """The link from source to target, complete."""
    return dataclasses.replace(LinkFacts(primary_id=SOURCE_ID, secondary_id=TARGET_ID), **changes)


GONE = LinkFacts(primary_id=SOURCE_ID, secondary_id=TARGET_ID, exists=False, provisioning_state="")


def cutover(**changes: Any) -> CutoverFacts:
    """A complete cut-over to the target, an hour before `retire`."""
    return dataclasses.replace(
        CutoverFacts(from_id=SOURCE_ID, to_id=TARGET_ID, finished_at_s=NOW_S - 49 * HOUR_S, differences=0, fenced=True),
        **changes,
    )


def carried(method: str, **changes: Any) -> CarriedFacts:
    """A complete copy, transfer or window."""
    return dataclasses.replace(
        CarriedFacts(
            source_id=SOURCE_ID,
            target_id=TARGET_ID,
            method=method,
            started_at_s=NOW_S - 5 * HOUR_S,
            finished_at_s=NOW_S - 4 * HOUR_S,
            keys_read=1000,
            keys_written=1000,
            files_exported=1 if method == stages.RDB else 0,
            files_imported=1 if method == stages.RDB else 0,
        ),
        **changes,
    )


def copy_job(**changes: Any) -> CopyJobFacts:
    """A job in the source's region, of the usual size."""
    return dataclasses.replace(
        CopyJobFacts(
            name="redismove-copy-1",
            location="eastus",
            subscription_id=SUBSCRIPTION,
            image="team.azurecr.io/redismove:1",
            cpu=2.0,
            memory_gb=4.0,
        ),
        **changes,
    )


ON_SOURCE = EndpointFacts(resource_id=SOURCE_ID)
ON_TARGET = EndpointFacts(resource_id=TARGET_ID)


def move(stage: str, method: str = stages.GEO_REPLICATION, **changes: Any) -> Move:
    """
    A move that may take *stage* of *method* for the first time, coming from the stage before it.

    *changes* replace fields of it; those of `source`, `target`, `declared_target`, `link`, `evidence`, `cutover`,
    `endpoint`, `carried`, `consent` and `limits` may be dictionaries of changes to what is there.
    """
    way = stages.way(method)
    here = way.index(stage)
    geo = method == stages.GEO_REPLICATION
    past_prepare = here > way.index(stages.PREPARE)
    linked = geo and stage in (stages.VERIFY, stages.UNLINK)
    linking = ("/linkedServers/orders-west",) if linked else ()
    facts: dict[str, Any] = {
        "previous": way[here - 1] if here else "",
        "previous_method": method if here else "",
        "stage_since_s": NOW_S - (2 if stage in (stages.UNLINK, stages.CUTOVER) else 48) * HOUR_S if here else 0.0,
        "fixed_source_id": SOURCE_ID if here else "",
        "fixed_target_id": TARGET_ID if past_prepare else "",
        "source": source(linked_servers=tuple(f"{SOURCE_ID}{part}" for part in linking)),
        "target": target() if past_prepare else None,
        "declared_target": target(exists=False) if here else None,
        "target_made_by_stack": past_prepare,
        "link": (link() if linked else GONE) if geo and here else None,
        "evidence": (
            evidence(method=method, link_state="Succeeded" if geo else "")
            if stages.VERIFY in way and here > way.index(stages.VERIFY)
            else None
        ),
        "cutover": cutover() if stage in (stages.RETIRE, stages.CLEANUP) else None,
        "endpoint": ON_TARGET if stage in (stages.RETIRE, stages.CLEANUP) else (ON_SOURCE if here else None),
        "source_storage": STORAGE if method == stages.RDB else None,
        "target_storage": TARGET_STORAGE if method == stages.RDB else None,
        "carried": (
            carried(method)
            if method in (stages.RDB, stages.COPY, stages.DUAL_WRITE) and here > way.index(stages.REPLICATE)
            else None
        ),
        "signed_in_subscription_id": SUBSCRIPTION,
    }
    made = Move(
        method=method,
        stage=stage,
        source_id=SOURCE_ID,
        target_id=TARGET_ID,
        today=TODAY,
        now_s=NOW_S,
        stack="dev",
        **facts,
    )
    if stage == stages.CUTOVER and method == stages.NEW_CACHE:
        made = change(made, consent={"accept_data_loss": "orders-east"})
    if stage == stages.CLEANUP:
        made = change(made, consent={"confirm_delete": "orders-east"})
    return change(made, **changes)


def change(made: Move, **changes: Any) -> Move:
    """Replace fields of *made*; a dictionary changes the record that is there."""
    fields = {}
    for name, value in changes.items():
        if isinstance(value, dict):
            held = getattr(made, name)
            assert held is not None, f"there is no {name} to change"
            fields[name] = dataclasses.replace(held, **value)
        else:
            fields[name] = value
    return dataclasses.replace(made, **fields)
