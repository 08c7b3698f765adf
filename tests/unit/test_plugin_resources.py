"""
The provider stand-in's tables against what others know of the same resources.

Two sources that the tables were not made from: the Pulumi SDK's classes (names in programs) and azure-mgmt-redis
(names on the wire).
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from localazure.plugin.resources import FUNCTIONS, ROWS, find_function, find_resource
from localazure.plugin.schema import Prop, ResourceType


def sdk_class(row: ResourceType, suffix: str = "") -> Any:
    """The SDK's class of a row, or another one of its module."""
    return getattr(importlib.import_module(f"pulumi_azure_native.{row.module}"), suffix or row.name)


def input_types(cls: Any) -> dict[str, Any]:
    """Pulumi's name and the annotation of every input of an Args class."""
    from pulumi import _types

    names = _types.input_type_py_to_pulumi_names(cls)
    return {pulumi: getattr(cls, python).fget.__annotations__["return"] for python, pulumi in names.items()}


def nested_class(annotation: Any, module: Any) -> Any:
    """The Args class that an annotation names somewhere, if any."""
    for part in _parts(annotation):
        name = getattr(part, "__forward_arg__", "")
        if name.endswith("Args"):
            return getattr(module, name)
    return None


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


def output_names(cls: Any) -> set[str]:
    return {
        getattr(value.fget, "_pulumi_name", name) for name, value in vars(cls).items() if isinstance(value, property)
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.token)
def test_the_inputs_are_the_sdks(row: ResourceType) -> None:
    known = {prop.sdk for prop in row.inputs} | set(row.path_parameters)
    assert known == set(input_types(sdk_class(row, f"{row.name}Args")))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.token)
def test_the_inputs_of_nested_objects_are_the_sdks(row: ResourceType) -> None:
    _compare_nested(row.inputs, sdk_class(row, f"{row.name}Args"), inspect.getmodule(sdk_class(row)))


def _compare_nested(props: tuple[Prop, ...], cls: Any, module: Any) -> None:
    types = input_types(cls)
    package = importlib.import_module(module.__name__.rpartition(".")[0])
    for prop in props:
        inner = prop.items if prop.kind == "array" else prop
        if inner is None or inner.kind != "object":
            continue
        nested = nested_class(types[prop.sdk], package)
        assert nested is not None, f"{cls.__name__}.{prop.sdk} is no object in the SDK"
        assert {one.sdk for one in inner.inputs} == set(input_types(nested)), f"{cls.__name__}.{prop.sdk}"
        _compare_nested(inner.inputs, nested, module)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.token)
def test_the_outputs_are_the_sdks(row: ResourceType) -> None:
    known = {prop.sdk for prop in row.body if not prop.write_only} | {"azureApiVersion"}
    assert known == output_names(sdk_class(row))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.token)
def test_the_api_version_is_the_one_that_the_sdk_documents(row: ResourceType) -> None:
    source = inspect.getsource(sdk_class(row))
    version = re.search(r"Uses Azure REST API version (\d{4}-\d{2}-\d{2}(?:-preview)?)", source)
    assert version is not None
    assert row.api_version == version[1]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.token)
def test_the_required_inputs_are_the_sdks(row: ResourceType) -> None:
    signature = inspect.signature(sdk_class(row, f"{row.name}Args").__init__)
    types = input_types(sdk_class(row, f"{row.name}Args"))
    required_by_sdk = {
        pulumi
        for pulumi, python in zip(types, list(signature.parameters)[1:], strict=True)
        if signature.parameters[python].default is inspect.Parameter.empty
    }
    automatic = {row.auto_named[0], "location"}
    required = {prop.sdk for prop in row.inputs if prop.required} | set(row.path_parameters)
    assert required - automatic == required_by_sdk


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.token)
def test_every_function_is_one_of_the_sdk(function: Any) -> None:
    module = importlib.import_module(f"pulumi_azure_native.{function.module}")
    result = getattr(module, f"{function.name[0].upper()}{function.name[1:]}Result")
    known = {prop.sdk for prop in function.results if not prop.write_only}
    if function.is_getter:
        known |= {"azureApiVersion"}
    assert known == output_names(result)


# --- the wire, as azure-mgmt-redis knows it

