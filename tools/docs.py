"""
Writes the reference pages of rules and stages from the code.

    python tools/docs.py            writes docs/rules/ and docs/stages/
    python tools/docs.py --check    says which pages are not current, exit status 1 if any

The examples of a rule's page are the messages that its tests expect.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from redismove import stages
from redismove.rules import RULES, Level, Rule

ROOT = Path(__file__).resolve().parent.parent
MESSAGES = ROOT / "tests" / "unit" / "golden" / "rule_messages.json"
_MADE = "<!-- Made by tools/docs.py from the code. Change the code, then run it again. -->"
_MOST_EXAMPLES = 3
_TOPICS = {
    "S": "The way of stages",
    "L": "The life of a move",
    "T": "Tiers and sizes",
    "G": "Geo-replication",
    "R": "Export and import",
    "C": "Copy",
    "D": "Dual-write",
    "N": "Network and sign-in",
    "P": "Standing rules",
}
_PLAIN = {
    "cache": (
        "each `azure-native:redis:Redis` and `azure-native:redisenterprise:RedisEnterprise` of any program that the "
        "policy pack checks"
    ),
    "database": (
        "each `azure-native:redisenterprise:Database` of any program that the policy pack checks, with its cluster"
    ),
    "link": "each `azure-native:redis:LinkedServer` of any program that the policy pack checks, with its two caches",
}


def pages() -> dict[str, str]:
    """Return every page by its path below `docs/`."""
    examples: dict[str, dict[str, str]] = json.loads(MESSAGES.read_text(encoding="utf-8"))
    made = {f"rules/{rule.id}.md": rule_page(rule, list(examples.get(rule.id, {}).values())) for rule in RULES}
    made["rules/README.md"] = rule_index()
    made |= {f"stages/{stage}.md": stage_page(stage) for stage in stages.STAGES}
    made["stages/README.md"] = stage_index()
    return made


def rule_page(rule: Rule, messages: list[str]) -> str:
    """Return the page of one rule; *messages* are what it was seen to say."""
    refuses = "refuses the update" if rule.level is Level.MANDATORY else "warns and lets the update go on"
    lines = [
        _MADE,
        "",
        f"# {rule.id}: {rule.title}",
        "",
        f"Where it is broken it {refuses} ({rule.level.value}, severity {rule.severity}).",
        "",
        "| | |",
        "|---|---|",
        f"| Methods | {_in_order(rule.methods, stages.METHODS)} |",
        f"| Stages | {_stage_links(rule.stages)} |",
        f"| On a way back to one of them | {'judged too' if rule.backward else 'not judged'} |",
        f"| Judged by | `redismove plan`, the stage gate, the delete hooks, the policy `{rule.name}` |",
    ]
    if rule.plain:
        lines.append(f"| And on | {_PLAIN[rule.plain]} |")
    lines += [
        "",
        "## Why",
        "",
        f"{rule.source.says}",
        "",
        f"Source: [{rule.source.page}]({rule.source.url}), read {rule.source.reviewed}.",
        "",
        "## What it says",
        "",
        "Each message names the thing, what was found, what is allowed and what to do.",
        "",
    ]
    shown: list[str] = []
    for message in messages:
        text = message.removesuffix(f" [{rule.id}] {rule.source.url}")
        if text not in shown:
            shown.append(text)
    lines += [f"- {text}" for text in shown[:_MOST_EXAMPLES]]
    return "\n".join([*lines, ""])


def rule_index() -> str:
    """Return the list of all rules by topic."""
    lines = [_MADE, "", "# Rules", "", "What Azure refuses, and what a team would regret. Ids never change.", ""]
    for letter, topic in _TOPICS.items():
        lines += [f"## {topic} (RM-{letter})", "", "| Rule | What must hold | Level | Severity |", "|---|---|---|---|"]
        for rule in sorted((r for r in RULES if r.id[3] == letter), key=lambda r: r.id):
            lines.append(f"| [{rule.id}]({rule.id}.md) | {rule.title} | {rule.level.value} | {rule.severity} |")
        lines.append("")
    return "\n".join(lines)


def stage_page(stage: str) -> str:
    """Return the page of one stage."""
    methods = [m for m in stages.METHODS if stage in stages.way(m)]
    lines = [
        _MADE,
        "",
        f"# Stage `{stage}`",
        "",
        f"{_sentence(stages.SUMMARY[stage])}",
        "",
        "```sh",
        f"pulumi config set redismove:stage {stage}",
        "pulumi up --policy-pack policies",
        "```",
        "",
        f"Undo: {stages.UNDO[stage]}.",
        "",
        f"On the way of: {', '.join(methods)}.",
        "",
        "## What it declares",
        "",
        "| | " + " | ".join(methods) + " |",
        "|---" * (len(methods) + 1) + "|",
    ]
    declared = {m: stages.declaration(m, stage) for m in methods}
    for title, field in (
        ("source", "source"),
        ("source protected", "source_protected"),
        ("source kept in Azure when it leaves the state", "source_retained"),
        ("target", "target"),
        ("target protected", "target_protected"),
        ("link, copy, transfer or window", "replication"),
        ("evidence", "evidence"),
        ("applications at the", "endpoint"),
    ):
        lines.append(f"| {title} | " + " | ".join(_cell(getattr(declared[m], field)) for m in methods) + " |")
    lines += ["", "## What may follow", ""]
    for method in methods:
        following = stages.allowed_next(method, stage, source_exists=True)
        lines.append(f"- {method}: {', '.join(_link(s) for s in following)}")
    if stage == stages.CLEANUP:
        lines += ["", "Once the source is gone, nothing but `cleanup` itself."]
    for level, title in ((Level.MANDATORY, "What it needs"), (Level.ADVISORY, "What it warns of")):
        found = [r for r in RULES if stage in r.stages and r.level is level]
        lines += ["", f"## {title}", "", "| Rule | What must hold | Methods |", "|---|---|---|"]
        for rule in found:
            which = "all" if rule.methods >= set(methods) else _in_order(rule.methods & set(methods), stages.METHODS)
            if which:
                lines.append(f"| [{rule.id}](../rules/{rule.id}.md) | {rule.title} | {which} |")
    return "\n".join([*lines, ""])


def stage_index() -> str:
    """Return the table of stages and methods."""
    lines = [_MADE, "", "# Stages", "", "Each stage is one `pulumi up`.", ""]
    lines += ["| Stage | What it does | " + " | ".join(stages.METHODS) + " |", "|---" * (len(stages.METHODS) + 2) + "|"]
    for stage in stages.STAGES:
        marks = " | ".join("yes" if stage in stages.way(m) else "" for m in stages.METHODS)
        lines.append(f"| {_link(stage)} | {stages.SUMMARY[stage]} | {marks} |")
    return "\n".join([*lines, ""])


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _link(stage: str) -> str:
    return f"[{stage}]({stage}.md)"


def _cell(value: bool | str) -> str:
    if isinstance(value, str):
        return value
    return "yes" if value else "no"


def _in_order(some: frozenset[str] | set[str], everything: tuple[str, ...]) -> str:
    if set(some) == set(everything):
        return "all"
    return ", ".join(item for item in everything if item in some)


def _stage_links(some: frozenset[str]) -> str:
    if some == frozenset(stages.STAGES):
        return "all"
    return ", ".join(f"[{stage}](../stages/{stage}.md)" for stage in stages.STAGES if stage in some)


def links_in(text: str) -> list[str]:
    """Return the relative links of a page."""
    return [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]


def not_current() -> list[str]:
    """Return the pages below `docs/` that differ from the code, and those that the code does not make any more."""
    made = pages()
    docs = ROOT / "docs"
    wrong = [
        path
        for path, text in made.items()
        if not (docs / path).exists() or (docs / path).read_text(encoding="utf-8") != text
    ]
    there = [f"{folder}/{page.name}" for folder in ("rules", "stages") for page in (docs / folder).glob("*.md")]
    return sorted(wrong + [path for path in there if path not in made])


def main(arguments: list[str]) -> int:
    """Write the pages, or check them; return the exit status."""
    if arguments == ["--check"]:
        wrong = not_current()
        for path in wrong:
            print(f"docs/{path}: not current; run `python tools/docs.py`")
        return 1 if wrong else 0
    if arguments:
        print(__doc__)
        return 2
    made = pages()
    for folder in ("rules", "stages"):
        (ROOT / "docs" / folder).mkdir(parents=True, exist_ok=True)
        for page in (ROOT / "docs" / folder).glob("*.md"):
            if f"{folder}/{page.name}" not in made:
                page.unlink()
    for path, text in made.items():
        (ROOT / "docs" / path).write_text(text, encoding="utf-8")
    print(f"{len(made)} pages written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
