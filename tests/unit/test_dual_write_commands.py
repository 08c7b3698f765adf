"""The table of commands: complete, and right about where keys are."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.commands

from redismove.dual_write.commands import (
    FLUSHES,
    FLUSHES_ALL,
    KEYS_NOT_DECLARED,
    MODULES,
    OTHER_DATABASE,
    TABLE,
    UNKNOWN,
    Call,
    Kind,
    check_script,
    spec_of,
    split,
    table_as_markdown,
    understand,
)
from redismove.dual_write.errors import CommandRefused

SENDERS = ("execute_command", "immediate_execute_command", "_execute_command")


def modules() -> Iterator[Any]:
    """The modules in which redis-py's commands are."""
    for found in pkgutil.walk_packages(redis.commands.__path__, "redis.commands."):
        yield importlib.import_module(found.name)


def names_sent_by(module: Any) -> tuple[set[str], list[str]]:
    """The commands that a module sends, and the calls whose command cannot be told from its text."""
    tree = ast.parse(Path(module.__file__).read_text())
    names: set[str] = set()
    open_questions: list[str] = []
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions:
        parameters = {argument.arg for argument in function.args.args}
        lists: dict[str, list[ast.expr]] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.List) and node.value.elts:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name):
                        lists.setdefault(target.id, []).append(node.value.elts[0])
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                lists.setdefault(node.targets[0].id, []).append(node.value)

        def told(expression: ast.expr, module: Any = module, lists: Any = lists) -> set[str]:
            if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
                return {expression.value}
            if isinstance(expression, ast.Starred):
                return told(expression.value)
            if isinstance(expression, ast.IfExp):
                return told(expression.body) | told(expression.orelse)
            if isinstance(expression, ast.Name):
                constant = getattr(module, expression.id, None)
                if isinstance(constant, str):
                    return {constant}
                return {name for value in lists.get(expression.id, []) for name in told(value, module, {})}
            return set()

        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                continue
            if node.func.attr in SENDERS:
                found = told(node.args[0])
                names |= found
                first = node.args[0]
                if not found and not (isinstance(first, ast.Name) and first.id in parameters):
                    open_questions.append(f"{function.name}: {ast.unparse(node)[:70]}")
            elif isinstance(node.func.value, ast.Name) and node.func.value.id == "self" and node.func.attr[0] == "_":
                # A helper that is given the command's name.
                names |= {name for name in told(node.args[0], module, {}) if name.isupper()}
    return names, open_questions


def test_every_command_that_redis_py_sends_is_in_the_table() -> None:
    names: set[str] = set()
    open_questions: list[str] = []
    for module in modules():
        found, questions = names_sent_by(module)
        names |= found
        open_questions += questions
    containers = {name.split(" ")[0] for name in TABLE if " " in name}
    unknown = sorted(name for name in names - containers if spec_of(name).reason == UNKNOWN)

    assert unknown == []
    assert len(names) > 450, "the walk has missed most of them"
    assert {"ZINTERSTORE", "EVALSHA_RO", "FCALL", "SORT", "XGROUP CREATE", "BF.ADD", "FT.SEARCH", "TS.ADD"} <= names
    # BITFIELD's builder, helpers that are given the name (their callers are seen), CLUSTER with a word, FT.AGGREGATE.
    assert {question.split(":")[0] for question in open_questions} == {
        *("execute", "_zrange", "_zaggregate", "cluster", "aggregate")
    }


def test_the_table_has_one_kind_and_a_reason_for_each_command() -> None:
    assert len(TABLE) > 430
    for name, spec in TABLE.items():
        assert spec.name == name == name.upper()
        assert bool(spec.reason) is (spec.kind is Kind.REFUSED), name
        assert (spec.kind in (Kind.READ, Kind.WRITE)) is (spec.keys is not None or spec.everything), name


