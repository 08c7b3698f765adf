"""A move by any of the methods, with what that method needs beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redismove import stages
from tests.support.application import Application
from tests.support.move import Move
from tests.support.storage import Accounts


def ready(new_move: Callable[..., Move], method: str, **options: Any) -> Move:
    """Make a move by *method*: storage accounts for `rdb`, the consent to a loss for `new-cache`."""
    move = new_move(method=method, **options)
    if method == stages.RDB:
        Accounts.of(move)
    if method == stages.NEW_CACHE:
        move.stack.configure(acceptDataLoss=move.source_name)
    return move


def application_of(move: Move, method: str, *, rate: float = 200) -> Application:
    """Start the application that suits *method*: `dual-write` needs its own client, `new-cache` starts empty."""
    mode = "dual" if method == stages.DUAL_WRITE else "ours"
    return Application.start(move, rate=rate, mode=mode, starts_empty=method == stages.NEW_CACHE)
