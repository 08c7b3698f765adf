"""The review of a change: from the engine's events to the comment. The events were recorded from real previews."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from redismove import stages
from redismove.facts import NOT_KNOWN, Move
from redismove.review import changes, markdown, report, verdict
from redismove.review.preview import Preview, Step, read
from redismove.review.verdict import ReviewError, Told, Verdict
from redismove.rules import RULES, Level, guards
from redismove.settings import CutoverSettings
from tests.support import moves
from tests.support.golden import assert_golden
from tests.support.previews import judged_by_all, lines_of, recorded, without_held

OWN = "pulumi-python:dynamic/redismove:"


def review(move: Move, preview: Preview, **more: object) -> report.Review:
    return report.Review(
        stack="dev",
        move=move,
        verdict=verdict.judge(move, preview, **more),  # type: ignore[arg-type]
        changes=changes.of(preview.steps, move),
        cutover=report.cutover_words(move, preview, CutoverSettings()),
    )


def without_evidence() -> Move:
    return moves.move(stages.UNLINK, previous=stages.REPLICATE, evidence=None)


# ------------------------------------------------------------------------------------------------- the comment


@pytest.mark.parametrize("stage", stages.STAGES)
def test_the_comment_of_each_stage_stays_as_it_is(stage: str) -> None:
    move = moves.move(stage)
    made = review(move, judged_by_all(recorded(stage), move))

    assert made.allowed, made.verdict
    assert_golden(without_held(made.comment()), f"review/{stage}.md")


def test_a_refused_comment_stays_as_it_is() -> None:
    move = without_evidence()
    made = review(move, judged_by_all(recorded("unlink-without-evidence"), move))

    assert not made.allowed
    assert [told.rule for told in made.verdict.refusals] == ["RM-S01", "RM-L05"]
    assert_golden(without_held(made.comment()), "review/unlink-without-evidence.md")


def test_the_comment_names_every_rule_that_was_asked() -> None:
    move = moves.move(stages.UNLINK)
    made = review(move, judged_by_all(recorded("unlink"), move))
    asked = {rule.id for rule in RULES if guards(rule, move)}

    told = set(re.findall(r"RM-[A-Z]\d+", made.comment()))

    assert asked <= told


def test_the_comment_is_the_same_for_events_in_another_order_and_a_few_minutes_later() -> None:
    move = moves.move(stages.UNLINK)
    lines = lines_of("unlink")
    once = review(move, judged_by_all(read(lines), move)).comment()

    other_order = [*reversed(lines[:-1]), lines[-1]]
    later = dataclasses.replace(move, now_s=move.now_s + 600)

    assert review(later, judged_by_all(read(other_order), later)).comment() == once


def test_deletions_are_told_first_and_in_words() -> None:
    move = moves.move(stages.UNLINK)
    told = changes.of(recorded("unlink").steps, move).told

    assert told[0].kind is changes.Kind.DELETED
    assert told[0].words == (
        'the link "orders-east"-"orders-west" is removed; after this "orders-west" keeps its data and takes writes'
    )
    assert [change.destroys for change in told] == [True]


def test_the_deleted_source_is_named_and_what_goes_with_it_is_not() -> None:
    (only,) = changes.of(recorded("cleanup").steps, moves.move(stages.CLEANUP)).told

    assert only.words == 'the source "orders-east" (eastus) is deleted with everything it holds'


@pytest.mark.parametrize(
    ("step", "kind", "words", "destroys"),
    [
        (
            Step(op="delete", type="azure-native:redis:Redis", name="source", before={"name": "a"}, retained=True),
            changes.Kind.LEFT,
            'the source "a" leaves the stack and stays in Azure with everything it holds',
            False,
        ),
        (
            Step(op="create-replacement", type="azure-native:redis:Redis", name="target", before={"name": "b"}),
            changes.Kind.DELETED,
            'the target "b" is deleted with everything it holds, and another one is made in its place',
            True,
        ),
        (
            Step(op="import-replacement", type="azure-native:redis:Redis", name="source", before={"name": "a"}),
            changes.Kind.DELETED,
            'the source "a" is deleted with everything it holds, and another one is made in its place',
            True,
        ),
        (
            Step(op="delete", type="azure-native:storage:StorageAccount", name="files"),
            changes.Kind.DELETED,
            'azure-native:storage:StorageAccount "files" is deleted',
            True,
        ),
        (
            Step(
                op="update",
                type="azure-native:redis:Redis",
                name="target",
                before={"name": "b", "tags": {"a": "secret"}},
                after={"name": "b", "tags": {"a": "other"}},
            ),
            changes.Kind.CHANGED,
            'the target "b" is changed: `tags`',
            False,
        ),
        (
            Step(
                op="create",
                type=f"{OWN}TargetPosture",
                name="target-posture",
                after={"targetId": "x/b", "persistence": "rdb", "notifications": ""},
            ),
            changes.Kind.CHANGED,
            'RDB persistence is switched on and notify-keyspace-events is set as the source had it at "b"',
            False,
        ),
        (
            Step(
                op="update",
                type=f"{OWN}TargetPosture",
                name="target-posture",
                before={"targetId": "x/b", "persistence": "rdb"},
                after={"targetId": "x/b", "persistence": "aof"},
            ),
            changes.Kind.CHANGED,
            'RDB persistence is switched off and AOF persistence is switched on at "b"',
            False,
        ),
        (
            Step(
                op="delete",
                type=f"{OWN}TargetPosture",
                name="target-posture",
                before={"targetId": "x/b", "persistence": "rdb"},
            ),
            changes.Kind.CHANGED,
            'RDB persistence is switched off at "b"',
            False,
        ),
        (
            Step(op="delete", type=f"{OWN}Evidence", name="evidence", before={"sourceId": "x/a", "targetId": "x/b"}),
            changes.Kind.LEFT,
            'the evidence of "a" and "b" is forgotten; it must be made again before it is needed',
            False,
        ),
        (
            Step(op="create", type=f"{OWN}SomethingNew", name="it"),
            changes.Kind.CREATED,
            'SomethingNew "it" is made',
            False,
        ),
    ],
)
def test_a_step_in_words(step: Step, kind: changes.Kind, words: str, destroys: bool) -> None:
    (change,) = changes.of([step], moves.move(stages.ADOPT)).told

    assert change == changes.Change(kind=kind, words=words, resource=step.name, destroys=destroys)


def test_a_cut_over_back_names_the_caches_the_other_way_round() -> None:
    move = moves.move(stages.UNLINK, previous=stages.CUTOVER, endpoint=moves.ON_TARGET, link=moves.GONE)
    back = Step(
        op="update",
        type=f"{OWN}Endpoint",
        name="endpoint",
        before={"active": "target", "sourceId": moves.SOURCE_ID, "targetId": moves.TARGET_ID, "carry": True},
        after={"active": "source", "sourceId": moves.SOURCE_ID, "targetId": moves.TARGET_ID, "carry": True},
    )
    told = report.cutover_words(move, Preview(steps=(back,), result="succeeded"), CutoverSettings())

    assert 'The Endpoint names "orders-east". From here the only way is forward.' in told
    assert any(line.startswith('Every connection to "orders-west" but our own is cut') for line in told)


def test_the_cut_over_says_beforehand_what_a_source_without_notifications_costs() -> None:
    silent = {"redis_configuration": {"notify-keyspace-events": "Ex"}}
    told = report.cutover_words(
        moves.move(stages.CUTOVER, source=silent), recorded("cutover"), CutoverSettings(hold="pause-write")
    )

    assert any("does not tell all its changes" in line for line in told)
    assert any("held for 30 s at most by CLIENT PAUSE WRITE" in line for line in told)


def test_a_new_cache_carries_nothing_over() -> None:
    (step,) = [step for step in recorded("cutover").steps if step.name == "endpoint"]
    step = dataclasses.replace(step, after={**step.after, "carry": False})
    move = moves.move(stages.CUTOVER, stages.NEW_CACHE)

    told = report.cutover_words(move, Preview(steps=(step,), result="succeeded"), CutoverSettings())

    assert told[0] == 'No data is carried over to "orders-west": it stays as it is.'


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [
        (-5, "less than an hour"),
        (3599, "less than an hour"),
        (3600, "1 hour"),
        (36 * 3600 + 59, "36 hours"),
        (48 * 3600, "2 days"),
    ],
)
def test_an_age_is_rounded_down(duration_s: float, words: str) -> None:
    assert report.age(duration_s) == words


# ------------------------------------------------------------------------------------------------- the verdict


def refused(made: Verdict) -> list[tuple[str, str]]:
    return [(told.rule, told.found) for told in made.refusals]


def test_what_the_rules_refuse_is_refused_though_every_policy_passed() -> None:
    """Facts may change between the preview and the look beside it."""
    move = without_evidence()
    preview = judged_by_all(recorded("unlink"), move)

    assert [rule for rule, _ in refused(verdict.judge(move, preview))] == ["RM-S01", "RM-L05"]


def test_what_only_a_policy_refuses_is_refused() -> None:
    """A policy pack's configuration may be stricter than the stack."""
    move = moves.move(stages.UNLINK)
    preview = judged_by_all(recorded("unlink-without-evidence"), move)

    made = verdict.judge(move, dataclasses.replace(preview, errors=(), result="succeeded"))

    assert [rule for rule, _ in refused(made)] == ["RM-S01", "RM-L05"]
    assert made.refusals[1].cure == "go back to verify and run it again: `pulumi config set redismove:stage verify`"


