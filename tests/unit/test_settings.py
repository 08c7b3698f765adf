"""The stack's configuration: what is accepted, and the one sentence for what is not."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from redismove import settings, stages

SOURCE = json.dumps({"resourceGroup": "rg", "name": "orders-eus"})
ACCOUNT = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/files"
TARGET = json.dumps({"resourceGroup": "rg", "name": "orders-wus2", "location": "West US 2"})


def test_the_least_configuration_is_a_source() -> None:
    move = settings.read({"redismove:source": SOURCE})

    assert (move.method, move.stage, move.source.name) == ("geo-replication", "adopt", "orders-eus")


def test_a_region_is_taken_by_either_name() -> None:
    move = settings.read({"source": SOURCE, "target": TARGET, "stage": "prepare"})

    assert move.target is not None
    assert move.target.location == "westus2"


REFUSED = {
    "no source": ({}, "redismove:source: found nothing"),
    "unknown stage": ({"source": SOURCE, "stage": "move"}, 'redismove:stage: found "move", allowed adopt, prepare'),
    "unknown method": ({"source": SOURCE, "method": "fly"}, 'redismove:method: found "fly", allowed geo-replication'),
    "stage of another method": (
        {"source": SOURCE, "target": TARGET, "method": "copy", "stage": "unlink"},
        'redismove:stage: found "unlink", allowed adopt, prepare, replicate, verify, cutover, retire, cleanup',
    ),
    "no target": ({"source": SOURCE, "stage": "prepare"}, "redismove:target: found nothing"),
    "unknown key": (
        {"source": SOURCE, "confirmdelete": "x"},
        "redismove:confirmdelete: found a key that does not exist",
    ),
    "name of a cache": (
        {"source": json.dumps({"resourceGroup": "rg", "name": "a--b"})},
        'redismove:source.name: found "a--b"',
    ),
    "no name": ({"source": json.dumps({"resourceGroup": "rg"})}, "redismove:source.name: found nothing"),
    "soak": ({"source": SOURCE, "soakHours": "long"}, 'redismove:soakHours: found "long", allowed a number'),
    "persistence without storage": (
        {"source": SOURCE, "persistence": json.dumps({"kind": "rdb"})},
        'redismove:persistence.storageAccount: found "", allowed the full id of a storage account',
    ),
    "storage of persistence": (
        {"source": SOURCE, "persistence": json.dumps({"kind": "rdb", "storageAccount": "files"})},
        'redismove:persistence.storageAccount: found "files", allowed the full id of a storage account',
    ),
    "frequency of persistence": (
        {
            "source": SOURCE,
            "persistence": json.dumps({"kind": "rdb", "storageAccount": ACCOUNT, "frequencyMinutes": 7}),
        },
        "redismove:persistence.frequencyMinutes: found 7, allowed 15, 30, 60",
    ),
    "persistence of a managed target": (
        {
            "source": SOURCE,
            "target": json.dumps({**json.loads(TARGET), "kind": "managed"}),
            "persistence": json.dumps({"kind": "aof", "storageAccount": ACCOUNT}),
        },
        'redismove:persistence.kind: found "aof", allowed nothing for a managed target',
    ),
    "size": (
        {"source": SOURCE, "target": json.dumps({**json.loads(TARGET), "sku": "P9"})},
        'redismove:target.sku: found "P9", allowed C0 to C6 or P1 to P5',
    ),
    "clustering policy of another kind": (
        {"source": SOURCE, "target": json.dumps({**json.loads(TARGET), "clusteringPolicy": "OSSCluster"})},
        'redismove:target.clusteringPolicy: found "OSSCluster", allowed nothing for kind "redis"',
    ),
    "unknown clustering policy": (
        {"source": SOURCE, "target": json.dumps({**json.loads(TARGET), "clusteringPolicy": "oss"})},
        'redismove:target.clusteringPolicy: found "oss", allowed',
    ),
    "size of another kind": (
        {"source": SOURCE, "target": json.dumps({**json.loads(TARGET), "sku": "Balanced_B10"})},
        'redismove:target.sku: found "Balanced_B10", allowed C0 to C6 or P1 to P5 for kind "redis"',
    ),
    "storage account by name": (
        {"source": SOURCE, "storage": json.dumps({"source": "ordersfiles"})},
        'redismove:storage.source: found "ordersfiles", allowed the full id of a storage account, like /subscriptions/',
    ),
    "container": (
        {"source": SOURCE, "storage": json.dumps({"container": "RDB files"})},
        'redismove:storage.container: found "RDB files", allowed 3 to 63 lower-case letters',
    ),
    "catch up": ({"source": SOURCE, "catchUp": "maybe"}, 'redismove:catchUp: found "maybe", allowed true or false'),
    "not an object": ({"source": "orders"}, 'redismove:source: found "orders", allowed an object'),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_a_wrong_value_is_refused_in_one_sentence_that_names_the_key(case: str) -> None:
    config, expected = REFUSED[case]

    with pytest.raises(settings.SettingsError) as refusal:
        settings.read(config)

    message = str(refusal.value)
    assert message.startswith(expected)
    assert "\n" not in message


_VALUES = st.one_of(
    st.text(), st.integers().map(str), st.just("{}"), st.dictionaries(st.text(), st.text()).map(json.dumps)
)
_KEYS = st.one_of(
    st.sampled_from(
        ["method", "stage", "source", "target", "soakHours", "cutover", "copy", "storage", "confirmDelete"]
    ),
    st.text(),
)


@settings_of_hypothesis(max_examples=1_000, deadline=None)
@given(st.dictionaries(_KEYS, _VALUES, max_size=6), st.booleans())
def test_any_configuration_is_read_or_refused_in_a_sentence(config: dict[str, str], with_source: bool) -> None:
    if with_source:
        config = {**config, "source": SOURCE}
    with contextlib.suppress(settings.SettingsError):
        move = settings.read(config)
        assert move.stage in stages.way(move.method)


def test_storage_is_named_by_ids_and_may_be_left_out() -> None:
    account = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/ordersfiles"
    named = settings.read({"source": SOURCE, "storage": json.dumps({"target": account, "keepBlobs": "true"})})

    assert (named.storage.source, named.storage.target) == ("", account)
    assert (named.storage.container, named.storage.keep_blobs) == ("redismove", True)
    assert (named.catch_up, named.managed_identity) == (True, False)
    assert settings.read({"source": SOURCE, "catchUp": "false"}).catch_up is False


def test_the_endpoint_file_lies_in_the_project_unless_said_otherwise(tmp_path: Path) -> None:
    move = settings.read({"source": SOURCE})
    elsewhere = settings.read({"source": SOURCE, "endpointFile": "/etc/orders/endpoint.json"})

    assert move.endpoint_path(tmp_path, "prod") == tmp_path / ".redismove" / "endpoint-prod.json"
    assert elsewhere.endpoint_path(tmp_path, "prod") == Path("/etc/orders/endpoint.json")


def test_every_key_stands_in_the_project_file_with_a_description() -> None:
    import yaml

    project = yaml.safe_load((Path(__file__).parents[2] / "Pulumi.yaml").read_text())
    declared = {key.removeprefix("redismove:") for key in project["config"]}
    known = {f.alias for f in settings.MoveSettings.model_fields.values()}

    assert declared == known
    assert all(entry["description"] and entry["type"] for entry in project["config"].values())
