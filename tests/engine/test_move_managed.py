"""Moves to Azure Managed Redis and from Enterprise, on the real engine: the same stages, gates and protection."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from redismove import stages
from tests.support.application import Application
from tests.support.methods import ready
from tests.support.move import Move, unchanged
from tests.support.storage import Accounts

pytestmark = pytest.mark.engine

NewMove = Callable[..., Move]


def _to_managed(new_move: NewMove, **options: object) -> Move:
    move = new_move(**options)
    move.managed.add(move.target_name)
    move.stack.configure(target={"kind": "managed"})
    return move


def _resources(move: Move) -> dict[str, dict[str, object]]:
    return {resource["urn"].rsplit("::", 1)[-1]: resource for resource in move.stack.state()["deployment"]["resources"]}


@pytest.mark.timeout(420)
def test_a_premium_cache_moves_to_managed_by_copy_while_it_is_written_to(new_move: NewMove) -> None:
    move = _to_managed(new_move, keys=300, seed={"databases": 1}, method="copy")
    application = Application.start(move, databases="0")
    try:
        move.go_to("adopt", "prepare")
        target = move.target
        assert target is not None
        assert (target.product, target.sku_name, target.clustering_policy) == ("managed", "Balanced_B5", "NoCluster")
        assert (target.ssl_port, target.access_keys_disabled) == (10000, False)
        assert unchanged(move.stack.preview("--expect-no-changes"))
        move.go_to("replicate", "verify", "cutover")

        assert _resources(move)["target"]["protect"]
        assert _resources(move)["target-database"]["protect"]
        assert move.stack.outputs()["endpoint"]["port"] == 10000
    finally:
        found = application.finish()
    assert found["acknowledged"] > 100
    assert (found["lost"], found["findings"], found["client_errors"]) == (0, [], 0), found

    move.go_to("retire", "cleanup")
    assert move.source is None
    assert move.target is not None


@pytest.mark.timeout(420)
def test_an_enterprise_cache_moves_to_managed_by_rdb_and_only_cleanup_deletes_it(new_move: NewMove) -> None:
    move = _to_managed(new_move, keys=200, seed={"sku": "Enterprise_E10"}, method="rdb", enableNotifications=False)
    move.managed.add(move.source_name)
    accounts = Accounts.of(move)
    move.go_to("adopt", "prepare", "replicate")
    with move.connect(move.source_name) as server:
        assert server.execute([(b"later", ("SET", b"later", "carried by verify"))]) == [b"OK"]
    move.go_to("verify", "cutover")
    assert move.signature(move.target_name) == move.signature(move.source_name)
    resources = _resources(move)
    assert resources["source"]["protect"]
    assert resources["source-database"]["protect"]

    for words in (("destroy", "-y"), ("destroy", "-y", "--run-program"), ("up", "-y", "--skip-preview")):
        if words[0] == "up":
            move.stack.configure(stage="cleanup")
        assert not move.stack.pulumi(*words).ok
        assert move.source is not None
    move.stack.configure(stage="cutover")
    move.go_to("cutover", "retire", "cleanup")

    assert move.source is None
    with move.connect(move.target_name) as server:
        assert server.execute([(b"later", ("GET", b"later"))]) == [b"carried by verify"]
    assert accounts.names(accounts.source) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sku", ["Enterprise_E10", "EnterpriseFlash_F300"])
@pytest.mark.parametrize(
    ("method", "refused_by"),
    [
        (stages.COPY, ""),
        (stages.NEW_CACHE, ""),
        (stages.GEO_REPLICATION, "RM-T01"),
        (stages.DUAL_WRITE, "RM-T03"),
    ],
)
def test_an_enterprise_cache_goes_the_ways_that_the_article_gives_it(
    new_move: NewMove, sku: str, method: str, refused_by: str
) -> None:
    """By RDB files it goes in a test of its own."""
    move = ready(new_move, method, keys=120, seed={"sku": sku}, enableNotifications=False)
    move.managed |= {move.source_name, move.target_name}
    move.stack.configure(target={"kind": "managed"})
    data = move.signature(move.source_name)
    move.go_to("adopt")
    if refused_by:
        refused = move.stack.stage("prepare")
        assert not refused.ok
        assert f"[{refused_by}]" in refused.output, refused
        assert move.target is None
        return
    move.go_to(*stages.way(method)[1:])
    assert move.source is None
    if method == stages.COPY:
        assert move.signature(move.target_name) == data
    else:
        with move.connect(move.target_name) as server:
            assert sum(server.databases().values()) == 0


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_dual_write_reaches_a_managed_target(new_move: NewMove) -> None:
    move = _to_managed(new_move, keys=200, seed={"databases": 1}, method="dual-write")
    application = Application.start(move, databases="0", mode="dual")
    try:
        move.go_to("adopt", "prepare", "replicate", "verify", "cutover")
    finally:
        found = application.finish()
    assert found["acknowledged"] > 100
    assert (found["lost"], found["findings"], found["client_errors"]) == (0, [], 0), found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_clustered_cache_moves_to_oss_cluster_and_back_again(new_move: NewMove) -> None:
    move = _to_managed(new_move, keys=300, seed={"shards": 2}, method="copy")
    move.stack.configure(target={"sku": "Balanced_B20"})
    move.go_to("adopt", "prepare", "replicate", "verify", "cutover")
    target = move.target
    assert target is not None
    assert target.is_clustered
    with move.connect(move.target_name) as server:
        assert server.execute([(b"later", ("SET", b"later", "on the target"))]) == [b"OK"]

    move.go_to("verify")
    with move.connect(move.source_name) as server:
        assert server.execute([(b"later", ("GET", b"later"))]) == [b"on the target"]
    move.go_to("adopt")
    assert move.target is None


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_files_of_a_premium_cache_go_to_managed(new_move: NewMove) -> None:
    move = _to_managed(new_move, keys=200, seed={"databases": 1}, method="rdb")
    Accounts.of(move)

    move.go_to("adopt", "prepare", "replicate", "verify", "cutover")

    assert move.signature(move.target_name) == move.signature(move.source_name)


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_cluster_that_a_killed_update_left_without_its_database_is_completed(new_move: NewMove) -> None:
    move = _to_managed(new_move, keys=50, seed={"databases": 1}, method="copy")
    move.go_to("adopt", "prepare")
    with move.azure() as caches:
        client, group, name = caches._enterprise(move.cache_id(move.target_name))
        client.databases.begin_delete(group, name, "default").result(60)
    refused = move.stack.stage("replicate")
    assert "found state NoDatabase" in refused.output, refused
    lost = [r["urn"] for r in move.stack.state()["deployment"]["resources"] if r["urn"].endswith("::target-database")]
    assert move.stack.pulumi("state", "delete", "--yes", "--force", "--target-dependents", lost[0]).ok

    move.go_to("prepare", "replicate")

    assert move.signature(move.target_name) == move.signature(move.source_name)
