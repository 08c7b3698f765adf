"""
How far a copy or a verification has come, kept in one small file that is always whole.

SCAN cursors mean something only to the process that gave them: each is kept with its server's `run_id`, and a server
that was restarted is scanned from the start.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from redismove.dataplane.errors import DataPlaneError


class CheckpointInvalid(DataPlaneError):
    """A checkpoint file that is not one, or of another pair of servers."""


class Checkpoint:
    """A dictionary in a file; `save` replaces it atomically."""

    def __init__(self, path: Path | None, identity: dict[str, Any]) -> None:
        """
        Open or begin a checkpoint.

        Args:
            path: the file; None keeps it in memory only.
            identity: what must be the same to go on (servers, depth); no secrets.

        Raises:
            CheckpointInvalid: the file is of another run or unreadable.
        """
        self.path = path
        self.identity = identity
        self.data: dict[str, Any] = {}
        self.resumed = False
        if path is None or not path.exists():
            return
        try:
            content = json.loads(path.read_text())
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
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(self.path.name + ".new")
        with temporary.open("w") as file:
            json.dump({"identity": self.identity, "data": self.data}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)

    def remove(self) -> None:
        """Done: nothing to go on with."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
