"""
The provider's Check: defaults for what the program left out, and what is wrong with the rest.

Source: Check, applyDefaults, validateType and validateProperty of provider/pkg/provider/provider.go of
pulumi-azure-native. A reason never holds a value: an input may be secret.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from localazure.plugin.schema import Prop, ResourceType
from localazure.plugin.values import UNKNOWN, plain

CREATE_BEFORE_DELETE = "__createBeforeDelete"
"""Kept in the inputs of a resource with a random name: its replacement can be made while it is still there."""


@dataclass(frozen=True)
class Naming:
    """
    What the engine says about names of resources that have none.

    Attributes:
        resource_name: the resource's name in the program, the last part of its URN.
        seed: makes the same random name in preview and update; empty when the engine gave none.
        mode: "propose", "enforce" or "disable", when the project configures autonaming.
        proposed: the name that goes with the first two.
    """

    resource_name: str
    seed: bytes = b""
    mode: str | None = None
    proposed: str = ""


def with_defaults(
    row: ResourceType,
    *,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    naming: Naming,
    default_location: Callable[[Mapping[str, Any]], Any],
) -> dict[str, Any]:
    """
    Complete the inputs: name, location, azureApiVersion.

    Args:
        row: the resource's type.
        old: the inputs so far; a name that was made up once stays.
        new: the inputs from the program.
        naming: what the engine says about names that are left out.
        default_location: gives the location for these inputs from the configuration or the resource group; UNKNOWN
            when the group's name is, None when there is none.
    """
    inputs = dict(new)
    key, strategy = row.auto_named
    if key not in inputs:
        name, random = _auto_name(key, strategy, old, naming)
        if name is not None:
            inputs[key] = name
            if random:
                inputs[CREATE_BEFORE_DELETE] = True
    if "location" not in inputs and any(prop.sdk == "location" for prop in row.inputs):
        location = old["location"] if "location" in old else default_location(plain(inputs))
        if location is not None:
            inputs["location"] = location
    inputs.setdefault("azureApiVersion", row.api_version)
    return inputs


def _auto_name(key: str, strategy: str, old: Mapping[str, Any], naming: Naming) -> tuple[Any, bool]:
    if key in old:
        return old[key], bool(plain(old.get(CREATE_BEFORE_DELETE, False)))
    if naming.mode == "disable":
        return None, False
    if naming.mode in ("propose", "enforce"):
        return naming.proposed, True
    if strategy == "copy":
        return naming.resource_name, False
    seed = naming.seed + naming.resource_name.encode()
    suffix = hashlib.sha256(seed).hexdigest()[:8] if naming.seed else secrets.token_hex(4)
    return f"{naming.resource_name}{suffix}", True


def failures(row: ResourceType, inputs: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the inputs, one sentence each; unknown values are taken to be right."""
    values = plain(inputs)
    reasons = [f"missing required property '{name}'" for name in row.path_parameters if name not in values]
    for name in row.path_parameters:
        value = values.get(name, UNKNOWN)
        if value is not UNKNOWN and not isinstance(value, str):
            reasons.append(f"'{name}' should be of type 'string' but got {_article(value)}")
    return [*reasons, *_object_failures(row.inputs, values, "")]


def _object_failures(props: tuple[Prop, ...], values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for prop in props:
        name = f"{prefix}{prop.sdk}"
        if prop.sdk in values:
            yield from _value_failures(prop, values[prop.sdk], name)
        elif prop.required:
            hint = (
                ". Either set it explicitly or configure it with 'pulumi config set azure-native:location <value>'."
                if name == "location"
                else ""
            )
            yield f"missing required property '{name}'{hint}"


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "id_set": (list,),
    "object": (dict,),
    "map": (dict,),
}


def _fits(prop: Prop, value: Any) -> bool:
    if isinstance(value, bool):  # for Python a bool is an int
        return prop.kind == "boolean"
    return isinstance(value, _PYTHON_TYPES[prop.kind])


def _value_failures(prop: Prop, value: Any, name: str) -> Iterator[str]:
    if value is UNKNOWN or prop.kind == "any":
        return
    if prop.kind == "integer" and isinstance(value, float):
        yield f"'{name}' must be an integer"
    elif not _fits(prop, value):
        expected = {"id_set": "array", "map": "object"}.get(prop.kind, prop.kind)
        yield f"'{name}' should be of type '{expected}' but got {_article(value)}"
    elif prop.kind == "object":
        yield from _object_failures(prop.inputs, value, f"{name}.")
    elif prop.kind == "array" and prop.items is not None:
        for index, item in enumerate(value):
            yield from _value_failures(prop.items, item, f"{name}[{index}]")
    elif prop.pattern is not None and not re.search(prop.pattern, value):
        yield f"'{name}' does not match expression '{prop.pattern}'"


def _article(value: Any) -> str:
    for kinds, words in (
        (bool, "a boolean"),
        (str, "a string"),
        (int | float, "a number"),
        (list, "an array"),
        (dict, "an object"),
    ):
        if isinstance(value, kinds):
            return words
    return f"a {type(value).__name__}"
