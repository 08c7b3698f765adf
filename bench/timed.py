"""One run of copy or verify, timed from the open of the first connection to the report: `python -m bench.timed`."""

from __future__ import annotations

import json
import sys
import time

from redismove.dataplane.connect import Server, ServerAddress
from redismove.dataplane.copy import copy
from redismove.dataplane.pump import library
from redismove.dataplane.throttle import Limits
from redismove.dataplane.verify import native, verify


def _most_memory_mb() -> float:
    # Not getrusage: its number begins with what the parent had when it started us.
    with open("/proc/self/status") as status:  # noqa: PTH123 - no file of ours
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def main() -> None:
    """`copy|verify SOURCE TARGET [KEYS_PER_S]`; prints keys, seconds and the most memory as JSON."""
    command, source_url, target_url = sys.argv[1:4]
    library()  # compiling is no part of a copy or a comparison
    native.library()
    begun = time.perf_counter()
    source, target = (Server.open(ServerAddress.from_url(url)) for url in (source_url, target_url))
    if command == "copy":
        limits = Limits(keys_per_s=float(sys.argv[4])) if len(sys.argv) > 4 else Limits()
        done = copy(source, target, limits=limits)
        keys, moving_s = done.copied, done.moving_s
    else:
        report = verify(source, target)
        if not report.equal:
            raise SystemExit(json.dumps(report.to_json()))
        keys = report.counts["compared"]
        moving_s = report.duration_s
    seconds = time.perf_counter() - begun
    memory_mb = _most_memory_mb()
    sys.stdout.write(
        json.dumps({"keys": keys, "seconds": seconds, "moving_s": moving_s, "memory_mb": memory_mb}) + "\n"
    )


if __name__ == "__main__":
    main()
