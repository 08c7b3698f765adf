"""Runs every benchmark of `bench/`, one after the other: each is a program that prints its own measurements."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run them all.

    Returns:
        Exit code: 0 when every benchmark ended well.
    """
    benchmarks = sorted((REPOSITORY / "bench").glob("bench_*.py"))
    if not benchmarks:
        print("error: there is no benchmark: none of the files in bench/ is named bench_*.py", file=sys.stderr)
        return 1
    failed: list[str] = []
    for place, benchmark in enumerate(benchmarks, 1):
        print(f"\n=== {benchmark.stem} ({place} of {len(benchmarks)}) ===", flush=True)
        begin = time.monotonic()
        code = subprocess.run([sys.executable, str(benchmark), *sys.argv[1:]], cwd=REPOSITORY, check=False).returncode
        print(f"=== {benchmark.stem}: exit code {code} after {time.monotonic() - begin:.0f} s", flush=True)
        if code != 0:
            failed.append(benchmark.stem)
    if failed:
        print(f"error: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
