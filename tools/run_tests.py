"""Runs the tests, tier after tier, each as a pytest run of its own.

    python tools/run_tests.py [TIER ...] [-- PYTEST-ARGUMENT ...]

A tier is what its tests need. A tier that ran nothing, because all was skipped or nothing was found, counts as failed:
a green run that tested nothing is a lie.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parents[1]

#: From the cheapest to the dearest. A test with several marks runs in the last of its tiers.
TIERS = ("unit", "redis", "contract", "engine")

#: Processes at once, for each core and besides, where the tests mostly wait for somebody else. The redis tier measures
#: times, so it has the machine to itself. WORKERS=1 in the environment runs everything one after the other.
EXTRA_WORKERS = {"contract": 1, "engine": 0}
MOST_WORKERS = 8

#: Exit code of pytest for "no test was found".
NOTHING_FOUND = 5


@dataclass
class Result:
    """What one tier came to."""

    tier: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    problem: str = ""

    @property
    def is_good(self) -> bool:
        return not self.failed and not self.problem


def main() -> int:
    """Run the tiers.

    Returns:
        Exit code: 0 when every tier ran something and nothing failed.
    """
    tiers, pytest_arguments = parse_arguments(sys.argv[1:])
    results = [run_tier(tier, f"{place} of {len(tiers)}", pytest_arguments) for place, tier in enumerate(tiers, 1)]
    print()
    for result in results:
        state = "ok" if result.is_good else "FAILED"
        counts = f"{result.passed} passed, {result.failed} failed, {result.skipped} skipped"
        print(f"{result.tier:10} {state:7} {counts}, {result.seconds:.0f} s  {result.problem}".rstrip())
    # A tier that did not run properly must not hide behind "0 failed".
    failed = sum(max(result.failed, 0 if result.is_good else 1) for result in results)
    print(f"{sum(result.passed for result in results)} passed, {failed} failed", flush=True)
    return 0 if failed == 0 else 1


def parse_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split the arguments into tiers and what goes to pytest."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    own, rest = arguments[:cut], arguments[cut + 1 :]
    parser = argparse.ArgumentParser(description="Runs the tests, tier after tier.")
    parser.add_argument("tiers", nargs="*", metavar="TIER", help=f"one or more of {', '.join(TIERS)}; by default all")
    chosen: list[str] = parser.parse_args(own).tiers
    for tier in chosen:
        if tier not in TIERS:
            parser.error(f"there is no tier {tier!r}, only {', '.join(TIERS)}")
    return chosen or list(TIERS), rest


def marks_of(tier: str) -> str:
    """Give the expression that selects a tier's tests, each test in one tier alone; slow ones only with SLOW=1."""
    dearer = TIERS[TIERS.index(tier) + 1 :]
    terms = ([] if tier == "unit" else [tier]) + [f"not {mark}" for mark in dearer]
    if not os.environ.get("SLOW"):
        terms.append("not slow")
    return " and ".join(terms)


def workers_of(tier: str) -> int:
    """Give the number of processes that run a tier's tests."""
    if tier not in EXTRA_WORKERS:
        return 1
    if wanted := os.environ.get("WORKERS"):
        return int(wanted)
    return min(MOST_WORKERS, (os.cpu_count() or 1) + EXTRA_WORKERS[tier])


def run_tier(tier: str, place: str, pytest_arguments: list[str]) -> Result:
    """Run one tier and count what it did."""
    print(f"\n=== {tier} ({place}) ===", flush=True)
    result = Result(tier)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="redismove-tests-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", marks_of(tier), f"--junitxml={report}", "--durations=5"]
        if (workers := workers_of(tier)) > 1:
            command += ["-n", str(workers), "--dist", "worksteal"]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        code = subprocess.run(
            [*command, *pytest_arguments],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            check=False,
        ).returncode
        result.seconds = time.monotonic() - begin
        if report.is_file():
            count(report, result)
    if code == NOTHING_FOUND or (result.passed == 0 and result.failed == 0):
        result.problem = "ran nothing"
    elif code != 0 and result.failed == 0:
        result.problem = f"pytest ended with exit code {code}"
    return result


def count(report: Path, result: Result) -> None:
    """Count the outcomes in a JUnit report."""
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest's own
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            result.failed += 1
        elif "skipped" in outcomes:
            result.skipped += 1
        else:
            result.passed += 1


if __name__ == "__main__":
    sys.exit(main())
