"""One review: everything that is told of a change, and its comment."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Final

from redismove import stages
from redismove.dataplane.cutover_report import CutoverLimits
from redismove.dataplane.follow import notifies_everything
from redismove.facts import CutoverFacts, EvidenceFacts, Move
from redismove.plan import notices
from redismove.review import changes, markdown
from redismove.review.changes import Change, Changes, name_in
from redismove.review.preview import Preview, Step
from redismove.review.verdict import Told, Verdict
from redismove.settings import CutoverSettings

_HOUR_S: Final = 3600.0
_RULE: Final = re.compile(r"RM-[A-Z]\d+")
_PAGE: Final = re.compile(r"https://[\w./#?=&%-]+")
_DELETES: Final = "deletions"
"""Stands in the place of a rule's id where deletions were not asked for."""


@dataclass(frozen=True, kw_only=True)
class Review:
    """
    The review of one stack.

    `cutover` are the steps of the cut-over in words, empty where applications stay where they are.
    """

    stack: str
    move: Move
    verdict: Verdict
    changes: Changes
    cutover: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        """Whether the change may go on."""
        return self.verdict.allowed

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        move = self.move
        change = f"`{move.previous}` to `{move.stage}`" if move.previous else f"a new stack to `{move.stage}`"
        if move.previous == move.stage:
            change = f"`{move.stage}` again"
        return f"redismove: stack `{self.stack}`, {change}: {'allowed' if self.allowed else 'refused'}"

    def comment(self) -> str:
        """Return the comment as Markdown; the same review gives the same text."""
        return markdown.document(self.stack, self.headline, [*self._sections()])

    def to_json(self) -> dict[str, Any]:
        """Return everything that is told, as plain values."""
        verdict = self.verdict
        return {
            "stack": self.stack,
            "method": self.move.method,
            "recordedStage": self.move.previous,
            "stage": self.move.stage,
            "allowed": self.allowed,
            "refusals": [dataclasses.asdict(told) for told in verdict.refusals],
            "notKnown": [dataclasses.asdict(told) for told in verdict.not_known],
            "errors": list(verdict.errors),
            "notes": [dataclasses.asdict(told) for told in verdict.notes],
            "rulesThatHold": list(verdict.held),
            "rulesThatDoNotApply": list(verdict.not_applying),
            "changes": [
                {"kind": c.kind.value, "words": c.words, "resource": c.resource, "destroys": c.destroys}
                for c in self.changes.told
            ],
            "recordsInState": self.changes.records,
            "cutover": list(self.cutover),
            "evidence": None if self.move.evidence is None else _evidence(self.move.evidence, self.move),
            "undo": stages.UNDO[self.move.stage],
        }

    def _sections(self) -> list[tuple[str, list[str]]]:
        verdict, text = self.verdict, markdown.text
        sections = [("", [self._verdict()]), ("Stage", self._stage())]
        if verdict.refusals:
            sections.append(("Refused by", [line for told in verdict.refusals for line in _rule(told)]))
        if verdict.not_known:
            lines = ["A mandatory rule that cannot be judged is no pass.", ""]
            sections.append(("Not known yet", lines + [line for told in verdict.not_known for line in _rule(told)]))
        if verdict.errors:
            sections.append(("The preview failed", [f"- {text(error)}" for error in verdict.errors]))
        sections.append(("What `pulumi up` does", self._changes()))
        if self.cutover:
            steps = [f"{number}. {text(step)}" for number, step in enumerate(self.cutover, 1)]
            noticed = [f"- {text(line)}" for line in notices(self.move, self.move.method)]
            sections.append(("The cut-over", [*steps, "", "What applications notice of this method:", *noticed]))
        sections.append(("Evidence", [f"- {text(line)}" for line in self._evidence()]))
        sections.append(("What can still be undone", self._undo()))
        if verdict.notes:
            sections.append(("Notes, which stop nothing", [line for told in verdict.notes for line in _rule(told)]))
        return [*sections, ("", self._held())]

    def _verdict(self) -> str:
        verdict, gone = self.verdict, len(self.changes.destroys)
        if self.allowed:
            done = f"deletes {_count(gone, 'thing')}" if gone else "deletes nothing"
            return f"**Allowed.** No rule stands in the way. The update {done} in Azure."
        parts = [
            _count(len(verdict.refusals), "refusal") if verdict.refusals else "",
            _count(len(verdict.not_known), "rule") + " not known yet" if verdict.not_known else "",
            _count(len(verdict.errors), "error") + " of the preview" if verdict.errors else "",
        ]
        return f"**Refused:** {', '.join(part for part in parts if part)}. Nothing has been changed."

    def _stage(self) -> list[str]:
        move = self.move
        where = _DIRECTIONS[stages.direction(move.previous, move.stage)]
        way = " → ".join(f"**{stage}**" if stage == move.stage else stage for stage in stages.way(move.method))
        recorded = f"The stack recorded `{move.previous}`" if move.previous else "The stack is new"
        caches = f"From {_cache(move.source_id, self._region(move.source_id))}"
        if move.target_id:
            caches += f" to {_cache(move.target_id, self._region(move.target_id))}"
        lines = [f"- {recorded}; the configuration asks for `{move.stage}` ({where}), method `{move.method}`."]
        if move.previous_method and move.previous_method != move.method:
            lines.append(f"- The method changes from `{move.previous_method}` to `{move.method}`.")
        return [
            *lines,
            f"- {markdown.text(caches)}.",
            f"- Stage `{move.stage}`: {markdown.text(stages.SUMMARY[move.stage])}.",
            f"- The way: {way}.",
        ]

    def _region(self, cache_id: str) -> str:
        known = (self.move.source, self.move.target, self.move.declared_target)
        return next((c.location for c in known if c is not None and c.id.lower() == cache_id.lower()), "")

    def _changes(self) -> list[str]:
        told = self.changes.told
        lines = []
        if not self.allowed:
            lines = ["Nothing, while it is refused."]
            if told:
                lines += ["", "The preview, as far as it came:"]
        elif not told:
            lines = ["Nothing in Azure and nothing for applications."]
        for kind, title in _TITLES.items():
            of_kind = [change for change in told if change.kind is kind]
            if of_kind:
                lines += ["", f"{title}:", *(f"- {_sentence(change)}" for change in of_kind)]
        if self.changes.records and self.allowed:
            lines += ["", f"Besides, {_count(self.changes.records, 'record')} in the stack's own state."]
        return lines[1:] if lines and not lines[0] else lines

    def _evidence(self) -> list[str]:
        move = self.move
        lines = []
        if stages.VERIFY not in stages.way(move.method):
            lines.append(f"method {move.method} brings no data over, so there is nothing to compare")
        elif move.evidence is None:
            now = move.stage == stages.VERIFY
            lines.append("none yet; it is made in this stage" if now else "none")
        else:
            lines += list(_evidence(move.evidence, move).values())
        if move.cutover is not None:
            lines.append(_cutover(move.cutover, move))
        return lines

    def _undo(self) -> list[str]:
        move = self.move
        lines = [f"- After `{move.stage}`: {markdown.text(stages.UNDO[move.stage])}."]
        if move.previous and move.previous != move.stage:
            lines.append(f"- Without this change, at `{move.previous}`: {markdown.text(stages.UNDO[move.previous])}.")
        return lines

    def _held(self) -> list[str]:
        verdict = self.verdict
        summary = f"{_count(len(verdict.held), 'rule')} held, {len(verdict.not_applying)} did not apply"
        return [
            f"<details><summary>{summary}</summary>",
            "",
            f"Held: {', '.join(verdict.held) or 'none'}.",
            "",
            f"Did not apply: {', '.join(verdict.not_applying) or 'none'}.",
            "",
            "</details>",
        ]


