"""
What changes between two property maps, and which changes need another resource.

Source: provider/pkg/provider/diff.go of pulumi-azure-native.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from localazure.plugin.schema import ResourceType
from localazure.plugin.values import UNKNOWN

Action = Literal["add", "delete", "update"]


@dataclass
class ObjectDiff:
    """The differing keys of two objects; keys of the program's own bookkeeping (`__`) are not looked at."""

    adds: dict[str, Any] = field(default_factory=dict)
    deletes: dict[str, Any] = field(default_factory=dict)
    updates: dict[str, ValueDiff] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.adds or self.deletes or self.updates)


@dataclass
class ArrayDiff:
    """The differing places of two lists."""

    adds: dict[int, Any] = field(default_factory=dict)
    deletes: dict[int, Any] = field(default_factory=dict)
    updates: dict[int, ValueDiff] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.adds or self.deletes or self.updates)


@dataclass
class ValueDiff:
    """One value before and after; *inner* says where within it, when both are objects or both are lists."""

    old: Any
    new: Any
    inner: ObjectDiff | ArrayDiff | None = None


@dataclass(frozen=True)
class Change:
    """One line of the detailed diff."""

    action: Action
    replaces: bool = False


def diff_objects(old: Mapping[str, Any], new: Mapping[str, Any]) -> ObjectDiff:
    """Compare two property maps."""
    result = ObjectDiff()
    for key in sorted(old.keys() | new.keys()):
        if key.startswith("__"):
            continue
        if key not in new:
            result.deletes[key] = old[key]
        elif key not in old:
            result.adds[key] = new[key]
        elif (change := _diff_values(old[key], new[key])) is not None:
            result.updates[key] = change
    return result


def _diff_values(old: Any, new: Any) -> ValueDiff | None:
    if isinstance(old, dict) and isinstance(new, dict):
        inner = diff_objects(old, new)
        return ValueDiff(old, new, inner) if inner else None
    if isinstance(old, list) and isinstance(new, list):
        places = ArrayDiff(
            adds=dict(enumerate(new[len(old) :], len(old))), deletes=dict(enumerate(old[len(new) :], len(new)))
        )
        for index, (before, after) in enumerate(zip(old, new, strict=False)):
            if (change := _diff_values(before, after)) is not None:
                places.updates[index] = change
        return ValueDiff(old, new, places) if places else None
    return None if _same(old, new) else ValueDiff(old, new)


_RESOURCE_ID = re.compile(r"/subscriptions/.+/resourcegroups/.+/providers/.+", re.IGNORECASE)


def _same(old: Any, new: Any) -> bool:
    if old is UNKNOWN or new is UNKNOWN or isinstance(old, bool) != isinstance(new, bool):
        return False
    if isinstance(old, str) and isinstance(new, str) and _RESOURCE_ID.fullmatch(old) and _RESOURCE_ID.fullmatch(new):
        return old.casefold() == new.casefold()  # ARM returns `/Redis/` for `/redis/`
    return bool(old == new)


def resource_changes(
    row: ResourceType, old_inputs: Mapping[str, Any], new_inputs: Mapping[str, Any], old_outputs: Mapping[str, Any]
) -> dict[str, Change]:
    """
    Compare a resource's inputs before and after.

    Returns:
        The change for each property path (`sku.capacity`, `zones[0]`, `tags["a.b"]`); empty when nothing changes.
    """
    changed = diff_objects(old_inputs, new_inputs)
    _drop_spelling(changed)
    changes = _object_changes(changed, row.replace_keys, "", "")
    result: dict[str, Change] = {}
    for path, change in changes.items():
        added = new_inputs.get(path) if change.action == "add" and path not in old_inputs else None
        if added is not None and change.replaces and old_outputs.get(path) == added:
            result[path] = Change("add")  # Azure had chosen the same value by itself
        elif added is None or change.replaces or not _is_default(row, path, added):
            result[path] = change
    return result


