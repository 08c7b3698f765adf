"""Previews as the real engine told them once, for the tests of the review."""

from __future__ import annotations

import dataclasses
import re

from redismove.facts import Move
from redismove.review.preview import Preview, read
from redismove.rules import RULES, guards
from tests.support.golden import GOLDEN

_DETAILS = re.compile(r"<details>.*</details>", re.S)


def lines_of(name: str) -> list[str]:
    """The events of a recorded preview."""
    return (GOLDEN / "review" / f"{name}.events.jsonl").read_text(encoding="utf-8").splitlines()


def recorded(name: str) -> Preview:
    """A recorded preview."""
    return read(lines_of(name))


def judged_by_all(preview: Preview, move: Move) -> Preview:
    """The same preview, as if the pack's policies were today's rules."""
    return dataclasses.replace(preview, judged=frozenset(rule.name for rule in RULES if guards(rule, move)))


def without_held(comment: str) -> str:
    """A comment without the list of rules that held, which changes with every new rule."""
    return _DETAILS.sub("<details>…</details>", comment)
