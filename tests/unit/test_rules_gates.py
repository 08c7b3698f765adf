"""What all rules have in common: what they guard, when nothing may be judged, and that a way back stays open."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest

from redismove import rules, stages
from redismove.facts import NOT_KNOWN, Move
from redismove.rules import RULES, Level, Outcome, evaluate, guards, refusals, undecided
from redismove.rules.model import Rule
from redismove.settings import MoveSettings
from tests.support.moves import GONE, ON_SOURCE, ON_TARGET, change, link, move
from tests.support.rule_cases import CASES

EVERY_STAGE = [(method, stage) for method in stages.METHODS for stage in stages.way(method)]
DATA_RULES = frozenset(
    {"RM-S01", "RM-S02", "RM-S04", "RM-S05", "RM-L01", "RM-L14", "RM-L15", "RM-L28", "RM-T09", "RM-T11"}
)
"""The rules that guard the way straight back to adopt."""


@pytest.mark.parametrize(("method", "stage"), EVERY_STAGE)
def test_a_move_in_order_is_not_refused(method: str, stage: str) -> None:
    """Neither the first time nor again."""
    made = move(stage, method)

    assert refusals(made) == undecided(made) == []
    assert refusals(change(made, previous=stage)) == []


@pytest.mark.parametrize(("method", "stage"), EVERY_STAGE)
def test_a_second_update_hours_later_is_not_refused(method: str, stage: str) -> None:
    """What was done then was judged then: the link is gone, applications are over, the source is deleted."""
    made = move(stage, method)
    done: dict[str, Any] = {"previous": stage, "now_s": made.now_s + 100 * 3600}
    if stage == stages.UNLINK:
        done |= {"link": GONE, "source": {"linked_servers": ()}}
    if stage in (stages.CUTOVER, stages.RETIRE, stages.CLEANUP):
        done |= {"endpoint": ON_TARGET}
    if stage == stages.CLEANUP:
        done |= {"source": None, "cutover": None, "link": None}

    assert refusals(change(made, **done)) == []


@pytest.mark.parametrize(("method", "stage"), [(m, s) for m, s in EVERY_STAGE if s != stages.CLEANUP])
def test_the_way_straight_back_is_open_from_every_stage_before_cleanup(method: str, stage: str) -> None:
    """Whatever else is broken: no evidence, a link in an odd state, a target that is gone."""
    made = move(stages.ADOPT, method, previous=stage, previous_method=method, declared_target=None)
    held = move(stage, method)
    broken = dataclasses.replace(
        made,
        target=None,
        evidence=None,
        cutover=None,
        endpoint=held.endpoint,
        link=dataclasses.replace(link(), provisioning_state="Failed") if method == stages.GEO_REPLICATION else None,
        consent=dataclasses.replace(made.consent, accept_data_loss="orders-west"),
    )

    assert refusals(broken) == []


def test_only_rules_that_protect_data_or_identity_guard_the_way_straight_back() -> None:
    """Named here, so that adding one is a decision."""
    assert {r.id for r in RULES if r.backward and stages.ADOPT in r.stages} == DATA_RULES


@pytest.mark.parametrize(
    ("method", "stage"), [(m, s) for m, s in EVERY_STAGE if s not in (stages.ADOPT, stages.CLEANUP)]
)
def test_the_way_one_step_back_is_open(method: str, stage: str) -> None:
    """With things as they are at the stage that is left."""
    way = stages.way(method)
    before = way[way.index(stage) - 1]
    held = move(stage, method)
    back = dataclasses.replace(
        held,
        stage=before,
        previous=stage,
        endpoint=ON_TARGET if stage in (stages.CUTOVER, stages.RETIRE) else ON_SOURCE,
        evidence=None,
        # What a new cache took does not come back: that is to be said (RM-L28).
        consent=dataclasses.replace(held.consent, accept_data_loss="orders-west"),
    )

    assert refusals(back) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_guards_its_methods_and_stages_and_no_other(rule: Rule) -> None:
    """Forward, again and, only where it says so, back."""
    for method, stage in EVERY_STAGE:
        made = move(stage, method)
        way = stages.way(method)
        guarded = method in rule.methods and stage in rule.stages
        later = way[way.index(stage) + 1 :]

        assert guards(rule, made) is guarded
        assert guards(rule, change(made, previous=stage)) is guarded
        assert all(guards(rule, change(made, previous=s)) is (guarded and rule.backward) for s in later)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_says_who_it_is(rule: Rule) -> None:
    """Id, title, source and severity are whole; the name of its policy is made of them."""
    assert re.fullmatch(r"RM-[SLTGRCDNP]\d\d", rule.id)
    assert rule.title[0].islower() or rule.title.startswith(("Redis", "Azure")) or rule.title.startswith("a Premium")
    assert not rule.title.endswith(".")
    assert rule.source.url.startswith("https://learn.microsoft.com/")
    assert rule.source.says.endswith(".")
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", rule.source.reviewed)
    assert rule.severity in ("low", "medium", "high", "critical")
    assert rule.severity in ("low", "medium") if rule.level is Level.ADVISORY else rule.severity in ("high", "critical")
    assert rule.methods <= set(stages.METHODS)
    assert rule.stages <= set(stages.STAGES)
    assert rule.methods
    assert rule.stages
    assert rule.plain in ("", "cache", "link", "database")
    assert rule.name.startswith(f"{rule.id.lower()}-")
    assert re.fullmatch(r"[a-z0-9-]{8,90}", rule.name)
    assert not rule.name.endswith("-")


def test_ids_titles_and_names_are_unique() -> None:
    """One rule, one id, one page, one policy."""
    for field in ("id", "title", "name"):
        values = [getattr(rule, field) for rule in RULES]

        assert len(values) == len(set(values))


def test_a_stage_that_does_not_exist_is_told_alone() -> None:
    """No other rule speaks of it, and it is not passed."""
    for odd in (change(move("adopt"), stage="finish"), change(move("adopt"), method="teleport")):
        assert [f.rule.id for f in refusals(odd)] == ["RM-S05"]
        assert [f.rule.id for f in evaluate(odd)] == ["RM-S05"]


@pytest.mark.parametrize("field", ["method", "stage"])
def test_where_method_or_stage_are_not_known_nothing_passes(field: str) -> None:
    """Every rule that may guard it is told as not known yet."""
    findings = evaluate(change(move("verify"), **{field: NOT_KNOWN}))

    assert {f.outcome for f in findings} == {Outcome.NOT_KNOWN}
    assert {f.rule.id for f in findings} == {
        r.id for r in RULES if field == "method" or stages.GEO_REPLICATION in r.methods
    }


def test_where_the_stage_before_is_not_known_the_transition_does_not_pass() -> None:
    """It may be a jump."""
    unknown = change(move("verify"), previous=NOT_KNOWN)

    assert "RM-S01" in {f.rule.id for f in undecided(unknown)}
    assert refusals(unknown) == []


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for f in dataclasses.fields(value):
            yield from _leaves(getattr(value, f.name), (*path, f.name))


def _unknown_at(record: Any, path: tuple[str, ...]) -> Any:
    if not path:
        return NOT_KNOWN
    inner = _unknown_at(getattr(record, path[0]), path[1:])
    return dataclasses.replace(record, **{path[0]: inner})


@pytest.mark.parametrize("id_", CASES)
def test_what_is_not_known_never_turns_a_failure_into_a_pass(id_: str) -> None:
    """Every fact of every failing case, unknown one at a time: it still fails, or is not known yet."""
    rule = next(r for r in RULES if r.id == id_)
    for case in CASES[id_]:
        if case.outcome is not Outcome.FAIL:
            continue
        for path in _leaves(case.move):
            outcome = rule.judge(_unknown_at(case.move, path)).outcome

            assert outcome in (Outcome.FAIL, Outcome.NOT_KNOWN), f"{case.name}: {'.'.join(path)} unknown"


@pytest.mark.parametrize("id_", CASES)
def test_a_move_of_which_nothing_is_known_passes_no_rule(id_: str) -> None:
    """All facts unknown."""
    rule = next(r for r in RULES if r.id == id_)
    nothing = Move(**{f.name: NOT_KNOWN for f in dataclasses.fields(Move)})

    assert rule.judge(nothing).outcome is Outcome.NOT_KNOWN


def test_a_finding_tells_its_outcome_where_nothing_is_broken() -> None:
    """For tables."""
    passed = next(f for f in evaluate(move("prepare")) if f.rule.id == "RM-T08")
    unknown = next(f for f in undecided(change(move("prepare"), source=NOT_KNOWN)) if f.rule.id == "RM-T08")

    assert passed.message == "the target is in another region: pass [RM-T08]"
    assert unknown.message == "the target is in another region: not known yet [RM-T08]"


def test_only_a_broken_mandatory_rule_stops() -> None:
    """Advice does not."""
    made = move("prepare")
    findings = evaluate(made)
    advice = [f for f in findings if f.outcome is Outcome.FAIL]

    assert advice
    assert not any(f.stops for f in findings)
    assert {f.rule.level for f in advice} == {Level.ADVISORY}
    stopped = refusals(change(made, declared_target={"location": "eastus"}))
    assert [f.rule.id for f in stopped] == ["RM-T08"]
    assert rules.sentence(stopped) == stopped[0].message
    assert rules.sentence([*stopped, *stopped]) == f"{stopped[0].message}\n{stopped[0].message}"


PENDING_KEYS = frozenset({"catchUp", "storage.source", "storage.target", "managedIdentity", "copyJob"})
"""Keys of methods whose settings are not there yet."""


def test_a_cure_names_only_configuration_keys_that_exist() -> None:
    """Nobody is sent to a key that is then refused as unknown."""
    known = {f.alias or name for name, f in MoveSettings.model_fields.items()}
    named = {
        key
        for cases in CASES.values()
        for case in cases
        for rule in RULES
        if rule.id in CASES and case in CASES[rule.id] and case.outcome is Outcome.FAIL
        for key in re.findall(r"redismove:([A-Za-z]+(?:\.[A-Za-z]+)?)", rule.judge(case.move).message)
    }

    assert {key for key in named if key.split(".")[0] not in known} - PENDING_KEYS == set()
