"""A stack of this repository's own program, driven by the real `pulumi` as its users drive it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.local_cloud import REPOSITORY, LocalCloud

_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]*")
_LINKED = ("components", "policies", "redismove", "localazure", ".venv", ".tools", "__main__.py")


@dataclass
class Result:
    """What one `pulumi` command printed and how it ended."""

    exit_status: int
    output: str

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.exit_status == 0

    def __str__(self) -> str:
        return f"exit status {self.exit_status}\n{self.output}"


@dataclass
class Stack:
    """One stack in a project folder of its own that shares the program with the repository."""

    folder: Path
    cloud: LocalCloud
    name: str = "dev"
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def new(cls, folder: Path, cloud: LocalCloud, name: str = "dev", **config: Any) -> Stack:
        """Make a project folder and an empty stack, and set *config* (keys without the namespace)."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / "Pulumi.yaml", folder)
        for entry in _LINKED:
            if (REPOSITORY / entry).exists() and not (folder / entry).exists():
                (folder / entry).symlink_to(REPOSITORY / entry)
        backend = folder / "backend"
        backend.mkdir(exist_ok=True)
        stack = cls(folder, cloud, name, {**cloud.environment, "PULUMI_BACKEND_URL": f"file://{backend}"})
        made = stack.pulumi("stack", "init", name)
        assert made.ok, made
        stack.configure(**config)
        return stack

    def configure(self, **config: Any) -> None:
        """
        Set configuration; a dictionary sets the fields of an object, None removes a key.

        The file is written, as somebody does in a pull request: `pulumi config set` takes half a second a key.
        """
        file = self.folder / f"Pulumi.{self.name}.yaml"
        content = yaml.safe_load(file.read_text()) if file.exists() else {}
        keys = content.setdefault("config", {})
        for key, value in config.items():
            full_key = f"redismove:{key}"
            if value is None:
                keys.pop(full_key, None)
            elif isinstance(value, dict):
                keys.setdefault(full_key, {}).update({part: _typed(str(text)) for part, text in value.items()})
            else:
                keys[full_key] = str(value).lower() if isinstance(value, bool) else str(value)
        file.write_text(yaml.safe_dump(content, sort_keys=False))

    def configured(self, key: str) -> Any:
        """Return what the configuration says under *key*, None where nothing."""
        content = yaml.safe_load((self.folder / f"Pulumi.{self.name}.yaml").read_text())
        return content["config"].get(f"redismove:{key}")

    def pulumi(self, *words: str, timeout_s: float = 280.0, environment: dict[str, str] | None = None) -> Result:
        """Run `pulumi WORDS` in the project; kill it and all it started when the time is over."""
        process = self.start(*words, environment=environment)
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"pulumi {' '.join(words)} took more than {timeout_s} s:\n{output}") from None
        return Result(process.returncode, output)

    def start(self, *words: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start `pulumi WORDS` without waiting, in a process group of its own."""
        stack = ["--stack", self.name] if words[0] not in ("stack", "whoami", "version") else []
        return subprocess.Popen(
            ["pulumi", *words, *stack, "--non-interactive"],
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def stage(self, stage: str, *options: str) -> Result:
        """Ask for *stage* and take it with `pulumi up -y --skip-preview OPTIONS`."""
        self.configure(stage=stage)
        return self.up(*options)

    def up(self, *options: str) -> Result:
        """Run `pulumi up -y --skip-preview OPTIONS`."""
        return self.pulumi("up", "-y", "--skip-preview", "--suppress-outputs", *options)

    def preview(self, *options: str) -> Result:
        """Run `pulumi preview OPTIONS`."""
        return self.pulumi("preview", *options)

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs."""
        done = self.pulumi("stack", "output", "--json", "--stack", self.name)
        assert done.ok, done
        return dict(json.loads(done.output))

    def state(self) -> dict[str, Any]:
        """Return the state as `pulumi stack export` gives it."""
        done = self.pulumi("stack", "export", "--stack", self.name)
        assert done.ok, done
        return dict(json.loads(done.output))

    def resources(self) -> dict[str, dict[str, Any]]:
        """Return the resources that the backend's file holds, by the last part of their URNs; no process is started."""
        deployment = self.checkpoint()["checkpoint"]["latest"] or {}
        return {resource["urn"].rsplit("::", 1)[-1]: resource for resource in deployment.get("resources") or []}

    @property
    def checkpoint_file(self) -> Path:
        """The file in which the backend keeps this stack's state."""
        return self.folder / "backend" / ".pulumi" / "stacks" / "redismove" / f"{self.name}.json"

    def checkpoint(self) -> dict[str, Any]:
        """Return what `checkpoint_file` holds."""
        return dict(json.loads(self.checkpoint_file.read_text()))


def _typed(text: str) -> str | int | bool:
    """Give a field the type that `pulumi config set --path` gives it."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else text
