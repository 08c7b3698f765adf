"""
Containers as processes of this machine.

No image is pulled: a container's command runs as it is, in a session and a folder of its own, with the container's
environment and little else. It outlives a killed server, whose successor finds it again; it ends with the local Azure,
with everything that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from localazure.arm.containerinstance.models import ContainerGroupRecord, ContainerRecord, State
from localazure.home import Home
from localazure.redis_process import process_runs

MARK = "LOCALAZURE_CONTAINER"
"""The variable by which the processes of a container are known, whoever started them."""
STOP_GRACE_S = 5.0
POLL_INTERVAL_S = 0.05
RESTART_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Azure waits longer with each restart, too: from seconds to minutes."""
EXIT_NOT_KNOWN = 255
_WAITER = '"$@"; echo "$?" > "$LOCALAZURE_STATUS.new" && mv "$LOCALAZURE_STATUS.new" "$LOCALAZURE_STATUS"'
"""Leads the session and writes down how the command ended, for a server that is not its parent any more."""


def container_processes(home: Home) -> list[int]:
    """Find every process of this home's containers, by the variable that all of them inherit."""
    needle = f"{MARK}={home.containers}{os.sep}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = Path(f"/proc/{entry.name}/environ").read_bytes()
        except OSError:
            continue
        if (variables.startswith(needle) or b"\0" + needle in variables) and process_runs(int(entry.name)):
            found.append(int(entry.name))
    return found


