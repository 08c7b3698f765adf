"""Each rule passes, fails and keeps silent where it should, in the words that every gate prints."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from redismove.rules import RULES, Outcome
from redismove.rules.model import Rule
from tests.support.rule_cases import CASES, Case

GOLDEN = Path(__file__).parent / "golden" / "rule_messages.json"
BY_ID = {rule.id: rule for rule in RULES}
EVERY_CASE = [
    pytest.param(BY_ID[id_], case, id=f"{id_}: {case.name}") for id_, cases in CASES.items() for case in cases
]
ALWAYS_SPEAK = frozenset(
    {
        *("RM-S01", "RM-S02", "RM-S03", "RM-S04", "RM-S05", "RM-L01", "RM-L03", "RM-L04", "RM-G12", "RM-R10", "RM-C01"),
        "RM-C06",
    }
)
"""Rules that say something of every move they guard."""
ALWAYS_TELL = frozenset({"RM-N09", "RM-N14", "RM-N17", "RM-N18"})
"""Advice: where it applies there is something to tell."""


@pytest.mark.parametrize(("rule", "case"), EVERY_CASE)
def test_a_rule_says_what_it_should(rule: Rule, case: Case) -> None:
    """The outcome of the case, by the rule alone."""
    finding = rule.judge(case.move)

    assert case.outcome is finding.outcome, finding.message


def messages() -> dict[str, dict[str, str]]:
    """The message of every failing case."""
    return {
        id_: {case.name: BY_ID[id_].judge(case.move).message for case in cases if case.outcome is Outcome.FAIL}
        for id_, cases in sorted(CASES.items())
    }


def test_messages_are_the_ones_that_were_read_and_approved() -> None:
    """Run with REDISMOVE_UPDATE_GOLDEN=1 to write them anew, then read the difference."""
    told = messages()
    if os.environ.get("REDISMOVE_UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    assert json.loads(GOLDEN.read_text(encoding="utf-8")) == told


def test_each_rule_has_cases_of_each_outcome() -> None:
    """No rule without a case that passes, one that fails, and one that it does not speak of."""
    missing = []
    for rule in RULES:
        outcomes = {case.outcome for case in CASES.get(rule.id, [])}
        wanted = {Outcome.FAIL}
        if rule.id not in ALWAYS_TELL:
            wanted.add(Outcome.PASS)
        if rule.id not in ALWAYS_SPEAK:
            wanted.add(Outcome.NOT_APPLICABLE)
        missing += [(rule.id, outcome.value) for outcome in wanted - outcomes]

    assert missing == []
    assert set(CASES) == set(BY_ID)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_message_says_thing_found_allowed_cure_id_and_link(rule: Rule) -> None:
    """Every message has the same shape, on one line."""
    for case in CASES[rule.id]:
        if case.outcome is not Outcome.FAIL:
            continue
        finding = rule.judge(case.move)
        assert finding.broken is not None
        parts = (finding.broken.thing, finding.broken.found, finding.broken.allowed, finding.broken.cure)

        assert all(part == part.strip() and part for part in parts)
        assert "\n" not in finding.message
        assert finding.message.endswith(f" [{rule.id}] {rule.source.url}")
        assert not finding.broken.cure.endswith(".")
