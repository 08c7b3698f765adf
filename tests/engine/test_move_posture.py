"""What a link forbids is put on the target once it is gone, and taken off again before another one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from redismove.azure.session import Session
from redismove.azure.storage import connection_string
from tests.support.move import Move, unchanged
from tests.support.storage import Accounts

pytestmark = pytest.mark.engine

NewMove = Callable[..., Move]


def _account(move: Move) -> tuple[str, str]:
    """Make a storage account in the target's region; return its id and its key."""
    account = Accounts.make(move, f"{move.target_name.replace('-', '')}files", "westus2")
    with move.azure():
        text = connection_string(Session.from_environment(), account).reveal()
        return account, dict(part.split("=", 1) for part in text.split(";"))["AccountKey"]


def _settings(move: Move) -> dict[str, str]:
    return dict(move.arm_get(move.target_name)["properties"]["redisConfiguration"])


def _was_put(move: Move) -> bool:
    lines = (move.cloud.home / "logs" / "requests.jsonl").read_text().splitlines()
    puts = [
        line for line in map(json.loads, lines) if line["method"] == "PUT" and line["path"].endswith(move.target_name)
    ]
    return len([line for line in puts if "linkedServers" not in line["path"]]) > 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_persistence_is_put_on_after_the_link_and_off_before_the_next_one(new_move: NewMove) -> None:
    move = new_move(keys=30)
    account, key = _account(move)
    move.stack.configure(
        persistence={"kind": "rdb", "storageAccount": account, "frequencyMinutes": "15", "snapshots": "2"}
    )
    move.go_to("adopt", "prepare", "replicate", "verify", "unlink")
    assert "rdb-backup-enabled" not in _settings(move)

    move.go_to("cutover")
    there = _settings(move)
    assert (there["rdb-backup-enabled"], there["rdb-backup-frequency"]) == ("true", "15")
    assert there["rdb-backup-max-snapshot-count"] == "2"
    assert unchanged(move.stack.up("--refresh", "--expect-no-changes"))
    assert _settings(move) == there

    move.go_to("unlink")
    assert _settings(move)["rdb-backup-enabled"] == "false"
    assert not _was_put(move), "the engine's own update of a cache is a PUT of all of it"
    move.go_to("cutover", "retire")
    move.stack.configure(persistence={"kind": "aof"})
    move.go_to("retire")
    assert (_settings(move)["rdb-backup-enabled"], _settings(move)["aof-backup-enabled"]) == ("false", "true")
    move.go_to("cleanup")
    assert unchanged(move.stack.up("--expect-no-changes"))
    assert _settings(move)["aof-backup-enabled"] == "true"
    texts = [path.read_bytes() for path in move.stack.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not any(key.encode() in text for text in texts), "the storage account's key stands in the state"


@pytest.mark.timeout(420)
def test_the_target_ends_with_the_notifications_that_the_source_had(new_move: NewMove) -> None:
    move = new_move(keys=10, method="copy")
    move.go_to("adopt", "prepare", "replicate", "verify", "cutover", "retire")
    assert "K" in _settings(move)["notify-keyspace-events"], "the way back follows it until the source is gone"

    move.go_to("cleanup")

    assert _settings(move).get("notify-keyspace-events", "") == ""
    assert unchanged(move.stack.up("--expect-no-changes"))
    assert _settings(move).get("notify-keyspace-events", "") == ""
