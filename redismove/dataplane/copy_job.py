"""
The copy as a job of its own, near the source, apart from the process that asked for it.

It is ordered by a `Permit`: a key of ours on the target, which whoever asks for the copy writes there. The job copies
only onto a server that holds the permit of its own order, looks at it with every checkpoint and stops when it is gone;
so it cannot take another server for the target, and a forgotten job writes nothing. The permit also keeps checkpoint
and progress: they outlive the container, and are never newer than the data beside them. The source is only read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from redismove.dataplane.connect import Server, ServerAddress
from redismove.dataplane.copy import CopyProgress, CopyReport, CopyStopped, Engine, copy
from redismove.dataplane.errors import (
    AddressInvalid,
    AuthenticationFailed,
    CannotCarry,
    CertificateRejected,
    CommandBlocked,
    DataPlaneError,
    OutOfMemory,
    ReadOnlyServer,
    ReplyError,
    explain,
)
from redismove.dataplane.throttle import Limits

ORDER_VARIABLE: Final = "REDISMOVE_COPY_JOB"
SOURCE_PASSWORD_VARIABLE: Final = "REDISMOVE_SOURCE_PASSWORD"  # noqa: S105 - the name of a variable
TARGET_PASSWORD_VARIABLE: Final = "REDISMOVE_TARGET_PASSWORD"  # noqa: S105 - the name of a variable
"""What a job finds in its environment: the order as JSON, and how to log in."""
PERMIT_KEY: Final = b"redismove:copy-job"
"""On the target alone, from the order of a copy until it is verified."""
PERMIT_WAIT_S: Final = 900.0
"""A job may be up long before whoever ordered it has come to write the permit."""
_POLL_S: Final = 0.5

# A permit of another attempt is replaced with what it kept; one of this attempt stays as it is.
_GRANT: Final = """
if redis.call('HGET', KEYS[1], 'attempt') == ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'attempt', ARGV[1], 'source', ARGV[2], 'target', ARGV[3])
return 1
"""
# Whoever was sent away must not bring the permit back by writing to it.
_NOTE: Final = """
if redis.call('HGET', KEYS[1], 'attempt') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'journal', ARGV[2], 'checkpoint', ARGV[3])
return 1
"""


class JobRefused(DataPlaneError):
    """A job that may not copy, however often it is started."""


class PermitWithdrawn(DataPlaneError):
    """The permit of a job is gone, or is another job's by now."""


FINAL: Final = (
    AddressInvalid,
    AuthenticationFailed,
    CannotCarry,
    CertificateRejected,
    CommandBlocked,
    JobRefused,
    OutOfMemory,
    ReadOnlyServer,
)
"""Errors that starting again does not mend."""


def is_final(error: DataPlaneError) -> bool:
    """Whether starting the job again cannot help."""
    return isinstance(error.cause if isinstance(error, CopyStopped) else error, FINAL)


@dataclass(frozen=True)
class Terms:
    """What a permit allows: one attempt to copy one cache to another, by their full resource ids."""

    attempt: str
    source_id: str
    target_id: str


@dataclass(frozen=True)
class Place:
    """
    Where one side of an order is; how to log in is not written down here. `id` is the full resource id.

    `tls` is False only for a managed database that was made without; `clustered` None asks the server.
    """

    id: str
    host: str
    port: int
    tls: bool
    clustered: bool | None

    def address(self, password: str) -> ServerAddress:
        """Return the address with *password*."""
        bare = ServerAddress(host=self.host, port=self.port, tls=self.tls, clustered=self.clustered)
        return bare.with_password(password)


