"""The move by geo-replication on the real engine: every stage, there and back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from redismove import stages
from tests.support.move import Move, unchanged

pytestmark = pytest.mark.engine

NewMove = Callable[..., Move]


@pytest.mark.timeout(420)
@pytest.mark.parametrize("shards", [0, 3])
def test_the_eight_stages_move_the_cache_and_a_second_update_changes_nothing(new_move: NewMove, shards: int) -> None:
    move = new_move(keys=1_000, seed={"shards": shards} if shards else {})
    before = move.signature(move.source_name)

    for stage in stages.STAGES:
        taken = move.stack.stage(stage)
        assert taken.ok, f"{stage}: {taken}"
        assert unchanged(move.stack.up("--expect-no-changes")), f"a second update at {stage} changes something"
        if not shards:
            again = move.stack.preview("--refresh", "--expect-no-changes")
            assert unchanged(again), f"a preview with refresh at {stage} shows a change: {again}"

    outputs = move.stack.outputs()
    assert move.source is None, "cleanup deletes the source"
    assert move.signature(move.target_name) == before, "every key arrived as it was"
    assert outputs["stage"] == "cleanup"
    assert outputs["endpoint"]["host"] == move.target.host_name  # type: ignore[union-attr]
    assert outputs["cutover"]["differences"] == 0
    assert outputs["cutover"]["fenced"] is True


@pytest.mark.timeout(420)
def test_without_consent_to_notifications_the_hold_holds_a_comparison(new_move: NewMove) -> None:
    move = new_move(keys=300, enableNotifications=False)
    before = move.signature(move.source_name)

    move.go_to("adopt", "prepare", "replicate", "verify", "unlink")
    cut = move.stack.stage("cutover")

    assert cut.ok, cut
    assert "the hold will last about" in cut.output, "it is said beforehand how long the hold will be"
    assert move.signature(move.target_name) == before
    assert move.source is not None
    assert move.source.notify_keyspace_events == ""
    move.go_to("retire", "cleanup")


def test_adopt_writes_nothing_to_the_source(new_move: NewMove) -> None:
    move = new_move()
    arm, writes, data = (
        move.arm_get(move.source_name),
        move.writes_of_others(move.source_name),
        move.signature(move.source_name),
    )

    move.go_to("adopt")
    move.go_to("adopt")

    assert move.arm_get(move.source_name) == arm
    assert move.writes_of_others(move.source_name) == writes
    assert move.signature(move.source_name) == data


def test_the_way_to_unlink_writes_no_key_to_the_source(new_move: NewMove) -> None:
    move = new_move()
    writes, data = move.writes_of_others(move.source_name), move.signature(move.source_name)

    move.go_to("adopt", "prepare", "replicate", "verify", "unlink")

    assert move.writes_of_others(move.source_name) == writes
    assert move.signature(move.source_name) == data


def test_the_target_is_made_like_the_source(new_move: NewMove) -> None:
    move = new_move(seed={"sku": "P2", "notify": "Ex"})
    with move.azure() as caches:
        client = caches._session.redis
        group = "rg-orders"
        client.firewall_rules.create_or_update(
            group, move.source_name, "office", {"properties": {"startIP": "127.0.0.0", "endIP": "127.255.255.255"}}
        )
        client.patch_schedules.create_or_update(
            group,
            move.source_name,
            "default",
            {
                "properties": {
                    "scheduleEntries": [{"dayOfWeek": "Monday", "startHourUtc": 3, "maintenanceWindow": "PT5H"}]
                }
            },
        )
        client.redis.begin_update(group, move.source_name, {"tags": {"team": "orders"}}).result(60)

    move.go_to("adopt", "prepare")

    source, target = move.source, move.target
    assert source is not None
    assert target is not None
    assert target.location == "westus2"
    for setting in (
        *("sku_name", "sku_family", "sku_capacity", "redis_version", "shard_count", "non_ssl_port_enabled"),
        *("minimum_tls_version", "public_network_access", "firewall_rules", "patch_schedule"),
    ):
        assert getattr(target, setting) == getattr(source, setting), setting
    assert target.zonal_allocation_policy == "NoZones"
    assert target.replicas_per_primary == 1
    assert target.tags["team"] == "orders"
    assert any("access keys" in note for note in move.stack.outputs()["notCarried"])


@pytest.mark.timeout(420)
def test_every_stage_before_the_cutover_goes_back_without_harm_to_the_source(new_move: NewMove) -> None:
    move = new_move()
    data = move.signature(move.source_name)

    move.go_to("adopt", "prepare", "adopt")
    assert move.target is None, "adopt gives the target up"

    move.go_to("prepare", "replicate", "verify", "replicate", "verify", "unlink", "replicate")
    assert move.link.exists, "back from unlink links again"

    move.go_to("prepare")
    assert not move.link.exists

    move.go_to("replicate", "verify", "adopt")
    assert move.target is None
    assert move.source is not None
    assert move.signature(move.source_name) == data


@pytest.mark.timeout(420)
def test_back_from_the_cutover_keeps_what_the_target_took(new_move: NewMove) -> None:
    move = new_move()
    move.go_to("adopt", "prepare", "replicate", "verify", "unlink", "cutover", "retire", "cutover")
    with move.connect(move.target_name) as target:
        target.execute([(b"written-later", ("SET", "written-later", "on the target"))])

    move.go_to("unlink")

    assert move.stack.outputs()["endpoint"]["resourceId"].endswith(move.source_name)
    with move.connect(move.source_name) as source:
        assert source.execute([(b"written-later", ("GET", "written-later"))]) == [b"on the target"]
    move.go_to("cutover", "retire")


@pytest.mark.timeout(420)
def test_straight_back_from_retire_to_adopt_takes_two_updates(new_move: NewMove) -> None:
    move = new_move()
    move.go_to("adopt", "prepare", "replicate", "verify", "unlink", "cutover", "retire")

    move.go_to("adopt")
    assert move.stack.outputs()["endpoint"]["resourceId"].endswith(move.source_name)
    assert move.target is not None, "the first update unprotects the target"

    move.go_to("adopt")
    assert move.target is None
    assert move.source is not None


def test_a_link_removed_by_hand_is_seen_and_made_again(new_move: NewMove) -> None:
    move = new_move()
    move.go_to("adopt", "prepare", "replicate", "verify")
    move.unlink_by_hand()

    refused = move.stack.stage("unlink")
    assert refused.ok, f"the link is gone already, which is what unlink asks for: {refused}"

    refused = move.stack.pulumi("refresh", "-y", "--skip-preview")
    assert refused.ok, refused
    move.go_to("cutover")
