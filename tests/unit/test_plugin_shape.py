"""The provider stand-in's three shapes of a resource: inputs, ARM's JSON, outputs."""

from __future__ import annotations

from typing import Any

import pytest

from localazure.plugin import shape
from localazure.plugin.errors import ProviderError
from localazure.plugin.resources import find_resource
from localazure.plugin.values import UNKNOWN

REDIS = find_resource("azure-native:redis:Redis")
GROUP = find_resource("azure-native:containerinstance:ContainerGroup")
assert REDIS is not None
assert GROUP is not None

IDENTITY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u"
INPUTS: dict[str, Any] = {
    "resourceGroupName": "rg1",
    "name": "c1",
    "location": "eastus",
    "sku": {"name": "Premium", "family": "P", "capacity": 1},
    "zones": ["1"],
    "tags": {"maxmemory-policy": "a tag, not a setting"},
    "identity": {"type": "UserAssigned", "userAssignedIdentities": [IDENTITY]},
    "redisConfiguration": {"maxmemoryPolicy": "allkeys-lru", "aofStorageConnectionString0": "x"},
    "azureApiVersion": "2024-11-01",
    "unheardOf": 1,
}
BODY: dict[str, Any] = {
    "id": "/subscriptions/s/resourceGroups/rg1/providers/Microsoft.Cache/Redis/c1",
    "name": "c1",
    "type": "Microsoft.Cache/Redis",
    "location": "East US",
    "zones": ["1"],
    "tags": {},
    "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {"principalId": "p", "clientId": "c"}}},
    "properties": {
        "provisioningState": "Succeeded",
        "sku": {"name": "Premium", "family": "P", "capacity": 1},
        "hostName": "127.0.0.9",
        "sslPort": 6380,
        "accessKeys": None,
        "redisConfiguration": {"maxmemory-policy": "allkeys-lru", "maxclients": "7500", "unheard-of": "x"},
        "instances": [{"sslPort": 15000, "isPrimary": True}],
        "linkedServers": [],
        "extra": "x",
    },
}


def test_inputs_become_arms_json() -> None:
    assert shape.request_body(REDIS, INPUTS) == {
        "location": "eastus",
        "zones": ["1"],
        "tags": {"maxmemory-policy": "a tag, not a setting"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}},
        "properties": {
            "sku": {"name": "Premium", "family": "P", "capacity": 1},
            "redisConfiguration": {"maxmemory-policy": "allkeys-lru", "aof-storage-connection-string-0": "x"},
        },
    }


def test_arms_json_becomes_outputs() -> None:
    outputs = shape.outputs(REDIS.body, BODY)
    assert outputs == {
        "name": "c1",
        "type": "Microsoft.Cache/Redis",
        "location": "East US",
        "zones": ["1"],
        "tags": {},
        "identity": BODY["identity"],
        "provisioningState": "Succeeded",
        "sku": {"name": "Premium", "family": "P", "capacity": 1},
        "hostName": "127.0.0.9",
        "sslPort": 6380,
        "redisConfiguration": {"maxmemoryPolicy": "allkeys-lru", "maxclients": "7500"},
        "instances": [{"sslPort": 15000, "isPrimary": True}],
        "linkedServers": [],
    }


def test_an_import_gives_the_inputs_that_would_have_made_it() -> None:
    assert shape.imported_inputs(REDIS, BODY["id"], BODY) == {
        "resourceGroupName": "rg1",
        "name": "c1",
        "location": "East US",
        "zones": ["1"],
        "identity": {"type": "UserAssigned", "userAssignedIdentities": [IDENTITY]},
        "sku": {"name": "Premium", "family": "P", "capacity": 1},
        "redisConfiguration": {"maxmemoryPolicy": "allkeys-lru"},
    }


def test_outputs_are_projected_onto_the_inputs_form() -> None:
    projected = shape.project_inputs(REDIS.inputs, shape.outputs(REDIS.body, BODY))
    assert projected["redisConfiguration"] == {"maxmemoryPolicy": "allkeys-lru"}
    assert projected["identity"] == {"type": "UserAssigned", "userAssignedIdentities": [IDENTITY]}
    assert "hostName" not in projected
    assert "name" not in projected, "the name is in the path, not in the body"


def test_a_preview_knows_the_inputs_and_nothing_else() -> None:
    preview = shape.preview_outputs(REDIS.body, {**INPUTS, "shardCount": UNKNOWN})
    assert preview["location"] == "eastus"
    assert preview["sku"] == {"name": "Premium", "family": "P", "capacity": 1}
    assert preview["hostName"] is UNKNOWN
    assert preview["shardCount"] is UNKNOWN
    assert preview["redisConfiguration"]["maxmemoryPolicy"] == "allkeys-lru"
    assert preview["redisConfiguration"]["maxclients"] is UNKNOWN
    assert preview["identity"]["principalId"] is UNKNOWN
    assert preview["identity"]["userAssignedIdentities"] is UNKNOWN, "it comes back as an object, with principals"


def test_lists_of_flattened_objects_are_packed_and_unpacked() -> None:
    container = {"name": "job", "image": "redis", "resources": {"requests": {"cpu": 1, "memoryInGB": 1.5}}}
    body = shape.request_body(GROUP, {"containers": [container], "osType": "Linux"})
    properties = {"image": "redis", "resources": container["resources"]}
    assert body == {"properties": {"containers": [{"name": "job", "properties": properties}], "osType": "Linux"}}
    assert shape.outputs(GROUP.body, body) == {"containers": [container], "osType": "Linux"}


def test_a_path_is_filled_and_read_back() -> None:
    path = shape.resource_path(REDIS.path, "s", {"resourceGroupName": "my group", "name": "c1"})
    assert path == "/subscriptions/s/resourceGroups/my%20group/providers/Microsoft.Cache/redis/c1"
    assert shape.path_arguments(REDIS.path, BODY["id"]) == {
        "subscriptionId": "s",
        "resourceGroupName": "rg1",
        "name": "c1",
    }


def test_an_id_of_another_kind_is_refused() -> None:
    with pytest.raises(ProviderError, match="failed to parse '/subscriptions/s/x' against the path"):
        shape.path_arguments(REDIS.path, "/subscriptions/s/x")
    with pytest.raises(ProviderError, match="failed to parse"):
        shape.path_arguments(REDIS.path, BODY["id"] + "/linkedServers/c2")


def test_a_missing_path_argument_is_named() -> None:
    with pytest.raises(ProviderError, match="needs 'name', found None"):
        shape.resource_path(REDIS.path, "s", {"resourceGroupName": "rg"})
