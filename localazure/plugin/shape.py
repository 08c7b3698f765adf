"""
The same resource in its three shapes: the program's inputs, ARM's JSON, the outputs in the stack's state.

Values are plain (values.py, no Secret in them), except that previews know UNKNOWN.

Source: provider/pkg/convert of pulumi-azure-native: sdkInputsToRequestBody, responseBodyToSdkOutputs,
responseToSdkInputs, sdkOutputsToSdkInputs, previewOutputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from localazure.plugin.errors import ProviderError
from localazure.plugin.schema import Prop, ResourceType
from localazure.plugin.values import UNKNOWN

Json = dict[str, Any]


def resource_path(path: str, subscription_id: str, arguments: Mapping[str, Any]) -> str:
    """
    Fill the parameters of an ARM path.

    Raises:
        ProviderError: a parameter is missing or is no string.
    """

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        value = subscription_id if name == "subscriptionId" else arguments.get(name)
        if not isinstance(value, str) or not value:
            raise ProviderError(f"the ARM path {path} needs {name!r}, found {value!r}")
        return quote(value, safe="")

    return re.sub(r"\{(\w+)\}", fill, path)


def path_arguments(path: str, resource_id: str) -> dict[str, str]:
    """
    Read the parameters of an ARM path back from an id; upper and lower case do not matter.

    Raises:
        ProviderError: the id is not of this form.
    """
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))
    match = re.fullmatch(pattern, resource_id, flags=re.IGNORECASE)
    if match is None:
        raise ProviderError(f"failed to parse '{resource_id}' against the path '{path}'")
    return match.groupdict()


# --- inputs to ARM


def request_body(row: ResourceType, inputs: Mapping[str, Any]) -> Json:
    """Build the JSON of a PUT from the inputs; what the row does not know is left out."""
    return _object_to_wire(row.inputs, inputs)


def _object_to_wire(props: Iterable[Prop], values: Mapping[str, Any]) -> Json:
    body: Json = {}
    for prop in props:
        if prop.sdk in values:
            place = body
            for name in prop.container:
                place = place.setdefault(name, {})
            place[prop.wire] = _to_wire(prop, values[prop.sdk])
    return body


def _to_wire(prop: Prop, value: Any) -> Any:
    if prop.kind == "object" and isinstance(value, Mapping):
        return _object_to_wire(prop.inputs, value)
    if prop.kind == "array" and prop.items is not None and isinstance(value, list):
        return [_to_wire(prop.items, item) for item in value]
    if prop.kind == "id_set" and isinstance(value, list):
        return {item: {} for item in value}
    return value


# --- ARM to outputs and to inputs


def outputs(props: Iterable[Prop], body: Mapping[str, Any]) -> Json:
    """Read the outputs from an answer; nulls and what the row does not know are left out."""
    return _object_from_wire([prop for prop in props if not prop.write_only], body, as_inputs=False)


def imported_inputs(row: ResourceType, resource_id: str, body: Mapping[str, Any]) -> Json:
    """Guess the inputs that would have made this resource: the path's names and all of the body that can be set."""
    inputs: Json = dict(_without_subscription(path_arguments(row.path, resource_id)))
    for key, value in _object_from_wire(row.inputs, body, as_inputs=True).items():
        kept = _without_empty(value)
        if kept is not None:
            inputs[key] = kept
    return inputs


def _without_subscription(arguments: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in arguments.items() if key != "subscriptionId"}


def _without_empty(value: Any) -> Any:
    """Drop empty lists and objects, which ARM returns for what was never set; None when nothing is left."""
    if isinstance(value, dict):
        kept = {key: inner for key, item in value.items() if (inner := _without_empty(item)) is not None}
        return kept or None
    if isinstance(value, list):
        return [inner for item in value if (inner := _without_empty(item)) is not None] or None
    return value


def _object_from_wire(props: Iterable[Prop], body: Mapping[str, Any], *, as_inputs: bool) -> Json:
    result: Json = {}
    for prop in props:
        place: Any = body
        for name in prop.container:
            place = place.get(name) if isinstance(place, Mapping) else None
        if isinstance(place, Mapping) and place.get(prop.wire) is not None:
            result[prop.sdk] = _from_wire(prop, place[prop.wire], as_inputs=as_inputs)
    return result


def _from_wire(prop: Prop, value: Any, *, as_inputs: bool) -> Any:
    if prop.kind == "object" and isinstance(value, Mapping):
        return _object_from_wire(prop.inputs if as_inputs else prop.fields, value, as_inputs=as_inputs)
    if prop.kind == "array" and prop.items is not None and isinstance(value, list):
        return [_from_wire(prop.items, item, as_inputs=as_inputs) for item in value]
    if prop.kind == "id_set" and isinstance(value, Mapping) and as_inputs:
        return sorted(value)
    return value


# --- outputs to inputs, and inputs to outputs not yet known


def project_inputs(props: Iterable[Prop], state: Mapping[str, Any]) -> Json:
    """Keep of the outputs what is also an input: two such projections show what somebody changed in Azure."""
    return {prop.sdk: _project(prop, state[prop.sdk]) for prop in props if state.get(prop.sdk) is not None}


def _project(prop: Prop, value: Any) -> Any:
    if prop.kind == "object" and isinstance(value, Mapping):
        return project_inputs(prop.inputs, value)
    if prop.kind == "array" and prop.items is not None and isinstance(value, list):
        return [_project(prop.items, item) for item in value]
    if prop.kind == "id_set" and isinstance(value, Mapping):
        return sorted(value)
    return value


def preview_outputs(props: Iterable[Prop], inputs: Mapping[str, Any]) -> Json:
    """Guess the outputs before the update: an input's value where there is one, UNKNOWN everywhere else."""
    return {prop.sdk: _preview(prop, inputs.get(prop.sdk, UNKNOWN)) for prop in props if not prop.write_only}


def _preview(prop: Prop, value: Any) -> Any:
    if prop.kind == "object" and isinstance(value, Mapping):
        return preview_outputs(prop.fields, value)
    if prop.kind == "array" and prop.items is not None and isinstance(value, list):
        return [_preview(prop.items, item) for item in value]
    # an id set comes back as an object with the principals in it, which nobody knows yet
    return UNKNOWN if prop.kind == "id_set" else value
