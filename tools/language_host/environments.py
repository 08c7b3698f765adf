"""Finds the Python environment of a program from the runtime options of its Pulumi.yaml, and asks it what it has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_INSPECTOR = Path(__file__).with_name("inspect_environment.py")
TOOLCHAINS = ("pip", "uv", "poetry")


class EnvironmentProblem(Exception):
    """The program's Python environment cannot be used; the message says what would mend it."""


@dataclass(frozen=True)
class Package:
    """A package that is installed in a Python environment."""

    name: str
    version: str
    plugin: Mapping[str, Any] | None
    """The content of its `pulumi-plugin.json`, where it has one."""


@dataclass(frozen=True)
class PythonEnvironment:
    """The Python environment that a program, policy pack or plugin runs in.

    Made by `resolve` from the options of Pulumi.yaml, PulumiPolicy.yaml or PulumiPlugin.yaml.
    """

    folder: Path | None
    """Folder of the virtual environment; None for the Python on PATH."""
    toolchain: str
    option: str
    """The folder as the options name it, for messages."""

    @property
    def interpreter(self) -> str:
        """Path of the Python interpreter.

        Raises:
            EnvironmentProblem: there is none.
        """
        if self.folder is not None:
            path = self.folder / "bin" / "python"
            if not path.is_file():
                state = "doesn't appear to be a virtual environment" if self.folder.is_dir() else "doesn't exist"
                raise EnvironmentProblem(
                    f"The 'virtualenv' option is set to {self.option!r}, but {str(self.folder)!r} {state}; "
                    "run `pulumi install` in the program's folder to make it."
                )
            return str(path)
        wanted = os.environ.get("PULUMI_PYTHON_CMD")
        names = [wanted] if wanted else ["python3", "python"]
        for name in names:
            if found := shutil.which(name):
                return found
        raise EnvironmentProblem(
            f"No Python found: none of {', '.join(names)} is on PATH; "
            "name a virtual environment in the runtime option 'virtualenv', or put Python on PATH."
        )

    def variables(self) -> dict[str, str]:
        """Environment variables as activating the virtual environment would leave them."""
        variables = dict(os.environ)
        if self.folder is not None:
            variables["PATH"] = os.pathsep.join(filter(None, [str(self.folder / "bin"), variables.get("PATH", "")]))
            variables["VIRTUAL_ENV"] = str(self.folder)
            variables.pop("PYTHONHOME", None)
        return variables

    @cached_property
    def _facts(self) -> dict[str, Any]:
        answer = subprocess.run(
            [self.interpreter, "-I", str(_INSPECTOR)],
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode != 0:
            last_line = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
            raise EnvironmentProblem(f"The Python environment of {self.interpreter} could not be read: {last_line}")
        facts: dict[str, Any] = json.loads(answer.stdout)
        return facts

    @property
    def executable(self) -> str:
        """Path of the interpreter as it names itself."""
        return str(self._facts["executable"])

    @property
    def python_version(self) -> str:
        """Version of the interpreter, such as 3.11.7."""
        return str(self._facts["python"])

    def packages(self, *, transitive: bool = True) -> list[Package]:
        """List the installed packages, by name.

        Args:
            transitive: False leaves out every package that another one requires.
        """
        raw = sorted(self._facts["packages"], key=lambda package: package["name"])
        required = {name for package in raw for name in package["requires"]} if not transitive else set()
        return [
            Package(package["name"], package["version"], package["plugin"])
            for package in raw
            if package["name"] not in required
        ]

    def version_of_toolchain(self) -> str:
        """Version of pip, uv or poetry; empty where it cannot be asked."""
        if self.toolchain == "pip":
            return next((package.version for package in self.packages() if package.name == "pip"), "")
        try:
            answer = subprocess.run([self.toolchain, "--version"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        found = re.search(r"\d+(\.\d+)+", answer.stdout)
        return found.group() if found else ""


def resolve(root: Path, program: Path, options: Mapping[str, Any], *, is_plugin: bool) -> PythonEnvironment:
    """Find the environment that the runtime options mean.

    Args:
        root: folder of Pulumi.yaml, PulumiPolicy.yaml or PulumiPlugin.yaml; a relative `virtualenv` starts here.
        program: folder of the program; lock files are looked for from here upwards.
        options: the runtime options `virtualenv` and `toolchain`.
        is_plugin: True gives `virtualenv` the default `venv`, as the official host does for plugins.

    Returns:
        The environment. Whether it exists is asked when it is used.

    Raises:
        EnvironmentProblem: an option has a value that is not known.
    """
    virtualenv = options.get("virtualenv", "")
    toolchain = options.get("toolchain") or _detect_toolchain(program)
    if not isinstance(virtualenv, str):
        raise EnvironmentProblem(f"The runtime option 'virtualenv' must be a string, found {virtualenv!r}.")
    if toolchain not in TOOLCHAINS:
        allowed = ", ".join(TOOLCHAINS)
        raise EnvironmentProblem(f"The runtime option 'toolchain' must be one of {allowed}, found {toolchain!r}.")
    if toolchain == "poetry" and not virtualenv:
        return PythonEnvironment(_ask_poetry(program), toolchain, "")
    if toolchain == "uv" and not virtualenv:
        virtualenv = os.environ.get("UV_PROJECT_ENVIRONMENT") or ".venv"
        project = _search_upwards(program, "uv.lock") or _search_upwards(program, "pyproject.toml") or program
        return PythonEnvironment(project / virtualenv, toolchain, virtualenv)
    if is_plugin and not virtualenv:
        virtualenv = "venv"
    return PythonEnvironment(root / virtualenv if virtualenv else None, toolchain, virtualenv)


def install_commands(environment: PythonEnvironment, program: Path) -> Iterator[list[str]]:
    """Give the commands that install a program's dependencies, in order; each is run in the program's folder."""
    if environment.toolchain == "uv":
        yield ["uv", "sync"]
        return
    if environment.toolchain == "poetry":
        yield ["poetry", "install", "--no-ansi"]
        return
    interpreter = "python3"
    if environment.folder is not None:
        interpreter = str(environment.folder / "bin" / "python")
        if not Path(interpreter).is_file():
            yield [PythonEnvironment(None, "pip", "").interpreter, "-m", "venv", str(environment.folder)]
    if (program / "requirements.txt").is_file():
        yield [interpreter, "-m", "pip", "install", "--requirement", "requirements.txt"]


def _detect_toolchain(program: Path) -> str:
    if _search_upwards(program, "uv.lock"):
        return "uv"
    if _search_upwards(program, "poetry.lock"):
        return "poetry"
    return "pip"


def _search_upwards(folder: Path, name: str) -> Path | None:
    return next((place for place in (folder, *folder.parents) if (place / name).is_file()), None)


def _ask_poetry(program: Path) -> Path:
    command = ["poetry", "env", "info", "--path"]
    try:
        answer = subprocess.run(command, cwd=program, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise EnvironmentProblem(
            f"The virtual environment of poetry was not found by `{' '.join(command)}` in {program}: {error}; "
            "run `poetry install` there."
        ) from error
    return Path(answer.stdout.strip())
