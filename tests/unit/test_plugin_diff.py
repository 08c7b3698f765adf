"""The provider stand-in's diff: what changes, what replaces, and what a refresh carries into the inputs."""

from __future__ import annotations

from typing import Any

import pytest

from localazure.plugin.diff import Change, apply_diff, diff_objects, resource_changes, top_level
from localazure.plugin.resources import find_resource
from localazure.plugin.schema import ResourceType
from localazure.plugin.values import UNKNOWN

REDIS = find_resource("azure-native:redis:Redis")
LINK = find_resource("azure-native:redis:LinkedServer")
DATABASE = find_resource("azure-native:redisenterprise:Database")
assert REDIS is not None
assert LINK is not None
assert DATABASE is not None

BASE: dict[str, Any] = {
    "resourceGroupName": "rg1",
    "name": "c1",
    "location": "eastus",
    "sku": {"name": "Premium", "family": "P", "capacity": 1},
    "zones": ["1", "2"],
    "tags": {"owner": "a"},
}


def changes(new: dict[str, Any], old: dict[str, Any] | None = None, *, row: ResourceType = REDIS) -> dict[str, Change]:
    return resource_changes(row, BASE if old is None else old, new, {})


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ({}, {}),
        ({"sku": {"name": "Premium", "family": "P", "capacity": 2}}, {"sku.capacity": Change("update")}),
        ({"zones": ["1", "3", "2"]}, {"zones[1]": Change("update"), "zones[2]": Change("add")}),
        ({"zones": ["1"]}, {"zones[1]": Change("delete")}),
        ({"tags": {"owner": "a", "cost.center": "7"}}, {'tags["cost.center"]': Change("add")}),
        ({"shardCount": 2}, {"shardCount": Change("add")}),
        ({"name": "c2"}, {"name": Change("update", replaces=True)}),
        ({"location": "westus"}, {"location": Change("update", replaces=True)}),
        ({"name": UNKNOWN}, {"name": Change("update", replaces=True)}),
        ({"tags": UNKNOWN}, {"tags": Change("update")}),
        ({"staticIP": "10.0.0.4"}, {"staticIP": Change("add", replaces=True)}),
    ],
)
def test_a_change_is_named_by_its_path(new: dict[str, Any], expected: dict[str, Change]) -> None:
    assert changes({**BASE, **new}) == expected


def test_a_removed_input_is_a_delete() -> None:
    new = {key: value for key, value in BASE.items() if key not in ("tags", "location")}
    assert changes(new) == {"tags": Change("delete"), "location": Change("delete", replaces=True)}


@pytest.mark.parametrize(
    "new",
    [
        {"location": "East US"},
        {"resourceGroupName": "RG1"},
        {"enableNonSslPort": False},
        {"publicNetworkAccess": "Enabled"},
        {"__createBeforeDelete": True},
    ],
)
def test_what_azure_would_not_notice_is_no_change(new: dict[str, Any]) -> None:
    assert changes({**BASE, **new}) == {}


def test_ids_are_compared_without_case() -> None:
    old = {"linkedRedisCacheId": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Cache/Redis/c2"}
    same = {"linkedRedisCacheId": "/subscriptions/s/resourcegroups/RG/providers/microsoft.cache/redis/c2"}
    other = {"linkedRedisCacheId": "/subscriptions/s/resourcegroups/RG/providers/microsoft.cache/redis/c3"}
    assert changes(same, old, row=LINK) == {}
    # not a replacement: the OpenAPI document does not mark the id as create-only
    assert changes(other, old, row=LINK) == {"linkedRedisCacheId": Change("update")}


def test_a_value_that_azure_had_chosen_by_itself_replaces_nothing_when_it_is_written_down() -> None:
    new = {**BASE, "staticIP": "10.0.0.4"}
    assert resource_changes(REDIS, BASE, new, {"staticIP": "10.0.0.4"}) == {"staticIP": Change("add")}
    assert resource_changes(REDIS, BASE, new, {"staticIP": "10.0.0.5"}) == {"staticIP": Change("add", replaces=True)}


def test_a_create_only_field_one_level_down_replaces() -> None:
    old = {"geoReplication": {"groupNickname": "a", "linkedDatabases": [{"id": "x"}]}}
    new = {"geoReplication": {"groupNickname": "b", "linkedDatabases": [{"id": "x"}]}}
    assert changes(new, old, row=DATABASE) == {"geoReplication.groupNickname": Change("update", replaces=True)}


def test_a_number_is_not_a_boolean() -> None:
    assert changes({"port": 1}, {"port": True}, row=DATABASE) == {"port": Change("update", replaces=True)}


@pytest.mark.parametrize(
    ("path", "name"),
    [("sku.capacity", "sku"), ("zones[1]", "zones"), ('tags["a.b"]', "tags"), ('["a.b"].c', "a.b"), ("name", "name")],
)
def test_the_top_level_name_of_a_path(path: str, name: str) -> None:
    assert top_level(path) == name


def test_a_refresh_carries_only_what_changed_in_azure() -> None:
    inputs = {"sku": {"capacity": 1}, "tags": {"a": "1"}, "zones": ["1"], "kept": "program's own"}
    before = {"sku": {"capacity": 1, "name": "Premium"}, "tags": {"a": "1"}, "zones": ["1"], "redisVersion": "6.0"}
    now = {"sku": {"capacity": 2, "name": "Premium"}, "tags": {"a": "1", "b": "2"}, "zones": ["1", "2"]}
    assert apply_diff(inputs, diff_objects(before, now)) == {
        "sku": {"capacity": 2},
        "tags": {"a": "1", "b": "2"},
        "zones": ["1", "2"],
        "kept": "program's own",
    }
