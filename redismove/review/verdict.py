"""
Whether a change may go on: what the rules said, from every side that was asked.

Three sides are asked: the policies in the preview, the gate in the program (its words come as the engine's errors), and
the rules themselves on facts read live. What one of them refuses is refused. A mandatory rule that could not be judged,
was switched off or did not speak is refused too: not knowing is never a pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redismove.errors import RedismoveError
from redismove.facts import Move
from redismove.review.preview import Preview, Violation
from redismove.rules import RULES, Finding, Level, Outcome, Rule, evaluate, guards

_BY_ID: Final = {rule.id: rule for rule in RULES}
_PLACE: Final = {rule.id: place for place, rule in enumerate(RULES)}
_MANDATORY: Final = "mandatory"
_POLICY_NAME: Final = re.compile(r"^(rm-[a-z]\d+)-")
_SENTENCE: Final = re.compile(
    r"^(?:.*? has a problem: )?(?P<thing>.+?): found (?P<found>.+?), allowed (?P<allowed>.+?); (?P<cure>.+?)"
    r" \[(?P<rule>RM-[A-Z]\d+)\](?: (?P<url>\S+))?$"
)
_NOT_RUN: Final = "can't run policy"
_ALL: Final = "all"
_MOST_SILENT: Final = 3
PACK: Final = "policy pack"
"""Stands in the place of a rule's id where something is said of the pack itself."""


class ReviewError(RedismoveError):
    """The review could not be made."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """
    One thing that was said of the change.

    `rule` is the rule's id, or the name of a policy that is not one of ours. `found`, `allowed` and `cure` are empty
    where only `thing`, a whole sentence, is known.
    """

    rule: str
    title: str
    thing: str
    found: str = ""
    allowed: str = ""
    cure: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    What all sides said together.

    `refusals` stop the change, `not_known` are mandatory rules that could not be judged and stop it too, `errors` are
    the engine's errors that no rule explains. `notes` only tell. `held` and `not_applying` are ids of rules.
    """

    refusals: tuple[Told, ...] = ()
    not_known: tuple[Told, ...] = ()
    errors: tuple[str, ...] = ()
    notes: tuple[Told, ...] = ()
    held: tuple[str, ...] = ()
    not_applying: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether nothing stands in the way."""
        return not (self.refusals or self.not_known or self.errors)


def judge(move: Move, preview: Preview, *, lowered: Iterable[Told] = (), besides: Iterable[Told] = ()) -> Verdict:
    """
    Put together what the policies, the gate and the rules said.

    Args:
        move: the facts as they were read live, beside the preview.
        preview: what the engine told.
        lowered: what the configuration of the policy pack takes away, from `levels_lowered`.
        besides: refusals that have another reason.
    """
    findings = evaluate(move)
    gate, errors = _of_errors(preview.errors)
    refusals = [*_of_findings(findings, Outcome.FAIL, Level.MANDATORY), *gate]
    not_known = _of_findings(findings, Outcome.NOT_KNOWN, Level.MANDATORY)
    notes = _of_findings(findings, Outcome.FAIL, Level.ADVISORY)
    for violation in preview.violations:
        told = _of_violation(violation)
        rule = _rule_of(violation.policy)
        if _NOT_RUN in violation.message and (rule is None or rule.level is Level.MANDATORY):
            not_known.append(told)
        elif violation.level == _MANDATORY or (rule is not None and rule.level is Level.MANDATORY):
            refusals.append(told)
        else:
            notes.append(told)
    lowered = tuple(lowered)
    if preview.judged or preview.succeeded:
        refusals += _silent(move, preview, {told.rule for told in lowered})
    refusals += [*lowered, *besides]
    if not preview.succeeded and not refusals and not not_known and not errors:
        errors = ["the preview did not come to an end, and said nothing of why"]
    return Verdict(
        refusals=_sorted(refusals),
        not_known=_sorted(not_known),
        errors=tuple(sorted(errors)),
        notes=_sorted(told for told in notes if told not in refusals),
        held=tuple(sorted(f.rule.id for f in findings if f.outcome is Outcome.PASS)),
        not_applying=tuple(sorted(f.rule.id for f in findings if f.outcome is Outcome.NOT_APPLICABLE)),
    )


def levels_lowered(file: Path) -> list[Told]:
    """
    Return which mandatory rules the configuration of a policy pack switches off or makes advisory, each by name.

    Raises:
        ReviewError: the file cannot be read.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ReviewError(f"{file.name}: found a file that cannot be read ({_why(error)}), allowed JSON") from None
    except ValueError as error:
        raise ReviewError(f"{file.name}: found no JSON ({error}), allowed an object; correct it") from None
    if not isinstance(config, Mapping):
        raise ReviewError(f"{file.name}: found JSON that is no object, allowed one by policy name; correct it")
    lowered = []
    for policy, value in sorted(config.items()):
        level = _level(value)
        rule = _rule_of(policy)
        if level in (None, _MANDATORY) or (policy != _ALL and (rule is None or rule.level is not Level.MANDATORY)):
            continue
        lowered.append(
            Told(
                rule=rule.id if rule else _ALL,
                title=rule.title if rule else "all mandatory rules are judged",
                thing=f'policy "{policy}" in {file.name}',
                found=f'level "{level}"',
                allowed='"mandatory"',
                cure=f'remove "{policy}" from {file.name}; a rule may be made stricter there, never weaker',
                url=rule.source.url if rule else "",
            )
        )
    return lowered


