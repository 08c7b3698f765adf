"""
Runs `python -m bench` with what it is given; `make bench` calls it.

    make bench                                        everything at a fifth of the size, long lines at the full one
    REDIS_SHAKE=/path/to/redis-shake make bench       beside RedisShake
    python -m bench --full --json results.json        full size, and ten million keys
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> int:
    """
    Run it.

    Returns:
        Exit code: 0 when every figure is as wanted.
    """
    return subprocess.run([sys.executable, "-m", "bench", *sys.argv[1:]], cwd=REPOSITORY, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
