"""
A move that is killed at random moments goes on, and no acknowledged write is lost.

REDISMOVE_KILLS says how many kills a run makes of each method (6 by default; 60 before a release), REDISMOVE_METHOD
names the one method to try, REDISMOVE_SEED repeats a run.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from redismove import stages
from tests.support.methods import application_of, ready
from tests.support.move import Move

pytestmark = [pytest.mark.engine, pytest.mark.slow]

KILLS = int(os.environ.get("REDISMOVE_KILLS", "6"))
SEED = int(os.environ.get("REDISMOVE_SEED", str(random.randrange(1_000_000))))
METHODS = [os.environ["REDISMOVE_METHOD"]] if os.environ.get("REDISMOVE_METHOD") else list(stages.METHODS)
KILLS_A_MOVE = 16


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            child = int(stat.parent.name)
            found += [child, *_children(child)]
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _kill(process: subprocess.Popen[str], whom: str) -> None:
    """Kill the engine, the program, or everything that belongs to the update; what has ended by then is left alone."""
    family = _children(process.pid)
    if whom == "engine":
        doomed = [process.pid]
    elif whom == "program":
        doomed = [pid for pid in family if "pulumi-language-python-exec" in _command(pid)]
    else:
        doomed = [process.pid, *family]
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=120)


def _gone(pids: list[int], deadline_s: float = 30.0) -> bool:
    deadline = time.monotonic() + deadline_s
    while any("pulumi" in _command(pid) or "localazure.plugin" in _command(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _killed_once(move: Move, stage: str, rng: random.Random, longest_s: float) -> str:
    """Start the stage, kill it at a random moment before *longest_s*, clear up; say what was done."""
    move.stack.configure(stage=stage)
    process = move.stack.start("up", "-y", "--skip-preview", "--suppress-outputs")
    delay_s, whom = rng.uniform(0.2, longest_s), rng.choice(["engine", "program", "all"])
    deadline = time.monotonic() + delay_s
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    family = _children(process.pid)
    _kill(process, whom)
    assert _gone(family), f"processes of a killed {whom} live on: {[_command(p) for p in family if _command(p)]}"
    resumed = move.resume()
    assert resumed.returncode == 0, resumed
    assert "Traceback" not in resumed.stdout + resumed.stderr, resumed
    return f"{stage}: {whom} after {delay_s:.1f} s"


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("method", METHODS)
def test_killed_anywhere_a_move_goes_on_and_loses_nothing(new_move: Callable[..., Move], method: str) -> None:
    rng = random.Random(SEED)
    left = KILLS
    longest_s = 6.0
    while left > 0:
        move = ready(new_move, method, keys=500)
        way = stages.way(method)
        application = application_of(move, method)
        history = [f"seed {SEED}"]
        try:
            kills = dict.fromkeys(way, 0)
            for _ in range(min(left, KILLS_A_MOVE)):
                kills[rng.choice(way)] += 1
            left -= min(left, KILLS_A_MOVE)
            for stage in way:
                history += [_killed_once(move, stage, rng, longest_s) for _ in range(kills[stage])]
                began = time.monotonic()
                taken = move.stack.stage(stage)
                assert taken.ok, f"{history}: {taken}"
                # What an update takes here and now; a kill is to hit its end as well as its beginning.
                longest_s = time.monotonic() - began
            checked = application.finish()
        finally:
            application.kill()
        assert checked["lost"] == 0, f"{history}: {checked}"
        assert checked["acknowledged"] > 0
        assert move.source is None
