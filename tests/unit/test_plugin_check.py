"""The provider stand-in's Check: defaults and complaints."""

from __future__ import annotations

from typing import Any

import pytest

from localazure.plugin.check import Naming, failures, with_defaults
from localazure.plugin.resources import find_resource
from localazure.plugin.schema import ResourceType
from localazure.plugin.values import UNKNOWN, Secret

REDIS = find_resource("azure-native:redis:Redis")
RULE = find_resource("azure-native:redis:FirewallRule")
assert REDIS is not None
assert RULE is not None
GOOD: dict[str, Any] = {
    "resourceGroupName": "rg1",
    "name": "c1",
    "location": "eastus",
    "sku": {"name": "Premium", "family": "P", "capacity": 1},
}


def defaults(
    new: dict[str, Any], *, row: ResourceType = REDIS, old: dict[str, Any] | None = None, **naming: Any
) -> dict[str, Any]:
    return with_defaults(
        row, old=old or {}, new=new, naming=Naming("cache", **naming), default_location=lambda _: "westus"
    )


def test_nothing_is_wrong_with_good_inputs() -> None:
    assert failures(REDIS, GOOD) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sku": {"name": "Premium", "family": "P"}}, "missing required property 'sku.capacity'"),
        ({"sku": "Premium"}, "'sku' should be of type 'object' but got a string"),
        ({"zones": "1"}, "'zones' should be of type 'array' but got a string"),
        ({"zones": ["1", 2]}, "'zones[1]' should be of type 'string' but got a number"),
        ({"shardCount": "2"}, "'shardCount' should be of type 'integer' but got a string"),
        ({"shardCount": 2.5}, "'shardCount' must be an integer"),
        ({"shardCount": True}, "'shardCount' should be of type 'integer' but got a boolean"),
        ({"enableNonSslPort": 1}, "'enableNonSslPort' should be of type 'boolean' but got a number"),
        ({"staticIP": "ten"}, r"'staticIP' does not match expression '^\d+\.\d+\.\d+\.\d+$'"),
        ({"name": 7}, "'name' should be of type 'string' but got a number"),
        ({"tags": ["a"]}, "'tags' should be of type 'object' but got an array"),
    ],
)
def test_a_wrong_value_is_named_but_not_shown(change: dict[str, Any], reason: str) -> None:
    assert failures(REDIS, {**GOOD, **change}) == [reason]


def test_what_is_missing_is_named() -> None:
    reasons = failures(REDIS, {})
    assert "missing required property 'resourceGroupName'" in reasons
    assert "missing required property 'sku'" in reasons
    assert any(reason.startswith("missing required property 'location'. Either set it") for reason in reasons)


def test_unknown_and_secret_values_are_taken_as_they_are() -> None:
    assert failures(REDIS, {**GOOD, "name": UNKNOWN, "sku": UNKNOWN, "zones": [UNKNOWN]}) == []
    assert failures(REDIS, {**GOOD, "staticIP": Secret("10.0.0.4")}) == []
    assert failures(REDIS, {**GOOD, "staticIP": Secret("hunter2")}) == [
        r"'staticIP' does not match expression '^\d+\.\d+\.\d+\.\d+$'"
    ]


def test_a_top_level_resource_gets_a_random_name_that_stays() -> None:
    made = defaults({"resourceGroupName": "rg1"}, seed=b"seed")
    assert made["name"].startswith("cache")
    assert len(made["name"]) == len("cache") + 8
    assert made["__createBeforeDelete"] is True
    assert defaults({"resourceGroupName": "rg1"}, seed=b"seed") == made, "preview and update agree"
    assert defaults({"resourceGroupName": "rg1"}, seed=b"other")["name"] != made["name"]
    again = defaults({"resourceGroupName": "rg1"}, old=made, seed=b"other")
    assert (again["name"], again["__createBeforeDelete"]) == (made["name"], True)


def test_a_child_gets_the_resources_own_name() -> None:
    made = defaults({"resourceGroupName": "rg1", "cacheName": "c1"}, row=RULE)
    assert made["ruleName"] == "cache"
    assert "__createBeforeDelete" not in made


@pytest.mark.parametrize("mode", ["propose", "enforce"])
def test_the_projects_autonaming_is_followed(mode: str) -> None:
    assert defaults({}, mode=mode, proposed="named-by-project")["name"] == "named-by-project"


def test_autonaming_can_be_switched_off() -> None:
    made = defaults({"resourceGroupName": "rg1"}, mode="disable")
    assert "name" not in made
    assert "missing required property 'name'" in failures(REDIS, made)


def test_location_and_api_version_are_filled_in() -> None:
    made = defaults(GOOD)
    assert (made["location"], made["azureApiVersion"]) == ("eastus", "2024-11-01")
    without = {key: value for key, value in GOOD.items() if key != "location"}
    assert defaults(without)["location"] == "westus"
    assert defaults(without, old={"location": "northeurope"})["location"] == "northeurope"
    assert "location" not in defaults({}, row=RULE), "a firewall rule has no location"