def test_a_mandatory_rule_that_was_made_advisory_refuses_all_the_same() -> None:
    move = moves.move(stages.UNLINK)
    preview = judged_by_all(recorded("unlink-without-evidence"), move)
    lowered = tuple(dataclasses.replace(v, level="advisory") for v in preview.violations)

    made = verdict.judge(move, dataclasses.replace(preview, violations=lowered, errors=(), result="succeeded"))

    assert [rule for rule, _ in refused(made)] == ["RM-S01", "RM-L05"]


def test_a_delete_hook_refuses_in_the_words_of_its_rule() -> None:
    move = moves.move(stages.UNLINK)
    sentence = (
        'link x: found stage "verify", which keeps the link, allowed a stage without it; set redismove:stage to unlink '
        "[RM-S01]"
    )
    preview = dataclasses.replace(
        judged_by_all(recorded("unlink"), move), errors=(f"before hook failed: {sentence}",), result="failed"
    )

    made = verdict.judge(move, preview)

    assert refused(made) == [("RM-S01", 'stage "verify", which keeps the link')]
    assert made.errors == ()


def test_a_failed_preview_is_refused_with_the_engines_words() -> None:
    move = moves.move(stages.UNLINK)
    preview = dataclasses.replace(
        judged_by_all(recorded("unlink"), move),
        errors=("the stack is currently locked by 1 lock(s)", "error: preview failed"),
        result="failed",
    )

    made = verdict.judge(move, preview)

    assert not made.allowed
    assert made.errors == ("the stack is currently locked by 1 lock(s)",)