@dataclass(frozen=True)
class Order:
    """What a job is to do, without secrets: it stands in plain text in the definition of its container."""

    attempt: str
    source: Place
    target: Place
    keys_per_s: float | None = None
    mb_per_s: float | None = None

    @property
    def terms(self) -> Terms:
        """What the permit must say."""
        return Terms(self.attempt, self.source.id, self.target.id)

    def to_text(self) -> str:
        """Return it as one line of JSON, always the same for the same order."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Order:
        """
        Read what `to_text` wrote.

        Raises:
            JobRefused: it is no order.
        """
        try:
            given = json.loads(text)
            return cls(**{**given, "source": Place(**given["source"]), "target": Place(**given["target"])})
        except (ValueError, KeyError, TypeError) as error:
            raise JobRefused(f"The order of this job cannot be read ({error}); make the job anew.") from None


@dataclass
class Journal:
    """
    How far a job is, as the permit keeps it. Times are Unix time.

    Attributes:
        done: the copy is complete.
        runs: how often the job was started.
        earlier: keys that earlier runs had written when they ended.
        keys_read, keys_written: of this run; together with `earlier` those of the copy.
        progress: the last `CopyProgress` as a dictionary.
        report: the `CopyReport` as a dictionary, at the end.
    """

    done: bool = False
    runs: int = 0
    earlier: int = 0
    keys_read: int = 0
    keys_written: int = 0
    started_at_s: float = 0.0
    finished_at_s: float = 0.0
    progress: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_text(cls, text: str) -> Journal:
        """Read what was kept; a journal that cannot be read is a fresh one."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return cls()

    def copy_progress(self) -> CopyProgress | None:
        """Return the last progress, None before there is one."""
        try:
            return CopyProgress(**self.progress) if self.progress else None
        except TypeError:
            return None


class Permit:
    """The permit on one target server."""

    def __init__(self, target: Server) -> None:
        self._target = target

    def grant(self, terms: Terms) -> bool:
        """
        Allow a job of these *terms* to write to this server.

        Returns:
            False where the permit was there already; it keeps what its job wrote down.
        """
        asked = [terms.attempt, terms.source_id, terms.target_id]
        return bool(self._ask("EVAL", _GRANT, 1, PERMIT_KEY, *asked) == 1)

    def withdraw(self) -> bool:
        """Send away whatever job there is; False where there was no permit."""
        return bool(self._ask("DEL", PERMIT_KEY) == 1)

    def read(self) -> tuple[Terms, Journal, str | None] | None:
        """Return what the permit says: its terms, its job's journal and checkpoint. None where there is none."""
        found = self._ask("HMGET", PERMIT_KEY, "attempt", "source", "target", "journal", "checkpoint")
        words = [word.decode() if isinstance(word, bytes) else None for word in found]
        if words[0] is None:
            return None
        terms = Terms(words[0], words[1] or "", words[2] or "")
        return terms, Journal.from_text(words[3]) if words[3] else Journal(), words[4] or None

    def note(self, terms: Terms, journal: Journal, checkpoint: str) -> None:
        """
        Write down how far the job of these *terms* is.

        Raises:
            PermitWithdrawn: the permit is not there any more; nothing was written.
        """
        text = json.dumps(asdict(journal))
        if self._ask("EVAL", _NOTE, 1, PERMIT_KEY, terms.attempt, text, checkpoint) != 1:
            raise PermitWithdrawn(
                f"{self._target.address}: found no permit for attempt {terms.attempt} any more, allowed a copy only "
                "under its own permit; the copy stopped where it was."
            )

    def _ask(self, *command: Any) -> Any:
        reply = self._target.execute([(PERMIT_KEY, command)])[0]
        if isinstance(reply, ReplyError):
            raise explain(reply, str(self._target.address), command[0])
        return reply


