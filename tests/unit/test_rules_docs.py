"""The reference pages say what the code says."""

from __future__ import annotations

import docs
from redismove import stages
from redismove.rules import RULES


def test_pages_are_current() -> None:
    """Run `python tools/docs.py` where this fails."""
    assert docs.not_current() == []


def test_there_is_a_page_for_each_rule_and_each_stage() -> None:
    """No rule and no stage without a page, each linked from its index."""
    made = docs.pages()

    assert {f"rules/{rule.id}.md" for rule in RULES} | {f"stages/{s}.md" for s in stages.STAGES} == set(made) - {
        "rules/README.md",
        "stages/README.md",
    }
    assert all(f"[{rule.id}]({rule.id}.md)" in made["rules/README.md"] for rule in RULES)
    assert all(f"[{stage}]({stage}.md)" in made["stages/README.md"] for stage in stages.STAGES)


def test_every_link_between_pages_leads_somewhere() -> None:
    """Relative links name pages that are there."""
    made = docs.pages()
    for path, text in made.items():
        folder = path.split("/", maxsplit=1)[0]
        for target in docs.links_in(text):
            resolved = target.removeprefix("../") if target.startswith("../") else f"{folder}/{target}"

            assert resolved in made, f"{path} links to {target}"
