"""
A whole move on this machine: a local Azure, a cache, an application that writes, every stage by `pulumi up`.

    python tools/demo.py [--method geo-replication] [--shards 3] [--keys 50000] [--catch-up false]
                         [--sku Enterprise_E10] [--to managed]

Ends with a summary and with exit status 0 only if no acknowledged write was lost and nothing differs. Where a loss is
announced (method new-cache, and rdb without catch-up) exactly the announced number of keys must stay behind.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE, TARGET, GROUP = "orders-eus", "orders-wus2", "rg-orders"
_COMMAND_TIMEOUT_S = 1_800
console = Console(highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """A step of the demo did not end as it should."""


@dataclass
class Demo:
    """One run: its folder, its environment, and what it measured."""

    method: str
    shards: int
    keys: int
    rate: float
    catch_up: bool
    home: Path
    sku: str = "P1"
    to: str = "redis"
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    seconds: dict[str, float] = field(default_factory=dict)
    compared: dict[str, Any] = field(default_factory=dict)

    @property
    def source_product(self) -> str:
        """Which product the source is of: "redis", or "managed" (Enterprise too)."""
        return "managed" if "_" in self.sku else "redis"

    @property
    def databases(self) -> str:
        """The databases that are written to; a managed cache has one."""
        return "0" if "managed" in (self.source_product, self.to) else "0,3"

    @property
    def announces_loss(self) -> bool:
        """Whether this move leaves keys behind and says how many."""
        return self.method == "new-cache" or not self.catch_up

    @property
    def endpoint_file(self) -> Path:
        """The document that tells the application where to go."""
        return self.home / "endpoint.json"

    def run(self, *words: str, show: bool = True, allowed: tuple[int, ...] = (0,)) -> str:
        """Run a command in the repository, showing what it prints; DemoFailed where its exit status is not allowed."""
        process = subprocess.Popen(
            words,
            cwd=REPOSITORY,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        watchdog = threading.Timer(_COMMAND_TIMEOUT_S, process.kill)
        watchdog.start()
        lines = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if show and line.strip():
                console.print(f"    {line.rstrip()}", style="dim", markup=False)
        watchdog.cancel()
        if process.wait() not in allowed:
            raise DemoFailed(f"{shlex.join(words)} ended with {process.returncode}:\n{''.join(lines[-40:])}")
        return "".join(lines)

    def redismove(self, *words: str, show: bool = True, allowed: tuple[int, ...] = (0,)) -> str:
        """Run `redismove WORDS`."""
        return self.run(sys.executable, "-m", "redismove.cli.main", *words, show=show, allowed=allowed)

    def pulumi(self, *words: str, show: bool = True) -> str:
        """Run `pulumi WORDS` for the demo's stack, with a configuration file of its own."""
        return self.run("pulumi", *words, "--stack", "demo", "--non-interactive", show=show)

    @contextmanager
    def timed(self, what: str, sentence: str) -> Iterator[None]:
        """Say what is done now and note how long it took."""
        console.print(f"[bold]{what}[/bold]  {sentence}")
        started = time.monotonic()
        yield
        self.seconds[what] = time.monotonic() - started


def prepare(demo: Demo) -> None:
    """Start a local Azure and make the cache that is to move."""
    shutil.rmtree(demo.home, ignore_errors=True)
    demo.home.mkdir(parents=True)
    with demo.timed("local Azure", f"an Azure on this machine, in {demo.home.relative_to(REPOSITORY)}"):
        demo.redismove("local", "start", "--home", str(demo.home))
        exported = demo.redismove("local", "env", "--home", str(demo.home), show=False)
        shown = subprocess.run(
            ["bash", "-c", f"{exported}\nenv -0"], env=demo.environment, capture_output=True, text=True, check=True
        )
        demo.environment = dict(pair.split("=", 1) for pair in shown.stdout.split("\0") if "=" in pair)
    clustered = f", {demo.shards} shards" if demo.shards else ""
    with demo.timed("seed", f"a cache of size {demo.sku} in eastus with {demo.keys:,} keys of all types{clustered}"):
        demo.redismove(
            *("local", "seed", SOURCE, "--home", str(demo.home), "--keys", str(demo.keys)),
            *("--sku", demo.sku, "--location", "eastus", "--resource-group", GROUP),
            *(("--shards", str(demo.shards)) if demo.shards else ()),
            *(("--databases", "1") if demo.to == "managed" and demo.source_product == "redis" else ()),
        )


