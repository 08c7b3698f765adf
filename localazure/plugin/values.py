"""
Pulumi's property values on the wire, as plain Python and back.

Plain are None, bool, int, float, str, list and dict; an unknown value is UNKNOWN and a secret one is `Secret(value)`.

Source of the constants: pulumi/runtime/rpc.py of the Python SDK 3.272 and sdk/go/common/resource/plugin/rpc.go 3.259.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import struct_pb2

_SIG_KEY: Final = "4dabf18193072939515e22adb298388d"
_SECRET_SIG: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the mark of a secret, not one
_OUTPUT_SIG: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
_RESOURCE_SIG: Final = "5cf8f73096256a8f31e491e813e4eb8e"

_UNKNOWN_STRING: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS: Final = frozenset(
    {
        _UNKNOWN_STRING,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)


class _Unknown:
    """The one value that stands for "known only after the update"."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()


@dataclass(frozen=True)
class Secret:
    """A value that the engine must encrypt; it shows itself nowhere."""

    value: Any = field(repr=False)


def from_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Read a property map; nulls are dropped, as the real provider does (SkipNulls)."""
    return {key: value for key, item in struct.fields.items() if (value := _from_value(item)) is not None}


def _from_value(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in _UNKNOWNS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_from_value(item) for item in value.list_value.values]
    if kind == "struct_value":
        return _from_object(value.struct_value)
    return None


def _from_object(struct: struct_pb2.Struct) -> Any:
    signature = struct.fields[_SIG_KEY].string_value if _SIG_KEY in struct.fields else ""
    if signature == _SECRET_SIG:
        return Secret(_from_value(struct.fields["value"]))
    if signature == _OUTPUT_SIG:
        inner = _from_value(struct.fields["value"]) if "value" in struct.fields else UNKNOWN
        return Secret(inner) if "secret" in struct.fields and struct.fields["secret"].bool_value else inner
    if signature == _RESOURCE_SIG:
        return _from_value(struct.fields["id"]) if "id" in struct.fields else struct.fields["urn"].string_value
    return from_struct(struct)


def to_struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Write a property map; None entries are left out."""
    struct = struct_pb2.Struct()
    for key, value in values.items():
        if value is not None:
            _fill(struct.fields[key], value)
    return struct


def _fill(target: struct_pb2.Value, value: Any) -> None:
    if isinstance(value, Secret):
        target.struct_value.fields[_SIG_KEY].string_value = _SECRET_SIG
        _fill(target.struct_value.fields["value"], value.value)
    elif value is UNKNOWN:
        target.string_value = _UNKNOWN_STRING
    elif value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):  # before the numbers: a bool is an int
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        for key, item in value.items():
            if item is not None:
                _fill(target.struct_value.fields[key], item)
    elif isinstance(value, list | tuple):
        target.list_value.SetInParent()
        for item in value:
            _fill(target.list_value.values.add(), item)
    else:
        raise TypeError(f"a property of type {type(value).__name__} cannot be sent to the engine")


def plain(value: Any) -> Any:
    """Take the secret marks off, all the way down."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def contains_unknown(value: Any) -> bool:
    """Tell whether anything in *value* is known only after the update."""
    if isinstance(value, Secret):
        return contains_unknown(value.value)
    if isinstance(value, dict):
        return any(contains_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(contains_unknown(item) for item in value)
    return value is UNKNOWN


def contains_secret(value: Any) -> bool:
    """Tell whether anything in *value* is marked secret."""
    if isinstance(value, dict):
        return any(contains_secret(item) for item in value.values())
    if isinstance(value, list):
        return any(contains_secret(item) for item in value)
    return isinstance(value, Secret)


def mark_like(values: dict[str, Any], pattern: Mapping[str, Any]) -> dict[str, Any]:
    """
    Mark what is secret in *pattern* as secret in *values* too: an input that was secret is not to come back in clear.

    Source: annotateSecrets of the engine (sdk/go/common/resource/plugin/provider_plugin.go), which does this for
    providers that take no secrets, the real one among them.
    """
    result = dict(values)
    for key, wanted in pattern.items():
        have = result.get(key)
        if have is None:
            continue
        if isinstance(have, dict) and isinstance(wanted, dict):
            result[key] = mark_like(have, wanted)
        elif not isinstance(have, Secret) and contains_secret(wanted):
            result[key] = Secret(have)
    return result
