"""
A cloud, a stack and applications as plain data, moved only through the gates.

It follows the program's order inside one update: the gate, what is made and changed, then what is deleted, each
deletion after a fresh look by its hook. An update can be killed after any step. Every step that could lose data checks
that it does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from redismove import rules, stages
from redismove.facts import CarriedFacts, Consent, CutoverFacts, EndpointFacts, EvidenceFacts, LinkFacts, Move
from tests.support.moves import GONE, HOUR_S, NOW_S, SOURCE_ID, STORAGE, SUBSCRIPTION, TARGET_ID, TARGET_STORAGE
from tests.support.moves import source as made_source
from tests.support.moves import target as made_target

OTHER_SOURCE_ID = SOURCE_ID.replace("orders-east", "carts-east")


class Lost(AssertionError):
    """Something was done that loses data, or that nobody allowed."""


@dataclasses.dataclass
class Cache:
    """One cache: the keys it holds, and whether this stack made it."""

    keys: set[int]
    made_by_stack: bool = False
    foreign: tuple[str, ...] = ()


class World:
    """
    Everything there is. `go` is one `pulumi up`.

    *method* is the move's method; *foreign_target* puts a cache of somebody else's in the target's place.
    """

    def __init__(self, method: str, *, foreign_target: bool = False) -> None:
        self.method = method
        self.now_s = NOW_S
        self.source: Cache | None = Cache(keys=set(range(5)))
        self.target: Cache | None = Cache(keys={-1, -2}) if foreign_target else None
        self.linked = False
        self.on_target = False
        self.phase = "settled"
        self.endpoint_there = False
        self.next_key = 100
        self.recorded: dict[str, Any] = {}
        self.evidence: EvidenceFacts | None = None
        self.cutover: CutoverFacts | None = None
        self.carried: CarriedFacts | None = None
        self.retired_at_s = 0.0
        self.updates_done = 0

    # -------------------------------------------------------------- what happens outside

    def write(self) -> None:
        """An application writes one key to where the Endpoint sends it."""
        there = self.target if self.on_target else self.source
        if there is None:
            return
        there.keys.add(self.next_key)
        self.next_key += 1

    def replicate(self) -> None:
        """What the link still owes arrives."""
        if self.linked and self.source is not None and self.target is not None:
            self.target.keys = set(self.source.keys)

    def pass_time(self, hours: float) -> None:
        """Time goes by."""
        self.now_s += hours * HOUR_S

    def unlink_by_hand(self) -> None:
        """Somebody removes the link in the portal."""
        self.linked = False

    def delete_target_by_hand(self) -> None:
        """Somebody deletes the target, which Azure allows unless it is linked or, here, in use."""
        if not self.linked and not self.on_target:
            self.target = None

    def client_on_source(self, there: bool) -> None:
        """A client that is not ours connects to the source, or leaves."""
        if self.source is not None:
            self.source.foreign = ("default at 10.0.0.4:5",) if there else ()

    # -------------------------------------------------------------- what the gates see

    def look(self, stage: str, *, source_id: str = SOURCE_ID, consent: Consent | None = None) -> Move:
        """Read everything, as the program does before it declares anything."""
        geo = self.method == stages.GEO_REPLICATION
        link: LinkFacts | None = None
        if geo and self.source is not None:
            link = LinkFacts(primary_id=SOURCE_ID, secondary_id=TARGET_ID) if self.linked else GONE
        listed = (f"{SOURCE_ID}/linkedServers/orders-west",) if self.linked else ()
        live = None
        if self.target is not None:
            live = made_target(keys=len(self.target.keys))
        source = None
        if self.source is not None:
            source = made_source(keys=len(self.source.keys), foreign_clients=self.source.foreign, linked_servers=listed)
        return Move(
            method=self.method,
            stage=stage,
            source_id=source_id,
            target_id=TARGET_ID,
            today="2026-11-24",
            now_s=self.now_s,
            previous=self.recorded.get("stage", ""),
            previous_method=self.recorded.get("method", ""),
            stage_since_s=self.recorded.get("since", 0.0),
            fixed_source_id=self.recorded.get("source", ""),
            fixed_target_id="" if self.recorded.get("stage", "") in ("", stages.ADOPT) else TARGET_ID,
            source=source,
            target=live,
            declared_target=made_target(exists=False),
            target_made_by_stack=self.target is not None and self.target.made_by_stack,
            link=link,
            evidence=self.evidence,
            cutover=self.cutover,
            endpoint=(
                EndpointFacts(resource_id=TARGET_ID if self.on_target else SOURCE_ID, phase=self.phase)
                if self.endpoint_there
                else None
            ),
            source_storage=STORAGE,
            target_storage=TARGET_STORAGE,
            carried=self.carried,
            consent=consent or Consent(),
            signed_in_subscription_id=SUBSCRIPTION,
        )

    # -------------------------------------------------------------- one update

    def go(
        self,
        stage: str,
        *,
        consent: Consent | None = None,
        source_id: str = SOURCE_ID,
        killed_after: int | None = None,
        fails: str = "",
    ) -> list[str]:
        """
        Run one update; return the ids of the rules that refused it, empty where it was let in.

        *killed_after* ends it after so many steps. *fails* names a step that ends in an error.
        """
        move = self.look(stage, source_id=source_id, consent=consent)
        refused = rules.refusals(move) + rules.undecided(move)
        if refused:
            return [finding.rule.id for finding in refused]
        was = self.recorded.get("stage", "")
        if was != stage:
            self.recorded["since"] = self.now_s
        if stage == stages.RETIRE and was != stages.RETIRE:
            self.retired_at_s = self.now_s
        self.recorded |= {"stage": stage, "method": self.method, "source": source_id}

        def look() -> Move:
            return self.look(stage, source_id=source_id, consent=consent)

        for number, (name, step) in enumerate(self._steps(move, look)):
            if killed_after is not None and number >= killed_after:
                return []
            if name == fails or step() is False:
                return []
        self.updates_done += 1
        return []

    def _steps(self, move: Move, look: Callable[[], Move]) -> list[tuple[str, Callable[[], bool | None]]]:
        declared = stages.declaration(self.method, move.stage)
        return [
            ("target", lambda: self._make_target() if declared.target else None),
            ("data", lambda: self._bring_over(move) if declared.replication else None),
            ("evidence", lambda: self._verify(move) if move.stage == stages.VERIFY else None),
            ("endpoint", lambda: self._send_applications(declared.endpoint, move)),
            ("fence", self._fence),
            ("unlink", lambda: self._unlink(look) if not declared.replication else None),
            ("forget", lambda: self._forget(declared)),
            ("delete target", lambda: self._delete_target(look) if not declared.target else None),
            ("delete source", lambda: self._delete_source(look) if not declared.source else None),
        ]

    def _make_target(self) -> None:
        if self.target is None:
            self.target = Cache(keys=set(), made_by_stack=True)

    def _bring_over(self, move: Move) -> bool | None:
        geo = self.method == stages.GEO_REPLICATION
        if (geo and self.linked) or (not geo and move.stage != stages.REPLICATE):
            return None
        if self.source is None or self.target is None:
            return False
        if not geo and self.carried is not None:
            return None
        if self.on_target:
            raise Lost("the target is written over while applications use it")
        foreign = {key for key in self.target.keys if key < 0}
        if foreign and not self.target.made_by_stack and move.consent.accept_erase != "orders-west":
            raise Lost("a target that holds somebody's keys is erased without consent")
        self.target.keys = set(self.source.keys)
        self.linked = geo
        if not geo:
            self.carried = CarriedFacts(
                source_id=SOURCE_ID,
                target_id=TARGET_ID,
                method=self.method,
                started_at_s=self.now_s,
                finished_at_s=self.now_s,
                files_exported=1,
                files_imported=1,
            )
        return None

    def _verify(self, move: Move) -> bool | None:
        source, target = self.source, self.target
        if source is None or target is None:
            return False
        if self.on_target:
            return None  # on the way back: the cut-over comes first, and evidence is made by the next update
        made_now = self.evidence is not None and self.evidence.made_at_s >= self.recorded["since"]
        if self.evidence is not None and made_now and self.evidence.differences == 0:
            return None
        if self.method != stages.GEO_REPLICATION:
            target.keys = set(source.keys)  # what changed meanwhile is carried over before it is compared
        self.evidence = EvidenceFacts(
            source_id=SOURCE_ID,
            target_id=TARGET_ID,
            method=self.method,
            made_at_s=self.now_s,
            depth="full",
            link_state="Succeeded" if self.linked else "",
            keys_compared=len(source.keys | target.keys),
            only_in_source=len(source.keys - target.keys),
            only_in_target=len(target.keys - source.keys),
        )
        return self.evidence.differences == 0

    def _send_applications(self, side: str, move: Move) -> bool | None:
        if not self.endpoint_there:
            if side == "target":
                return False
            self.endpoint_there = True
            return None
        if (side == "target") == self.on_target:
            return None
        if self.source is None or self.target is None or self.linked:
            return False  # a linked secondary takes no write: the cut-over ends before the switch
        there, here = (self.target, self.source) if side == "target" else (self.source, self.target)
        if move.method != stages.NEW_CACHE:
            there.keys = set(here.keys)
        elif move.consent.accept_data_loss != ("orders-east" if side == "target" else "orders-west"):
            raise Lost("data is left behind that nobody gave up")
        self.on_target = side == "target"
        self.phase = "fencing"
        return None

    def _fence(self) -> None:
        if self.phase == "settled":
            return
        self.phase = "settled"
        ends = (SOURCE_ID, TARGET_ID) if self.on_target else (TARGET_ID, SOURCE_ID)
        self.cutover = CutoverFacts(
            from_id=ends[0], to_id=ends[1], finished_at_s=self.now_s, differences=0, fenced=True
        )
        if self.source is not None and self.on_target:
            self.source.foreign = ()

    def _unlink(self, look: Callable[[], Move]) -> bool | None:
        if not self.linked:
            return None
        move = look()
        if rules.refusals(move):
            return False
        if self.on_target:
            raise Lost("a link is removed while applications use its secondary")
        if move.stage == stages.UNLINK:
            evidence = self.evidence
            if evidence is None or evidence.differences or self.now_s - evidence.made_at_s > 24 * HOUR_S:
                raise Lost("a link is removed without clean and fresh evidence")
            if evidence.link_state != "Succeeded":
                raise Lost("a link is removed on the evidence of another time")
        self.linked = False
        return None

    def _forget(self, declared: stages.Declaration) -> None:
        if not declared.evidence:
            self.evidence = None
        if not declared.replication:
            self.carried = None

    def _delete_target(self, look: Callable[[], Move]) -> bool | None:
        if self.target is None or not self.target.made_by_stack:
            return None
        move = look()
        if self.on_target or rules.refusals(move):
            return False
        if self.linked:
            raise Lost("a linked cache is deleted")
        self.target = None
        return None

    def _delete_source(self, look: Callable[[], Move]) -> bool | None:
        if self.source is None:
            return None
        move = look()
        if rules.refusals(move):
            return False
        wrong = [
            text
            for broken, text in (
                (move.source_id != SOURCE_ID, "another cache was named"),
                (move.consent.confirm_delete != "orders-east", "nobody confirmed it by name"),
                (not self.on_target or self.phase != "settled", "applications are not on the target"),
                (bool(self.source.foreign), "somebody still uses it"),
                (self.linked, "it is linked"),
                (self.now_s - self.retired_at_s < 24 * HOUR_S or not self.retired_at_s, "it has not soaked"),
                (self.target is None, "there is no target"),
                (
                    self.target is not None
                    and self.method != stages.NEW_CACHE
                    and not self.source.keys <= self.target.keys,
                    "the target lacks keys of it",
                ),
            )
            if broken
        ]
        if wrong:
            raise Lost(f"the source is deleted though {' and '.join(wrong)}")
        self.source = None
        return None
