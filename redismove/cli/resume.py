"""`redismove resume`: clear what a killed `pulumi up` left behind, so that the next one goes on."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import typer
from pulumi import automation as auto

from redismove.cli.stack import StackError, StackView
from redismove.cli.status import StackOption


@dataclass(frozen=True)
class Lock:
    """The lock of an update in a file backend: who took it."""

    path: Path
    pid: int
    host: str
    user: str

    @property
    def holder_is_gone(self) -> bool:
        """Whether the process that took the lock has ended. Only this machine's processes can be looked at."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return not _is_pulumi(self.pid)


def resume(stack: StackOption = "") -> None:
    """Remove a lock whose process is gone and pending creates of a killed update; then run `pulumi up` again."""
    view = StackView.open(stack)
    done = [*_clear_locks(view), *_clear_pending(view)]
    typer.echo("\n".join(done) if done else f"stack {view.name}: nothing to clear; run `pulumi up`")


def _clear_locks(view: StackView) -> list[str]:
    done = []
    for lock in _locks(view):
        if not lock.holder_is_gone:
            raise StackError(
                f"stack {view.name}: found an update by {lock.user} (process {lock.pid} on {lock.host}) still "
                "running, allowed none; "
                "wait for it, or look on that machine whether it is gone and then run `pulumi cancel`"
            )
        lock.path.unlink(missing_ok=True)
        done.append(f"stack {view.name}: removed the lock of process {lock.pid}, which is gone")
    return done


def _locks(view: StackView) -> list[Lock]:
    backend = view.workspace.who_am_i().url or ""
    parsed = urlparse(backend)
    if parsed.scheme != "file":
        return []  # a service backend ends the lease of a dead update by itself
    folder = Path(parsed.netloc + parsed.path).expanduser() / ".pulumi" / "locks"
    found = []
    for path in sorted(folder.glob(f"organization/*/{view.name}/*.json")):
        fields = _read(path)
        if fields is not None:
            found.append(
                Lock(
                    path, int(fields.get("pid") or 0), str(fields.get("hostname", "")), str(fields.get("username", ""))
                )
            )
    return found


def _read(path: Path) -> dict[str, Any] | None:
    try:
        fields = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return fields if isinstance(fields, dict) else None


def _is_pulumi(pid: int) -> bool:
    """Whether process *pid* is a Pulumi engine; a number may have been given to another program since."""
    try:
        return b"pulumi" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def _clear_pending(view: StackView) -> list[str]:
    deployment = view.deployment()
    pending = deployment.get("pending_operations") or []
    if not pending:
        return []
    # Everything the program makes is looked for before it is made, so forgetting that it was under way loses nothing.
    exported = view.workspace.export_stack(view.name)
    cleaned = {**deployment, "pending_operations": []}
    view.workspace.import_stack(view.name, auto.Deployment(version=exported.version, deployment=cleaned))
    names = ", ".join(str((p.get("resource") or {}).get("urn", "?")).rsplit("::", 1)[-1] for p in pending)
    return [f"stack {view.name}: cleared what was under way ({names}); the next update looks whether it is there"]