@pytest.mark.parametrize("result", ["failed", ""])
def test_a_preview_without_a_good_end_is_refused_even_if_nothing_says_why(result: str) -> None:
    move = moves.move(stages.UNLINK)

    made = verdict.judge(move, dataclasses.replace(judged_by_all(recorded("unlink"), move), result=result))

    assert not made.allowed
    assert made.errors == ("the preview did not come to an end, and said nothing of why",)


def test_a_log_that_was_cut_off_is_no_pass() -> None:
    lines = lines_of("unlink")
    move = moves.move(stages.UNLINK)

    made = verdict.judge(move, judged_by_all(read([*lines[:-1], lines[-1][:20]]), move))

    assert not made.allowed


def test_a_log_with_a_broken_line_in_it_is_no_pass() -> None:
    """What stood in that line may have been a refusal."""
    lines = lines_of("unlink")
    move = moves.move(stages.UNLINK)

    made = verdict.judge(move, judged_by_all(read([*lines[:5], lines[5][:20], *lines[6:]]), move))

    assert not made.allowed


def test_a_fact_that_is_not_known_is_no_pass() -> None:
    move = moves.move(stages.UNLINK, evidence={"made_at_s": NOT_KNOWN})
    made = verdict.judge(move, judged_by_all(recorded("unlink"), move))

    assert not made.allowed
    assert "RM-L09" in {told.rule for told in made.not_known}


