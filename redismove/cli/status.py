"""`redismove status`: where the move stands, as the stack recorded it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from redismove.cli.stack import StackView, as_json

StackOption = Annotated[str, typer.Option("--stack", "-s", help="The stack; the selected one by default.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def status(stack: StackOption = "", json: JsonOption = False) -> None:
    """Print stage, caches, link, evidence and Endpoint of the move."""
    outputs = StackView.open(stack).outputs()
    if json:
        typer.echo(as_json(outputs))
        return
    table = Table(show_header=False)
    for name in ("stage", "method", "source", "target", "link", "endpoint", "evidence", "cutover"):
        table.add_row(name, _brief(outputs.get(name)))
    populated = (outputs.get("evidence") or {}).get("population")
    if populated:
        table.add_row("populated", populated["words"])
    Console().print(table)


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        shown = {key: item for key, item in value.items() if item not in (None, "", [], {}) and key != "population"}
        return ", ".join(f"{key} {item}" for key, item in shown.items())
    return "-" if value is None else str(value)
