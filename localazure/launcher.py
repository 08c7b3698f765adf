"""Starts and stops the server as a background process, and says what a client must know to reach it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from localazure.azurite_process import azurite_process
from localazure.container_process import container_processes
from localazure.errors import LocalAzureError
from localazure.home import Home
from localazure.plugin.wrapper import write_wrapper
from localazure.redis_process import process_runs, redis_processes

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.05
REPOSITORY = Path(__file__).resolve().parent.parent


def running_pid(home: Home) -> int | None:
    """Give the pid of the server of a home; None when it does not run. The lock it holds is the proof."""
    try:
        with home.lock_file.open(encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                text = lock.read().strip()
                return int(text) if text.isdigit() else None
    except FileNotFoundError:
        pass
    return None


def start(home: Home) -> str:
    """
    Start the server of a home and wait until it answers.

    Returns:
        One line for a person.

    Raises:
        LocalAzureError: it does not come up within `START_TIMEOUT_S`, with its own reason.
    """
    home.create()
    write_wrapper(home.bin)
    _ = home.settings
    pid = running_pid(home)
    if pid is not None:
        _wait_ready(home, None, time.monotonic() + START_TIMEOUT_S)
        return f"the local Azure already runs at {home.endpoint} (pid {pid}, home {home.root})"
    with home.server_log.open("ab") as log:
        log_start = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "localazure.server", str(home.root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.root,
            env=os.environ | {"PYTHONPATH": _python_path()},
            start_new_session=True,
        )
    _wait_ready(home, (child, log_start), time.monotonic() + START_TIMEOUT_S)
    return f"the local Azure runs at {home.endpoint} (pid {child.pid}, home {home.root})"


def stop(home: Home) -> str:
    """
    Stop the server of a home and every redis-server, Azurite and container it left, with the data on disk.

    Returns:
        One line for a person.

    Raises:
        LocalAzureError: there is no such home, or a process does not end.
    """
    if not home.exists:
        raise LocalAzureError(f"no local Azure at {home.root}: nothing to stop.")
    deadline = time.monotonic() + STOP_TIMEOUT_S
    pid = running_pid(home)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        _wait_end([pid], deadline)
        while running_pid(home) is not None and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S)
    # The server shuts them down; these are left when it was killed before.
    left = list(redis_processes(home).values())
    azurite = azurite_process(home)
    left += [] if azurite is None else [azurite]
    left += container_processes(home)
    for left_pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(left_pid, signal.SIGTERM)
    _wait_end(left, deadline)
    if pid is None and not left:
        return f"the local Azure at {home.root} was not running"
    return f"the local Azure at {home.root} is stopped"


def status(home: Home) -> tuple[bool, str]:
    """
    Tell whether the server of a home runs.

    Returns:
        Whether it runs, and one line for a person.
    """
    if not home.exists:
        return False, f"no local Azure at {home.root}: start one with `redismove local start`"
    pid = running_pid(home)
    servers = len(redis_processes(home))
    if pid is None:
        rest = f", but {servers} redis-servers do: `redismove local stop` ends them" if servers else ""
        return False, f"the local Azure at {home.root} does not run{rest}"
    return True, f"the local Azure runs at {home.endpoint} (pid {pid}, {servers} redis-servers, home {home.root})"


def environment(home: Home) -> dict[str, str]:
    """
    Give what a client of the local Azure must have in its environment.

    Raises:
        LocalAzureError: there is no such home.
    """
    config = home.config
    bundle = str(home.ca_bundle)
    tools = REPOSITORY / ".tools" / "bin"
    first = [str(home.bin), str(tools)]
    rest = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part and part not in first]
    return {
        "ARM_ENDPOINT": home.endpoint,
        "ARM_SUBSCRIPTION_ID": config.subscription_id,
        "ARM_SUBSCRIPTION_ID_2": config.subscription_id_2,
        "ARM_TENANT_ID": config.tenant_id,
        "ARM_CLIENT_ID": config.client_id,
        "ARM_CLIENT_SECRET": config.client_secret,
        "ARM_METADATA_HOSTNAME": f"localhost:{config.port}",
        "ARM_DISABLE_INSTANCE_DISCOVERY": "true",
        "AZURE_AUTHORITY_HOST": home.endpoint,
        "AZURE_TENANT_ID": config.tenant_id,
        "AZURE_CLIENT_ID": config.client_id,
        "AZURE_CLIENT_SECRET": config.client_secret,
        "REQUESTS_CA_BUNDLE": bundle,
        "SSL_CERT_FILE": bundle,
        "PULUMI_BACKEND_URL": f"file://{home.pulumi}",
        "PULUMI_CONFIG_PASSPHRASE": config.pulumi_passphrase,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PATH": os.pathsep.join(first + rest),
    }


def export_lines(home: Home) -> str:
    """Give the environment as lines that a shell can evaluate."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment(home).items())


def _wait_ready(home: Home, child: tuple[subprocess.Popen[bytes], int] | None, deadline: float) -> None:
    while True:
        if child is not None and child[0].poll() is not None:
            raise LocalAzureError(_reason(home, child[1]))
        if home.ca_file.exists():
            try:
                context = ssl.create_default_context(cafile=str(home.ca_file))
                url = f"{home.endpoint}/metadata/endpoints?api-version=2022-09-01"
                opener = urllib.request.build_opener(
                    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
                )
                with opener.open(url, timeout=5) as response:
                    if response.status == 200:
                        return
            except (OSError, urllib.error.URLError):
                pass
        if time.monotonic() > deadline:
            raise LocalAzureError(
                f"the local Azure at {home.root} did not answer within {START_TIMEOUT_S:.0f} s: see {home.server_log}."
            )
        time.sleep(POLL_INTERVAL_S)


def _reason(home: Home, log_start: int) -> str:
    with home.server_log.open("rb") as log:
        log.seek(log_start)
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
    for line in lines:
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    last = lines[-1] if lines else "it said nothing"
    return f"the local Azure ended at its start ({last}): see {home.server_log}."


def _wait_end(pids: list[int], deadline: float) -> None:
    for pid in pids:
        while process_runs(pid):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > deadline:
                raise LocalAzureError(
                    f"process {pid} did not end within {STOP_TIMEOUT_S:.0f} s: look at it and end it."
                )
            time.sleep(POLL_INTERVAL_S)


def _python_path() -> str:
    parts = [str(REPOSITORY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.pathsep.join(part for part in parts if part)