def test_a_policy_that_could_not_run_in_the_preview_is_no_pass() -> None:
    """The engine turns a mandatory policy that met an unknown value into an advisory, with exit status 0."""
    move = moves.move(stages.UNLINK)
    rule = next(rule for rule in RULES if rule.id == "RM-L09")
    told = {
        "policyName": rule.name,
        "enforcementLevel": "advisory",
        "message": f"{rule.title}\ncan't run policy '{rule.name}' from policy pack 'redismove@v1' during preview: x",
        "resourceUrn": "urn:pulumi:dev::redismove::a::gate",
    }
    lines = lines_of("unlink")
    preview = judged_by_all(read([json.dumps({"policyEvent": told}), *lines]), move)

    made = verdict.judge(move, preview)

    assert [one.rule for one in made.not_known] == ["RM-L09"]
    assert not made.allowed


def test_a_pack_that_is_switched_off_is_seen_in_a_preview_that_succeeded() -> None:
    move = moves.move(stages.UNLINK)
    made = verdict.judge(move, dataclasses.replace(recorded("unlink"), judged=frozenset()))

    ((rule, found),) = refused(made)
    assert rule == verdict.PACK
    assert found.startswith("no judgement of RM-S05, RM-S01")


def test_one_rule_that_is_switched_off_is_seen_and_named() -> None:
    """The configuration was not given to the review: only the silence of the policy tells of it."""
    move = without_evidence()
    off = recorded("unlink-rule-disabled").judged
    every = judged_by_all(recorded("unlink-rule-disabled"), move)
    (name,) = [rule.name for rule in RULES if rule.id == "RM-L05"]
    assert name not in off

    made = verdict.judge(move, dataclasses.replace(every, judged=every.judged - {name}))

    assert ("RM-L05", "no judgement in the preview") in refused(made)


def test_an_advisory_rule_that_is_switched_off_is_nobodys_concern() -> None:
    move = moves.move(stages.UNLINK)
    preview = judged_by_all(recorded("unlink"), move)
    advisory = {rule.name for rule in RULES if rule.level is Level.ADVISORY}

    assert verdict.judge(move, dataclasses.replace(preview, judged=preview.judged - advisory)).allowed


# ------------------------------------------------------------------------------------------------- the pack's levels

_L05 = next(rule.name for rule in RULES if rule.id == "RM-L05")
_P01 = next(rule.name for rule in RULES if rule.id == "RM-P01")


@pytest.mark.parametrize(
    ("config", "rules"),
    [
        ({"all": "disabled"}, ["all"]),
        ({"all": "advisory"}, ["all"]),
        ({"all": {"enforcementLevel": "disabled"}}, ["all"]),
        ({"all": "mandatory"}, []),
        ({_L05: "disabled"}, ["RM-L05"]),
        ({_L05: {"enforcementLevel": "advisory"}}, ["RM-L05"]),
        ({_L05: "mandatory"}, []),
        ({_L05: {"evidenceMaxAgeHours": 2}}, []),
        ({_P01: "disabled"}, []),
        ({"rm-g01-both-caches-of-a-link-are-premium-in-stack": "disabled"}, ["RM-G01"]),
        ({"all": "disabled", _L05: "advisory"}, ["all", "RM-L05"]),
        ({}, []),
    ],
)
def test_a_mandatory_rule_may_not_be_lowered(tmp_path: Path, config: dict[str, object], rules: list[str]) -> None:
    file = tmp_path / "pack.json"
    file.write_text(json.dumps(config))

    assert [told.rule for told in verdict.levels_lowered(file)] == rules