@pytest.mark.parametrize(
    ("command", "kind", "keys"),
    [
        (("GET", "k"), Kind.READ, ("k",)),
        (("get", "k"), Kind.READ, ("k",)),
        ((b"GET", b"k"), Kind.READ, (b"k",)),
        (("MGET", "a", "b"), Kind.READ, ("a", "b")),
        (("LCS", "a", "b", "LEN"), Kind.READ, ("a", "b")),
        (("ZUNION", 2, "a", "b", "WITHSCORES"), Kind.READ, ("a", "b")),
        (("OBJECT", "ENCODING", "k"), Kind.READ, ("k",)),
        (("OBJECT ENCODING", "k"), Kind.READ, ("k",)),
        (("XREAD", "COUNT", 1, "STREAMS", "a", "b", 0, 0), Kind.READ, ("a", "b")),
        (("XREAD", "BLOCK", 1, "STREAMS", "a", 0), Kind.FIRST, ()),
        (("SORT", "k", "BY", "w_*", "GET", "#"), Kind.READ, ("k",)),
        (("SORT", "k", "STORE", "d"), Kind.WRITE, ("d",)),
        (("SORT_RO", "k"), Kind.READ, ("k",)),
        (("GEORADIUS", "k", 1, 2, 3, "m"), Kind.READ, ("k",)),
        (("GEORADIUS", "k", 1, 2, 3, "m", "STOREDIST", "d"), Kind.WRITE, ("d",)),
        (("SET", "k", "v", "EX", 5), Kind.WRITE, ("k",)),
        (("MSET", "a", 1, "b", 2), Kind.WRITE, ("a", "b")),
        (("MSETEX", 2, "a", 1, "b", 2, "EX", 5), Kind.WRITE, ("a", "b")),
        (("DEL", "a", "b"), Kind.WRITE, ("a", "b")),
        (("RENAME", "a", "b"), Kind.WRITE, ("a", "b")),
        (("COPY", "a", "b", "REPLACE"), Kind.WRITE, ("b",)),
        (("BITOP", "AND", "d", "a", "b"), Kind.WRITE, ("d",)),
        (("ZUNIONSTORE", "d", 2, "a", "b"), Kind.WRITE, ("d",)),
        (("BLPOP", "a", "b", 0), Kind.WRITE, ("a", "b")),
        (("LMPOP", 2, "a", "b", "LEFT"), Kind.WRITE, ("a", "b")),
        (("BLMPOP", 0, 2, "a", "b", "LEFT"), Kind.WRITE, ("a", "b")),
        (("BLMOVE", "a", "b", "LEFT", "RIGHT", 0), Kind.WRITE, ("a", "b")),
        (("XREADGROUP", "GROUP", "g", "c", "BLOCK", 5, "STREAMS", "a", "b", ">", ">"), Kind.WRITE, ("a", "b")),
        (("XGROUP CREATE", "k", "g", "$"), Kind.WRITE, ("k",)),
        (("XGROUP", "CREATE", "k", "g", "$"), Kind.WRITE, ("k",)),
        (("PFCOUNT", "k"), Kind.WRITE, ("k",)),
        (("EVAL", "return redis.call('INCR', KEYS[1])", 1, "k", "arg"), Kind.WRITE, ("k",)),
        (("EVALSHA", "ab", 2, "a", "b", "arg"), Kind.WRITE, ("a", "b")),
        (("EVAL_RO", "return 1", 0), Kind.FIRST, ()),
        (("PUBLISH", "channel", "m"), Kind.FIRST, ()),
        (("INFO",), Kind.FIRST, ()),
        (("COMMAND",), Kind.FIRST, ()),
        (("ACL", "WHOAMI"), Kind.FIRST, ()),
    ],
)
def test_a_command_is_understood(command: tuple[Any, ...], kind: Kind, keys: tuple[Any, ...]) -> None:
    call = understand(command)

    assert (call.kind, call.keys) == (kind, keys)


