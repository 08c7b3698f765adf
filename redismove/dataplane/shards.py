"""
One task per primary of a clustered source, on Dask: several processes here, or many machines.

A worker that dies loses its task to another one, which goes on from the shard's checkpoint where it can read it, and
begins the shard anew where it cannot: copying a key twice does no harm. A task that nobody waits for any more (its
client was stopped, or died) ends by itself. No scheduler of our own.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

from redismove.dataplane.carry import BIG_VALUE_BYTES
from redismove.dataplane.connect import Server, ServerAddress
from redismove.dataplane.copy import CopyProgress, CopyReport, Engine, copy, slots_of
from redismove.dataplane.errors import DataPlaneError
from redismove.dataplane.throttle import Limits
from redismove.errors import RedismoveError

TOPIC = "redismove-copy"
_CONNECT_S = 15.0


class SchedulerUnreachable(DataPlaneError):
    """No Dask scheduler at the given address, or it went away."""


class WorkersFailed(DataPlaneError):
    """The tasks could not be run: workers died again and again, or cannot run them."""


class _NotWanted(Exception):
    """Nobody waits for this task any more."""


def copy_shards(
    source: ServerAddress,
    target: ServerAddress,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    limits: Limits | None = None,
    checkpoint: Path | None = None,
    engine: Engine = "auto",
    on_progress: Callable[[CopyProgress], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
    big_value_bytes: int = BIG_VALUE_BYTES,
) -> CopyReport:
    """
    Copy every primary of the source, each by a task of its own.

    Args:
        source: a cluster (a single server is one task).
        target: where to.
        scheduler: "tcp://host:port" of a running Dask scheduler; None starts worker processes on this machine. The
            passwords travel to the workers: use a scheduler with TLS ("tls://...") off this machine.
        workers: processes on this machine; default one per primary, at most one per core.
        limits: for all shards together; each gets its part.
        checkpoint: prefix of one file per shard; with a remote scheduler on a path that all workers share.
        engine: as for `copy`.
        on_progress: called with the sum over all shards.
        on_notice: called with one sentence from any shard.
        big_value_bytes: longer values are carried in parts.

    Raises:
        CopyStopped: from the first shard that could not go on; the others stop too, and keep their checkpoints.
        SchedulerUnreachable: nobody answers at `scheduler`, or no longer.
        WorkersFailed: the tasks could not be run.
    """
    from distributed import Client, LocalCluster

    with Server.open(source) as opened:
        # By slots: after a failover another address serves them.
        nodes = [(slots_of(node), _label(node.slots)) for node in opened.nodes]
    limits = limits or Limits()
    share = _divide(limits, len(nodes))
    begun = time.monotonic()
    cluster: LocalCluster | None = None
    if scheduler is not None:
        _reach(scheduler)
    else:
        count = workers or max(1, min(len(nodes), os.cpu_count() or 1))
        cluster = LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=count, threads_per_worker=1, dashboard_address=None, silence_logs=50, host="127.0.0.1"
        )
    try:
        try:
            where = cluster if cluster is not None else scheduler
            client = Client(where, timeout=f"{_CONNECT_S:g}s", set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, TimeoutError) as error:
            raise _unreachable(str(scheduler), error) from None
        with client:
            gathered = _Gathered(on_progress, on_notice)
            client.subscribe_topic(TOPIC, gathered.take)  # type: ignore[no-untyped-call]
            futures = [
                client.submit(
                    copy_one,
                    source,
                    target,
                    node,
                    limits=share,
                    checkpoint=str(checkpoint.with_name(f"{checkpoint.name}.{label}")) if checkpoint else None,
                    engine=engine,
                    big_value_bytes=big_value_bytes,
                    pure=False,
                    key=f"copy {node} {begun}",
                )
                for node, label in nodes
            ]
            report = CopyReport()
            for future in futures:
                report.merge(_result(future, str(scheduler or "this machine"), checkpoint))
            client.unsubscribe_topic(TOPIC)  # type: ignore[no-untyped-call]
    finally:
        if cluster is not None:
            cluster.close()
    report.duration_s = time.monotonic() - begun
    return report


def _reach(scheduler: str) -> None:
    """Knock first: a client of Dask that finds nobody leaves threads and tracebacks behind."""
    from distributed.comm import get_address_host_port

    try:
        with socket.create_connection(get_address_host_port(scheduler), timeout=_CONNECT_S):
            return
    except (OSError, ValueError) as error:
        raise _unreachable(scheduler, error) from None


def _unreachable(scheduler: str, error: Exception) -> SchedulerUnreachable:
    return SchedulerUnreachable(f"No Dask scheduler answers at {scheduler} ({error}); start one, or leave it out.")


def _result(future: Any, where: str, checkpoint: Path | None) -> CopyReport:
    """What a task returned; what is no error of ours is said in one sentence."""
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    again = "run the same command again" + (f" to go on from {checkpoint}" if checkpoint else "")
    try:
        report = future.result()
    except RedismoveError:
        raise
    except KilledWorker as error:
        raise WorkersFailed(f"Workers of {where} died again and again ({error}); see their logs, {again}.") from None
    except (CancelledError, CommClosedError, OSError, TimeoutError) as error:
        raise SchedulerUnreachable(f"The Dask scheduler of {where} went away ({error}); {again}.") from None
    except Exception as error:  # noqa: BLE001 - whatever another machine's Python may raise
        raise WorkersFailed(
            f"A worker of {where} could not run its task ({type(error).__name__}: {str(error)[:200]}); "
            f"give all workers the same version of redismove, {again}."
        ) from None
    assert isinstance(report, CopyReport)
    return report


def copy_one(
    source: ServerAddress,
    target: ServerAddress,
    node: str,
    *,
    limits: Limits,
    checkpoint: str | None,
    engine: Engine,
    big_value_bytes: int,
) -> CopyReport:
    """One task: copy one primary and tell the client how it goes."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def tell(progress: CopyProgress) -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled":
            raise _NotWanted
        worker.log_event(TOPIC, {"node": node, "progress": vars(progress)})

    def notice(sentence: str) -> None:
        worker.log_event(TOPIC, {"node": node, "notice": sentence})

    with Server.open(source) as opened, Server.open(target) as other:
        return copy(
            opened,
            other,
            limits=limits,
            checkpoint=Path(checkpoint) if checkpoint else None,
            engine=engine,
            nodes=[node],
            on_progress=tell,
            on_notice=notice,
            big_value_bytes=big_value_bytes,
        )


