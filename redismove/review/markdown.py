"""The comment's Markdown: a mark to find it by, headings, and text that cannot break out of its place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_SPECIAL: Final = re.compile(r"[&<>@`*_\[\]|#~\\]")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "`": "&#96;"}
LONGEST: Final = 60_000
"""Characters; GitHub takes 65,536 in a comment, Azure Repos 150,000."""
_CUT: Final = "\n\nThe rest is left out: a comment has no room for it. `redismove review` prints it all."


def mark(stack: str) -> str:
    """Return the line, not shown, that a stack's comment begins with."""
    return f"<!-- redismove review of stack {stack} -->"


def document(stack: str, headline: str, sections: Iterable[tuple[str, list[str]]]) -> str:
    """Put a comment together: mark, headline, then sections of (title, lines); a section without a title has none."""
    parts = [f"{mark(stack)}\n## {headline}"]
    for title, lines in sections:
        parts.append("\n".join([*([f"### {title}", ""] if title else []), *lines]))
    return shortened("\n\n".join(parts)) + "\n"


def shortened(whole: str, longest: int = LONGEST) -> str:
    """Cut *whole* at the end of a line where it is longer than *longest* characters, and say so."""
    if len(whole) <= longest:
        return whole
    kept = whole[: longest - len(_CUT) - len("\n</details>")].rsplit("\n", 1)[0]
    closing = "\n</details>" if kept.count("<details>") > kept.count("</details>") else ""
    return f"{kept}{closing}{_CUT}"


def text(words: str) -> str:
    """
    Return *words* as one line that Markdown shows as they are, code between back-ticks included.

    What comes from outside (tags, key names, messages of Azure) cannot make a heading, a tag, a comment or a mention.
    """
    line = " ".join(words.split())
    parts = line.split("`")
    if len(parts) % 2 == 0:  # one back-tick has no partner: none is code
        return _shown(line)
    return "`".join(_shown(part) if place % 2 == 0 else part for place, part in enumerate(parts))


def _shown(part: str) -> str:
    return _SPECIAL.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), part)