def run_job(
    order: Order,
    source: ServerAddress,
    target: ServerAddress,
    *,
    tell: Callable[[Mapping[str, Any]], None],
    permit_wait_s: float = PERMIT_WAIT_S,
    engine: Engine = "auto",
) -> Journal:
    """
    Carry out an order: wait for its permit, copy every key, write down how far it is.

    Started again after a stop it goes on where it was; after the end it does nothing.

    Args:
        order: what to do.
        source: the source with its password; only read.
        target: the target with its password.
        tell: called with what happens, for the log.
        permit_wait_s: how long to wait for the permit.
        engine: the inner loop, as for `copy`.

    Raises:
        JobRefused: this is not the target, or it is the source.
        PermitWithdrawn: there is no permit, or it was taken away while copying.
        DataPlaneError: the copy could not go on.
    """
    with Server.open(source) as here, Server.open(target) as far, Server.open(target) as keeping:
        permit = Permit(keeping)
        _refuse_one_server(here, far)
        journal, checkpoint = _permitted(permit, order.terms, permit_wait_s, tell)
        if journal.done:
            tell({"event": "done", "message": "the copy was complete before", "keys_written": journal.keys_written})
            return journal
        if Permit(here).read() is not None:
            raise JobRefused(
                f"{source}: found a permit to be written to, allowed none on the source; the two sides are mixed up."
            )
        journal.runs += 1
        journal.earlier += journal.keys_written
        journal.keys_read = journal.keys_written = 0
        journal.started_at_s = journal.started_at_s or time.time()
        keeper = _Keeper(permit, order.terms, journal, checkpoint)
        keeper.store(checkpoint or "")
        report = _copied(order, here, far, keeper, tell, engine)
        journal.done = True
        journal.finished_at_s = time.time()
        journal.keys_read = journal.earlier + report.scanned - report.gone
        journal.keys_written = journal.earlier + report.copied
        journal.report = report.to_json()
        permit.note(order.terms, journal, "")
        tell({"event": "done", "keys_read": journal.keys_read, "keys_written": journal.keys_written, **journal.report})
        return journal


class _Keeper:
    """Keeps the checkpoint of a copy in the permit, together with the journal."""

    def __init__(self, permit: Permit, terms: Terms, journal: Journal, checkpoint: str | None) -> None:
        self._permit, self._terms, self._journal = permit, terms, journal
        self._checkpoint = checkpoint

    def __str__(self) -> str:
        return "its checkpoint on the target"

    def load(self) -> str | None:
        return self._checkpoint

    def store(self, text: str) -> None:
        self._permit.note(self._terms, self._journal, text)

    def remove(self) -> None:
        """The end is written down with the result."""

    def progress(self, at: CopyProgress) -> None:
        self._journal.progress = asdict(at)
        self._journal.keys_read = self._journal.keys_written = at.copied


def _copied(
    order: Order,
    here: Server,
    far: Server,
    keeper: _Keeper,
    tell: Callable[[Mapping[str, Any]], None],
    engine: Engine,
) -> CopyReport:
    told_at = 0.0

    def progress(at: CopyProgress) -> None:
        nonlocal told_at
        keeper.progress(at)
        if time.monotonic() - told_at >= 1.0:
            told_at = time.monotonic()
            tell({"event": "progress", **asdict(at)})

    return copy(
        here,
        far,
        limits=Limits(keys_per_s=order.keys_per_s, mb_per_s=order.mb_per_s),
        checkpoint=keeper,
        engine=engine,
        on_progress=progress,
        on_notice=lambda sentence: tell({"event": "notice", "message": sentence}),
    )


def _refuse_one_server(here: Server, far: Server) -> None:
    if {here.run_id(node) for node in here.nodes} & {far.run_id(node) for node in far.nodes}:
        raise JobRefused(
            f"{here.address} and {far.address}: found the same servers behind both, allowed servers of their own; "
            "nothing was copied."
        )


def _permitted(
    permit: Permit, terms: Terms, wait_s: float, tell: Callable[[Mapping[str, Any]], None]
) -> tuple[Journal, str | None]:
    """Wait for the permit of *terms* and return what it keeps."""
    deadline = time.monotonic() + wait_s
    told = False
    while True:
        found = permit.read()
        if found is not None and found[0].attempt == terms.attempt:
            if found[0] != terms:
                raise JobRefused(
                    f"permit of attempt {terms.attempt}: found it made out for the copy of {found[0].source_id} to "
                    f"{found[0].target_id}, allowed {terms.source_id} to {terms.target_id}; nothing was copied."
                )
            return found[1], found[2]
        if time.monotonic() > deadline:
            raise PermitWithdrawn(
                f"target {terms.target_id}: found no permit for attempt {terms.attempt} within {wait_s:.0f} s, allowed "
                "a copy only under its own permit; nothing was copied."
            )
        if not told:
            told = True
            tell({"event": "waiting", "message": "for the permit on the target"})
        time.sleep(_POLL_S)
