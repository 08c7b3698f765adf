"""The provider stand-in's reading and writing of property values."""

from __future__ import annotations

from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from localazure.plugin.values import UNKNOWN, Secret, contains_unknown, from_struct, mark_like, plain, to_struct

_SIG = "4dabf18193072939515e22adb298388d"
_leaf = st.one_of(
    st.booleans(),
    st.integers(-(2**50), 2**50),
    st.text(max_size=12),
    st.just(UNKNOWN),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda value: not value.is_integer()),
)
_values = st.recursive(
    _leaf,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=6).filter(lambda key: key != _SIG), inner, max_size=3),
        inner.filter(lambda value: not isinstance(value, Secret)).map(Secret),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6).filter(lambda key: key != _SIG), _values, max_size=4))
def test_what_is_written_is_read_back(values: dict[str, object]) -> None:
    assert from_struct(to_struct(values)) == values


def test_nulls_are_dropped_and_whole_numbers_stay_whole() -> None:
    struct = struct_pb2.Struct()
    struct.update({"gone": None, "port": 6380, "ratio": 0.5, "inner": {"gone": None, "kept": "x"}})
    read = from_struct(struct)
    assert read == {"port": 6380, "ratio": 0.5, "inner": {"kept": "x"}}
    assert isinstance(read["port"], int)


def test_output_values_and_resource_references_are_understood() -> None:
    struct = struct_pb2.Struct()
    struct.update(
        {
            "known": {_SIG: "d0e6a833031e9bbcd3f4e8bde6ca49a4", "value": "v", "dependencies": []},
            "hidden": {_SIG: "d0e6a833031e9bbcd3f4e8bde6ca49a4", "value": "s", "secret": True},
            "later": {_SIG: "d0e6a833031e9bbcd3f4e8bde6ca49a4"},
            "resource": {_SIG: "5cf8f73096256a8f31e491e813e4eb8e", "urn": "urn:x", "id": "/subscriptions/s"},
        }
    )
    assert from_struct(struct) == {
        "known": "v",
        "hidden": Secret("s"),
        "later": UNKNOWN,
        "resource": "/subscriptions/s",
    }


def test_a_secret_shows_itself_nowhere() -> None:
    assert "hunter2" not in repr({"key": Secret("hunter2")})
    assert plain({"a": [Secret({"b": Secret("hunter2")})]}) == {"a": [{"b": "hunter2"}]}


def test_a_secret_input_comes_back_as_a_secret_output() -> None:
    inputs = {"configuration": {"connection": Secret("c"), "policy": "p"}, "tags": {"a": "b"}, "list": [Secret("x")]}
    outputs = {"configuration": {"connection": "c", "policy": "p"}, "tags": {"a": "b"}, "list": ["x"], "more": 1}
    assert mark_like(outputs, inputs) == {
        "configuration": {"connection": Secret("c"), "policy": "p"},
        "tags": {"a": "b"},
        "list": Secret(["x"]),
        "more": 1,
    }


def test_an_unknown_is_found_at_any_depth() -> None:
    assert contains_unknown({"a": [Secret({"b": UNKNOWN})]})
    assert not contains_unknown({"a": ["04da6b54"]})
