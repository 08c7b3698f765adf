"""What the program refuses on the real engine: bad input, jumps, and every way round the gate."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from redismove.endpoint import FileEndpointStore
from tests.support.move import Move
from tests.support.stack import Result

pytestmark = pytest.mark.engine

NewMove = Callable[..., Move]


def _refused(result: Result, *words: str) -> None:
    assert not result.ok, f"it went on: {result}"
    for word in words:
        assert word in result.output, f"{word!r} is missing: {result}"
    assert "Traceback" not in result.output, result


def test_bad_input_is_one_sentence_and_changes_nothing(new_move: NewMove) -> None:
    move = new_move(keys=10)
    stack = move.stack
    before = move.arm_get(move.source_name)

    stack.configure(stage="relocate")
    _refused(stack.up(), 'redismove:stage: found "relocate", allowed adopt, prepare')
    stack.configure(stage="adopt", method="teleport")
    _refused(stack.up(), 'redismove:method: found "teleport", allowed geo-replication')
    stack.configure(method="geo-replication", source={"name": "no-such-cache"})
    _refused(stack.up(), "no-such-cache", "[RM-L01]")
    stack.configure(source={"name": move.source_name})
    wrong = {"AZURE_CLIENT_SECRET": "wrong", "ARM_CLIENT_SECRET": "wrong"}
    _refused(stack.pulumi("up", "-y", "--skip-preview", environment=wrong), "sign-in", "was refused", "AZURE_CLIENT_ID")
    gone = {"ARM_ENDPOINT": "https://localhost:1", "AZURE_AUTHORITY_HOST": "https://localhost:1"}
    _refused(stack.pulumi("up", "-y", "--skip-preview", environment=gone), "does not answer", "redismove local start")

    assert move.arm_get(move.source_name) == before
    assert not any(r["type"] == "azure-native:redis:Redis" for r in stack.state()["deployment"].get("resources", []))


def test_a_foreign_target_with_keys_is_erased_only_by_name(new_move: NewMove) -> None:
    move = new_move(keys=50)
    move.cloud.seed(move.target_name, keys=20, **{"resource-group": "rg-orders", "location": "westus2"})
    kept = move.signature(move.target_name)
    move.go_to("adopt")

    _refused(move.stack.stage("prepare"), move.target_name, "[RM-L12]", "acceptErase")
    assert move.signature(move.target_name) == kept

    move.stack.configure(acceptErase=move.target_name)
    move.go_to("prepare", "replicate", "verify")
    assert move.signature(move.target_name) == move.signature(move.source_name)
    move.go_to("adopt")
    assert move.target is not None, "a cache that the move did not make stays"


def test_no_flag_goes_round_the_gate(new_move: NewMove) -> None:
    move = new_move()
    move.go_to("adopt", "prepare", "replicate", "verify")
    stack = move.stack
    urns = {r["urn"].rsplit("::", 1)[-1]: r["urn"] for r in stack.state()["deployment"]["resources"]}

    stack.configure(stage="cutover")
    for options in (
        (),
        ("--target", urns["link"]),
        ("--exclude", urns["gate"]),
        ("--refresh",),
        ("--continue-on-error",),
    ):
        _refused(stack.up(*options), "[RM-S01]")
        assert move.link.exists, f"{options} removed the link"
    stack.configure(stage="unlink", evidenceMaxAgeHours="0.0000001")
    for options in ((), ("--target", urns["link"]), ("--exclude", urns["gate"])):
        _refused(stack.up(*options), "[RM-L09]")
        assert move.link.exists, f"{options} removed the link"
    stack.configure(stage="verify", evidenceMaxAgeHours="24")
    _refused(stack.pulumi("destroy", "-y", "--skip-preview"))
    _refused(stack.pulumi("destroy", "-y", "--skip-preview", "--run-program"))
    _refused(stack.pulumi("destroy", "-y", "--skip-preview", "--target", urns["source"], "--target-dependents"))

    assert move.link.exists
    assert move.source is not None
    assert move.target is not None


def test_another_source_deletes_nothing(new_move: NewMove) -> None:
    move, other = new_move(keys=10), new_move(keys=10)
    move.go_to("adopt")
    move.stack.configure(source={"name": other.source_name})

    _refused(move.stack.up(), "[RM-S02]")
    _refused(move.stack.preview("--policy-pack", "policies"), "[RM-S02]")
    _refused(move.stack.up("--exclude", "**gate"), "[RM-S02]")

    assert move.source is not None
    assert other.source is not None


def test_a_state_that_lost_the_source_deletes_nothing_and_adopts_it_again(new_move: NewMove) -> None:
    move = new_move(keys=10)
    move.go_to("adopt", "prepare")
    urn = next(r["urn"] for r in move.stack.state()["deployment"]["resources"] if r["urn"].endswith("::source"))

    done = move.stack.pulumi("state", "unprotect", "--yes", urn)
    assert done.ok, done
    done = move.stack.pulumi("state", "delete", "--yes", "--target-dependents", urn)
    assert done.ok, done
    assert move.source is not None

    move.go_to("prepare")
    move.go_to("replicate")


def test_cleanup_needs_the_name_and_an_endpoint_on_the_target(new_move: NewMove) -> None:
    move = new_move(confirmDelete="")
    move.go_to("adopt", "prepare", "replicate", "verify", "unlink", "cutover", "retire")

    _refused(move.stack.stage("cleanup"), "[RM-L21]", move.source_name)
    move.stack.configure(confirmDelete=move.target_name)
    _refused(move.stack.up(), "[RM-L21]")
    move.stack.configure(confirmDelete=move.source_name, soakHours=1)
    _refused(move.stack.up(), "[RM-L20]")
    move.stack.configure(soakHours=0)

    document = json.loads((move.stack.folder / ".redismove" / "endpoint-dev.json").read_text())
    assert document["role"] == "target"
    assert FileEndpointStore(move.stack.folder / ".redismove" / "endpoint-dev.json").read().phase == "settled"
    assert move.source is not None
    move.go_to("cleanup")
    assert move.source is None


def test_a_client_that_stays_on_the_source_holds_retire_back(new_move: NewMove) -> None:
    move = new_move(keys=10)
    move.go_to("adopt", "prepare", "replicate", "verify", "unlink", "cutover")

    with move.connect(move.source_name):
        _refused(move.stack.stage("retire"), "[RM-L19]")
    move.go_to("retire")


def test_the_policy_pack_says_the_same_words(new_move: NewMove) -> None:
    move = new_move(keys=10)
    move.go_to("adopt")
    move.stack.configure(stage="replicate")

    preview = move.stack.preview("--policy-pack", "policies")
    update = move.stack.up()

    words = 'found "replicate", allowed "adopt" or "prepare"'
    _refused(preview, words, "[RM-S01]", "Policies:")
    _refused(update, words, "[RM-S01]")
