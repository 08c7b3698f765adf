"""
Changes the rules and the stages in one small way at a time, and counts how many changes their unit tests notice.

    python tools/mutation.py                       every change; exit status 1 below 90 % noticed
    python tools/mutation.py --sample 60           some of them, chosen by --seed
    python tools/mutation.py --module lifecycle    one file
    python tools/mutation.py --survivors           also names the changes that nobody noticed

Each change runs in a process of its own, forked before the project is imported; the tests run in it without pytest, the
quick ones first, until one fails.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import itertools
import os
import random
import signal
import sys
import time
import unittest
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
WANTED_SHARE: Final = 0.9
DEADLINE_S: Final = 120.0
TESTS: Final = (
    "tests.unit.test_rules",
    "tests.unit.test_stages",
    "tests.unit.test_rules_tiers",
    "tests.unit.test_rules_docs",
    "tests.unit.test_rules_gates",
    "tests.unit.test_plan",
    "tests.unit.test_rules_machine",
)
_NOTICED: Final = 1
_MISSED: Final = 0
_BEFORE_TESTS: Final = ("hypothesis.stateful", "pydantic", "pytest", "json", "ipaddress")


def files() -> dict[str, Path]:
    """Return the files that are changed, by module name."""
    found = {f"redismove.rules.{path.stem}": path for path in sorted((ROOT / "redismove" / "rules").glob("*.py"))}
    found["redismove.rules"] = found.pop("redismove.rules.__init__")
    return {**found, "redismove.stages": ROOT / "redismove" / "stages.py"}


@dataclass
class Change:
    """One small change of one module: where, what, and how to make it in the module's tree."""

    module: str
    line: int
    what: str
    apply: Callable[[], None]
    tree: ast.Module

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.what}"


# ------------------------------------------------------------------------------------------------- what can be changed

_COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.GtE, ast.LtE),
    ast.LtE: (ast.Gt, ast.Lt),
    ast.Gt: (ast.LtE, ast.GtE),
    ast.GtE: (ast.Lt, ast.Gt),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
}
_CALLS: Final = {"any": "all", "all": "any", "min": "max", "max": "min"}
_CLEANING: Final = ("lower", "strip")
_OPTIONAL_IN_RULE: Final = ("applies", "backward", "level", "severity", "plain")