def failed(stack: str, sentence: str) -> str:
    """Return the comment of a review that could not be made, so that an older one does not stand in its place."""
    headline = f"redismove: stack `{stack}`: could not be reviewed"
    told = f"**Not reviewed**, which is no pass: {markdown.text(sentence)}"
    return markdown.document(stack, headline, [("", [told])])


def unwanted_deletions(told: tuple[Change, ...]) -> list[Told]:
    """Return a refusal for each thing in Azure that would be deleted, for a run that may delete nothing."""
    return [
        Told(
            rule=_DELETES,
            title="this run deletes nothing in Azure",
            thing=change.words,
            found="a deletion",
            allowed="none in this run",
            cure="run it where deletions are approved",
        )
        for change in told
    ]


def cutover_words(move: Move, preview: Preview, settings: CutoverSettings) -> tuple[str, ...]:
    """Return what the update does when it sends applications to the other cache; empty where they stay."""
    turning = next((step for step in preview.steps if changes.turns(step)), None)
    return () if turning is None else tuple(_cutover_steps(turning, move, settings))


def _cutover_steps(step: Step, move: Move, settings: CutoverSettings) -> list[str]:
    forward = step.after.get("active") == "target"
    old_id, new_id = (move.source_id, move.target_id) if forward else (move.target_id, move.source_id)
    old_cache = move.source if forward else move.target
    old, new = name_in(old_id), name_in(new_id)
    carried = bool(step.after.get("carry", True))
    follows = old_cache is not None and notifies_everything(old_cache.notify_keyspace_events)
    has_keys = old_cache is None or not old_cache.access_keys_disabled
    lines = (
        _carrying(old, new, follows=follows) if carried else [f"No data is carried over to {new}: it stays as it is."]
    )
    whole = " The hold holds one comparison more." if carried and not follows else ""
    left = " What is left is carried over." if carried else ""
    cut = "its access keys are regenerated" if has_keys else "it has no access keys to change"
    limit = f"{settings.limit_seconds:g} s in all"
    return [
        *lines,
        f"Writes on {old} are held {_held(settings, carried=carried, follows=follows)}.{left}{whole}",
        f"Where that is not done within {limit}, the hold ends, applications stay at {old} and the update fails.",
        f"The Endpoint names {new}. From here the only way is forward.",
        f"Every connection to {old} but our own is cut, and {cut}.",
        "The hold ends, and what was found is recorded in the stack.",
    ]


