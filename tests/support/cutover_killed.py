"""A cut-over that is killed at a given step: `python -m tests.support.cutover_killed FOLDER STEP HOLD_METHOD`."""

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
    folder, step, hold_method = sys.argv[1:]
    World.attach(Path(folder)).cut(killed_at(step), hold_method=hold_method)
    sys.exit(f"the cut-over ended without coming to {step}")


if __name__ == "__main__":
    main()