def to_told(finding: Finding) -> Told:
    """Return what a rule said, in the parts that its message has."""
    rule, broken = finding.rule, finding.broken
    if broken is None:
        return Told(rule=rule.id, title=rule.title, thing=finding.outcome.value, url=rule.source.url)
    return Told(
        rule=rule.id,
        title=rule.title,
        thing=broken.thing,
        found=broken.found,
        allowed=broken.allowed,
        cure=broken.cure,
        url=rule.source.url,
    )


def _of_findings(findings: Iterable[Finding], outcome: Outcome, level: Level) -> list[Told]:
    return [to_told(f) for f in findings if f.outcome is outcome and f.rule.level is level]


def _of_errors(errors: Iterable[str]) -> tuple[list[Told], list[str]]:
    """Part the engine's errors into what rules said, at the gate or in a delete hook, and the rest."""
    told, others = [], []
    for message in errors:
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        sentences = [parsed for parsed in map(_parse, lines) if parsed is not None]
        if sentences:
            told += sentences
        elif lines and not _says_nothing(message):
            others.append(" ".join(lines))
    return told, others


def _says_nothing(message: str) -> bool:
    """Whether an error only repeats that there were errors."""
    return message.removeprefix("error: ").strip() in ("preview failed", "update failed")


def _of_violation(violation: Violation) -> Told:
    rule = _rule_of(violation.policy)
    if _NOT_RUN in violation.message and rule is not None:
        return Told(rule=rule.id, title=rule.title, thing=Outcome.NOT_KNOWN.value, url=rule.source.url)
    for line in reversed(violation.message.splitlines()):
        parsed = _parse(line)
        if parsed is not None:
            return parsed
    return Told(
        rule=rule.id if rule else violation.policy,
        title=rule.title if rule else violation.policy,
        thing=f"{violation.resource}: {' '.join(violation.message.split())}",
        url=rule.source.url if rule else "",
    )


def _parse(sentence: str) -> Told | None:
    match = _SENTENCE.match(sentence.strip())
    if match is None:
        return None
    rule = _BY_ID.get(match["rule"])
    return Told(
        rule=match["rule"],
        title=rule.title if rule else match["rule"],
        thing=match["thing"],
        found=match["found"],
        allowed=match["allowed"],
        cure=match["cure"],
        url=match["url"] or (rule.source.url if rule else ""),
    )


def _silent(move: Move, preview: Preview, lowered: set[str]) -> list[Told]:
    """Return the mandatory rules that guard this change and were not among the policies that judged the gate."""
    if _ALL in lowered:
        return []  # said already, and better
    spoke = {rule.id for rule in map(_rule_of, preview.judged) if rule is not None} | lowered
    silent = [r for r in RULES if r.level is Level.MANDATORY and guards(r, move) and r.id not in spoke]
    cure = "switch it on again, and give the policy pack that has it with --policy-pack"
    if len(silent) > _MOST_SILENT:
        return [
            Told(
                rule=PACK,
                title="every mandatory rule is judged in the preview",
                thing="policy pack",
                found=f"no judgement of {', '.join(rule.id for rule in silent)}",
                allowed="a judgement of every mandatory rule",
                cure=cure,
            )
        ]
    return [
        Told(
            rule=rule.id,
            title=rule.title,
            thing=f'policy "{rule.name}"',
            found="no judgement in the preview",
            allowed="a judgement of every mandatory rule",
            cure=cure,
            url=rule.source.url,
        )
        for rule in silent
    ]


def _rule_of(policy: str) -> Rule | None:
    """Return the rule that a policy of the pack stands for; its name begins with the rule's id."""
    match = _POLICY_NAME.match(policy)
    return _BY_ID.get(match[1].upper()) if match else None


def _level(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("enforcementLevel")
    return None if value is None else str(value)


def _sorted(told: Iterable[Told]) -> tuple[Told, ...]:
    """Sort by the order of the rules, each thing once: the sides say the same in the same words."""
    once = {(one.rule, one.thing, one.found): one for one in told}
    return tuple(sorted(once.values(), key=lambda one: (_PLACE.get(one.rule, len(_PLACE)), one.rule, one.thing)))


def _why(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else "not text"
