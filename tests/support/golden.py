"""Golden files: text that is looked at by a person once and must stay as it is."""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "unit" / "golden"


def assert_golden(text: str, name: str) -> None:
    """
    Assert that *text* is what the golden file *name* says.

    With REDISMOVE_GOLDEN=write the file is written instead; look at the difference before it is committed.
    """
    path = GOLDEN / name
    if os.environ.get("REDISMOVE_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, f"{path} says otherwise"
