"""The methods without a link, on the real engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing

import pytest

from redismove import stages
from redismove.azure.caches import Caches
from redismove.azure.session import Session
from redismove.dual_write import DualWriteRedis
from tests.support.move import Move, unchanged

pytestmark = pytest.mark.engine

NewMove = Callable[..., Move]


def _write(move: Move, cache: str, key: bytes, value: str) -> None:
    with move.connect(cache) as server:
        assert server.execute([(key, ("SET", key, value))]) == [b"OK"]


def _read(move: Move, cache: str, key: bytes) -> bytes | None:
    with move.connect(cache) as server:
        return server.execute([(key, ("GET", key))])[0]  # type: ignore[no-any-return]


@pytest.mark.timeout(420)
@pytest.mark.parametrize("seed", [{}, {"sku": "C1"}, {"shards": 3}], ids=["premium", "standard", "three shards"])
def test_copy_moves_every_key_and_what_is_written_meanwhile(new_move: NewMove, seed: dict[str, object]) -> None:
    move = new_move(keys=400, seed=seed, method="copy")
    move.go_to("adopt", "prepare", "replicate")
    _write(move, move.source_name, b"after-the-copy", "carried by verify")
    move.go_to("verify")
    _write(move, move.source_name, b"after-verify", "carried by the cut-over")
    data = move.signature(move.source_name)

    move.go_to("cutover")
    assert move.signature(move.target_name) == data
    assert unchanged(move.stack.up("--expect-no-changes"))
    move.go_to("retire", "cleanup")

    assert move.source is None
    assert _read(move, move.target_name, b"after-verify") == b"carried by the cut-over"


@pytest.mark.timeout(420)
def test_copy_goes_back_with_what_the_target_took_and_forward_again(new_move: NewMove) -> None:
    move = new_move(keys=100, method="copy")
    move.go_to("adopt", "prepare", "replicate", "verify", "cutover")
    _write(move, move.target_name, b"later", "on the target")

    move.go_to("verify")
    assert _read(move, move.source_name, b"later") == b"on the target"
    _write(move, move.source_name, b"later", "on the source")

    move.go_to("verify", "cutover")
    assert _read(move, move.target_name, b"later") == b"on the source"


@pytest.mark.timeout(420)
def test_dual_write_knows_its_window_and_carries_what_applications_did_not(new_move: NewMove) -> None:
    move = new_move(keys=200, method="dual-write")
    move.go_to("adopt", "prepare", "replicate")
    with move.azure(), closing(follow(move)) as client:
        for number in range(50):
            client.set(f"session:{number}", "live", ex=7 * 24 * 3600)
        assert client.drain(30)
    _write(move, move.source_name, b"of-an-old-client", "carried by verify")
    data = move.signature(move.source_name)

    verified = move.stack.stage("verify")

    assert verified.ok, verified
    assert "[RM-D02]" in move.stack.up("--policy-pack", "policies").output, "seven days are not over"
    evidence = move.stack.outputs()["evidence"]
    assert evidence["only_in_source"] == evidence["different"] == 0
    move.go_to("cutover", "retire", "cleanup")
    assert move.signature(move.target_name) == data


def follow(move: Move) -> DualWriteRedis:
    """An application's dual-write client (inside `move.azure()`)."""
    caches = Caches(Session.from_environment())
    file = move.stack.folder / ".redismove" / f"endpoint-{move.stack.name}.json"
    return DualWriteRedis(file, lambda resource_id: (None, caches.access_keys(resource_id)[0]))


@pytest.mark.timeout(420)
def test_a_state_that_lost_the_copy_does_not_write_over_the_live_target(new_move: NewMove) -> None:
    move = new_move(keys=50, method="copy")
    move.go_to("adopt", "prepare", "replicate", "verify", "cutover")
    _write(move, move.target_name, b"later", "on the target")
    for name in ("bulk-copy", "evidence"):
        urns = [r["urn"] for r in move.stack.state()["deployment"]["resources"] if r["urn"].endswith(f"::{name}")]
        if not urns:
            continue  # it depends on the other one and went with it
        lost = move.stack.pulumi("state", "delete", "--yes", "--target-dependents", urns[0])
        assert lost.ok, lost

        move.stack.up()

        assert _read(move, move.target_name, b"later") == b"on the target"


@pytest.mark.timeout(420)
def test_a_new_cache_starts_empty_and_only_by_name(new_move: NewMove) -> None:
    move = new_move(keys=20, method="new-cache")
    move.go_to("adopt", "prepare")
    refused = move.stack.stage("cutover")
    assert "[RM-L11]" in refused.output, refused

    move.stack.configure(acceptDataLoss=move.source_name)
    move.go_to(*stages.way("new-cache")[2:])

    with move.connect(move.target_name) as target:
        assert sum(target.databases().values()) == 0
    assert move.source is None


def test_a_cutover_that_cannot_be_done_in_time_changes_nothing(new_move: NewMove) -> None:
    move = new_move(keys=50, method="copy")
    move.go_to("adopt", "prepare", "replicate", "verify")
    move.stack.configure(cutover={"limitSeconds": "0.001"})

    failed = move.stack.stage("cutover")

    assert not failed.ok
    assert "nothing was switched" in failed.output, failed
    assert "Traceback" not in failed.output, failed
    assert move.stack.outputs()["endpoint"]["resourceId"].endswith(move.source_name)
    move.stack.configure(cutover={"limitSeconds": "600"})
    move.go_to("cutover")


def test_a_retired_product_is_told_with_the_way_on_and_nothing_has_changed(new_move: NewMove) -> None:
    move = new_move(keys=10)
    move.go_to("adopt")
    before = move.arm_get(move.source_name)
    move.stack.configure(target={"location": "brazilsouth"})
    settings = move.cloud.home / "settings.json"
    settings.write_text(json.dumps({"retired": ["brazilsouth"]}))
    try:
        refused = move.stack.stage("prepare")
    finally:
        settings.write_text("{}")

    assert not refused.ok
    assert "Azure Managed Redis" in refused.output, refused
    assert move.arm_get(move.source_name) == before
    assert move.target is None