def make_storage(demo: Demo) -> dict[str, str]:
    """Make a storage account in each region, as RDB files need them; return their ids by side."""
    from redismove.azure.session import Session

    os.environ.update(demo.environment)
    with demo.timed("storage", "a storage account in eastus and one in westus2, for the files"):
        accounts = Session.from_environment().storage.storage_accounts
        making = {
            side: accounts.begin_create(
                GROUP, name, {"location": location, "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
            )
            for side, name, location in (("source", "orderseus", "eastus"), ("target", "orderswus2", "westus2"))
        }
        return {side: str(poller.result().id) for side, poller in making.items()}


def configure(demo: Demo) -> None:
    """Make the stack and set its configuration, as a team would."""
    storage = make_storage(demo) if demo.method == "rdb" else {}
    (demo.home / "pulumi").mkdir(exist_ok=True)
    demo.pulumi("stack", "init", show=False)
    for key, value in {
        "method": demo.method,
        "enableNotifications": "true",
        "soakHours": "0",
        "confirmDelete": SOURCE,
        "endpointFile": str(demo.endpoint_file.relative_to(REPOSITORY)),
        "source.resourceGroup": GROUP,
        "source.name": SOURCE,
        "target.resourceGroup": GROUP,
        "target.name": TARGET,
        "target.location": "westus2",
        "target.kind": demo.to,
        **({"acceptDataLoss": SOURCE} if demo.announces_loss else {}),
        **({} if demo.catch_up else {"catchUp": "false"}),
        **{f"storage.{side}": account for side, account in storage.items()},
    }.items():
        demo.pulumi("config", "set", "--path", f"redismove:{key}", value, show=False)


def start_application(demo: Demo) -> subprocess.Popen[str]:
    """Start the application; it reads the Endpoint, which points at the source from the beginning."""
    from redismove.azure.caches import Caches
    from redismove.azure.session import Session
    from redismove.endpoint import FileEndpointStore
    from redismove.steps.cutover import entry_of

    os.environ.update(demo.environment)
    session = Session.from_environment()
    source = Caches(session).read(session.cache_id(GROUP, SOURCE, product=demo.source_product))
    assert source is not None
    FileEndpointStore(demo.endpoint_file).put(entry_of(source, "source"))
    clients = "on the dual-write client " if demo.method == "dual-write" else ""
    console.print(
        f"[bold]application[/bold]  {clients}writes {demo.rate:.0f} times a second and follows "
        f"{demo.endpoint_file.name}"
    )
    return subprocess.Popen(
        [
            *(sys.executable, str(REPOSITORY / "tools" / "workload.py"), "--endpoint", str(demo.endpoint_file)),
            *("--rate", str(demo.rate), "--databases", demo.databases),
            *("--mode", "dual" if demo.method == "dual-write" else "ours"),
            *(("--new-keys-only",) if demo.announces_loss else ()),
        ],
        cwd=REPOSITORY,
        env=demo.environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def take_stages(demo: Demo, application: subprocess.Popen[str]) -> None:
    """Take every stage of the method's way, each with one `pulumi up` under the policy pack."""
    from redismove import stages

    for stage in stages.way(demo.method):
        with demo.timed(stage, stages.SUMMARY[stage]):
            demo.pulumi("config", "set", "redismove:stage", stage, show=False)
            demo.pulumi("up", "-y", "--suppress-outputs", "--policy-pack", "policies")
        if application.poll() is not None:
            raise DemoFailed(f"the application ended during {stage} with {application.returncode}")
        if stage == stages.CUTOVER:
            compare(demo)


def compare(demo: Demo) -> None:
    """Compare every key that the application does not own, on both sides, while both caches are there."""
    from redismove.azure.caches import Caches
    from redismove.azure.session import Session
    from redismove.dataplane.connect import Server
    from redismove.dataplane.verify import verify
    from redismove.steps.access import address

    with demo.timed("compare", "every seeded key on both caches, by the mover's own verification"):
        session = Session.from_environment()
        caches = Caches(session)
        both = [
            caches.read(session.cache_id(GROUP, name, product=product))
            for name, product in ((SOURCE, demo.source_product), (TARGET, demo.to))
        ]
        with Server.open(address(caches, both[0])) as source, Server.open(address(caches, both[1])) as target:
            report = verify(source, target, depth="full", known_ignored=lambda _database, key: b"app" in key[:8])
        demo.compared = {"keys": report.counts["compared"], "different": report.different}
        if report.different and not demo.announces_loss:
            console.print(report.first_differences[:5])


def finish(application: subprocess.Popen[str]) -> dict[str, Any]:
    """Tell the application to end; it checks the live cache against every write that was acknowledged."""
    application.send_signal(signal.SIGTERM)
    output, _ = application.communicate(timeout=300)
    if not output.strip():
        raise DemoFailed(f"the application ended with {application.returncode} and said nothing")
    return dict(json.loads(output.strip().splitlines()[-1]))


def summarise(demo: Demo, checked: dict[str, Any], cutover: dict[str, Any]) -> bool:
    """Print the summary; whether everything is as it must be."""
    lost, different = int(checked["lost"]), int(demo.compared.get("different", 0))
    behind: dict[str, str] = {}
    if demo.announces_loss:
        # Every write made a key of its own, so each that is lost is one key; the seeded ones were compared.
        announced, counted = int(cutover.get("differences", 0)), lost + different
        behind = {"keys left behind, as announced": f"{announced:,}", "keys left behind, as counted": f"{counted:,}"}
        lost, different = abs(counted - announced), 0
    table = Table(title=f"{demo.method}: {SOURCE} (eastus) -> {TARGET} (westus2)", show_header=False)
    for name, value in {
        "acknowledged writes": f"{checked['acknowledged']:,}",
        "lost writes": f"{lost:,}",
        "client errors": f"{checked['client_errors']}",
        "hold": f"{cutover.get('hold_ms', 0):.1f} ms",
        "gap that the application saw": ", ".join(f"{gap:.1f} ms" for gap in checked["gap_ms"]) or "none",
        "keys compared": f"{demo.compared.get('keys', 0):,}",
        "differences": f"{different:,}",
        **behind,
        "seconds": ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in demo.seconds.items()),
    }.items():
        table.add_row(name, value)
    console.print(table)
    return lost == 0 and different == 0


def main() -> int:
    """Run the demo; 0 where nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--method", default=os.environ.get("METHOD") or "geo-replication")
    parser.add_argument("--shards", type=int, default=int(os.environ.get("SHARDS") or 0))
    parser.add_argument("--keys", type=int, default=int(os.environ.get("KEYS") or 50_000))
    parser.add_argument("--rate", type=float, default=float(os.environ.get("RATE") or 500))
    parser.add_argument(
        "--catch-up",
        choices=("true", "false"),
        default=os.environ.get("CATCH_UP") or "true",
        help="false (method rdb): what is written after the export began stays behind, counted and announced",
    )
    parser.add_argument("--sku", default=os.environ.get("SKU") or "P1", help="the source's size (Enterprise_E10)")
    parser.add_argument(
        "--to",
        choices=("redis", "managed"),
        default=os.environ.get("TO") or "redis",
        help="managed: the target is an Azure Managed Redis",
    )
    parser.add_argument("--keep", action="store_true", help="leave the local Azure running")
    given = parser.parse_args()
    catch_up = given.catch_up == "true"
    if not catch_up and given.method != "rdb":
        parser.error(
            f"--catch-up false: found method {given.method}, allowed rdb, the one that can leave writes behind"
        )
    others = f"-{given.sku}-{given.to}" if (given.sku, given.to) != ("P1", "redis") else ""
    home = REPOSITORY / ".redismove" / f"demo-{given.method}-{given.shards}{others}"
    demo = Demo(given.method, given.shards, given.keys, given.rate, catch_up, home, sku=given.sku, to=given.to)
    application = None
    try:
        if home.exists():
            demo.redismove("local", "stop", "--home", str(home), show=False, allowed=(0, 1, 2))
        prepare(demo)
        configure(demo)
        application = start_application(demo)
        take_stages(demo, application)
        cutover = json.loads(demo.pulumi("stack", "output", "--json", show=False))["cutover"] or {}
        checked = finish(application)
        return 0 if summarise(demo, checked, cutover) else 1
    except DemoFailed as error:
        console.print(f"[bold red]failed[/bold red] {error}", markup=True)
        return 1
    finally:
        if application is not None and application.poll() is None:
            application.kill()
        if not given.keep:
            demo.redismove("local", "stop", "--home", str(home), show=False, allowed=(0, 1, 2))
            (REPOSITORY / "Pulumi.demo.yaml").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