def _carrying(old: str, new: str, *, follows: bool) -> list[str]:
    compared = f"{old} and {new} are compared and every difference is carried over; applications go on."
    if not follows:
        return [f"{old} does not tell all its changes (notify-keyspace-events), so nothing can be followed.", compared]
    return [
        f"The changes of {old} are followed, by one connection to each primary.",
        compared,
        "What changes meanwhile is carried over as well, until what is left fits into the hold.",
    ]


def _held(settings: CutoverSettings, *, carried: bool, follows: bool) -> str:
    limits = CutoverLimits(hold_ms=settings.hold_milliseconds)
    pause_s = limits.hold_with_compare_s if carried and not follows else limits.hold_ms / 1000
    fence_s = max(pause_s, limits.fence_hold_ms / 1000)
    pause = f"{pause_s:g} s at most by CLIENT PAUSE WRITE"
    fence = f"{fence_s:g} s at most by new keys and cut connections"
    return {
        "auto": f"for {pause}, or for {fence} where the server has no such pause",
        "pause-write": f"for {pause}",
        "fence": f"for {fence}",
    }[settings.hold]


_DIRECTIONS: Final = {
    stages.Direction.FIRST: "the first stage",
    stages.Direction.SAME: "the same stage again",
    stages.Direction.FORWARD: "forward",
    stages.Direction.BACK: "back",
}
_TITLES: Final = {
    changes.Kind.DELETED: "Deleted",
    changes.Kind.LEFT: "Left as it is, and no longer in the stack",
    changes.Kind.CHANGED: "Changed",
    changes.Kind.CREATED: "Created",
}


def _rule(told: Told) -> list[str]:
    text = markdown.text
    lines = [f"- **{text(told.rule)}** {text(told.title)}"]
    if not told.found:
        lines.append(f"  - {text(told.thing)}")
    else:
        lines += [
            f"  - {text(told.thing)}",
            f"  - found: {text(told.found)}",
            f"  - allowed: {text(told.allowed)}",
            f"  - cure: {text(told.cure)}",
        ]
    if _RULE.fullmatch(told.rule) and _PAGE.fullmatch(told.url):
        lines.append(f"  - why: docs/rules/{told.rule}.md, {told.url}")
    return lines


def _sentence(change: Change) -> str:
    words = markdown.text(change.words)
    return f"**{words}**" if change.destroys else words


def _cache(cache_id: str, region: str) -> str:
    return f"{name_in(cache_id)} ({region})" if region else name_in(cache_id)


def _evidence(found: EvidenceFacts, move: Move) -> dict[str, str]:
    """Say what the evidence is, each part in a sentence; ages are rounded, so that the text stays the same."""
    lag = "lag not shown by the service" if found.lag_bytes < 0 else f"lag {found.lag_bytes:,} bytes"
    link = f"link {found.link_state}, {lag}" if found.link_state else ""
    parts = {
        "of": f"of {name_in(found.source_id)} and {name_in(found.target_id)}, method {found.method}, "
        f"depth {found.depth}",
        "age": f"{age(move.now_s - found.made_at_s)} old; {move.limits.evidence_max_age_hours:g} h are allowed",
        "counts": f"{found.keys_compared:,} keys compared, {found.differences:,} differ"
        + (
            f" ({found.only_in_source:,} only in the source, {found.only_in_target:,} only in the target, "
            f"{found.different:,} not equal)"
            if found.differences
            else ""
        ),
        "link": link,
        "settings": f"settings that differ: {', '.join(found.settings_differ)}" if found.settings_differ else "",
    }
    return {name: words for name, words in parts.items() if words}


def _cutover(found: CutoverFacts, move: Move) -> str:
    fenced = "the old cache is closed to applications" if found.fenced else "the old cache is NOT closed yet"
    return (
        f"the last cut-over sent applications to {name_in(found.to_id)}, {age(move.now_s - found.finished_at_s)} ago: "
        f"{found.differences:,} differences, {fenced}"
    )


def age(duration_s: float) -> str:
    """Write an age rounded down to hours, from two days on to days."""
    whole = int(max(duration_s, 0.0) // _HOUR_S)
    if whole < 1:
        return "less than an hour"
    return _count(whole, "hour") if whole < 48 else _count(whole // 24, "day")


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
