"""Caches that take no access keys: the mover signs in as the principal that runs it, by Entra."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from azure.mgmt.redis import models

from redismove.azure.session import Session
from redismove.azure.tokens import object_id
from tests.support.move import GROUP, Move

pytestmark = pytest.mark.engine

NewMove = Callable[..., Move]


def _admit(move: Move, *, policy: str = "Data Owner") -> None:
    """Give this environment's principal an access policy at the source."""
    with move.azure():
        Session.from_environment().redis.access_policy_assignment.begin_create_update(
            GROUP,
            move.source_name,
            "mover",
            {"properties": {"objectId": object_id(), "objectIdAlias": "mover", "accessPolicyName": policy}},  # type: ignore[arg-type]
        ).result(60)


def _only_by_entra(move: Move, *, policy: str = "Data Owner") -> None:
    """Leave Entra as the only sign-in to the source."""
    by_entra = models.RedisCommonPropertiesRedisConfiguration(aad_enabled="true")
    with move.azure():
        caches = Session.from_environment().redis.redis
        caches.begin_update(GROUP, move.source_name, models.RedisUpdateParameters(redis_configuration=by_entra)).result(
            60
        )
        _admit(move, policy=policy)
        caches.begin_update(
            GROUP, move.source_name, models.RedisUpdateParameters(disable_access_key_authentication=True)
        ).result(60)


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_linked_pair_without_access_keys_is_moved_by_entra_alone(new_move: NewMove) -> None:
    move = new_move(keys=100, cutover={"acceptOpenFence": True})
    data = move.signature(move.source_name)
    _only_by_entra(move)
    move.go_to("adopt", "prepare", "replicate", "verify", "unlink", "cutover")
    assert move.source is not None
    assert move.source.access_keys_disabled, "only what the configuration permits is changed on the source"
    assert move.target is not None
    assert move.target.access_keys_disabled
    assert move.signature(move.target_name) == data
    move.go_to("retire", "cleanup")
    assert move.source is None


@pytest.mark.timeout(420)
def test_what_neither_a_pause_nor_new_keys_can_hold_is_cut_over_by_consent(new_move: NewMove) -> None:
    """Redis 6.0 knows no CLIENT PAUSE WRITE, and Entra tokens cannot be taken away by the cache."""
    move = new_move(keys=100, method="copy")
    data = move.signature(move.source_name)
    _only_by_entra(move, policy="Data Reader")
    move.go_to("adopt")
    refused = move.stack.stage("prepare")
    assert not refused.ok
    assert "[RM-N20]" in refused.output, refused
    assert "Data Reader" in refused.output
    assert move.target is None

    _admit(move)
    move.go_to("prepare", "replicate", "verify")
    refused = move.stack.stage("cutover")
    assert not refused.ok
    assert "acceptOpenFence" in refused.output
    assert "Traceback" not in refused.output
    move.stack.configure(cutover={"acceptOpenFence": True})
    move.go_to("cutover")
    assert move.signature(move.target_name) == data
