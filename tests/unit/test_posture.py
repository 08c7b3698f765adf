"""What the target is given back: by Azure's names, and never a key in what is shown."""

from __future__ import annotations

from redismove.azure.storage import ConnectionString
from redismove.steps.posture import Posture


def test_snapshots_by_azures_names() -> None:
    asked = Posture(target_id="t", persistence="rdb", frequency_minutes=15, snapshots=3)

    assert asked.settings == {
        "rdb-backup-enabled": "true",
        "rdb-backup-frequency": "15",
        "rdb-backup-max-snapshot-count": "3",
    }


def test_a_log_needs_no_frequency_and_nothing_is_nothing() -> None:
    assert Posture(target_id="t", persistence="aof").settings == {"aof-backup-enabled": "true"}
    assert Posture(target_id="t").settings == {}


def test_a_connection_string_shows_itself_only_when_it_is_revealed() -> None:
    secret = ConnectionString("AccountName=files;AccountKey=topsecret")

    assert "topsecret" not in f"{secret} {secret!r}"
    assert secret.reveal().endswith("topsecret")