def changes(module: str, path: Path) -> list[Change]:
    """Return every small change of one module; making one leaves the others as they are."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: list[Change] = []

    def offer(node: ast.AST, what: str, apply: Callable[[], None]) -> None:
        found.append(Change(module, getattr(node, "lineno", 0), what, apply, tree))

    for holder, field, index, node in _expressions(tree):
        _offer_for(holder, field, index, node, offer)
    return found


def _expressions(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Walk over what runs: not over imports, annotations, assertions, documentation and declarations of types."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or isinstance(node, (ast.Import, ast.ImportFrom, ast.Assert)):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("__all__", "_T"):
                continue
            yield tree, field, index, node
            yield from _expressions(node)


Offer = Callable[[ast.AST, str, Callable[[], None]], None]


def _offer_for(holder: ast.AST, field: str, index: int | None, node: ast.AST, offer: Offer) -> None:
    def put(new: ast.AST) -> None:
        ast.copy_location(new, node)
        if index is None:
            setattr(holder, field, new)
        else:
            getattr(holder, field)[index] = new

    def replace(what: str, new: ast.AST) -> None:
        offer(node, what, lambda: put(new))

    _offer_logic(node, offer, replace)
    _offer_values(node, offer, replace)
    _offer_parts(node, offer)


def _offer_logic(node: ast.AST, offer: Offer, replace: Callable[[str, ast.AST], None]) -> None:
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                for other in _COMPARISONS[type(operator)]:
                    what = f"{type(operator).__name__} to {other.__name__} in {ast.unparse(node)}"
                    offer(node, what, functools.partial(node.ops.__setitem__, place, other()))
        case ast.BoolOp():
            other_operator = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            offer(node, f"and/or in {ast.unparse(node)}", lambda: setattr(node, "op", other_operator))
        case ast.UnaryOp(op=ast.Not()):
            replace(f"no not in {ast.unparse(node)}", node.operand)
        case ast.If() | ast.IfExp():
            if isinstance(node.test, (ast.Name, ast.Attribute, ast.Call)):
                negated = ast.UnaryOp(op=ast.Not(), operand=node.test)
                ast.copy_location(negated, node.test)
                offer(node, f"if not {ast.unparse(node.test)}", lambda: setattr(node, "test", negated))
        case ast.Continue():
            replace("break for continue", ast.Break())
        case _:
            pass


def _offer_values(node: ast.AST, offer: Offer, replace: Callable[[str, ast.AST], None]) -> None:
    match node:
        case ast.Return(value=ast.Call(func=ast.Name(id="Broken"))):
            offer(node, "return None for what is broken", lambda: setattr(node, "value", ast.Constant(value=None)))
        case ast.Constant(value=bool() as truth):
            replace(f"{truth} to {not truth}", ast.Constant(value=not truth))
        case ast.Constant(value=int() | float() as number):
            replace(f"{number} to {number + 1}", ast.Constant(value=number + 1))
        case ast.Constant(value=str() as text) if text:
            replace(f"{text!r} with an X", ast.Constant(value=f"{text}X"))
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            new_operator = _ARITHMETIC[type(node.op)]()
            offer(node, f"another operator in {ast.unparse(node)}", lambda: setattr(node, "op", new_operator))
        case ast.Call(func=ast.Name(id=name)) if name in _CALLS:
            offer(node, f"{name} to {_CALLS[name]}", lambda: setattr(node.func, "id", _CALLS[name]))
        case ast.Call(func=ast.Attribute(attr=name, value=inner), args=[]) if name in _CLEANING:
            replace(f"no {name}() on {ast.unparse(inner)}", inner)
        case _:
            pass


def _offer_parts(node: ast.AST, offer: Offer) -> None:
    match node:
        case ast.Call(func=ast.Name(id="Rule")):
            for keyword in node.keywords:
                if keyword.arg in _OPTIONAL_IN_RULE:
                    what = f"no {keyword.arg} of {ast.unparse(node.keywords[0].value)}"
                    offer(node, what, functools.partial(node.keywords.remove, keyword))
        case ast.Set() | ast.Tuple(ctx=ast.Load()) | ast.List(ctx=ast.Load()) if len(node.elts) > 1:
            for element in node.elts:
                if isinstance(element, (ast.Constant, ast.Attribute, ast.Name, ast.Starred)):
                    what = f"no {ast.unparse(element)} in {ast.unparse(node)[:60]}"
                    offer(node, what, functools.partial(node.elts.remove, element))
        case _:
            pass


# ------------------------------------------------------------------------------------------------- how it is tried


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from its changed tree."""

    def __init__(self, module: str, path: Path, tree: ast.Module) -> None:
        self._module, self._path, self._tree = module, path, tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for the one module."""
        del path, target
        if fullname != self._module:
            return None
        places = [str(self._path.parent)] if self._path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname, self._path, loader=self, submodule_search_locations=places
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Let Python make it."""
        del spec

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed tree."""
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)  # noqa: S102 - it is this project's own code


def try_change(change: Change | None, path: Path | None) -> int:
    """Run the tests with *change* made, in this process; return `_NOTICED` where one failed, else `_MISSED`."""
    if change is not None and path is not None:
        change.apply()
        ast.fix_missing_locations(change.tree)
        sys.meta_path.insert(0, _Changed(change.module, path, change.tree))
    try:
        for name in TESTS:
            run_module(importlib.import_module(name))
    except BaseException as noticed:  # whatever goes wrong is a change noticed
        if change is None:
            raise
        del noticed
        return _NOTICED
    return _MISSED


def run_module(module: ModuleType) -> int:
    """Run the tests of *module* that need no fixture, the first failure raises; return how many ran."""
    count = 0
    for name, test in list(vars(module).items()):
        if isinstance(test, type) and issubclass(test, unittest.TestCase):
            result = unittest.TestResult()
            unittest.defaultTestLoader.loadTestsFromTestCase(test).run(result)
            if not result.wasSuccessful():
                raise AssertionError(f"{name}: {(result.failures + result.errors)[0][1]}")
            count += result.testsRun
        elif name.startswith("test_") and callable(test):
            for arguments in _cases(test):
                test(**arguments)
                count += 1
    return count


def _cases(test: Any) -> Iterator[dict[str, Any]]:
    """Return the arguments of each case of a parametrised test; none at all for a test that needs a fixture."""
    sets: list[list[dict[str, Any]]] = []
    given: set[str] = set()
    for mark in getattr(test, "pytestmark", []):
        if mark.name != "parametrize":
            continue
        names = [n.strip() for n in mark.args[0].split(",")] if isinstance(mark.args[0], str) else list(mark.args[0])
        given.update(names)
        cases = []
        for value in mark.args[1]:
            values = value.values if hasattr(value, "values") and hasattr(value, "marks") else value
            values = (values,) if len(names) == 1 and values is value else values
            cases.append(dict(zip(names, values, strict=True)))
        sets.append(cases)
    needed = set(inspect.signature(test).parameters)
    if needed - given:
        return
    for together in itertools.product(*sets):
        yield {name: value for case in together for name, value in case.items()}


def _prepare_process() -> None:
    """Quiet, repeatable and quick: for the process of one change."""
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "mutation",
        max_examples=20,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutation")
    os.environ["REDISMOVE_MACHINE_EXAMPLES"] = "20"


class _Run:
    """Changes being tried, one process each."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._running: dict[int, tuple[Change, float]] = {}
        self.noticed: list[Change] = []
        self.missed: list[Change] = []

    def start(self, change: Change, path: Path) -> None:
        """Try one change, as soon as there is room."""
        while len(self._running) >= self._workers:
            self._collect()
        child = os.fork()
        if child == 0:
            status = 2
            try:
                silence = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(silence, stream)
                _prepare_process()
                status = try_change(change, path)
            finally:
                os._exit(status)
        self._running[child] = (change, time.monotonic() + DEADLINE_S)

    def finish(self) -> None:
        """Wait for what is still running."""
        while self._running:
            self._collect()

    def _collect(self) -> None:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child in self._running:
            change, _ = self._running.pop(child)
            missed = os.WIFEXITED(status) and os.WEXITSTATUS(status) == _MISSED
            (self.missed if missed else self.noticed).append(change)
            return
        for late in [c for c, (_, deadline) in self._running.items() if time.monotonic() > deadline]:
            os.kill(late, signal.SIGKILL)
        time.sleep(0.01)


