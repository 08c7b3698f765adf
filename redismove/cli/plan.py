"""`redismove plan`: which methods are open for the live source, why the others are not, and what each costs."""

from __future__ import annotations

import dataclasses
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from redismove import plan as planning
from redismove.azure.caches import Caches
from redismove.azure.session import Session
from redismove.cli.stack import StackError, StackView, as_json
from redismove.cli.status import JsonOption, StackOption
from redismove.facts import Move
from redismove.steps.load import Load, load_of


def plan(stack: StackOption = "", json: JsonOption = False) -> None:
    """Print for each method whether it is open, each reason with its rule, what it costs and what may be lost."""
    found = _read(StackView.open(stack).survey().move)
    if json:
        typer.echo(as_json(found))
        return
    console = Console(highlight=False, soft_wrap=True)
    for option in found["methods"]:
        _tell(console, option)
    _tell_caches(console, found["compatibleCaches"])


def _tell(console: Console, option: dict[str, Any]) -> None:
    verdict = "[green]open[/green]" if option["open"] else "[red]closed[/red]"
    console.print(
        f"[bold]{option['method']}[/bold]  {verdict}{'  recommended: ' + option['why'] if option['why'] else ''}"
    )
    for reason in option["reasons"]:
        console.print(f"  closed by {_sentence(reason)}", markup=False)
    if not option["open"] and option["notKnown"]:
        console.print(f"  closed while these rules cannot be judged: {', '.join(option['notKnown'])}", markup=False)
    if option["open"]:
        for reason in option["notes"]:
            console.print(f"  note: {_sentence(reason)}", markup=False)
        for line in _costs(option["estimate"]):
            console.print(f"  {line}", markup=False)
        for notice in option["notices"]:
            console.print(f"  applications notice: {notice}", markup=False)
        console.print(f"  may be lost: {option['lost']}", markup=False)
    console.print()


def _tell_caches(console: Console, caches: list[dict[str, Any]]) -> None:
    table = Table("cache", "region", "size", "can be linked", "why not", title="caches that exist already")
    for cache in caches:
        verdict = "yes" if cache["compatible"] else "no"
        reasons = "\n".join(_sentence(reason) for reason in cache["reasons"])
        table.add_row(cache["name"], cache["location"], cache["size"], verdict, reasons)
    if caches:
        console.print(table)


def _read(move: Move) -> dict[str, Any]:
    if move.source is None:
        raise StackError(f"source {move.source_id}: found none, allowed a cache that exists; correct redismove:source")
    session = Session.from_environment(move.source.subscription_id)
    caches = Caches(session)
    load: Load = load_of(caches, move.source)
    source = dataclasses.replace(move.source, used_memory_bytes=load.used_memory_bytes, keys=load.keys)
    others = caches.all_in_subscription()
    return {
        "methods": planning.to_json(
            planning.plan(dataclasses.replace(move, source=source), write_bytes_per_s=load.write_bytes_per_s)
        ),
        "source": {"id": source.id, **dataclasses.asdict(load)},
        "compatibleCaches": planning.to_json(planning.compatible(source, others, today=move.today)),
    }


def _sentence(reason: dict[str, Any]) -> str:
    return (
        f"{reason['thing']}: found {reason['found']}, allowed {reason['allowed']}; {reason['cure']} [{reason['rule']}]"
    )


def _costs(estimate: dict[str, Any] | None) -> list[str]:
    if not estimate:
        return []
    held = "in use" if estimate["dataMeasured"] else "its whole memory: what it holds was not read"
    stages = ", ".join(
        f"{stage} {_span(minutes)}" for stage, minutes in estimate["minutesByStage"].items() if any(minutes)
    )
    return [
        f"data: {_bytes(estimate['dataBytes'])} {held}; {_bytes(estimate['writeBytesPerS'])} written a second now",
        f"egress: {_bytes(estimate['crossingBytes'])} cross regions; {_money(estimate)}",
        f"two caches: {_span(estimate['twoCachesHours'])} hours, {estimate['soakHours']:g} of them soak",
        f"time: {_span(estimate['minutes'])} minutes and the soak; {stages}",
    ]


def _money(estimate: dict[str, Any]) -> str:
    price = estimate["egressPrice"]
    if price is None:
        return "the table has no price between these regions"
    told = "" if price["confirmed"] else ", not confirmed"
    return (
        f"about {estimate['egressUsd']:.2f} USD at {price['usdPerGb']:g} USD/GB "
        f"(read {price['read']}: {price['source']}{told})"
    )


def _span(pair: list[float]) -> str:
    least, most = pair
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if count < 1000 else f"{count:,.0f} GB"
