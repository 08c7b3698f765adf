"""Prints, as JSON, what the Python environment that runs this file has installed.

The language host runs it on the interpreter of a program's virtual environment; `environments` reads the answer.
Asking `importlib.metadata` needs no pip in the environment and takes a tenth of the time of `pip list`.

Only the standard library.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import re
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    facts: dict[str, Any] = {
        "executable": sys.executable,
        "python": platform.python_version(),
        "packages": [describe(distribution) for distribution in importlib.metadata.distributions()],
    }
    json.dump(facts, sys.stdout)


def describe(distribution: importlib.metadata.Distribution) -> dict[str, Any]:
    name = distribution.metadata["Name"]
    normal_name = re.sub(r"[-_.]+", "-", name).lower()
    return {
        "name": normal_name,
        "version": distribution.version,
        "requires": [
            re.sub(r"[-_.]+", "-", match.group()).lower()
            for requirement in distribution.requires or ()
            if "extra ==" not in requirement and (match := re.match(r"[A-Za-z0-9._-]+", requirement))
        ],
        "plugin": read_plugin_json(name),
    }


def read_plugin_json(name: str) -> dict[str, Any] | None:
    """Read `pulumi-plugin.json`, which a Pulumi package carries in its module's folder."""
    if "." in name:
        return None  # a namespace package: finding it would import its parent, and none of Pulumi's is one
    try:
        spec = importlib.util.find_spec(name.replace("-", "_"))
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "pulumi-plugin.json"
        if path.is_file():
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return content
    return None


if __name__ == "__main__":
    main()
