"""
No order of stages, names, commands and meddling deletes or writes what it must not.

REDISMOVE_SEQUENCES says how many are tried (1 by default; 100 before a release), REDISMOVE_ACTIONS how long they are
(9 by default), REDISMOVE_SEED repeats a run.
The same gates without the engine are tried far more often in tests/unit/test_rules_gates.py.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from redismove import stages
from tests.support.move import Move
from tests.support.stack import Result

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SEQUENCES = int(os.environ.get("REDISMOVE_SEQUENCES", "1"))
SEED = int(os.environ.get("REDISMOVE_SEED", str(random.randrange(1_000_000))))
ACTIONS = int(os.environ.get("REDISMOVE_ACTIONS", "9"))


@dataclass
class Sequence:
    """One move that is driven at random, and what must stay true of it whatever happens."""

    move: Move
    decoy: str
    rng: random.Random
    history: list[str] = field(default_factory=list)
    linked: bool = False
    was_cut_over: bool = False

    def __post_init__(self) -> None:
        """Note what everything looks like before."""
        self.source_data = self.move.signature(self.move.source_name)
        self.source_writes = self.move.writes_of_others(self.move.source_name)
        self.decoy_data = self.move.signature(self.decoy)

    def act(self) -> None:
        """Do one thing at random, and look."""
        name, action = self.rng.choices(
            [
                ("next stage", self._next_stage),
                ("any stage", self._any_stage),
                ("preview", self.move.stack.preview),
                ("refresh", lambda: self.move.stack.pulumi("refresh", "-y", "--skip-preview")),
                ("destroy", lambda: self.move.stack.pulumi("destroy", "-y", "--skip-preview")),
                ("destroy --run-program", self._destroy_with_program),
                ("cancel", lambda: self.move.stack.pulumi("cancel", "-y")),
                ("state delete", self._state_delete),
                ("another name", self._another_name),
                ("unlink by hand", self._unlink_by_hand),
            ],
            weights=[12, 5, 1, 1, 1, 1, 1, 1, 2, 1],
        )[0]
        done = action()
        self.history.append(f"{name}: {self._asked()} {'' if done is None else done.exit_status}")
        self._look(done)

    def _asked(self) -> str:
        shown = self.move.stack.pulumi("config", "--json")
        config = json.loads(shown.output) if shown.ok else {}
        return "/".join(
            str(config.get(f"redismove:{key}", {}).get("value", "")) for key in ("stage", "source", "target")
        )

    def _recorded(self) -> str:
        for resource in self.move.stack.state()["deployment"].get("resources", []):
            if resource["type"].endswith(":StageGate"):
                return str(resource["outputs"]["stage"])
        return ""

    def _next_stage(self) -> Result:
        allowed = stages.allowed_next(stages.GEO_REPLICATION, self._recorded(), source_exists=True)
        return self.move.stack.stage(allowed[-1])

    def _any_stage(self) -> Result:
        self.move.stack.configure(stage=self.rng.choice(stages.STAGES))
        urns = {
            r["urn"].rsplit("::", 1)[-1]: r["urn"] for r in self.move.stack.state()["deployment"].get("resources", [])
        }
        options: list[tuple[str, ...]] = [(), ("--refresh",), ("--continue-on-error",)]
        options += [("--target", urns[name]) for name in ("link", "source", "target") if name in urns]
        options += [("--exclude", urns[name]) for name in ("gate", "evidence") if name in urns]
        return self.move.stack.up(*self.rng.choice(options))

    def _destroy_with_program(self) -> Result:
        return self.move.stack.pulumi("destroy", "-y", "--skip-preview", "--run-program")

    def _state_delete(self) -> Result | None:
        names = ("link", "source", "target", "evidence", "endpoint", "link-ready")
        urns = [
            r["urn"]
            for r in self.move.stack.state()["deployment"].get("resources", [])
            if r["urn"].rsplit("::", 1)[-1] in names
        ]
        if not urns:
            return None
        return self.move.stack.pulumi(
            "state", "delete", "--yes", "--force", "--target-dependents", self.rng.choice(urns)
        )

    def _another_name(self) -> Result:
        key, own = self.rng.choice([("source", self.move.source_name), ("target", self.move.target_name)])
        self.move.stack.configure(**{key: {"name": self.decoy}})
        tried = self.move.stack.up()
        self._look(tried)
        self.move.stack.configure(**{key: {"name": own}})
        return tried

    def _unlink_by_hand(self) -> None:
        if self.move.link.exists:
            self.move.unlink_by_hand()
            self.linked = False

    def _look(self, done: Result | None) -> None:
        told = f"{self.history}\n{done}"
        source, target, link = self.move.source, self.move.target, self.move.link
        assert done is None or "Traceback" not in done.output, told
        assert source is not None, f"the source is gone without its name: {told}"
        assert self.move.signature(self.move.source_name) == self.source_data, f"the source's data changed: {told}"
        assert self.move.signature(self.decoy) == self.decoy_data, f"a cache of others was changed: {told}"
        role = self._endpoint().get("role", "source")
        if role == "target":
            self.was_cut_over = True
            assert target is not None, f"the cache that applications use is gone: {told}"
            assert not link.exists, f"applications use a linked cache: {told}"
        if not self.was_cut_over:
            assert self.move.writes_of_others(self.move.source_name) == self.source_writes, f"it was written to: {told}"
        if self.linked and not link.exists and self._recorded() == stages.UNLINK:
            evidence = self.move.stack.outputs().get("evidence")
            assert evidence, f"unlinked without evidence: {told}"
            assert evidence["only_in_source"] + evidence["only_in_target"] + evidence["different"] == 0, told
        self.linked = link.exists

    def _endpoint(self) -> dict[str, Any]:
        file = self.move.stack.folder / ".redismove" / f"endpoint-{self.move.stack.name}.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}


@pytest.mark.timeout(7_200)
def test_no_order_of_things_harms_a_cache(new_move: Callable[..., Move]) -> None:
    rng = random.Random(SEED)
    for number in range(SEQUENCES):
        move = new_move(keys=60, confirmDelete="")
        decoy = f"{move.source_name}-decoy"
        move.cloud.seed(decoy, keys=30, **{"resource-group": "rg-orders", "location": "westus2"})
        sequence = Sequence(move, decoy, random.Random(rng.randrange(1 << 30)), [f"seed {SEED}, sequence {number}"])
        for _ in range(ACTIONS):
            sequence.act()
