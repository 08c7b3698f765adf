"""Sets up this clone: `make setup` runs it with the system's Python, before anything is installed."""

import os
import subprocess
import sys

OLDEST = (3, 11)
# The newest first; 3.14 and later are taken only where they are the default.
CANDIDATES = ("python3.13", "python3.12", "python3.11")


def starts(name):
    # A name on PATH may be a shim for a version that is not there.
    try:
        return subprocess.call([name, "-c", ""], stderr=open(os.devnull, "w")) == 0
    except OSError:
        return False


def main():
    if sys.version_info < OLDEST:
        for name in CANDIDATES:
            if starts(name):
                os.execvp(name, [name] + sys.argv)
        sys.exit(
            "error: Python %d.%d or later is needed, and this is %s. To mend it: apt-get install python3.11 "
            "python3.11-venv, or its like on your system, then `make setup PYTHON=python3.11`"
            % (OLDEST + (sys.version.split()[0],))
        )
    from toolchain.main import main as set_up

    sys.exit(set_up())


if __name__ == "__main__":
    main()
