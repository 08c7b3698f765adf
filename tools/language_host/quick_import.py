"""Lets a process import the Pulumi SDK's gRPC stubs without the SDK around them."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path


def keep_sdk_out() -> None:
    """Make the packages above the stubs empty ones, for the rest of this process.

    `import pulumi` loads the whole SDK, which takes twice as long as all the rest of the host's start. The engine
    starts a language host twice for one `pulumi up`, and the host needs nothing but the stubs.
    """
    spec = importlib.util.find_spec("pulumi")
    if spec is None or spec.origin is None:
        sys.exit("The Pulumi SDK for Python is missing beside the language host; run `make setup` in the repository.")
    folder = Path(spec.origin).parent
    for name in ("pulumi", "pulumi.runtime", "pulumi.runtime.proto"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
