"""
A cut-over as a process: `python -m tests.support.cutover_killed FOLDER STEP HOLD_METHOD [back]`.

It kills itself when it comes to STEP (a method's name); with "never" it says that it begins, and whoever started it
kills it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from redismove.dataplane.cutover import CutOver
from tests.support.cutover import World


def killed_at(step: str) -> type[CutOver]:
    """Return a cut-over that ends with SIGKILL when it comes to *step* (a method's name)."""

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    return type("Killed", (CutOver,), {step: die})


def main() -> None:
    """Cut over, and die."""
    folder, step, hold_method, *back = sys.argv[1:]
    kind = CutOver if step == "never" else killed_at(step)
    here = World.attach(Path(folder))
    print("begins", flush=True)
    here.cut(kind, hold_method=hold_method, back=bool(back))
    if step != "never":
        sys.exit(f"the cut-over ended without coming to {step}")


if __name__ == "__main__":
    main()