def _label(slots: tuple[tuple[int, int], ...]) -> str:
    return f"{slots[0][0]}-{slots[-1][1]}" if slots else "all"


def _divide(limits: Limits, count: int) -> Limits:
    return replace(
        limits,
        keys_per_s=limits.keys_per_s / count if limits.keys_per_s else None,
        mb_per_s=limits.mb_per_s / count if limits.mb_per_s else None,
    )


class _Gathered:
    """The latest progress of every shard, added up."""

    def __init__(
        self, on_progress: Callable[[CopyProgress], None] | None, on_notice: Callable[[str], None] | None
    ) -> None:
        self.on_progress, self.on_notice = on_progress, on_notice
        self.latest: dict[str, CopyProgress] = {}

    def take(self, event: tuple[float, Any]) -> None:
        _, message = event
        if "notice" in message:
            if self.on_notice is not None:
                self.on_notice(message["notice"])
            return
        self.latest[message["node"]] = CopyProgress(**message["progress"])
        if self.on_progress is None:
            return
        parts = list(self.latest.values())
        rate = sum(part.keys_per_s for part in parts)
        expected = max(part.expected for part in parts)  # each shard's task counts the whole source
        scanned = sum(part.scanned for part in parts)
        self.on_progress(
            CopyProgress(
                scanned=scanned,
                copied=sum(part.copied for part in parts),
                expected=expected,
                payload_bytes=sum(part.payload_bytes for part in parts),
                keys_per_s=rate,
                mb_per_s=sum(part.mb_per_s for part in parts),
                remaining_s=max(0, expected - scanned) / rate if rate else None,
                share=min(1.0, scanned / expected) if expected else 1.0,
                slowed_by=next((part.slowed_by for part in parts if part.slowed_by), None),
                elapsed_s=max(part.elapsed_s for part in parts),
            )
        )
