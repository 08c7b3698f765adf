"""
One real Azurite a home: the blobs of all its storage accounts.

Azurite takes its accounts from its environment when it starts, so that a new account or key means a restart, with the
blobs on disk. One process and not one an account: it copies blobs between accounts only within itself. It runs in a
session of its own and outlives the ARM server, as the redis-servers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from pathlib import Path

from localazure.certificates import ensure_leaf
from localazure.errors import LocalAzureError
from localazure.home import LOCK_HOST_OCTET, Home, can_listen, write_private
from localazure.redis_process import process_runs

PORT = 10000
"""Azurite's own default; the address is the home's, so that homes do not meet on it."""
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
POLL_INTERVAL_S = 0.05
PROGRAM = "azurite-blob"


def find_azurite() -> Path:
    """
    Find Azurite: `REDISMOVE_AZURITE`, `.tools/bin` of the repository, PATH.

    Raises:
        LocalAzureError: there is none.
    """
    override = os.environ.get("REDISMOVE_AZURITE")
    candidates = [Path(override)] if override else []
    candidates.append(Path(__file__).resolve().parent.parent / ".tools" / "bin" / PROGRAM)
    on_path = shutil.which(PROGRAM)
    if on_path:
        candidates.append(Path(on_path))
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise LocalAzureError(
        "storage accounts need Azurite, and there is none in .tools/bin or on PATH: install Node.js 18 or later with "
        "npm (Debian, Ubuntu: `apt-get install nodejs npm`), then `make setup`."
    )


def endpoint(home: Home) -> str:
    """Give the origin of a home's blobs: an address of the home's own, the account is the first part of the path."""
    return f"https://{home.config.address_prefix}.{LOCK_HOST_OCTET}:{PORT}"


def azurite_process(home: Home) -> int | None:
    """Find the Azurite of a home, whoever started it; its command line names the home's folder. None: none runs."""
    needle = f"\0--location\0{home.blobs}\0".encode()
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                line = (place / "cmdline").read_bytes()
            except OSError:
                continue
            if needle in line and process_runs(int(place.name)):
                return int(place.name)
    return None


class Azurite:
    """Starts, adopts, restarts and stops the Azurite of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._child: subprocess.Popen[bytes] | None = None
        self._pid = azurite_process(home)
        self._changing = asyncio.Lock()
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def endpoint(self) -> str:
        """Give the origin of all accounts."""
        return endpoint(self._home)

    @property
    def runs(self) -> bool:
        """Tell whether it runs, without asking it."""
        if self._child is not None:
            if self._child.poll() is None:
                return True
            self._child = self._pid = None
        if self._pid is not None and not process_runs(self._pid):
            self._pid = None
        return self._pid is not None

    @contextlib.asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """Keep it from being restarted while an export or an import reads and writes."""
        async with self._changing:
            self._users += 1
            self._unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def serve(self, accounts: Mapping[str, tuple[str, str]]) -> None:
        """
        Make sure that it runs and knows exactly these accounts; without any it is not needed and ends.

        Args:
            accounts: both keys by account.

        Raises:
            LocalAzureError: there is no Azurite, or it does not come up.
        """
        wanted = _digest(accounts)
        async with self._changing:
            if self.runs and self._served() == wanted:
                return
            await self._unused.wait()
            await self._end()
            if not accounts:
                return
            await self._start(accounts)
            write_private(self._home.blobs / "served.json", json.dumps(wanted))

    async def stop(self) -> None:
        """End it, with the blobs on disk."""
        async with self._changing:
            await self._end()

    def _served(self) -> str:
        try:
            return str(json.loads((self._home.blobs / "served.json").read_text("utf-8")))
        except (OSError, ValueError):
            return ""

    async def _start(self, accounts: Mapping[str, tuple[str, str]]) -> None:
        folder = self._home.blobs
        folder.mkdir(mode=0o700, exist_ok=True)
        host = f"{self._home.config.address_prefix}.{LOCK_HOST_OCTET}"
        if not can_listen(host, PORT):
            raise LocalAzureError(f"port {PORT} of {host} is taken by another program: end it.")
        self._spawn(host, accounts)
        deadline = time.monotonic() + START_TIMEOUT_S
        while can_listen(host, PORT):
            if not self.runs:
                raise LocalAzureError(f"Azurite ended at its start: see {self._home.azurite_log}.")
            if time.monotonic() > deadline:
                raise LocalAzureError(
                    f"Azurite did not listen within {START_TIMEOUT_S:.0f} s: see {self._home.azurite_log}."
                )
            await asyncio.sleep(POLL_INTERVAL_S)

    def _spawn(self, host: str, accounts: Mapping[str, tuple[str, str]]) -> None:
        program, folder = find_azurite(), self._home.blobs
        certificate, key = ensure_leaf(self._home, "blobs", dns=[], addresses=[host])
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        environment |= {
            "AZURITE_ACCOUNTS": ";".join(f"{name}:{keys[0]}:{keys[1]}" for name, keys in accounts.items()),
            # It asks itself, over TLS, whether a copy's source may be read.
            "NODE_EXTRA_CA_CERTS": str(self._home.ca_file),
            "AZURITE_DISABLE_TELEMETRY": "true",
        }
        with self._home.azurite_log.open("ab") as log:
            self._child = subprocess.Popen(
                [
                    *(str(program), "--blobHost", host, "--blobPort", str(PORT), "--location", str(folder)),
                    *("--cert", str(certificate), "--key", str(key), "--oauth", "basic", "--disableProductStyleUrl"),
                    *("--skipApiVersionCheck", "--disableTelemetry", "--silent"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        self._pid = self._child.pid

    async def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.runs or self._pid is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            # A process of an earlier server is not our child: there is nothing to wait on but its end.
            while self.runs and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(POLL_INTERVAL_S)
        self._child = self._pid = None


def _digest(accounts: Mapping[str, tuple[str, str]]) -> str:
    return sha256(json.dumps(sorted((name, *keys) for name, keys in accounts.items())).encode()).hexdigest()
