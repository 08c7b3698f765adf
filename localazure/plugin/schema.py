"""The vocabulary of the resource tables in resources.py: a property, a resource type, a function."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

Kind = Literal["string", "integer", "number", "boolean", "array", "object", "map", "id_set", "any"]


def camel(wire: str) -> str:
    """Turn ARM's `maxmemory-policy` into the SDK's `maxmemoryPolicy`; names without a hyphen stay as they are."""
    head, *rest = wire.split("-")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


@dataclass(frozen=True)
class Prop:
    """
    One property, with its two names.

    Attributes:
        wire: its name in ARM's JSON.
        sdk: its name in Pulumi's SDK.
        kind: what it holds. `map` has free keys, `any` is passed through as it is, `id_set` is a list of ids in the
            SDK's inputs and an object with these ids as keys in ARM.
        container: the JSON objects around it on the wire; the SDK flattens them (`properties` in most cases).
        fields: the properties of an object; others are dropped, as the real provider does.
        items: what a list or a map holds.
        read_only: Azure sets it; it is an output and never an input.
        write_only: Azure takes it and never gives it back; it is no output.
        replaces: a change needs another resource (`x-ms-mutability` without `update`, or the real provider's own list).
        secret: its value is a key or a connection string; the engine encrypts it.
        default: what Azure takes when it is left out; adding just that is no change.
        pattern: the regular expression that the value must match.
    """

    wire: str
    kind: Kind
    sdk: str = ""
    container: tuple[str, ...] = ()
    fields: tuple[Prop, ...] = ()
    items: Prop | None = None
    required: bool = False
    read_only: bool = False
    write_only: bool = False
    replaces: bool = False
    secret: bool = False
    default: Any = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        if not self.sdk:
            object.__setattr__(self, "sdk", camel(self.wire))

    @property
    def inputs(self) -> tuple[Prop, ...]:
        """The fields that a program can set."""
        return tuple(prop for prop in self.fields if not prop.read_only)


def text(wire: str, **more: Any) -> Prop:
    """A string."""
    return Prop(wire, "string", **more)


def integer(wire: str, **more: Any) -> Prop:
    """A whole number."""
    return Prop(wire, "integer", **more)


def flag(wire: str, **more: Any) -> Prop:
    """A boolean."""
    return Prop(wire, "boolean", **more)


def obj(wire: str, *fields: Prop, **more: Any) -> Prop:
    """An object with named fields."""
    return Prop(wire, "object", fields=fields, **more)


def many(wire: str, items: Prop | None = None, **more: Any) -> Prop:
    """A list, of strings unless *items* says otherwise."""
    return Prop(wire, "array", items=items or text(""), **more)


def table(wire: str, **more: Any) -> Prop:
    """An object with free keys and strings as values."""
    return Prop(wire, "map", items=text(""), **more)


def anything(wire: str, **more: Any) -> Prop:
    """A value that has the same shape in the SDK and in ARM."""
    return Prop(wire, "any", **more)


def within(container: str, *props: Prop) -> tuple[Prop, ...]:
    """The same properties, inside *container* on the wire and flattened in the SDK."""
    return tuple(replace(prop, container=(container, *prop.container)) for prop in props)


def read_only(*props: Prop) -> tuple[Prop, ...]:
    """The same properties, as outputs only."""
    return tuple(replace(prop, read_only=True) for prop in props)


_PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class ResourceType:
    """
    One row: a resource type of the SDK and the ARM resource behind it.

    Attributes:
        module: the SDK's module, such as `redis`.
        name: the type's name in it, such as `LinkedServer`.
        path: the ARM id with `{parameters}`; they are inputs, and a change of one replaces the resource.
        api_version: the default api-version, the one that the SDK documents.
        body: the properties of ARM's JSON, inputs and outputs.
        update_method: PUT as in the real provider, which uses PATCH only where ARM has no PUT.
    """

    module: str
    name: str
    path: str
    api_version: str
    body: tuple[Prop, ...]
    update_method: Literal["PUT", "PATCH"] = "PUT"

    @property
    def token(self) -> str:
        """The type token without a version: `azure-native:redis:Redis`."""
        return f"azure-native:{self.module}:{self.name}"

    @cached_property
    def path_parameters(self) -> tuple[str, ...]:
        """The path's parameters, without the subscription, which the provider knows."""
        return tuple(name for name in _PARAMETER.findall(self.path) if name != "subscriptionId")

    @cached_property
    def inputs(self) -> tuple[Prop, ...]:
        """The body's properties that a program can set."""
        return tuple(prop for prop in self.body if not prop.read_only)

    @cached_property
    def replace_keys(self) -> frozenset[str]:
        """
        The inputs whose change needs another resource, nested ones as `outer.inner`.

        Source: calculateDetailedDiff of the real provider (provider/pkg/provider/diff.go), which looks one level deep.
        """
        keys = set(self.path_parameters)
        for prop in self.inputs:
            if prop.replaces:
                keys.add(prop.sdk)
            keys.update(f"{prop.sdk}.{inner.sdk}" for inner in prop.inputs if inner.replaces)
        return frozenset(keys)

    @property
    def auto_named(self) -> tuple[str, Literal["random", "copy"]]:
        """
        The parameter that gets a name by itself, and how.

        Source: AutoNamer.AutoName of the real provider (provider/pkg/resources/resources.go): the last parameter; a top
        level resource gets a random suffix, a child the resource's own name.
        """
        last = _PARAMETER.findall(self.path)[-1]
        own = self.path.lower().split("microsoft.")
        return last, "random" if len(own) == 1 or own[-1].count("{") == 1 else "copy"

    def secret_outputs(self) -> Iterator[str]:
        """The top-level outputs that are always secret."""
        return (prop.sdk for prop in self.body if prop.secret)


@dataclass(frozen=True)
class Function:
    """
    One function of the SDK that is a single call to ARM.

    Attributes:
        method: GET or POST. A POST must answer 200 or 201: the real provider takes no other status.
        query: names of arguments that go into the query.
        results: the properties of the answer.
        secret: the whole answer is secret (keys).
        is_getter: its answer also carries azureApiVersion.
    """

    module: str
    name: str
    path: str
    api_version: str
    method: Literal["GET", "POST"]
    results: tuple[Prop, ...]
    query: tuple[str, ...] = ()
    secret: bool = False
    is_getter: bool = False
    path_parameters: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        names = tuple(name for name in _PARAMETER.findall(self.path) if name != "subscriptionId")
        object.__setattr__(self, "path_parameters", names)

    @property
    def token(self) -> str:
        """The function token without a version: `azure-native:redis:listRedisKeys`."""
        return f"azure-native:{self.module}:{self.name}"
