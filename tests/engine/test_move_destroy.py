"""`pulumi destroy` at every stage leaves source and target, their data, and the move itself alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from redismove import stages
from tests.support.broken_stacks import declared
from tests.support.move import Move

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_TRIED: tuple[tuple[str, ...], ...] = (
    ("destroy", "-y", "--skip-preview"),
    ("destroy", "-y", "--skip-preview", "--run-program"),
    ("destroy", "-y", "--run-program"),
    ("destroy", "-y", "--skip-preview", "--run-program", "--continue-on-error"),
    ("destroy", "-y", "--skip-preview", "--run-program", "--exclude-protected"),
    ("destroy", "-y", "--skip-preview", "--target", "**source", "--target-dependents"),
    ("destroy", "-y", "--skip-preview", "--run-program", "--target", "**target", "--target-dependents"),
    ("destroy", "-y", "--skip-preview", "--run-program", "--target", "**endpoint"),
)


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("method", [stages.GEO_REPLICATION, stages.RDB, stages.COPY])
def test_destroy_at_each_stage_deletes_nothing_and_the_move_goes_on(new_move: Callable[..., Move], method: str) -> None:
    move = new_move(keys=60, method=method)
    if method == stages.RDB:
        from tests.support.storage import Accounts

        Accounts.of(move)
    for stage in stages.way(method)[:-1]:
        move.go_to(stage)
        data, settings = move.signature(move.source_name), move.arm_get(move.source_name)
        target, link, state = move.target, move.link, declared(move)
        tried = _TRIED if stage in (stages.VERIFY, stages.CUTOVER) else _TRIED[:2]

        for command in tried:
            refused = move.stack.pulumi(*command)

            told = f"{command} at {stage}: {refused}"
            assert not refused.ok, told
            assert "Traceback" not in refused.output, told
            if "--run-program" in command:
                assert "allowed none, as it holds a move" in refused.output, told
            else:
                assert "delete hooks registered, but the program is not running" in refused.output, told
            assert move.source is not None, told
            assert move.signature(move.source_name) == data, told
            assert move.arm_get(move.source_name) == settings, told
            assert move.target == target, told
            assert move.link == link, told
            assert declared(move) == state, told
    move.go_to(stages.CLEANUP)
    assert move.source is None
