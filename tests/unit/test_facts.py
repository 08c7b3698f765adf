"""Facts travel unchanged, and what is not known yet cannot be taken for anything."""

from __future__ import annotations

import copy
import json
import operator
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redismove.facts import (
    NOT_KNOWN,
    NOT_KNOWN_TEXT,
    CacheFacts,
    EvidenceFacts,
    FirewallRule,
    Move,
    NotKnownYet,
    from_dict,
    to_dict,
)

_TEXT = st.text(max_size=8)
_FLOAT = st.floats(allow_nan=False, allow_infinity=False, width=32)
_RULE = st.builds(FirewallRule, name=_TEXT, start_ip=_TEXT, end_ip=_TEXT)
_CACHE = st.builds(
    CacheFacts,
    id=_TEXT,
    name=_TEXT,
    resource_group=_TEXT,
    subscription_id=_TEXT,
    location=_TEXT,
    exists=st.booleans(),
    sku_capacity=st.integers(-5, 10),
    zones=st.lists(_TEXT, max_size=3).map(tuple),
    redis_configuration=st.dictionaries(_TEXT, _TEXT, max_size=3),
    firewall_rules=st.lists(_RULE, max_size=2).map(tuple),
    keys=st.none() | st.integers(0, 2**40),
    databases_used=st.none() | st.lists(st.integers(0, 63), max_size=3).map(tuple),
    foreign_clients=st.none() | st.lists(_TEXT, max_size=2).map(tuple),
)
_EVIDENCE = st.builds(
    EvidenceFacts,
    source_id=_TEXT,
    target_id=_TEXT,
    method=_TEXT,
    made_at_s=_FLOAT,
    depth=_TEXT,
    lag_bytes=st.integers(-1, 2**40),
    first_differences=st.lists(_TEXT, max_size=3).map(tuple),
)
_MOVE = st.builds(
    Move,
    method=_TEXT,
    stage=_TEXT,
    source_id=_TEXT,
    target_id=_TEXT,
    today=_TEXT,
    now_s=_FLOAT,
    source=st.none() | _CACHE,
    declared_target=st.none() | _CACHE,
    evidence=st.none() | _EVIDENCE,
)


@given(_MOVE)
def test_a_move_comes_back_as_it_was(move: Move) -> None:
    """Through plain dictionaries, and through JSON, where Pulumi makes every number a float."""
    plain = to_dict(move)

    assert move == from_dict(Move, plain)
    assert move == from_dict(Move, json.loads(json.dumps(plain)))
    assert move == from_dict(Move, _floated(plain))


def _floated(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return float(value)
    if isinstance(value, dict):
        return {key: _floated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floated(item) for item in value]
    return value


def test_whole_numbers_come_back_as_whole_numbers() -> None:
    """Not 2.0 replicas."""
    cache = from_dict(CacheFacts, {"sku_capacity": 2.0, "keys": 7.0, "databases_used": [0.0, 3.0]})

    assert [type(cache.sku_capacity), type(cache.keys), cache.databases_used] == [int, int, (0, 3)]


def test_fractions_stay_what_they_are() -> None:
    """A wrong number is for a rule to find, not to be rounded away."""
    assert from_dict(CacheFacts, {"sku_capacity": 2.5}).sku_capacity == 2.5


def test_times_come_back_as_numbers_with_fractions() -> None:
    """A whole second too."""
    assert type(from_dict(EvidenceFacts, {"made_at_s": 5}).made_at_s) is float


def test_a_missing_field_takes_its_default_or_is_not_known() -> None:
    """Only what has no default is not known."""
    move = from_dict(Move, {"stage": "adopt"})

    assert move.previous == ""
    assert move.link is None
    assert move.method is NOT_KNOWN


def test_what_is_not_known_travels_as_such() -> None:
    """As a text that means it, at any depth."""
    cache = from_dict(CacheFacts, {"name": NOT_KNOWN, "zones": ["1", NOT_KNOWN_TEXT], "redis_configuration": NOT_KNOWN})

    assert cache.name is NOT_KNOWN
    assert cache.zones[1] is NOT_KNOWN
    assert cache.redis_configuration is NOT_KNOWN
    assert to_dict(cache)["name"] == to_dict(cache)["redis_configuration"] == NOT_KNOWN_TEXT
    assert from_dict(Move, {"source": NOT_KNOWN_TEXT}).source is NOT_KNOWN


USES: dict[str, Callable[[Any], object]] = {
    "truth": bool,
    "length": len,
    "iteration": list,
    "whole number": int,
    "number": float,
    "rounding": round,
    "hash": hash,
    "equality": lambda value: value == "x",
    "equality from the other side": lambda value: value == value,  # noqa: PLR0124 - itself too
    "text on the left": lambda value: "x" == value,  # noqa: SIM300 - the order is the point
    "inequality": lambda value: value != 1,
    "less": lambda value: value < 1,
    "at most": lambda value: value <= 1,
    "more, from the right": lambda value: 1 < value,  # noqa: SIM300
    "at least": lambda value: value >= 1,
    "membership in it": lambda value: "x" in value,
    "membership of it in a tuple": lambda value: value in ("x", "y"),
    "membership of it in a set": lambda value: value in {"x", "y"},
    "membership of it as a key": lambda value: value in {"x": 1},
    "an item": operator.itemgetter(0),
    "a field": operator.attrgetter("name"),
    "a method": lambda value: value.lower(),
    "sum": lambda value: value + 1,
    "sum from the right": lambda value: 1 + value,
    "difference": lambda value: value - 1,
    "difference from the right": lambda value: 1 - value,
    "product": lambda value: value * 2,
    "product from the right": lambda value: 2 * value,
    "quotient": lambda value: value / 2,
    "quotient from the right": lambda value: 2 / value,
    "whole quotient": lambda value: value // 2,
    "rest": lambda value: value % 2,
    "negation": operator.neg,
    "size": abs,
    "not": operator.not_,
    "either": lambda value: value or 1,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_what_is_not_known_cannot_be_used(use: Callable[[Any], object]) -> None:
    """Every use raises, so that no rule can take it for a pass."""
    with pytest.raises(NotKnownYet):
        use(NOT_KNOWN)


def test_what_is_not_known_can_be_shown_and_copied() -> None:
    """In a message; and it stays itself."""
    assert repr(NOT_KNOWN) == f"{NOT_KNOWN}" == f"{NOT_KNOWN:.1f}" == NOT_KNOWN_TEXT
    assert copy.deepcopy(NOT_KNOWN) is NOT_KNOWN
    assert pickle.loads(pickle.dumps(NOT_KNOWN)) is NOT_KNOWN
    with pytest.raises(AttributeError):
        NOT_KNOWN.__wrapped__  # noqa: B018 - asking for it is the test


def test_differences_are_counted_on_both_sides() -> None:
    """Missing here, missing there, not equal."""
    found = EvidenceFacts(
        source_id="",
        target_id="",
        method="copy",
        made_at_s=0.0,
        depth="full",
        only_in_source=1,
        only_in_target=20,
        different=300,
    )

    assert found.differences == 321
