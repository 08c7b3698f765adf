"""When the target will be sufficiently populated: a pure function over counts."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from components.evidence import describe
from redismove import stages
from redismove.cli.stack import StackView
from redismove.cli.status import status
from redismove.dataplane.population import BUCKET_S, Population, enough_at_s
from redismove.facts import EvidenceFacts, PopulationFacts, from_dict, to_dict

NOW_S = 1_800_000_000.0
WEEK_MINUTES = 7 * 24 * 60


def found(**changes: object) -> Population:
    """100 keys, all of them equal, but for *changes*."""
    fields = {"total_keys": 100, "keys": 100, "equal": 100, "missing": 0, "different": 0, "without_expiry": 0}
    return Population(**{**fields, "lacking_without_expiry": 0, "measured_at_s": NOW_S, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("never", "by_minute", "share", "expected_minutes"),
    [
        (0, {}, 1.0, 0),
        (0, {0: 1}, 1.0, 1),
        (0, {5: 1, WEEK_MINUTES: 1}, 1.0, WEEK_MINUTES + 1),
        (0, {5: 1, WEEK_MINUTES: 1}, 0.99, 6),
        (0, {5: 1, WEEK_MINUTES: 1}, 0.98, 0),
        (10, {}, 0.9, 0),
        (10, {3: 5}, 0.9, 4),
        (11, {3: 5}, 0.9, None),
        (1, {}, 1.0, None),
        (100, {}, 0.0, 0),
    ],
)
def test_the_day_on_which_it_is_enough(
    never: int, by_minute: dict[int, int], share: float, expected_minutes: int | None
) -> None:
    at_s = enough_at_s(
        keys=100,
        lacking_without_expiry=never,
        lacking_by_minute=by_minute,
        measured_at_s=NOW_S,
        required_share=share,
    )

    assert at_s == (None if expected_minutes is None else NOW_S + expected_minutes * BUCKET_S)


@given(
    st.integers(0, 50),
    st.dictionaries(st.integers(0, 1000), st.integers(1, 20), max_size=20),
    st.integers(0, 1000),
    st.floats(0, 1),
)
def test_at_that_time_it_is_enough_and_not_a_minute_before(
    never: int, by_minute: dict[int, int], equal: int, share: float
) -> None:
    keys = equal + never + sum(by_minute.values())

    def lacking_at(minute: int) -> int:
        return never + sum(count for ends, count in by_minute.items() if ends >= minute)

    def enough(minute: int) -> bool:
        return lacking_at(minute) <= (1 - share) * keys + 1e-9

    at_s = enough_at_s(
        keys=keys,
        lacking_without_expiry=never,
        lacking_by_minute=by_minute,
        measured_at_s=0.0,
        required_share=share,
    )
    if at_s is None:
        assert not enough(10_000)
    else:
        minute = round(at_s / BUCKET_S)
        assert enough(minute)
        assert minute == 0 or not enough(minute - 1)


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"required_share is 1.1, allowed is 0 to 1"):
        found().enough_at_s(1.1)


def test_an_empty_source_is_populated() -> None:
    empty = found(total_keys=0, keys=0, equal=0)

    assert (empty.share, empty.enough_at_s()) == (1.0, NOW_S)


def test_a_sample_says_how_far_it_may_be_wrong() -> None:
    assert found().margin == 0
    assert found(sampled=True).margin == 0.03
    assert found(sampled=True, equal=50, missing=50).margin == pytest.approx(0.098)


def test_it_is_told_in_a_sentence() -> None:
    assert found().summary() == (
        "100.00% of 100 live keys are on the target as on the source; that is enough (100.00% asked for)"
    )
    lacking = found(equal=97, missing=2, different=1, lacking_without_expiry=1, lacking_by_minute={59: 2})
    assert lacking.summary() == (
        "97.00% of 100 live keys are on the target as on the source; 2 are missing and 1 differ; 1 of these never "
        "expire and are carried at the cut-over; waiting alone will not make it 100.00%"
    )
    assert lacking.summary(0.99).endswith("it will be 99.00% by 2027-01-15 09:00 UTC at the latest")
    assert lacking.to_json(0.99)["enoughAt"] == NOW_S + 3600
    assert "drawn from 100, give or take 3.0%" in found(sampled=True).summary()


def evidence() -> EvidenceFacts:
    """Of a dual-write move whose target lacked a tenth before the rest was carried."""
    lacking = found(equal=90, missing=10, lacking_by_minute={WEEK_MINUTES: 10}, longest_lacking_expiry_s=604_800.0)
    populated = PopulationFacts(
        measured_at_s=NOW_S,
        keys=100,
        share=lacking.share,
        required_share=1.0,
        enough_at_s=lacking.enough_at_s() or -1.0,
        missing=10,
        longest_lacking_expiry_s=604_800.0,
        words=lacking.summary(),
    )
    return EvidenceFacts(
        source_id="/s",
        target_id="/t",
        method=stages.DUAL_WRITE,
        made_at_s=NOW_S,
        depth="full",
        keys_compared=100,
        population=populated,
    )


def test_the_evidence_says_how_much_there_was_and_when_it_is_enough() -> None:
    sentence = describe(evidence())
    assert "90.00% of 100 live keys are on the target as on the source" in sentence
    assert "it will be 100.00% by 2027-01-22 08:01 UTC at the latest" in sentence
    assert "live keys" not in describe(from_dict(EvidenceFacts, {**to_dict(evidence()), "population": None}))


def test_the_evidence_goes_through_the_state_unchanged() -> None:
    assert from_dict(EvidenceFacts, to_dict(evidence())) == evidence()
    before = {name: value for name, value in to_dict(evidence()).items() if name != "population"}
    assert from_dict(EvidenceFacts, before).population is None, "recorded by an earlier version"


def test_the_status_shows_it_in_words_and_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: dict[str, Any] = {"stage": "verify", "method": stages.DUAL_WRITE, "evidence": to_dict(evidence())}

    class Recorded:
        def outputs(self) -> dict[str, Any]:
            return outputs

    monkeypatch.setattr(StackView, "open", lambda *_: Recorded())
    app = typer.Typer()
    app.command()(status)
    words = CliRunner().invoke(app, [], env={"COLUMNS": "300"}).stdout
    assert "90.00% of 100 live keys" in words
    assert "2027-01-22" in words
    assert "enough_at_s" not in words
    assert '"enough_at_s": 1800604860.0' in CliRunner().invoke(app, ["--json"]).stdout