def _is_default(row: ResourceType, path: str, value: Any) -> bool:
    return any(prop.sdk == path and prop.default is not None and prop.default == value for prop in row.inputs)


def _drop_spelling(changed: ObjectDiff) -> None:
    """Forget updates that Azure does not see: the case of a group's name, case and spaces of a location."""
    normalized = {
        "resourceGroupName": str.casefold,
        "location": lambda value: value.replace(" ", "").casefold(),
    }
    for key, normalize in normalized.items():
        update = changed.updates.get(key)
        if update is None or not isinstance(update.old, str) or not isinstance(update.new, str):
            continue
        if normalize(update.old) == normalize(update.new):
            del changed.updates[key]


def _object_changes(diff: ObjectDiff, replace_keys: frozenset[str], shown: str, key: str) -> dict[str, Change]:
    """List the changes below *shown*, the path as Pulumi writes it; *key* is the same without indices."""
    changes: dict[str, Change] = {}
    for name in diff.adds:
        changes[_join(shown, name)] = Change("add", f"{key}{name}" in replace_keys)
    for name in diff.deletes:
        changes[_join(shown, name)] = Change("delete", f"{key}{name}" in replace_keys)
    for name, update in diff.updates.items():
        changes.update(_value_changes(update, replace_keys, _join(shown, name), f"{key}{name}"))
    return changes


def _value_changes(update: ValueDiff, replace_keys: frozenset[str], shown: str, key: str) -> dict[str, Change]:
    whole = key in replace_keys
    if isinstance(update.inner, ObjectDiff):
        changes = _object_changes(update.inner, replace_keys, shown, f"{key}.")
        if whole and not any(change.action == "update" for change in changes.values()):
            return {shown: Change("update", replaces=True), **changes}
        return {
            path: replace(change, replaces=True) if whole and change.action == "update" else change
            for path, change in changes.items()
        }
    if isinstance(update.inner, ArrayDiff):
        # as in the real provider: an item more or less in a create-only list is no replacement
        changes = {f"{shown}[{index}]": Change("add") for index in update.inner.adds}
        changes |= {f"{shown}[{index}]": Change("delete") for index in update.inner.deletes}
        for index, change in update.inner.updates.items():
            changes.update(_value_changes(change, replace_keys, f"{shown}[{index}]", f"{key}[]"))
        return changes
    return {shown: Change("update", whole)}


def _join(prefix: str, name: str) -> str:
    if re.search(r'[.\[\]"]', name):
        escaped = name.replace('"', '\\"')
        return f'{prefix}["{escaped}"]'
    return f"{prefix}.{name}" if prefix else name


def top_level(path: str) -> str:
    """Turn a property path into the name of the property it is in."""
    quoted = re.match(r'\["((?:[^"\\]|\\.)*)"\]', path)
    return quoted[1] if quoted else re.split(r"[.\[]", path, maxsplit=1)[0]


def apply_diff(values: Mapping[str, Any], diff: ObjectDiff) -> dict[str, Any]:
    """
    Carry what changed in Azure over into the inputs, and nothing else.

    *diff* compares two sets of outputs, which hold more than the inputs do: only what differs between them is copied.
    """
    result = {key: value for key, value in values.items() if key not in diff.deletes}
    result.update(diff.adds)
    for key, update in diff.updates.items():
        result[key] = _apply_value(values[key], update) if key in values else update.new
    return result


def _apply_value(base: Any, update: ValueDiff) -> Any:
    if isinstance(base, dict) and isinstance(update.inner, ObjectDiff):
        return apply_diff(base, update.inner)
    if isinstance(base, list) and isinstance(update.inner, ArrayDiff):
        result = []
        for index, new in enumerate(update.new):
            if index >= len(base) or index >= len(update.old):
                result.append(new)
            elif index in update.inner.updates:
                result.append(_apply_value(base[index], update.inner.updates[index]))
            else:
                result.append(base[index])
        return result
    return update.new
