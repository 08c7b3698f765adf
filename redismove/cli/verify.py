"""`redismove verify`: is one Redis what another one is?"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from redismove.cli.entra import EntraChoice, with_token
from redismove.cli.progress import ProgressLine
from redismove.dataplane.connect import Server, ServerAddress
from redismove.dataplane.population import Population, population
from redismove.dataplane.verify import Progress, VerifyReport
from redismove.dataplane.verify import verify as run_verify
from redismove.dataplane.verify.report import printable
from redismove.errors import RedismoveError

EQUAL, DIFFERENT, FAILED = 0, 1, 2
SAMPLE_KEYS = 100_000
"""How many keys tell how much of the source the target has."""
SOURCE_PASSWORD = "REDISMOVE_SOURCE_PASSWORD"  # noqa: S105 - the name of a variable
TARGET_PASSWORD = "REDISMOVE_TARGET_PASSWORD"  # noqa: S105 - the name of a variable


class DepthChoice(str, Enum):
    """How closely to look."""

    keys = "keys"
    values = "values"
    full = "full"


def address(url: str, variable: str, ca_file: Path | None) -> ServerAddress:
    """A server's address from its URL; a password may come from the environment, where `ps` does not show it."""
    found = ServerAddress.from_url(url, ca_file=str(ca_file) if ca_file else None)
    password = os.environ.get(variable)
    return found.with_password(password) if found.password is None and password else found


def fail(error: RedismoveError, *, as_json: bool) -> typer.Exit:
    """Say it in one sentence; the exit status for errors."""
    if as_json:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
    sys.stderr.write(f"{error}\n")
    return typer.Exit(FAILED)


def verify(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE_URL", help=r"redis://\[user][:password@]host[:port], rediss:// with TLS.")
    ],
    target: Annotated[str, typer.Argument(metavar="TARGET_URL", help="The other side.")],
    depth: Annotated[
        DepthChoice, typer.Option(help="keys: there or not; values: type, length, expiry; full: every value.")
    ] = DepthChoice.full,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON on standard output.")] = False,
    rounds: Annotated[int, typer.Option(min=2, help="Read what differs again, at most so many rounds in all.")] = 3,
    tolerance_ms: Annotated[int, typer.Option(min=0, help="How far expiries may be apart.")] = 5,
    deadline_s: Annotated[float | None, typer.Option(help="Give up after so many seconds.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A file to go on from when this is stopped.")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="Authorities (PEM) that certificates are checked with.")] = None,
    entra: Annotated[
        EntraChoice | None, typer.Option(help="Log in with the Entra token of this environment (azure-identity).")
    ] = None,
    populated: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="While applications write to both: also measure how much of the source's live keys the target has, "
            "and when it will have this share of them.",
        ),
    ] = None,
) -> None:
    """
    Compare two Redis servers in both directions, and change neither.

    Exit status 0: equal, 1: different, 2: it could not be found out. Passwords may be given as
    REDISMOVE_SOURCE_PASSWORD and REDISMOVE_TARGET_PASSWORD.
    """
    share: Population | None = None
    try:
        with (
            _ended_in_good_order(),
            ProgressLine("verify", as_json=as_json) as line,
            Server.open(
                with_token(address(source, SOURCE_PASSWORD, ca_file), entra, EntraChoice.source)
            ) as source_server,
            Server.open(
                with_token(address(target, TARGET_PASSWORD, ca_file), entra, EntraChoice.target)
            ) as target_server,
        ):

            def show(progress: Progress) -> None:
                rate = progress.scanned / progress.elapsed_s if progress.elapsed_s else 0.0
                line.show(
                    progress.scanned,
                    progress.expected,
                    f"{rate:,.0f} keys/s, {progress.different} different, round {progress.round}",
                    {"keys_per_s": round(rate), "different": progress.different, "round": progress.round},
                )

            if populated is not None:
                share = population(source_server, target_server, sample_keys=SAMPLE_KEYS)
            report = run_verify(
                source_server,
                target_server,
                depth=depth.value,
                rounds=rounds,
                tolerance_ms=tolerance_ms,
                on_progress=show,
                deadline_s=deadline_s,
                checkpoint=checkpoint,
            )
    except RedismoveError as error:
        raise fail(error, as_json=as_json) from None
    except KeyboardInterrupt:
        hint = f"; run the same command again to go on from {checkpoint}" if checkpoint else ""
        sys.stderr.write(f"Stopped before the end{hint}.\n")
        raise typer.Exit(FAILED) from None
    _print(report, share, 1.0 if populated is None else populated, as_json=as_json)
    if not report.complete:
        raise typer.Exit(FAILED)
    raise typer.Exit(EQUAL if report.equal else DIFFERENT)


@contextmanager
def _ended_in_good_order() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does, so that the checkpoint is written."""

    def ended(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, ended)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(report: VerifyReport, share: Population | None, required_share: float, *, as_json: bool) -> None:
    words = None if share is None else share.summary(required_share)
    if as_json:
        found = report.to_json()
        if share is not None:
            found["population"] = {**share.to_json(required_share), "words": words}
        sys.stdout.write(json.dumps(found) + "\n")
        return
    lines = [report.summary()]
    if words:
        lines.append(words)
    lines += [f"  db {item.database} {printable(item.key)}: {item.reason}" for item in report.first_differences]
    if report.different > len(report.first_differences):
        lines.append(f"  ... and {report.different - len(report.first_differences)} more")
    lines += [f"note: {note}" for note in report.notes]
    if report.signature:
        lines.append(f"signature {report.signature}")
    sys.stdout.write("\n".join(lines) + "\n")
