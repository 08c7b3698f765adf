"""No order of stages, refusals, kills and manual changes gets past the gates to where data is lost."""

from __future__ import annotations

import dataclasses
import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from redismove import rules, stages
from redismove.facts import Consent
from tests.support.gated_world import OTHER_SOURCE_ID, World

ALL = Consent(confirm_delete="orders-east", accept_erase="orders-west", accept_data_loss="orders-east")
BACK = dataclasses.replace(ALL, accept_data_loss="orders-west")
"""What a new cache took does not come back: the way back asks for its name (RM-L28)."""
CONSENTS = st.sampled_from(
    [
        Consent(),
        ALL,
        ALL,
        ALL,
        Consent(confirm_delete="orders-west", accept_erase="orders-east", accept_data_loss="orders-west"),
        BACK,
        Consent(accept_erase="orders-west"),
    ]
)
EXAMPLES = int(os.environ.get("REDISMOVE_MACHINE_EXAMPLES", "500"))


@pytest.mark.parametrize("method", stages.METHODS)
def test_the_way_from_end_to_end_is_open(method: str) -> None:
    """The world of this test can be moved: without that, not losing anything would prove nothing."""
    world = World(method)
    for stage in stages.way(method):
        world.write()
        world.replicate()
        assert world.go(stage, consent=ALL) == []
        assert world.go(stage, consent=ALL) == []
        world.pass_time(25 if stage == stages.RETIRE else 1)

    assert world.source is None
    assert world.target is not None
    assert world.updates_done == 2 * len(stages.way(method))
    assert world.look(stages.CLEANUP).endpoint is not None
    if method != stages.NEW_CACHE:
        assert len(world.target.keys) == 5 + len(stages.way(method))


@pytest.mark.parametrize("method", stages.METHODS)
def test_there_and_back_and_there_again(method: str) -> None:
    """To retire, back to adopt stage by stage with writes on either side, and to the end."""
    world = World(method)
    way = stages.way(method)
    there, back = [(stage, ALL) for stage in way], [(stage, BACK) for stage in reversed(way[:-2])]
    for stage, consent in [*there[:-1], *back, *there[1:]]:
        world.write()
        world.replicate()
        assert world.go(stage, consent=consent) == [], stage
        world.pass_time(25 if stage == stages.RETIRE else 0.1)

    assert world.source is None


class Gates(RuleBasedStateMachine):
    """Stages in any order, with any consent, killed anywhere, while somebody meddles."""

    world: World

    @initialize(method=st.sampled_from(stages.METHODS), foreign=st.booleans(), taken=st.integers(0, 7))
    def begin(self, method: str, foreign: bool, taken: int) -> None:
        """A new stack, or one that has gone some stages of the way in order."""
        self.world = World(method, foreign_target=foreign)
        for stage in stages.way(method)[: min(taken, len(stages.way(method)) - 1)]:
            self.world.go(stage, consent=ALL)
            self.world.pass_time(1)

    @rule(
        where=st.integers(0, 9),
        any_stage=st.sampled_from(stages.STAGES),
        consent=CONSENTS,
        killed_after=st.none() | st.integers(0, 8),
        fails=st.sampled_from(["", "", "", "data", "evidence", "endpoint", "fence", "unlink"]),
    )
    def update(self, where: int, any_stage: str, consent: Consent, killed_after: int | None, fails: str) -> None:
        """Mostly one stage forward or the same again, else any."""
        way = stages.way(self.world.method)
        recorded = self.world.recorded.get("stage", "")
        following = way[min(way.index(recorded) + 1, len(way) - 1)] if recorded else way[0]
        stage = following if where < 6 else (recorded or way[0]) if where < 8 else any_stage
        self.world.go(stage, consent=consent, killed_after=killed_after, fails=fails)

    @rule(consent=CONSENTS, stage=st.sampled_from(stages.STAGES))
    def update_with_another_source(self, consent: Consent, stage: str) -> None:
        """Somebody changes the source's name in the configuration."""
        if self.world.recorded:
            refused = self.world.go(stage, consent=consent, source_id=OTHER_SOURCE_ID)
            assert refused

    @rule()
    def write(self) -> None:
        """An application writes."""
        self.world.write()

    @rule()
    def replicate(self) -> None:
        """The link catches up."""
        self.world.replicate()

    @rule(hours=st.sampled_from([0.5, 2.0, 25.0]))
    def time_passes(self, hours: float) -> None:
        """Evidence ages, the source soaks."""
        self.world.pass_time(hours)

    @rule()
    def unlink_by_hand(self) -> None:
        """In the portal."""
        self.world.unlink_by_hand()

    @rule()
    def delete_target_by_hand(self) -> None:
        """In the portal."""
        self.world.delete_target_by_hand()

    @rule(there=st.booleans())
    def client_on_source(self, there: bool) -> None:
        """A forgotten client."""
        self.world.client_on_source(there)

    @precondition(lambda self: self.world.recorded.get("stage", "") not in ("", stages.CLEANUP))
    @invariant()
    def the_way_back_is_open(self) -> None:
        """Straight to adopt, unless a cut-over that another stage began must be finished first."""
        refused = [f.rule.id for f in rules.refusals(self.world.look(stages.ADOPT, consent=BACK))]
        finish_first = self.world.phase != "settled" and refused != []

        assert refused == (["RM-L15"] if finish_first else [])

    @precondition(lambda self: self.world.phase != "settled")
    @invariant()
    def a_cutover_that_has_begun_can_be_finished(self) -> None:
        """By the stage before cutover, or by the one that began it."""
        way = stages.way(self.world.method)
        before = way[way.index(stages.CUTOVER) - 1]
        stage = stages.CUTOVER if self.world.on_target else before
        recorded = self.world.recorded["stage"]
        if not self.world.on_target and recorded not in (stages.CUTOVER, before):
            stage = recorded
        if self.world.target is not None:
            refused = {f.rule.id for f in rules.refusals(self.world.look(stage, consent=ALL))}

            assert refused == set()


Gates.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
TestGates = Gates.TestCase
