"""The application of a test: it writes to the cache that the Endpoint names and knows afterwards what must be there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from redismove.endpoint import FileEndpointStore
from redismove.steps.cutover import entry_of
from tests.support.local_cloud import REPOSITORY
from tests.support.move import Move


@dataclass
class Application:
    """`tools/workload.py` as a process."""

    process: subprocess.Popen[str]

    @classmethod
    def start(
        cls,
        move: Move,
        *,
        rate: float = 200,
        mode: str = "ours",
        starts_empty: bool = False,
        databases: str = "0,3",
    ) -> Application:
        """
        Point the Endpoint at the source, as the owners of the application do, and start writing.

        *mode* is "plain", "ours" or "dual"; *starts_empty* says that a cache which it is sent to holds nothing.
        *databases* are their numbers, with commas.
        """
        source = move.source
        assert source is not None
        file = move.stack.folder / ".redismove" / f"endpoint-{move.stack.name}.json"
        file.parent.mkdir(exist_ok=True)
        FileEndpointStore(file).put(entry_of(source, "source"))
        process = subprocess.Popen(
            [
                *(sys.executable, str(REPOSITORY / "tools" / "workload.py"), "--endpoint", str(file)),
                *("--rate", str(rate), "--mode", mode, "--connections", "8", "--databases", databases),
                *(("--starts-empty",) if starts_empty else ()),
            ],
            cwd=REPOSITORY,
            env=move.cloud.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return cls(process)

    def finish(self) -> dict[str, Any]:
        """Stop writing; return what it found: acknowledged, lost, findings, client_errors, gap_ms."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=240)
        return dict(json.loads(output.strip().splitlines()[-1]))

    def kill(self) -> None:
        """End it without asking."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
