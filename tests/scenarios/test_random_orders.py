"""
No order of stages, names, commands and meddling deletes or writes what it must not.

Each sequence starts at a stage chosen at random; the move is taken through its stages once and put aside at each.
REDISMOVE_SEQUENCES says how many are tried (1 by default; 100 before a release), REDISMOVE_ACTIONS how long they are
(7 by default), REDISMOVE_SEED repeats a run, REDISMOVE_FIRST goes on with a sequence of it.
The same gates without the engine are tried far more often in tests/unit/test_rules_gates.py.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from redismove import stages
from redismove.facts import CacheFacts, LinkFacts
from tests.support.local_cloud import REPOSITORY
from tests.support.move import GROUP, Move
from tests.support.shelf import Shelf
from tests.support.stack import Result

pytestmark = [pytest.mark.engine, pytest.mark.slow]

SEQUENCES = int(os.environ.get("REDISMOVE_SEQUENCES", "1"))
FIRST = int(os.environ.get("REDISMOVE_FIRST", "0"))
SEED = int(os.environ.get("REDISMOVE_SEED", str(random.randrange(1_000_000))))
ACTIONS = int(os.environ.get("REDISMOVE_ACTIONS", "7"))
_SKIP = ("-y", "--skip-preview")
_LOST_BY_STATE_DELETE = ("link", "source", "target", "evidence", "endpoint", "link-ready", "bulk-copy", "gate")


@dataclass
class Sequence:
    """One move that is driven at random, and what must stay true of it whatever happens."""

    move: Move
    decoy: str
    method: str
    rng: random.Random
    history: list[str]
    counted: Counter[str] = field(default_factory=Counter)
    deleted_by_hand: bool = False

    def __post_init__(self) -> None:
        """Note what everything looks like before."""
        self.source_data = self.move.signature(self.move.source_name)
        self.source_writes = self.move.writes_of_others(self.move.source_name)
        self.decoy_data = self.move.signature(self.decoy)
        self.linked = self._live()[2].exists
        self.was_cut_over = self._endpoint().get("role") == "target"

    @property
    def over(self) -> bool:
        """Whether the source was deleted, rightly; nothing more can happen to it."""
        return self._live()[0] is None

    def act(self) -> None:
        """Do one thing at random, and look."""
        name, action = self.rng.choices(
            [
                ("next stage", self._next_stage),
                ("any stage", self._any_stage),
                ("up with a preview", lambda: self.move.stack.pulumi("up", "-y")),
                ("preview", self._preview),
                ("refresh", lambda: self.move.stack.pulumi("refresh", *_SKIP)),
                ("destroy", self._destroy),
                ("destroy --run-program", lambda: self.move.stack.pulumi("destroy", *_SKIP, "--run-program")),
                ("cancel", lambda: self.move.stack.pulumi("cancel", "-y")),
                ("state delete", self._state_delete),
                ("another name", self._another_name),
                ("vetoed, then another stage", self._vetoed_then_another_stage),
                ("by hand", self._by_hand),
                ("confirm", self._confirm),
            ],
            weights=[12, 7, 2, 1, 1, 2, 2, 1, 3, 3, 3, 4, 2],
        )[0]
        done = action()
        self.counted[name] += 1
        self.history.append(f"{name}: {self._asked()} {'' if done is None else done.exit_status}")
        self._look(done)

    # --- what is done

    def _next_stage(self) -> Result:
        allowed = stages.allowed_next(self.method, self._recorded(), source_exists=True)
        return self.move.stack.stage(allowed[-1])

    def _any_stage(self) -> Result:
        self.move.stack.configure(stage=self.rng.choice(stages.way(self.method)))
        urns = {name: resource["urn"] for name, resource in self.move.stack.resources().items()}
        options: list[tuple[str, ...]] = [(), ("--refresh",), ("--continue-on-error",), ("--policy-pack", "policies")]
        options += [("--target", urns[name]) for name in ("link", "source", "target", "endpoint") if name in urns]
        options += [("--target", urns[n], "--target-dependents") for n in ("source", "target") if n in urns]
        options += [("--exclude", urns[name]) for name in ("gate", "evidence") if name in urns]
        chosen = self.rng.choice(options)
        self.history.append(f"up {' '.join(part.rsplit('::', 1)[-1] for part in chosen)}")
        return self.move.stack.up(*chosen)

    def _preview(self) -> Result:
        self.move.stack.configure(stage=self.rng.choice(stages.way(self.method)))
        return self.move.stack.preview(*self.rng.choice([(), ("--policy-pack", "policies"), ("--refresh",)]))

    def _destroy(self) -> Result:
        urns = [r["urn"] for name, r in self.move.stack.resources().items() if name in ("link", "source", "target")]
        chosen = self.rng.choice([(), *[("--target", urn, "--target-dependents") for urn in urns]])
        return self.move.stack.pulumi("destroy", *_SKIP, *chosen)

    def _state_delete(self) -> Result | None:
        resources = self.move.stack.resources()
        names = [name for name in resources if name in _LOST_BY_STATE_DELETE]
        if not names:
            return None
        chosen = self.rng.choice(names)
        self.history.append(f"state delete {chosen}")
        return self.move.stack.pulumi(
            "state", "delete", "--yes", "--force", "--target-dependents", resources[chosen]["urn"]
        )

    def _another_name(self) -> Result:
        key, own = self.rng.choice([("source", self.move.source_name), ("target", self.move.target_name)])
        self.move.stack.configure(**{key: {"name": self.decoy}})
        options = self.rng.choice([(), (), ("--exclude", "**gate"), ("--target", "**source", "--target-dependents")])
        tried = self.move.stack.up(*options)
        self._look(tried)
        assert self.move.signature(self.decoy) == self.decoy_data, f"{self.history}: {tried}"
        if self.rng.random() < 0.5:
            tried = self.move.stack.pulumi("destroy", *_SKIP, "--run-program")
            self._look(tried)
        self.move.stack.configure(**{key: {"name": own}})
        return self.move.stack.up()

    def _vetoed_then_another_stage(self) -> Result:
        recorded = self._recorded()
        veto: dict[str, Any] = {"evidenceMaxAgeHours": "0.0000001", "soakHours": "99"}
        before = {key: self.move.stack.configured(key) for key in veto}
        self.move.stack.configure(**veto)
        asked = stages.allowed_next(self.method, recorded, source_exists=True)[-1]
        vetoed = self.move.stack.stage(asked)
        self.history.append(f"vetoed: {asked} {vetoed.exit_status}")
        self._look(vetoed)
        self.move.stack.configure(**before)
        return self.move.stack.stage(self.rng.choice(stages.way(self.method)))

    def _by_hand(self) -> None:
        done = self.rng.choices(
            [self._unlink, self._scale, self._new_keys, self._write_to_target, self._delete_target],
            weights=[3, 3, 3, 3, 1],
        )[0]
        self.history.append(f"by hand: {done.__name__.strip('_')}")
        done()

    def _unlink(self) -> None:
        if self._live()[2].exists:
            self.move.unlink_by_hand()
            self.linked = False

    def _scale(self) -> None:
        source, target, link = self._live()
        if source is not None and target is not None and not link.exists:
            self.move.scale_by_hand(self.move.target_name, 3 - target.sku_capacity if target.sku_capacity < 3 else 1)

    def _new_keys(self) -> None:
        with self.move.azure() as caches:
            for name in (self.move.source_name, self.move.target_name):
                if caches.state(self.move.cache_id(name)) == "Succeeded":
                    caches.regenerate_key(self.move.cache_id(name), self.rng.choice(["Primary", "Secondary"]))

    def _delete_target(self) -> None:
        _, target, link = self._live()
        if target is None or link.exists or self._endpoint().get("role") == "target" or self._fencing():
            return
        self.move.delete_by_hand(self.move.target_name)

    def _write_to_target(self) -> None:
        _, target, link = self._live()
        if target is None or link.exists or self.was_cut_over or self._endpoint().get("role") == "target":
            return
        with self.move.connect(self.move.target_name) as server:
            server.execute([(b"not-of-the-source", ("SET", b"not-of-the-source", b"1"))])

    def _confirm(self) -> None:
        chosen = self.rng.choice([self.move.source_name, self.move.target_name, self.decoy, ""])
        self.move.stack.configure(confirmDelete=chosen)

    # --- what must be true

    def _look(self, done: Result | None) -> None:
        told = f"{self.history}\n{done}"
        source, target, link = self._live()
        assert done is None or "Traceback" not in done.output, told
        if source is None:
            self._deleted_rightly(target, told)
            return
        role = self._endpoint().get("role", "source")
        if role == "target":
            self.was_cut_over = True
            assert target is not None, f"the cache that applications use is gone: {told}"
            assert not link.exists, f"applications use a linked cache: {told}"
        assert self.move.signature(self.move.source_name) == self.source_data, f"the source's data changed: {told}"
        if not self.was_cut_over:
            assert self.move.writes_of_others(self.move.source_name) == self.source_writes, f"it was written to: {told}"
        if self.linked and not link.exists and self._recorded() not in (stages.ADOPT, stages.PREPARE):
            evidence = self.move.stack.resources()["evidence"]["outputs"]["evidence"]
            assert evidence["only_in_source"] + evidence["only_in_target"] + evidence["different"] == 0, told
            assert self.move.signature(self.move.target_name) == self.source_data, f"unlinked too early: {told}"
        self.linked = link.exists

    def _deleted_rightly(self, target: CacheFacts | None, told: str) -> None:
        assert self.move.stack.configured("confirmDelete") == self.move.source_name, f"deleted without its name: {told}"
        assert self._recorded() == stages.CLEANUP, f"deleted at another stage: {told}"
        assert self._endpoint().get("role") == "target", f"deleted while in use: {told}"
        assert target is not None, told
        assert self.move.signature(self.move.target_name) == self.source_data, f"deleted, and data is missing: {told}"
        self.counted["source deleted"] += 1

    # --- where it stands

    def _live(self) -> tuple[CacheFacts | None, CacheFacts | None, LinkFacts]:
        source_id, target_id = self.move.cache_id(self.move.source_name), self.move.cache_id(self.move.target_name)
        with self.move.azure() as caches:
            source = caches.settled(source_id, timeout_s=60)
            link = LinkFacts(primary_id=source_id, secondary_id=target_id, exists=False, provisioning_state="")
            return (
                source,
                caches.settled(target_id, timeout_s=60),
                caches.link(source_id, target_id) if source else link,
            )

    def _asked(self) -> str:
        return "/".join(str(self.move.stack.configured(key)) for key in ("stage", "confirmDelete"))

    def _recorded(self) -> str:
        gate = self.move.stack.resources().get("gate")
        return str(gate["outputs"]["stage"]) if gate else ""

    def _endpoint(self) -> dict[str, Any]:
        file = self.move.stack.folder / ".redismove" / f"endpoint-{self.move.stack.name}.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def _fencing(self) -> bool:
        return bool(self._endpoint().get("phase", "settled") != "settled")


@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("method", [stages.GEO_REPLICATION, stages.COPY])
def test_no_order_of_things_harms_a_cache(new_move: Callable[..., Move], tmp_path: Path, method: str) -> None:
    rng = random.Random(f"{SEED} {method}")
    move = new_move(keys=60, confirmDelete="", method=method)
    decoy = f"{move.source_name}-decoy"
    move.cloud.seed(decoy, keys=30, **{"resource-group": GROUP, "location": "westus2"})
    way = stages.way(method)[:-1]
    shelf = Shelf.of(move, tmp_path / "shelf", *way)
    counted: Counter[str] = Counter()
    for number in range(SEQUENCES):
        start, own = rng.choice(["", *way]), random.Random(rng.randrange(1 << 30))
        if number < FIRST:
            continue
        shelf.put_back(start)
        history = [f"seed {SEED}, sequence {number} of {method}, from {start or 'an empty stack'}"]
        sequence = Sequence(move, decoy, method, own, history, counted)
        for _ in range(ACTIONS):
            sequence.act()
            if sequence.over:
                break
        assert move.signature(decoy) == sequence.decoy_data, f"a cache of others was changed: {sequence.history}"
        _tell(f"{history[0]}: {sequence.history[1:]}; so far {sum(counted.values())} actions: {dict(counted)}")


def _tell(text: str) -> None:
    """Write progress where a run over hours can be followed."""
    if log := os.environ.get("REDISMOVE_LOG"):
        with (REPOSITORY / log).open("a") as file:
            file.write(f"{text}\n")