def main(arguments: list[str]) -> int:
    """Try the changes; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, help="try so many changes, chosen at random")
    parser.add_argument("--seed", type=int, default=1, help="of the choice")
    parser.add_argument("--module", default="", help="only the file of this name")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time")
    parser.add_argument("--survivors", action="store_true", help="name the changes that nobody noticed")
    asked = parser.parse_args(arguments)

    for path in (str(ROOT), str(ROOT / "tools")):
        if path not in sys.path:
            sys.path.insert(0, path)
    for name in _BEFORE_TESTS:
        importlib.import_module(name)
    chosen = {m: p for m, p in files().items() if not asked.module or p.stem == asked.module}
    every = [(change, path) for module, path in chosen.items() for change in changes(module, path)]
    if asked.sample:
        every = random.Random(asked.seed).sample(every, min(asked.sample, len(every)))
    started = time.monotonic()
    run = _Run(asked.workers)
    for number, (change, place) in enumerate(every, 1):
        run.start(change, place)
        if number % 100 == 0:
            print(f"{number} of {len(every)} tried, {len(run.missed)} not noticed", flush=True)
    run.finish()
    if asked.survivors:
        for change in sorted(run.missed, key=str):
            print(f"not noticed: {change}")
    share = len(run.noticed) / len(every) if every else 0.0
    seconds = time.monotonic() - started
    print(f"{len(run.noticed)} of {len(every)} changes noticed, {100 * share:.1f} %, in {seconds:.0f} s")
    return 0 if share >= WANTED_SHARE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
