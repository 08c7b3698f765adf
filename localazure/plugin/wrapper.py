"""The executable that the engine looks for on PATH."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path

NAME = "pulumi-resource-azure-native"


def write_wrapper(bin_dir: Path) -> Path:
    """
    Write an executable `pulumi-resource-azure-native` that becomes the stand-in, in the running Python environment.

    Args:
        bin_dir: the folder for it, made when it is missing. It goes on PATH for the local Azure only.

    Returns:
        The executable's path.
    """
    root = Path(__file__).resolve().parents[2]
    script = (
        "#!/bin/sh\n"
        "# The stand-in for Pulumi's azure-native provider: resources of the Azure on this machine.\n"
        # -P keeps the program's own folder, the current one, off the module path
        f'PYTHONPATH={shlex.quote(str(root))} exec {shlex.quote(sys.executable)} -P -m localazure.plugin "$@"\n'
    )
    bin_dir.mkdir(parents=True, exist_ok=True)
    target = bin_dir / NAME
    # written beside it and moved: an engine may be starting the old one right now
    handle, name = tempfile.mkstemp(dir=bin_dir, prefix=f".{NAME}.")
    with os.fdopen(handle, "w") as file:
        file.write(script)
    temporary = Path(name)
    temporary.chmod(0o755)
    temporary.replace(target)
    return target
