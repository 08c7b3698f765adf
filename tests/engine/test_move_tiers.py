"""
The article's table on the real engine: what it allows runs from `adopt` to `cleanup`, what it forbids is refused.

The tiers of Azure Cache for Redis, Premium also with three shards; each method and tier is one cell. All but a few are
slow: other files of this folder take most methods through Premium in every test run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from redismove import stages
from tests.support.methods import ready
from tests.support.move import Move

pytestmark = pytest.mark.engine

TIERS: dict[str, dict[str, Any]] = {
    "Basic": {"sku": "basic-C1"},
    "Standard": {"sku": "C1"},
    "Premium": {"sku": "P1"},
    "Premium, three shards": {"sku": "P1", "shards": 3},
}
_FORBIDDEN = {stages.GEO_REPLICATION: "RM-T01", stages.RDB: "RM-T02"}
FORBIDDEN = {(tier, method): rule for tier in ("Basic", "Standard") for method, rule in _FORBIDDEN.items()}
QUICK = {("Basic", stages.DUAL_WRITE), ("Basic", stages.GEO_REPLICATION), ("Standard", stages.RDB)}


def _cells() -> list[Any]:
    return [
        pytest.param(
            tier,
            method,
            id=f"{tier} {method}",
            marks=[] if (tier, method) in QUICK else [pytest.mark.slow],
        )
        for tier in TIERS
        for method in stages.METHODS
    ]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("tier", "method"), _cells())
def test_a_method_runs_on_the_tiers_that_it_is_for_and_is_refused_on_others(
    new_move: Callable[..., Move], tier: str, method: str
) -> None:
    move = ready(new_move, method, keys=120, seed=TIERS[tier])
    source = move.source
    assert source is not None
    assert (source.sku_name, source.shard_count) == (tier.partition(",")[0], TIERS[tier].get("shards", 0))
    data = move.signature(move.source_name)
    move.go_to("adopt")

    if rule := FORBIDDEN.get((tier, method)):
        refused = move.stack.stage("prepare")
        assert not refused.ok
        assert f"[{rule}]" in refused.output, refused
        assert "Traceback" not in refused.output, refused
        assert move.target is None
        assert move.signature(move.source_name) == data
        return

    move.go_to(*stages.way(method)[1:])
    target = move.target
    assert target is not None
    assert (target.sku_name, target.shard_count) == (source.sku_name, source.shard_count)
    assert move.source is None
    if method == stages.NEW_CACHE:
        with move.connect(move.target_name) as server:
            assert sum(server.databases().values()) == 0
    else:
        assert move.signature(move.target_name) == data


def test_the_cells_are_those_of_the_articles_table() -> None:
    """Geo-replication and RDB files are Premium's; the others are for all."""
    allowed = {tier: {m for m in stages.METHODS if (tier, m) not in FORBIDDEN} for tier in TIERS}

    assert allowed["Basic"] == allowed["Standard"] == {stages.NEW_CACHE, stages.DUAL_WRITE, stages.COPY}
    assert allowed["Premium"] == allowed["Premium, three shards"] == set(stages.METHODS)
