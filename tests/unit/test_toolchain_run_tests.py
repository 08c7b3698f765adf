"""Running the tiers: a run that tested nothing is not green."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import run_tests

PASSING = "def test_a(): pass\n"
FAILING = "def test_b(): assert False\n"
SKIPPED = "import pytest\n@pytest.mark.skip\ndef test_c(): pass\n"
BROKEN = "import nowhere_to_be_found\n"


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Give a runner over tests of its own; it gives the exit code and the last line."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\ntestpaths = tests\nmarkers =\n    redis: x\n    engine: x\n    contract: x\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(run_tests, "REPOSITORY", tmp_path)
    monkeypatch.setenv("WORKERS", "1")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # each run is a process of its own: keep its start short

    def run_with(files: dict[str, str], *arguments: str) -> tuple[int, str]:
        for name, content in files.items():
            (tmp_path / "tests" / name).write_text(content, encoding="utf-8")
        monkeypatch.setattr(sys, "argv", ["run_tests.py", *arguments])
        code = run_tests.main()
        return code, capfd.readouterr().out.splitlines()[-1]

    return run_with


@pytest.mark.parametrize(
    ("files", "code", "closing"),
    [
        ({"test_a.py": PASSING}, 0, "1 passed, 0 failed"),
        ({"test_a.py": PASSING, "test_b.py": FAILING}, 1, "1 passed, 1 failed"),
        ({"test_a.py": PASSING, "test_c.py": SKIPPED}, 0, "1 passed, 0 failed"),
        ({"test_c.py": SKIPPED}, 1, "0 passed, 1 failed"),
        ({}, 1, "0 passed, 1 failed"),
        ({"test_a.py": PASSING, "test_d.py": BROKEN}, 1, "0 passed, 1 failed"),
    ],
    ids=["passing", "failing", "one skipped", "all skipped", "none", "cannot be read"],
)
def test_closing_line_and_exit_code(
    run: Callable[..., tuple[int, str]], files: dict[str, str], code: int, closing: str
) -> None:
    assert run(files, "unit") == (code, closing)


def test_every_tier_has_to_run_something(run: Callable[..., tuple[int, str]]) -> None:
    marked = "import pytest\n@pytest.mark.redis\ndef test_r(): pass\n"

    assert run({"test_a.py": PASSING, "test_r.py": marked}, "unit", "redis") == (0, "2 passed, 0 failed")
    assert run({}, "unit", "redis", "engine") == (1, "2 passed, 1 failed")


def test_each_test_belongs_to_one_tier(run: Callable[..., tuple[int, str]]) -> None:
    both = "import pytest\n@pytest.mark.redis\n@pytest.mark.engine\ndef test_r(): pass\n"

    assert run({"test_r.py": both}, "engine") == (0, "1 passed, 0 failed")
    assert run({}, "redis") == (1, "0 passed, 1 failed")


def test_arguments_after_two_dashes_go_to_pytest(run: Callable[..., tuple[int, str]]) -> None:
    two = "def test_one(): pass\ndef test_two(): pass\n"

    assert run({"test_a.py": two}, "unit", "--", "-k", "one") == (0, "1 passed, 0 failed")


def test_unknown_tier_is_told() -> None:
    script = Path(run_tests.__file__)

    answer = subprocess.run([sys.executable, script, "unti"], capture_output=True, text=True, check=False)

    assert answer.returncode == 2
    assert "there is no tier 'unti', only unit, redis, contract, engine" in answer.stderr


def test_only_waiting_tiers_run_in_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKERS", raising=False)
    monkeypatch.setattr(run_tests.os, "cpu_count", lambda: 2)

    assert {tier: run_tests.workers_of(tier) for tier in run_tests.TIERS} == {
        "unit": 1,
        "redis": 1,
        "contract": 3,
        "engine": 2,
    }
    monkeypatch.setenv("WORKERS", "1")
    assert run_tests.workers_of("contract") == 1


def test_parallel_tier_is_counted(run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKERS", "2")
    monkeypatch.setenv("PYTEST_PLUGINS", "xdist.plugin")
    marked = "import pytest\npytestmark = pytest.mark.contract\ndef test_a(): pass\ndef test_b(): assert False\n"

    assert run({"test_m.py": marked}, "contract") == (1, "1 passed, 1 failed")
