"""
The application of the cut-over's bench: `python -m bench.cutover_writer FOLDER [--ours 10] [--rate 5000]`.

It is the one of `tools/workload.py` with two kinds of connections at once, more keys, and a pause in which everything
acknowledged since the last one is compared. A line on its standard input asks, a line of JSON answers: "status",
"check" (writers wait, what was touched since the last check is compared, they go on), "stop" (of everything, and end).
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path
from typing import Any

from redismove.endpoint import FileEndpointStore
from tools.workload import Workload, _Worker, credentials_from_file

SPREAD = 250
"""So many times the workload's keys: 10,000 strings for each connection. Streams with groups stay at two each."""


class _Spread(_Worker):
    """A connection with many keys, which can be made to wait between two commands."""

    def __init__(self, number: int, workload: Writers) -> None:
        super().__init__(number, workload)
        self.mode = "ours" if number < workload.ours else "plain"
        self.ever_touched: set[bytes] = set()
        self._go_on = workload.go_on
        self.waits = threading.Event()

    def key(self, kind: str, count: int) -> bytes:
        return super().key(kind, count if kind == "x" else count * SPREAD)

    def choose(self) -> list[bytes]:
        while not self._go_on.is_set() and not self.workload.stopping.is_set():
            self.waits.set()
            self._go_on.wait(0.2)
        return super().choose()


class Writers(Workload):
    """The application: its first *ours* connections use our client, the others an ordinary one."""

    def __init__(self, folder: Path, *, connections: int, ours: int, rate: float, clustered: bool, seed: int) -> None:
        self.ours = ours
        self.go_on = threading.Event()
        self.go_on.set()
        super().__init__(
            FileEndpointStore(folder / "endpoint.json"),
            credentials_from_file(folder / "credentials.json"),
            connections=connections,
            rate=rate,
            mode="ours",
            databases=(0,) if clustered else (0, 1),
            seed=seed,
        )
        self._spread = [_Spread(number, self) for number in range(connections)]
        self._workers = list(self._spread)

    def verdict(self, *, everything: bool) -> dict[str, Any]:
        """Make the writers wait, compare what was touched since the last verdict (or ever), let them go on."""
        for worker in self._spread:
            worker.waits.clear()
        self.go_on.clear()
        for worker in self._spread:
            while worker.is_alive() and not worker.waits.wait(0.01):
                pass
        for worker in self._spread:
            worker.ever_touched |= worker.expectation.touched
            if everything:
                worker.expectation.touched = set(worker.ever_touched)
        found = {**self.check(), **self._by_kind()}
        for worker in self._spread:
            worker.expectation.touched = set()
            worker.expectation.contradictions = []
        self.go_on.set()
        return found

    def _by_kind(self) -> dict[str, Any]:
        kinds = {"ours": self._spread[: self.ours], "plain": self._spread[self.ours :]}
        return {
            "errors": {kind: sum(worker.errors for worker in workers) for kind, workers in kinds.items()},
            "still_ms": {kind: self._still_ms(workers) for kind, workers in kinds.items()},
        }

    def _still_ms(self, workers: list[_Spread]) -> list[float]:
        """For each switch: how long the connection that waited longest had no answer, in ms."""
        still = []
        for side in range(1, len(self.sides.entries)):
            waits = [
                worker.first_ack[side] - worker.last_ack[side - 1]
                for worker in workers
                if side in worker.first_ack and side - 1 in worker.last_ack
            ]
            still.append(round(max(waits, default=0.0) * 1000, 2))
        return still


def main() -> None:
    """Write until standard input ends or says "stop"."""
    parser = argparse.ArgumentParser(prog="python -m bench.cutover_writer", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ours", type=int, default=10)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--clustered", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    writers = Writers(
        options.folder,
        connections=options.connections,
        ours=options.ours,
        rate=options.rate,
        clustered=options.clustered,
        seed=options.seed,
    )
    writers.start()
    for line in sys.stdin:
        asked = line.strip()
        if asked == "status":
            answer = writers.status()
        else:
            answer = writers.verdict(everything=asked == "stop")
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        if asked == "stop":
            break
    writers.stop()


if __name__ == "__main__":
    main()
