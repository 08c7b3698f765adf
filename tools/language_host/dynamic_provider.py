"""Runs the provider of a program's dynamic resources, and ends it with the engine.

Pulumi's own `pulumi-resource-pulumi-python` is a shell script that starts `python -m pulumi.dynamic` as a child and
waits; when the engine is killed both stay for ever. This one becomes that process itself, and watches the engine.

Run with any Python it changes over to the interpreter of the program's virtual environment, which the engine names
in PULUMI_RUNTIME_VIRTUALENV, and goes on there. Only the standard library, until `pulumi.dynamic` is run.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
from pathlib import Path

_HERE = Path(__file__).resolve()
#: Set in the second of the two processes' lives.
_MARK = "REDISMOVE_DYNAMIC_PROVIDER"
#: How long an operation that runs when the engine dies may go on; the engine gives a provider the same 5 seconds.
STOP_GRACE_S = 5.0


def main() -> None:
    if os.environ.pop(_MARK, None) is None:
        _change_interpreter()
    sys.path[0] = str(_HERE.parent.parent)
    from language_host.lifetime import watch_parent

    # As `python -m` has it: the working directory first, and nothing of ours where the program's modules are found.
    sys.path[0] = ""
    watch_parent(_end)
    runpy.run_module("pulumi.dynamic", run_name="__main__", alter_sys=True)


def _change_interpreter() -> None:
    sys.path.insert(0, str(_HERE.parent.parent))
    from language_host.environments import EnvironmentProblem, resolve

    options = {
        name: value
        for name in ("virtualenv", "toolchain")
        if (value := os.environ.get(f"PULUMI_RUNTIME_{name.upper()}"))
    }
    here = Path.cwd()
    try:
        environment = resolve(here, here, options, is_plugin=False)
        interpreter = environment.interpreter
    except EnvironmentProblem as problem:
        sys.exit(str(problem))
    variables = {**environment.variables(), _MARK: "1"}
    os.execve(interpreter, [interpreter, "-u", str(_HERE), *sys.argv[1:]], variables)


def _end() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(STOP_GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    main()