def test_what_looks_at_the_whole_database_says_so() -> None:
    assert understand(("KEYS", "*")).everything
    assert understand(("SORT", "k", "BY", "w_*")).everything
    assert not understand(("SORT", "k", "BY", "nosort")).everything
    assert understand(("FLUSHDB",), allow_flush=True) == Call("FLUSHDB", Kind.WRITE, everything=True)


def test_an_iteration_tells_where_its_cursor_is() -> None:
    assert understand(("SCAN", 7, "MATCH", "*")).cursor == 1
    assert understand(("HSCAN", "k", 7)).cursor == 2
    assert understand(("HSCAN", "k", 7)).keys == ("k",)


@pytest.mark.parametrize(
    ("command", "name", "reason"),
    [
        (("FLUSHDB",), "FLUSHDB", FLUSHES),
        (("FLUSHALL",), "FLUSHALL", FLUSHES_ALL),
        (("SWAPDB", 0, 1), "SWAPDB", OTHER_DATABASE),
        (("MOVE", "k", 1), "MOVE", OTHER_DATABASE),
        (("COPY", "a", "b", "DB", 1), "COPY with DB", OTHER_DATABASE),
        (("EVAL", "return 1", 0), "EVAL without keys", KEYS_NOT_DECLARED),
        (("FCALL", "f", 0), "FCALL without keys", KEYS_NOT_DECLARED),
        (("EVAL", "redis.call('set', 'x', 1)", 1, "k"), "SET in a script on a key that", KEYS_NOT_DECLARED),
        (("SCRIPT LOAD", 'redis.call("DEL", ARGV[1])'), "DEL in a script on a key that", KEYS_NOT_DECLARED),
        (("SCRIPT", "LOAD", "redis.pcall('FLUSHALL')"), "FLUSHALL in a script", FLUSHES_ALL),
        (("JSON.SET", "k", "$", 1), "JSON.SET", MODULES),
        (("NEWCOMMAND", "k"), "NEWCOMMAND", UNKNOWN),
        (("CONFIG", "SET", "a", "b"), "CONFIG SET", "about one server"),
        (("CLIENT", "REPLY", "OFF"), "CLIENT REPLY", "changes one connection"),
        (("WATCH", "k"), "WATCH", "use pipeline()"),
        (("SUBSCRIBE", "c"), "SUBSCRIBE", "use pubsub()"),
    ],
)
def test_what_cannot_be_right_on_two_caches_is_refused_by_name(
    command: tuple[Any, ...], name: str, reason: str
) -> None:
    with pytest.raises(CommandRefused) as caught:
        understand(command)

    assert str(caught.value).startswith(f"{name}")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "script",
    [
        "return redis.call('SET', KEYS[1], ARGV[1])",
        "local key = KEYS[1] return redis.call('incr', key)",
        "redis.call('GET', 'config')",
        "redis.call('BITOP', 'AND', KEYS[1], KEYS[2])",
        "redis.call(ARGV[1], KEYS[1])",
        redis.lock.Lock.LUA_RELEASE_SCRIPT,
        redis.lock.Lock.LUA_EXTEND_SCRIPT,
        redis.lock.Lock.LUA_REACQUIRE_SCRIPT,
    ],
)
def test_a_script_that_keeps_to_its_keys_is_taken(script: str) -> None:
    check_script(script)


def test_names_with_a_space_and_without_are_the_same_command() -> None:
    assert split(("XINFO STREAM", "k")) == ("XINFO STREAM", ("k",), 1)
    assert split(("XINFO", "stream", "k")) == ("XINFO STREAM", ("k",), 2)
    assert split(("COMMAND",)) == ("COMMAND", (), 1)


def test_the_page_shows_the_table() -> None:
    """Where they differ, put what `table_as_markdown()` gives between the two comments of the page."""
    page = (Path(__file__).parents[2] / "docs" / "howto" / "dual-write.md").read_text()
    shown = page.split("compared by a test -->\n")[1].split("<!-- end of commands -->")[0]

    assert shown == table_as_markdown()
