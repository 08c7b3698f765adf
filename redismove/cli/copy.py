"""`redismove copy`: copy every key of one Redis to another."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from redismove.cli.entra import EntraChoice, with_token
from redismove.cli.progress import ProgressLine
from redismove.cli.verify import FAILED, SOURCE_PASSWORD, TARGET_PASSWORD, address, fail
from redismove.dataplane.connect import Server, ServerAddress
from redismove.dataplane.copy import CopyProgress, CopyReport
from redismove.dataplane.copy import copy as run_copy
from redismove.dataplane.mirror import copy_and_follow
from redismove.dataplane.mirror_report import FollowProgress, FollowReport, StopRequest
from redismove.dataplane.throttle import Limits
from redismove.errors import RedismoveError


class EngineChoice(str, Enum):
    """Which inner loop."""

    auto = "auto"
    native = "native"
    python = "python"


def copy(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE_URL", help=r"redis://\[user][:password@]host[:port]; rediss:// with TLS.")
    ],
    target: Annotated[str, typer.Argument(metavar="TARGET_URL", help="Where the keys go; its other keys stay.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: progress on standard error, the report at the end.")
    ] = False,
    keys_per_s: Annotated[float | None, typer.Option(help="At most so many keys a second.")] = None,
    mb_per_s: Annotated[float | None, typer.Option(help="At most so many MB of values a second.")] = None,
    limits_file: Annotated[
        Path | None,
        typer.Option(help="JSON with keys_per_s, mb_per_s, source_latency_ms ...; read again when it changes."),
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A file to go on from when this is stopped.")] = None,
    engine: Annotated[
        EngineChoice, typer.Option(help="native is compiled on first use; python needs no compiler.")
    ] = EngineChoice.auto,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler (tcp://host:port) for clustered sources.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes here for a clustered source; 1: none of their own.")
    ] = None,
    ca_file: Annotated[Path | None, typer.Option(help="Authorities (PEM) that certificates are checked with.")] = None,
    entra: Annotated[
        EntraChoice | None, typer.Option(help="Log in with the Entra token of this environment (azure-identity).")
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Then carry every change until stopped; the target becomes equal to the source."),
    ] = False,
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="With --follow: end when nothing is left to carry.")
    ] = False,
    remove_extra: Annotated[
        bool, typer.Option("--remove-extra", help="With --follow: keys that only the target has may be removed.")
    ] = False,
    notifications: Annotated[
        str | None,
        typer.Option("--notify-keyspace-events", help="What the source notifies, where CONFIG does not say so: KA."),
    ] = None,
    enable_notifications: Annotated[
        bool, typer.Option("--enable-notifications", help="Switch them on at the source while this runs (CONFIG SET).")
    ] = False,
    give_up_after_s: Annotated[
        float, typer.Option(min=1, help="With --until-caught-up: when nothing has become less for so long.")
    ] = 60.0,
) -> None:
    """
    Copy every key, with its expiry, in every database, from one Redis to another.

    The source is only read. What is written meanwhile needs --follow, or another pass; `redismove verify` says whether
    anything is left. Exit status 0: done (with --follow: caught up), 2: not, with how far it got. Passwords may be
    given as REDISMOVE_SOURCE_PASSWORD and REDISMOVE_TARGET_PASSWORD.
    """
    if not follow and (until_caught_up or remove_extra or notifications or enable_notifications):
        raise typer.BadParameter("is for --follow alone", param_hint="--until-caught-up and what else belongs to it")
    report: CopyReport | FollowReport
    try:
        here = with_token(address(source, SOURCE_PASSWORD, ca_file), entra, EntraChoice.source)
        there = with_token(address(target, TARGET_PASSWORD, ca_file), entra, EntraChoice.target)
        limits = Limits(keys_per_s=keys_per_s, mb_per_s=mb_per_s, file=limits_file)
        with ProgressLine("follow" if follow else "copy", as_json=as_json) as line:
            if follow:
                with _heeding_signals() as stop:
                    report = copy_and_follow(
                        here,
                        there,
                        until_caught_up=until_caught_up,
                        remove_extra=remove_extra,
                        limits=limits,
                        checkpoint=checkpoint,
                        engine=engine.value,
                        scheduler=scheduler,
                        workers=workers,
                        notify_keyspace_events=notifications,
                        enable_notifications=enable_notifications,
                        give_up_after_s=give_up_after_s,
                        stop=stop,
                        on_progress=lambda progress: _show(line, progress),
                        on_notice=line.notice,
                    )
            else:
                report = _run(
                    here,
                    there,
                    line,
                    limits=limits,
                    checkpoint=checkpoint,
                    engine=engine,
                    scheduler=scheduler,
                    workers=workers,
                )
    except RedismoveError as error:
        raise fail(error, as_json=as_json) from None
    except KeyboardInterrupt:
        hint = f"; run the same command again to go on from {checkpoint}" if checkpoint else ""
        sys.stderr.write(f"Stopped before the end; what is copied stays copied{hint}.\n")
        raise typer.Exit(FAILED) from None
    if isinstance(report, FollowReport):
        sys.stdout.write((json.dumps(report.to_json()) if as_json else report.summary()) + "\n")
        if not report.caught_up:
            hint = f"; run the same command again to go on from {checkpoint}" if checkpoint else ""
            sys.stderr.write(f"Stopped before it had caught up{hint}.\n")
            raise typer.Exit(FAILED)
        return
    _print(report, as_json=as_json)
    if report.unsettled:
        sys.stderr.write(f"{len(report.unsettled)} keys changed each time they were read; run it again.\n")
        raise typer.Exit(FAILED)


@contextlib.contextmanager
def _heeding_signals() -> Iterator[StopRequest]:
    """SIGINT and SIGTERM end a follow in good order; a second one, or one in the bulk copy, ends it at once."""
    stop = StopRequest()

    def asked(_signal: int, _frame: FrameType | None) -> None:
        if stop.heard and not stop.is_set():
            stop.set()
            return
        raise KeyboardInterrupt

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(line: ProgressLine, progress: FollowProgress) -> None:
    behind = f"{progress.lag_keys:,} keys and {progress.lag_s:.2f} s behind"
    text = {
        "copy": f"copying, {progress.keys_per_s:,.0f} keys/s, {progress.mb_per_s:.1f} MB/s, {behind}",
        "compare": f"comparing, {progress.keys_per_s:,.0f} keys/s, {behind}",
        "follow": f"following, {behind}, {progress.changes_per_s:,.0f} changes/s, {progress.keys_per_s:,.0f} keys/s",
        "passes": f"comparing again and again, {behind}",
    }[progress.phase]
    if progress.remaining_s is not None:
        text += f", {progress.remaining_s:.0f} s left"
    if progress.caught_up:
        text += ", caught up"
    if progress.slowed_by:
        text += f", slowed by {progress.slowed_by}"
    numbers = {name: value for name, value in vars(progress).items() if name not in ("scanned", "expected")}
    line.show(progress.scanned, progress.expected, text, numbers)


def _run(
    source: ServerAddress,
    target: ServerAddress,
    line: ProgressLine,
    *,
    limits: Limits,
    checkpoint: Path | None,
    engine: EngineChoice,
    scheduler: str | None,
    workers: int | None,
) -> CopyReport:
    def show(progress: CopyProgress) -> None:
        text = f"{progress.keys_per_s:,.0f} keys/s, {progress.mb_per_s:.1f} MB/s"
        if progress.remaining_s is not None:
            text += f", {progress.remaining_s:.0f} s left"
        if progress.slowed_by:
            text += f", slowed by {progress.slowed_by}"
        numbers = {key: value for key, value in vars(progress).items() if key not in ("scanned", "expected")}
        line.show(progress.scanned, progress.expected, text, numbers)

    with Server.open(source) as opened, Server.open(target) as other:
        several = len(opened.nodes) > 1 and workers != 1
        if scheduler is None and not several:
            return run_copy(
                opened,
                other,
                limits=limits,
                checkpoint=checkpoint,
                engine=engine.value,
                on_progress=show,
                on_notice=line.notice,
            )
    from redismove.dataplane.shards import copy_shards

    return copy_shards(
        source,
        target,
        scheduler=scheduler,
        workers=workers,
        limits=limits,
        checkpoint=checkpoint,
        engine=engine.value,
        on_progress=show,
        on_notice=line.notice,
    )


def _print(report: CopyReport, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(report.to_json()) + "\n")
        return
    megabytes = report.payload_bytes / 1e6
    text = f"copied {report.copied:,} keys ({megabytes:,.1f} MB) in {report.duration_s:.1f} s"
    text += f": {report.keys_per_s:,.0f} keys/s"
    extras = {
        "by type": report.by_type,
        "in parts": report.in_parts,
        "gone before they were read": report.gone,
    }
    more = [f"{number:,} {name}" for name, number in extras.items() if number]
    sys.stdout.write(text + (f"; {', '.join(more)}" if more else "") + "\n")