def test_what_is_lowered_is_refused_by_name_once(tmp_path: Path) -> None:
    file = tmp_path / "pack.json"
    file.write_text(json.dumps({_L05: "disabled"}))
    move = moves.move(stages.UNLINK)
    preview = judged_by_all(recorded("unlink"), move)

    made = verdict.judge(
        move,
        dataclasses.replace(preview, judged=preview.judged - {_L05}),
        lowered=verdict.levels_lowered(file),
    )

    assert [told.thing for told in made.refusals] == [f'policy "{_L05}" in pack.json']


def test_a_pack_that_is_switched_off_by_its_configuration_is_said_once(tmp_path: Path) -> None:
    file = tmp_path / "pack.json"
    file.write_text('{"all": "disabled"}')
    move = moves.move(stages.UNLINK)

    made = verdict.judge(
        move, dataclasses.replace(recorded("unlink"), judged=frozenset()), lowered=verdict.levels_lowered(file)
    )

    assert refused(made) == [("all", 'level "disabled"')]


@pytest.mark.parametrize("text", ["", "[]", "{", '"all"'])
def test_a_configuration_that_is_none_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pack.json"
    file.write_text(text)

    with pytest.raises(ReviewError, match=r"^pack\.json: found "):
        verdict.levels_lowered(file)


# ------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("a\n# b", "a \\# b"),
        ("<!-- redismove review of stack dev -->", "&lt;!-- redismove review of stack dev --&gt;"),
        ("ask @team", "ask &#64;team"),
        ("run `pulumi up <x>` now*", "run `pulumi up <x>` now\\*"),
        ("one ` alone", "one &#96; alone"),
        ("[x](https://e)", "\\[x\\](https://e)"),
    ],
)
def test_text_cannot_break_out(words: str, shown: str) -> None:
    assert markdown.text(words) == shown


def test_a_comment_that_is_too_long_is_cut_at_a_line_and_says_so() -> None:
    whole = markdown.document("dev", "x", [("", ["<details>", *(f"line {n}" for n in range(20_000)), "</details>"])])

    assert len(whole) <= markdown.LONGEST + 1
    assert whole.count("<details>") == whole.count("</details>") == 1
    assert whole.rstrip().endswith("prints it all.")


def test_deletions_that_were_not_asked_for_are_refused() -> None:
    move = moves.move(stages.UNLINK)
    preview = judged_by_all(recorded("unlink"), move)
    told = report.unwanted_deletions(changes.of(preview.steps, move).destroys)

    made = verdict.judge(move, preview, besides=told)

    assert refused(made) == [("deletions", "a deletion")]


def test_a_review_that_failed_is_a_comment_too() -> None:
    text = report.failed("dev", "redismove:source: found nothing, allowed an object")

    assert text.startswith("<!-- redismove review of stack dev -->\n## redismove: stack `dev`: could not be reviewed\n")
    assert "no pass" in text


def test_the_values_for_programs_say_the_same() -> None:
    move = without_evidence()
    values = review(move, judged_by_all(recorded("unlink-without-evidence"), move)).to_json()

    assert json.loads(json.dumps(values)) == values
    assert (values["recordedStage"], values["stage"], values["allowed"]) == ("replicate", "unlink", False)
    assert [told["rule"] for told in values["refusals"]] == ["RM-S01", "RM-L05"]
    assert isinstance(Told(**values["refusals"][0]), Told)
