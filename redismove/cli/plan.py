"""`redismove plan`: which methods are open for the live source, and why the others are not."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from redismove import plan as planning
from redismove.cli.stack import StackView
from redismove.cli.status import JsonOption, StackOption


def plan(stack: StackOption = "", json: JsonOption = False) -> None:
    """Print for each method whether it is open, each reason with its rule, what it costs and what may be lost."""
    move = StackView.open(stack).survey().move
    found = planning.plan(move)
    if json:
        return
    table = Table("method", "open", "reasons, costs, what applications notice")
    for option in planning.to_json(found)["methods"]:
        table.add_row(option["method"], "yes" if option["open"] else "no", _text(option))
    Console().print(table)


def _text(option: dict[str, Any]) -> str:
    reasons = [str(r.get("message", r)) for r in option["reasons"]]
    return "\n".join(reasons) or str(option.get("notice", ""))
