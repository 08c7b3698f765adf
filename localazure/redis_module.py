"""Compiles `redis_module.c` once into the user's cache folder (XDG); the next home and the next clone find it there."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from localazure.errors import LocalAzureError

SOURCE = Path(__file__).with_name("redis_module.c")
COMPILE_TIMEOUT_S = 120


def ensure_module() -> Path:
    """
    Give the compiled module, compiling it where this machine has not yet.

    Returns:
        Path of the shared object.

    Raises:
        LocalAzureError: there is no C compiler, or it fails.
    """
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    module = cache / "redismove" / f"localazure-module-{digest}" / "localazure.so"
    if module.exists():
        return module
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise LocalAzureError(
            "no C compiler (cc) on PATH; the local Azure compiles one small file with it: install gcc or clang."
        )
    module.parent.mkdir(parents=True, exist_ok=True)
    # Two homes may start at once: each compiles under its own name and the last rename wins with the same content.
    temporary = module.with_name(f"{os.getpid()}.so")
    done = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", str(temporary), str(SOURCE)],
        capture_output=True,
        text=True,
        timeout=COMPILE_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        first_line = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise LocalAzureError(f"{compiler} could not compile {SOURCE.name}: {first_line}.")
    os.replace(temporary, module)
    return module
