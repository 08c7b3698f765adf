"""
Cuts over again and again, there and back, under an application that knows what was acknowledged to it.

    python -m bench.cutover [--shards 3] [--keys 1000000] [--rate 5000] [--runs 50] [--hold fence] [--tls]

Two caches on real servers, filled once; 20 connections write all the while, half of them through our client and half
through an ordinary one, which knows of no hold and is cut. After each cut-over everything that was acknowledged since
the last one is compared, and everything ever acknowledged at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from redismove.dataplane.connect import Server
from redismove.dataplane.copy import copy
from redismove.dataplane.cutover import CutoverLimits, CutoverReport
from tests.support.cutover import World, world
from tests.support.redis_servers import make_tls

ROOT = Path(__file__).resolve().parents[1]
CONNECTIONS = 20
OURS = 10
_PIECE = 20_000
_SETTLED_COMMANDS = 2_000


class Application:
    """`bench.cutover_writer` as a process."""

    def __init__(self, here: World, *, rate: float, seed: int) -> None:
        command = [sys.executable, "-m", "bench.cutover_writer", str(here.folder), "--rate", str(rate)]
        command += ["--connections", str(CONNECTIONS), "--ours", str(OURS), "--seed", str(seed)]
        environment = {"SSL_CERT_FILE": here.source.ca_file} if here.source.ca_file else {}
        self._process = subprocess.Popen(
            [*command, *(["--clustered"] if here.source.clustered else [])],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: Literal["status", "check", "stop"]) -> dict[str, Any]:
        """Return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"lost": "the writers ended"}')
        return answer

    def write_some(self, commands: int = _SETTLED_COMMANDS, *, timeout_s: float = 30.0) -> None:
        """Wait until so many more commands were acknowledged."""
        deadline = time.monotonic() + timeout_s
        wanted = self.ask("status")["acknowledged"] + commands
        while self.ask("status")["acknowledged"] < wanted:
            if time.monotonic() >= deadline:
                raise SystemExit(f"the writers did not write {commands:,} commands within {timeout_s:g} s")
            time.sleep(0.02)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@dataclass