MODELS = {
    "Redis": ("RedisCreateParameters", "RedisResource"),
    "LinkedServer": ("RedisLinkedServerCreateParameters", "RedisLinkedServerWithProperties"),
    "FirewallRule": ("RedisFirewallRule", "RedisFirewallRule"),
    "PatchSchedule": ("RedisPatchSchedule", "RedisPatchSchedule"),
    "AccessPolicy": ("RedisCacheAccessPolicy", "RedisCacheAccessPolicy"),
    "AccessPolicyAssignment": ("RedisCacheAccessPolicyAssignment", "RedisCacheAccessPolicyAssignment"),
    "PrivateEndpointConnection": ("PrivateEndpointConnection", "PrivateEndpointConnection"),
}


def _wire(name: str) -> dict[str, str]:
    """Key on the wire and type of every attribute of a model of azure-mgmt-redis."""
    models = importlib.import_module("azure.mgmt.redis.models")
    attributes = getattr(models, name)._attribute_map
    return {value["key"].replace("\\.", "."): value["type"] for value in attributes.values()}


def _read_only(name: str) -> set[str]:
    models = importlib.import_module("azure.mgmt.redis.models")
    model = getattr(models, name)
    return {
        model._attribute_map[attribute]["key"] for attribute, rule in model._validation.items() if rule.get("readonly")
    }


@pytest.mark.parametrize("name", MODELS)
def test_redis_on_the_wire_is_what_azures_own_client_sends_and_reads(name: str) -> None:
    row = find_resource(f"azure-native:redis:{name}")
    assert row is not None
    sent, answered = MODELS[name]
    inputs = {".".join((*prop.container, prop.wire)) for prop in row.inputs}
    # an object with nothing in it that can be set is no input
    hollow = {"properties.privateEndpoint"}
    assert inputs == set(_wire(sent)) - _read_only(sent) - {"id"} - hollow
    # systemData came with the api-version, azure-mgmt-redis 14.5 does not model it
    outputs = {".".join((*prop.container, prop.wire)) for prop in row.body} - {"systemData"}
    unmodelled = {"properties.type"} if name == "AccessPolicy" else set()
    only_here = {"properties.groupIds"} if name == "PrivateEndpointConnection" else set()
    assert outputs - only_here == set(_wire(answered)) - {"id"} - unmodelled


def test_the_redis_configuration_is_what_azures_own_client_sends() -> None:
    row = find_resource("azure-native:redis:Redis")
    assert row is not None
    configuration = next(prop for prop in row.body if prop.wire == "redisConfiguration")
    known = _wire("RedisCommonPropertiesRedisConfiguration")
    assert {prop.wire for prop in configuration.fields} == set(known) - {""}
    assert {prop.wire for prop in configuration.fields if prop.read_only} == _read_only(
        "RedisCommonPropertiesRedisConfiguration"
    )


# --- what the rows mean


@pytest.mark.parametrize(
    ("token", "keys"),
    [
        ("azure-native:redis:Redis", {"resourceGroupName", "name", "location", "staticIP"}),
        (
            "azure-native:redis:LinkedServer",
            {"resourceGroupName", "name", "linkedServerName", "linkedRedisCacheLocation"},
        ),
        ("azure-native:resources:ResourceGroup", {"resourceGroupName", "location"}),
        ("azure-native:redis:FirewallRule", {"resourceGroupName", "cacheName", "ruleName"}),
    ],
)
def test_what_replaces(token: str, keys: set[str]) -> None:
    row = find_resource(token)
    assert row is not None
    assert row.replace_keys == keys


@pytest.mark.parametrize(
    ("token", "named"),
    [
        ("azure-native:redis:Redis", ("name", "random")),
        ("azure-native:redis:LinkedServer", ("linkedServerName", "copy")),
        ("azure-native:resources:ResourceGroup", ("resourceGroupName", "random")),
        ("azure-native:storage:BlobContainer", ("containerName", "copy")),
    ],
)
def test_what_is_named_by_itself(token: str, named: tuple[str, str]) -> None:
    row = find_resource(token)
    assert row is not None
    assert row.auto_named == named


def test_a_version_in_the_token_is_the_api_version() -> None:
    row = find_resource("azure-native:redis/v20230801:Redis")
    assert row is not None
    assert (row.token, row.api_version) == ("azure-native:redis:Redis", "2023-08-01")
    preview = find_function("azure-native:redis/v20240401preview:listRedisKeys")
    assert preview is not None
    assert preview.api_version == "2024-04-01-preview"
    assert find_resource("azure-native:redis/v20230801:Unheard") is None
    assert find_function("azure-native:redis:getUnheard") is None


def test_keys_are_secret_wherever_they_appear() -> None:
    row = find_resource("azure-native:redis:Redis")
    assert row is not None
    assert list(row.secret_outputs()) == ["accessKeys"]
    assert all(function.secret for function in FUNCTIONS if function.name.endswith("Keys"))