class Containers:
    """Starts, finds again, restarts and ends the containers of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    # --- what a group is to do

    async def start(self, group: ContainerGroupRecord) -> None:
        """Start every container that does not run and is not over; one that ran before a stop counts as restarted."""
        group.stopped = False
        for container in group.containers:
            if not self._runs(group, container):
                container.pid = self._leader(group, container)
            if container.pid is not None and container.state.phase == "Waiting":
                container.state = State(phase="Running", started_at=time.time())
            if container.state.phase == "Terminated" or self._runs(group, container):
                continue
            if container.state.phase == "Running":
                self._ended(group, container)
            else:
                self._spawn(group, container)

    async def stop(self, group: ContainerGroupRecord) -> None:
        """End every container with all that it started, first by SIGTERM."""
        for container in group.containers:
            pid, container.pid, container.restart_at = container.pid, None, None
            if pid is not None:
                await self._end(self._folder(group, container), pid)
            if container.state.phase != "Terminated":
                container.note("Killing", f"Killing container with id {container.name}.")
                container.state = State(
                    phase="Terminated",
                    detail="Stopped",
                    exit_code=0,
                    started_at=container.state.started_at,
                    finished_at=time.time(),
                )

    def reset(self, group: ContainerGroupRecord) -> None:
        """Forget how the containers ended, so that they can be started again."""
        for container in group.containers:
            container.state, container.previous, container.restarts = State(), container.state, 0

    def forget(self, group: ContainerGroupRecord) -> None:
        """Remove the folders of a group whose processes are ended."""
        shutil.rmtree(self._home.containers / _file_name(group.key), ignore_errors=True)

    async def look(self, group: ContainerGroupRecord) -> bool:
        """
        Bring the state of a group's containers to what is true, and restart what the policy restarts.

        Returns:
            Whether anything changed.
        """
        if group.stopped:
            return False
        before = group.model_dump(include={"containers"})
        for container in group.containers:
            if container.state.phase == "Running" and not self._runs(group, container):
                self._ended(group, container)
            if container.restart_at is not None and time.time() >= container.restart_at:
                container.restart_at = None
                container.restarts += 1
                self._spawn(group, container)
        return before != group.model_dump(include={"containers"})

    async def stop_all(self, groups: list[ContainerGroupRecord]) -> None:
        """End all processes; the records say still that they run, so that the next start runs them again."""
        for group in groups:
            for container in group.containers:
                pid, container.pid = container.pid, None
                if pid is not None:
                    await self._end(self._folder(group, container), pid)

    def log_text(self, group: ContainerGroupRecord, container: ContainerRecord, most_bytes: int) -> str:
        """Give the end of what a container's last run printed."""
        try:
            with (self._folder(group, container) / "log").open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - most_bytes))
                return log.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    # --- one process

    def _leader(self, group: ContainerGroupRecord, container: ContainerRecord) -> int | None:
        """Find a container's process that a killed server started and did not write down."""
        folder = self._folder(group, container)
        for pid in container_processes(self._home):
            with contextlib.suppress(ProcessLookupError):
                if _is_of(pid, folder) and os.getsid(pid) == pid:
                    return pid
        return None

    def _folder(self, group: ContainerGroupRecord, container: ContainerRecord) -> Path:
        return self._home.containers / _file_name(group.key) / container.name

    def _spawn(self, group: ContainerGroupRecord, container: ContainerRecord) -> None:
        folder = self._folder(group, container)
        (folder / "tmp").mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder / "status"
        status.unlink(missing_ok=True)
        environment = self._environment(folder, container) | {"LOCALAZURE_STATUS": str(status), MARK: str(folder)}
        container.note("Pulled", f'Successfully pulled image "{container.image}"')
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(
                ["/bin/sh", "-c", _WAITER, "sh", *container.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        self._children[child.pid] = child
        container.pid = child.pid
        container.state = State(phase="Running", started_at=time.time())
        container.note("Started", f"Started container {container.name}")

    def _environment(self, folder: Path, container: ContainerRecord) -> dict[str, str]:
        """What an image would bring (programs, caches, trusted authorities), then the container's own variables."""
        home = Path.home()
        path = [str(Path(sys.executable).parent), *os.environ.get("PATH", os.defpath).split(os.pathsep)]
        brought = {
            "PATH": os.pathsep.join(part for part in path if part),
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "LANG": "C.UTF-8",
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(home / ".cache"),
            "SSL_CERT_FILE": str(self._home.ca_bundle),
            "REQUESTS_CA_BUNDLE": str(self._home.ca_bundle),
        }
        own = {v.name: v.secure_value if v.secure_value is not None else v.value or "" for v in container.environment}
        return brought | own

    def _runs(self, group: ContainerGroupRecord, container: ContainerRecord) -> bool:
        pid = container.pid
        if pid is None:
            return False
        child = self._children.get(pid)
        if child is not None:
            if child.poll() is None:
                return True
            del self._children[pid]
            return False
        return process_runs(pid) and _is_of(pid, self._folder(group, container))

    def _ended(self, group: ContainerGroupRecord, container: ContainerRecord) -> None:
        """Take down how a container ended, and when it is to be started again."""
        try:
            code = int((self._folder(group, container) / "status").read_text())
        except (OSError, ValueError):
            code = EXIT_NOT_KNOWN  # its waiter was killed with it
        container.pid = None
        container.state = State(
            phase="Terminated",
            detail="Completed" if code == 0 else "Error",
            exit_code=code,
            started_at=container.state.started_at,
            finished_at=time.time(),
        )
        policy = group.restart_policy
        if policy == "Always" or (policy == "OnFailure" and code != 0):
            pause_s = RESTART_PAUSES_S[min(container.restarts, len(RESTART_PAUSES_S) - 1)]
            container.restart_at = time.time() + pause_s
            container.previous, container.state = container.state, State(detail="CrashLoopBackOff: Back-off restarting")
            container.note("BackOff", "Back-off restarting failed container", "Warning")

    async def _end(self, folder: Path, pid: int) -> None:
        """End a session and whatever left it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = [pid for pid in container_processes(self._home) if _is_of(pid, folder)]
            if not left:
                break
            for entry in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(entry, number)
            deadline = time.monotonic() + STOP_GRACE_S
            while any(map(process_runs, left)) and time.monotonic() < deadline:
                child = self._children.get(pid)
                if child is not None:
                    child.poll()
                await asyncio.sleep(POLL_INTERVAL_S)
        self._children.pop(pid, None)


def _is_of(pid: int, folder: Path) -> bool:
    needle = f"{MARK}={folder}".encode()
    try:
        return needle in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _file_name(key: str) -> str:
    return key.replace("/", "+")