class Measured:
    """What the cut-overs of one kind of caches took; one number a cut-over, in ms."""

    hold_ms: list[float] = field(default_factory=list)
    total_ms: list[float] = field(default_factory=list)
    still_plain_ms: list[float] = field(default_factory=list)
    still_ours_ms: list[float] = field(default_factory=list)
    parts_ms: dict[str, list[float]] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    attempts: int = 0
    acknowledged: int = 0
    keys_checked: int = 0
    keys_not_checked: int = 0
    errors_ours: int = 0
    errors_plain: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Acknowledged writes that were not there, and answers that contradict them."""
        return len(self.findings)

    def add(self, report: CutoverReport) -> None:
        """Note one cut-over."""
        self.hold_ms.append(report.hold_ms)
        self.total_ms.append(report.total_ms)
        for part, took_ms in report.hold_parts_ms.items():
            self.parts_ms.setdefault(part, []).append(took_ms)
        self.left.append(report.left_for_hold + report.streams_for_hold)
        self.seconds.append(report.elapsed_s)
        self.attempts += report.attempts
        if not report.clean:
            self.findings.append(f"the cut-over's own evidence: {report.in_hold} {report.evidence}")

    def judge(self, verdict: dict[str, Any]) -> None:
        """Note what the application found."""
        self.findings += verdict["findings"]
        self.acknowledged = verdict["acknowledged"]
        self.keys_checked += verdict["keys_checked"]
        self.keys_not_checked += verdict["keys_not_checked"]
        self.errors_ours, self.errors_plain = verdict["errors"]["ours"], verdict["errors"]["plain"]
        self.still_ours_ms, self.still_plain_ms = verdict["still_ms"]["ours"], verdict["still_ms"]["plain"]


def fill(here: World, keys: int) -> None:
    """Give both caches the same keys of all types, as a copy leaves them behind."""
    for piece, start in enumerate(range(0, keys, _PIECE)):
        here.fill(min(_PIECE, keys - start), prefix=f"k{piece}")
    with Server.open(here.source.address) as source, Server.open(here.target.address) as target:
        copy(source, target)


def measure(
    here: World,
    *,
    runs: int,
    rate: float,
    within_s: float = float("inf"),
    evidence: bool = True,
    seed: int = 0,
    **options: Any,
) -> Measured:
    """
    Cut over in turn there and back, beginning where the Endpoint stands, and check after each.

    Args:
        here: two caches that hold the same.
        runs: so many times.
        rate: commands a second, all connections together.
        within_s: no cut-over is begun after so many seconds.
        evidence: the cut-over itself compares everything once more.
        seed: of what is written.
        options: of the cut-over.
    """
    measured = Measured()
    ends_at = time.monotonic() + within_s
    application = Application(here, rate=rate, seed=seed)
    try:
        application.write_some()
        while len(measured.hold_ms) < runs and time.monotonic() < ends_at:
            report = here.cut(
                back=here.endpoint.read().role == "target",
                limits=CutoverLimits(total_s=300),
                evidence=evidence,
                **options,
            )
            measured.add(report)
            application.write_some()
            measured.judge(application.ask("check"))
            sys.stdout.write(
                f"   cut-over {len(measured.hold_ms)}: hold {report.hold_ms:.1f} ms, lost {measured.lost}\n"
            )
            sys.stdout.flush()
        measured.judge(application.ask("stop"))
    finally:
        application.close()
    return measured


def describe(measured: Measured) -> list[str]:
    """Return what was measured as lines: median and worst of each."""

    def ms(values: list[float]) -> str:
        return f"{statistics.median(values):.1f} / {max(values):.1f} ms" if values else "none"

    forwards, backwards = measured.hold_ms[::2], measured.hold_ms[1::2]
    lines = [
        f"hold {ms(measured.hold_ms)} (median / worst; there {ms(forwards)}, back {ms(backwards)})",
        f"of the hold: {', '.join(f'{part} {ms(values)}' for part, values in measured.parts_ms.items())}",
        f"hold and fence {ms(measured.total_ms)}",
        f"the connection that stood still longest: ordinary client {ms(measured.still_plain_ms)}",
        f"the same of our client, which is told {CutoverLimits.notice_ms} ms before: {ms(measured.still_ours_ms)}",
        f"left for the hold {statistics.median(measured.left):g} keys, at most {max(measured.left)}",
        f"{measured.attempts} holds, {len(measured.hold_ms)} cut-overs of {statistics.median(measured.seconds):.1f} s",
        f"{measured.acknowledged:,} commands acknowledged, {measured.keys_checked:,} keys compared",
        f"{measured.keys_not_checked:,} keys of unknown outcome, or about to expire, were not compared",
        f"{measured.errors_plain} commands of the ordinary client had no answer, {measured.errors_ours} of ours",
    ]
    return [*lines, *measured.findings[:5]]


def main() -> None:
    """Measure one kind of caches; exit status 1 when a write was lost or our client saw an error."""
    parser = argparse.ArgumentParser(prog="python -m bench.cutover", description=__doc__)
    parser.add_argument("--shards", type=int, choices=(0, 3), default=0)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--within-s", type=float, default=float("inf"), help="begin no cut-over after so long")
    parser.add_argument("--hold", choices=("auto", "pause-write", "fence"), default="auto")
    parser.add_argument("--tls", action="store_true", help="both servers of 7.0")
    parser.add_argument("--source", default="6.2")
    parser.add_argument("--target", default="7.0")
    parser.add_argument("--no-evidence", action="store_true", help="leave out the tool's own comparison at the end")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tls = make_tls(folder / "tls") if options.tls else None
        here = stack.enter_context(
            world(
                folder,
                source="7.0" if tls else options.source,
                target="7.0" if tls else options.target,
                clustered=bool(options.shards),
                tls=tls,
            )
        )
        fill(here, options.keys)
        measured = measure(
            here,
            runs=options.runs,
            rate=options.rate,
            within_s=options.within_s,
            hold_method=options.hold,
            evidence=not options.no_evidence,
        )
    for line in describe(measured):
        sys.stdout.write(f"   {line}\n")
    sys.exit(1 if measured.lost or measured.errors_ours else 0)


if __name__ == "__main__":
    main()
