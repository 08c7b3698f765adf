"""
How far a copy or a verification has come, kept in one small file (or by a `Keeper`) that is always whole.

SCAN cursors mean something only to the process that gave them: each is kept with its server's `run_id`, and a server
that was restarted is scanned from the start.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol

from redismove.dataplane.errors import DataPlaneError


class CheckpointInvalid(DataPlaneError):
    """A checkpoint file that is not one, or of another pair of servers."""


class Keeper(Protocol):
    """Keeps a checkpoint somewhere else than in a file; `str()` names the place in messages."""

    def load(self) -> str | None:
        """Return what was stored last, None where nothing was."""

    def store(self, text: str) -> None:
        """Replace what is stored, whole or not at all."""

    def remove(self) -> None:
        """Forget what is stored."""


class _File:
    """A file that is replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def load(self) -> str | None:
        return self._path.read_text() if self._path.exists() else None

    def store(self, text: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(self._path.name + ".new")
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class Checkpoint:
    """A dictionary in a file or with another keeper; `save` replaces it atomically."""

    def __init__(self, path: Path | Keeper | None, identity: dict[str, Any]) -> None:
        """
        Open or begin a checkpoint.

        Args:
            path: the file, or who keeps it; None keeps it in memory only.
            identity: what must be the same to go on (servers, depth); no secrets.

        Raises:
            CheckpointInvalid: what is kept is of another run or unreadable.
        """
        self.path = path
        self.identity = identity
        self.data: dict[str, Any] = {}
        self.resumed = False
        self._keeper: Keeper | None = _File(path) if isinstance(path, Path) else path
        try:
            text = self._keeper.load() if self._keeper is not None else None
            if text is None:
                return
            content = json.loads(text)
            found, data = content["identity"], content["data"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointInvalid(
                f"{path} is not a readable checkpoint ({error}); remove it to begin anew."
            ) from None
        if found != json.loads(json.dumps(identity)):
            raise CheckpointInvalid(
                f"{path} belongs to another run ({found}, this is {identity}); "
                "give another file, or remove it to begin anew."
            )
        self.data = data
        self.resumed = True

    def save(self) -> None:
        """Write it: a reader sees the old one or the new one, whole."""
        if self._keeper is not None:
            self._keeper.store(json.dumps({"identity": self.identity, "data": self.data}))

    def remove(self) -> None:
        """Done: nothing to go on with."""
        if self._keeper is not None:
            self._keeper.remove()
