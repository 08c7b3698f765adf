"""
The Endpoint: the one small document that tells applications which cache they use.

It is also the journal of the cut-over. `state` "hold" says that a cut-over is about to hold the writes; a "hold" that a
killed run left is taken back. `phase` "fencing" says that the applications were switched and that the old cache is not
proven closed yet: from there the only way is forward. The document never holds a key or a token; applications
fetch those themselves, by the resource id.

A document is replaced as a whole and only if nobody replaced it meanwhile (compare and set on `generation`), so two
cut-overs on one Endpoint cannot both go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from redismove.errors import RedismoveError

VERSION: Final = 1

_LOOK_S: Final = 0.001
"""Looking at a document near by takes less, unless something keeps us from it."""
_LOOKS: Final = 5
"""So often it is looked at again; one that is far away takes longer each time."""

State = Literal["open", "hold"]
Role = Literal["source", "target"]
Phase = Literal["settled", "fencing"]
DualWriteMode = Literal["off", "write-both", "read-new"]


class EndpointError(RedismoveError):
    """The Endpoint document could not be used."""


class EndpointMissing(EndpointError):
    """There is no document yet."""


class EndpointInvalid(EndpointError):
    """The document is there and cannot be understood."""


class EndpointMoved(EndpointError):
    """Somebody else replaced the document between our read and our write."""


@dataclass(frozen=True, kw_only=True)
class EndpointEntry:
    """One cache as applications are told of it; `role` is its part in the move."""

    host: str
    port: int
    tls: bool
    clustered: bool
    resource_id: str
    role: Role

    def to_dict(self) -> dict[str, Any]:
        """Return the entry under the names of the document."""
        return {
            "host": self.host,
            "port": self.port,
            "tls": self.tls,
            "clustered": self.clustered,
            "resourceId": self.resource_id,
            "role": self.role,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> EndpointEntry:
        """Return the entry that *fields*, part of a document, describe. Raises EndpointInvalid."""
        role = _one_of(fields, "role", ("source", "target"))
        return cls(
            host=_typed(fields, "host", str),
            port=_typed(fields, "port", int),
            tls=_typed(fields, "tls", bool),
            clustered=_typed(fields, "clustered", bool),
            resource_id=_typed(fields, "resourceId", str),
            role=role,  # type: ignore[arg-type]
        )


@dataclass(frozen=True, kw_only=True)
class DualWrite:
    """
    What an application on the dual-write client does with a second cache besides the Endpoint's own.

    In every mode the Endpoint's own cache decides. "write-both" writes to both and reads from the Endpoint's own,
    "read-new" writes to both and reads from `second`, "off" leaves `second` alone. Other clients ignore all of it.
    """

    mode: DualWriteMode
    second: EndpointEntry | None = None

    def __post_init__(self) -> None:
        if self.second is None and self.mode != "off":
            raise EndpointInvalid(f"the Endpoint document has dualWrite {self.mode!r} without a second cache; name one")

    @property
    def active(self) -> bool:
        """Both caches are written."""
        return self.mode != "off"

    def to_dict(self) -> dict[str, Any]:
        """Return it under the names of the document."""
        return {"mode": self.mode, "second": None if self.second is None else self.second.to_dict()}

    @classmethod
    def from_dict(cls, fields: Any) -> DualWrite:
        """Return what *fields*, the document's `dualWrite`, describe. Raises EndpointInvalid."""
        if not isinstance(fields, dict):
            raise EndpointInvalid(f"the Endpoint document has dualWrite {fields!r}, allowed is an object")
        second = fields.get("second")
        return cls(
            mode=_one_of(fields, "mode", ("off", "write-both", "read-new")),  # type: ignore[arg-type]
            second=None if second is None else EndpointEntry.from_dict(second),
        )


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """
    The document as it was read.

    `generation` grows by one with every replacement. `hold_ms` is how long a hold may last: an application that has
    waited as long goes on, since it is the server (or the fence) that holds the writes, not the document. `next` is
    the cache that a cut-over is preparing: an application may fetch its credentials before it needs them. A document
    without `dualWrite` (None) is written as it always was.
    """

    entry: EndpointEntry
    generation: int = 1
    state: State = "open"
    phase: Phase = "settled"
    previous: EndpointEntry | None = None
    next: EndpointEntry | None = None
    hold_ms: int | None = None
    updated_at: str = ""
    dual_write: DualWrite | None = None

    @property
    def role(self) -> Role:
        """The part in the move of the cache that applications use."""
        return self.entry.role

    def to_dict(self) -> dict[str, Any]:
        """Return the document as it is written."""
        return {
            "version": VERSION,
            "generation": self.generation,
            "state": self.state,
            **self.entry.to_dict(),
            "phase": self.phase,
            "holdMs": self.hold_ms,
            "previous": None if self.previous is None else self.previous.to_dict(),
            "next": None if self.next is None else self.next.to_dict(),
            "updatedAt": self.updated_at,
            **({} if self.dual_write is None else {"dualWrite": self.dual_write.to_dict()}),
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Endpoint:
        """Return the Endpoint that *fields*, a parsed document, describe. Raises EndpointInvalid."""
        version = fields.get("version")
        if version != VERSION:
            raise EndpointInvalid(f"the Endpoint document has version {version!r}, this program knows {VERSION}")
        previous, following = fields.get("previous"), fields.get("next")
        dual_write = fields.get("dualWrite")
        return cls(
            entry=EndpointEntry.from_dict(fields),
            generation=_typed(fields, "generation", int),
            state=_one_of(fields, "state", ("open", "hold")),  # type: ignore[arg-type]
            phase=_one_of(fields, "phase", ("settled", "fencing")),  # type: ignore[arg-type]
            previous=None if previous is None else EndpointEntry.from_dict(previous),
            next=None if following is None else EndpointEntry.from_dict(following),
            hold_ms=fields.get("holdMs"),
            updated_at=str(fields.get("updatedAt", "")),
            dual_write=None if dual_write is None else DualWrite.from_dict(dual_write),
        )


def _typed(fields: dict[str, Any], name: str, kind: type) -> Any:
    found = fields.get(name)
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise EndpointInvalid(f"the Endpoint document has {name} {found!r}, allowed is a {kind.__name__}")
    return found


def _one_of(fields: dict[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    found = fields.get(name)
    if found not in allowed:
        raise EndpointInvalid(f"the Endpoint document has {name} {found!r}, allowed are {', '.join(allowed)}")
    return str(found)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


class EndpointStore(ABC):
    """
    Where the document lives; a kind of store implements `read` and `replace`, the steps of a cut-over are common.

    Args:
        clock: returns the time that is written as `updatedAt`.
    """

    _prepared: Endpoint | None = None

    def __init__(self, *, clock: Callable[[], str] = _now) -> None:
        self._clock = clock

    @abstractmethod
    def read(self) -> Endpoint:
        """Return the document as it is now; safe at any moment. Raises EndpointMissing, EndpointInvalid."""

    @abstractmethod
    def replace(self, document: Endpoint, *, expected_generation: int | None) -> None:
        """
        Replace the document as a whole, durably, if its generation is still *expected_generation*.

        Args:
            document: the new one.
            expected_generation: None means that there must be no document yet.

        Raises:
            EndpointMoved: it is another; nothing was written.
        """

    def stage(self, document: Endpoint) -> None:
        """Do what can be done of a `replace` by *document* before it is to be seen; a store need do nothing."""
        del document

    def stamp(self) -> object | None:
        """Return something cheap that differs after a replacement, or None where only reading can tell."""
        return None

    def put(self, entry: EndpointEntry) -> Endpoint:
        """
        Point applications at *entry* without a cut-over: for the first time, or the same cache again.

        Raises:
            EndpointError: the document points at another cache; only a cut-over may change that.
        """
        try:
            found = self.read()
        except EndpointMissing:
            first = Endpoint(entry=entry, updated_at=self._clock())
            self.replace(first, expected_generation=None)
            return first
        if found.entry == entry:
            return found
        if found.entry.resource_id != entry.resource_id:
            raise EndpointError(
                f"the Endpoint points at {found.entry.resource_id}, not at {entry.resource_id}: "
                "only a cut-over may change the cache that applications use"
            )
        return self._next(found, entry=entry)

    def announce(self, entry: EndpointEntry | None) -> Endpoint:
        """Say which cache a cut-over is preparing, or with None that it is not; said already: nothing is written."""
        found = self.read()
        return found if found.next == entry else self._next(found, next=entry)

    def hold(self, hold_ms: int) -> Endpoint:
        """
        Say that the writes are about to be held, for at most *hold_ms*. Applications on our client stop by themselves.

        Raises:
            EndpointError: an earlier switch has not finished its fence.
        """
        found = self.read()
        if found.phase != "settled":
            raise EndpointError(
                f"the Endpoint was switched to {found.entry.resource_id} and the fence is not finished: "
                "finish that first"
            )
        return self._next(found, state="hold", hold_ms=hold_ms)

    def open(self) -> Endpoint:
        """Take a hold back: applications go on with the cache they had. Without a hold nothing is written."""
        found = self.read()
        if found.state == "open":
            return found
        return self._next(found, state="open", hold_ms=None)

    def prepare_switch(self, entry: EndpointEntry) -> None:
        """Make ready what `switch` will write if nobody replaces the document before; nothing is to be seen of it."""
        self._prepared = self._switched(self.read(), entry)
        self.stage(self._prepared)

    def switch(self, entry: EndpointEntry) -> Endpoint:
        """
        Point applications at *entry*, and note that the old cache is still to be fenced (`phase` "fencing").

        Raises:
            EndpointMoved: somebody replaced the document meanwhile; nothing was written.
        """
        found = self.read()
        if found.phase != "settled":
            raise EndpointError("the Endpoint is already switched and its fence is not finished: finish that first")
        new, prepared = self._switched(found, entry), self._prepared
        if prepared is not None and dataclasses.replace(prepared, updated_at=new.updated_at) == new:
            new = prepared
        self.replace(new, expected_generation=found.generation)
        return new

    def _switched(self, found: Endpoint, entry: EndpointEntry) -> Endpoint:
        # What was the second cache is the one in use now, and nobody may write to it out of the old one any more.
        return self._following(
            found,
            entry=entry,
            previous=found.entry,
            next=None,
            state="open",
            phase="fencing",
            hold_ms=None,
            dual_write=None,
        )

    def settle(self) -> Endpoint:
        """Note that the old cache is proven closed. Settled already: nothing is written."""
        found = self.read()
        if found.phase == "settled":
            return found
        return self._next(found, phase="settled")

    def set_dual_write(self, mode: DualWriteMode, second: EndpointEntry | None = None) -> Endpoint:
        """
        Switch running applications on the dual-write client to *mode*; the same again writes nothing.

        Args:
            mode: see `DualWrite`.
            second: the cache that is written besides the Endpoint's own; None keeps the one that the document names.

        Raises:
            EndpointError: a cut-over is under way, *second* is the Endpoint's own cache, or none was ever named.
        """
        found = self.read()
        if found.state != "open" or found.phase != "settled":
            raise EndpointError(
                f"the Endpoint is in the middle of a cut-over (state {found.state}, phase {found.phase}), allowed is "
                "a change of dualWrite before or after it: finish that first"
            )
        named = second if second is not None or found.dual_write is None else found.dual_write.second
        if named is None and mode != "off":
            raise EndpointError(f"dualWrite {mode!r} needs a second cache and the Endpoint names none; give one")
        if named is not None and named.resource_id == found.entry.resource_id:
            raise EndpointError(
                f"the second cache is {named.resource_id}, which applications use already; name the other one"
            )
        wanted = DualWrite(mode=mode, second=named) if named is not None else None
        if found.dual_write == wanted:
            return found
        return self._next(found, dual_write=wanted)

    def _following(self, found: Endpoint, **changes: Any) -> Endpoint:
        return dataclasses.replace(found, generation=found.generation + 1, updated_at=self._clock(), **changes)

    def _next(self, found: Endpoint, **changes: Any) -> Endpoint:
        new = self._following(found, **changes)
        self.replace(new, expected_generation=found.generation)
        return new


class FileEndpointStore(EndpointStore):
    """
    The document as a JSON file; readers see the old one or the new one, whole, at any moment.

    Args:
        path: the file; its folder must exist and be on a file system with atomic rename and flock.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], str] = _now) -> None:
        super().__init__(clock=clock)
        self.path = Path(path)
        self._staged: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"FileEndpointStore({str(self.path)!r})"

    def read(self) -> Endpoint:
        """Return the document in the file. Raises EndpointMissing, EndpointInvalid."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            raise EndpointMissing(f"there is no Endpoint document at {self.path}") from None
        except OSError as error:
            raise EndpointError(f"the Endpoint document {self.path} cannot be read: {error.strerror}") from None
        try:
            fields = json.loads(text)
        except ValueError:
            raise EndpointInvalid(f"the Endpoint document {self.path} is not JSON") from None
        if not isinstance(fields, dict):
            raise EndpointInvalid(f"the Endpoint document {self.path} is not a JSON object")
        return Endpoint.from_dict(fields)

    def replace(self, document: Endpoint, *, expected_generation: int | None) -> None:
        """Write a new file beside the old one, make it durable, and rename it over the old one."""
        body = _text(document)
        staged, self._staged = self._staged, None
        try:
            with self._alone():
                temporary = staged[1] if staged is not None and staged[0] == body else None
                if staged is not None and temporary is None:
                    _remove(staged[1])
                self._expect(expected_generation)
                temporary = temporary or self._write(body)
                try:
                    os.replace(temporary, self.path)
                except BaseException:
                    _remove(temporary)
                    raise
                # The rename itself must survive a power cut: writes are acknowledged by the new cache right after it.
                folder = os.open(self.path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        except OSError as error:
            raise EndpointError(f"the Endpoint document {self.path} cannot be written: {error.strerror}") from None

    def stage(self, document: Endpoint) -> None:
        """Write the new file beside the old one and make it durable, which takes a disk some milliseconds."""
        body = _text(document)
        try:
            self._staged = (body, self._write(body))
        except OSError as error:
            raise EndpointError(f"the Endpoint document {self.path} cannot be written: {error.strerror}") from None

    def _write(self, body: str) -> str:
        """Write a file beside the document, durably; return its path."""
        handle, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(body)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
        except BaseException:
            _remove(temporary)
            raise
        return temporary

    def stamp(self) -> object | None:
        """Return inode, time and size of the file: one system call, about a microsecond."""
        try:
            found = os.stat(self.path)
        except OSError:
            return ()
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def _expect(self, expected_generation: int | None) -> None:
        try:
            found: int | None = self.read().generation
        except EndpointMissing:
            found = None
        if found != expected_generation:
            raise EndpointMoved(
                f"the Endpoint document {self.path} was replaced meanwhile: generation {found}, expected "
                f"{expected_generation}; is another cut-over running?"
            )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        # A file of its own: the document is renamed over, so a lock on it would be a lock on a file that is gone.
        handle = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _text(document: Endpoint) -> str:
    return json.dumps(document.to_dict(), indent=2) + "\n"


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


class EndpointWatcher:
    """
    Follows an Endpoint for an application, without a thread: it looks when it is asked, at most every *poll_s*.

    Safe to share between threads. A store with a cheap `stamp` is read only after a replacement.

    Args:
        poll_s: the longest time that an old document is believed, in seconds. A cut-over waits longer than this
            between saying "hold" and holding.
    """

    def __init__(self, store: EndpointStore, *, poll_s: float = 0.005) -> None:
        self._store = store
        self._poll_s = poll_s
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._stamp: object | None = None
        self._document: Endpoint | None = None
        self._held_since: tuple[int, float] | None = None

    def current(self) -> Endpoint:
        """Return the document, at most *poll_s* old. Raises EndpointMissing, EndpointInvalid."""
        document = self._document
        if document is not None and time.monotonic() - self._looked_at < self._poll_s:
            return document
        return self.refresh()

    def refresh(self) -> Endpoint:
        """Return the document as it is now: for use after an error."""
        with self._lock:
            now = time.monotonic()
            # The stamp first: a replacement between the two makes us read once too often, never once too seldom.
            stamp = self._store.stamp()
            if self._document is None or stamp is None or stamp != self._stamp:
                document = self._store.read()
                if document.state == "hold" and (
                    self._held_since is None or self._held_since[0] != document.generation
                ):
                    self._held_since = (document.generation, now)
                self._document, self._stamp = document, stamp
            self._looked_at = now
            return self._document

    def wait_until_open(self, limit_s: float) -> Endpoint:
        """
        Return the document as soon as it does not say "hold", or when the hold is older than it may be.

        Args:
            limit_s: the longest wait for one hold in seconds, counted from when this watcher first saw it.
        """
        document = self.current()
        while self.must_wait(document, limit_s):
            time.sleep(min(self._poll_s, 0.002))
            document = self.refresh()
        return document

    def current_at_last(self) -> Endpoint:
        """Return the document, at most *poll_s* old even if this thread stood still while it was looked at."""
        document = self.current()
        for _ in range(_LOOKS):
            if document is self._document and time.monotonic() - self._looked_at < max(self._poll_s, _LOOK_S):
                break
            document = self.current()
        return document

    def must_wait(self, document: Endpoint, limit_s: float) -> bool:
        """
        Tell whether *document* says "hold" and that hold is not older than it may be.

        Args:
            document: the one looked at last.
            limit_s: the longest wait for one hold in seconds, counted from when this watcher first saw it.
        """
        if document.state != "hold":
            return False
        allowed_s = limit_s if document.hold_ms is None else min(limit_s, document.hold_ms / 1000)
        return self._held_since is not None and time.monotonic() - self._held_since[1] < allowed_s
