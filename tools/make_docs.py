"""Writes the reference pages that are made from the code: docs/rules/ and docs/stages/.

    python tools/make_docs.py [--check]

`--check` writes nothing and fails where a page is not as the code would make it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from redismove import stages
from redismove.rules import RULES
from redismove.rules.model import Rule

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"

MADE = "<!-- Made from the code by `make docs`; change the code, not this page. -->"


def main() -> int:
    """Write the pages, or compare them.

    Returns:
        Exit code: 1 where `--check` found a page that differs.
    """
    wanted = {DOCS / name: text for name, text in pages()}
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    gone = [path for folder in ("rules", "stages") for path in (DOCS / folder).glob("*.md") if path not in wanted]
    gone = [path for path in gone if MADE in path.read_text(encoding="utf-8")]
    if "--check" in sys.argv[1:]:
        for path in [*stale, *gone]:
            print(f"error: {path.relative_to(REPOSITORY)} is not as the code has it; run `make docs`", file=sys.stderr)
        return 1 if stale or gone else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    for path in gone:
        path.unlink()
    print(f"{len(wanted)} pages: {len(stale)} written, {len(gone)} removed")
    return 0


def pages() -> Iterator[tuple[str, str]]:
    """Give every page: its path below docs/, and its text."""
    yield "rules/README.md", rules_index()
    for rule in RULES:
        yield f"rules/{rule.id}.md", rule_page(rule)
    yield "stages/README.md", stages_index()


def rules_index() -> str:
    lines = [MADE, "# Rules", "", "| Rule | What must hold | Methods | Stages |", "| --- | --- | --- | --- |"]
    lines += [
        f"| [{rule.id}]({rule.id}.md) | {cell(rule.title)} | {methods_of(rule)} | {stages_of(rule)} |" for rule in RULES
    ]
    return "\n".join(lines) + "\n"


def rule_page(rule: Rule) -> str:
    source = rule.source
    return f"""{MADE}
# {rule.id}: {rule.title}

| | |
| --- | --- |
| Guards the methods | {methods_of(rule)} |
| Guards the stages | {stages_of(rule)}{", on the way back too" if rule.backward else ""} |
| When it is broken | {"the update is refused" if rule.level.value == "mandatory" else "a warning is given"} |
| Severity | {rule.severity} |

## Where it comes from

> {source.says}

[{source.page}]({source.url}), read on {source.reviewed}.
"""


def stages_index() -> str:
    lines = [MADE, "# Stages", "", "| Stage | What it does |", "| --- | --- |"]
    lines += [f"| `{stage}` | {cell(stages.SUMMARY[stage])} |" for stage in stages.STAGES]
    lines += ["", "## The way of each method", "", "| Method | Stages, in order |", "| --- | --- |"]
    lines += [
        f"| `{method}` | {' → '.join(f'`{stage}`' for stage in stages.way(method))} |" for method in stages.METHODS
    ]
    return "\n".join(lines) + "\n"


def methods_of(rule: Rule) -> str:
    if rule.methods >= set(stages.METHODS):
        return "all"
    return ", ".join(f"`{method}`" for method in stages.METHODS if method in rule.methods)


def stages_of(rule: Rule) -> str:
    if rule.stages >= set(stages.STAGES):
        return "all"
    return ", ".join(f"`{stage}`" for stage in stages.STAGES if stage in rule.stages)


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
