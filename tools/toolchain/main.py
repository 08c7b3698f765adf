"""Sets everything up, in order; the second time it only looks."""

from __future__ import annotations

import sys
import time

from toolchain import azurite, pulumi_cli, python_packages, redis_server
from toolchain.console import Problem, say


def main() -> int:
    """Set up this clone.

    Returns:
        Exit code: 0, or 1 after a problem that has been printed.
    """
    begin = time.monotonic()
    try:
        python_packages.ensure()
        pulumi = pulumi_cli.ensure()
        redis = redis_server.ensure()
        blobs = azurite.ensure()
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; `make setup` goes on where it stopped", file=sys.stderr)
        return 130
    say(f"Ready after {time.monotonic() - begin:.1f} s: {pulumi}; {redis}; {blobs}.")
    return 0
