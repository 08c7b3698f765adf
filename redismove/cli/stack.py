"""One Pulumi stack as the commands see it: configuration, outputs, and what its state recorded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi import automation as auto

from redismove import settings
from redismove.errors import RedismoveError
from redismove.steps.survey import Recorded, Survey, recorded_by, survey


class StackError(RedismoveError):
    """The stack could not be used."""


@dataclass(frozen=True)
class StackView:
    """A stack of the project in *folder*, through the Pulumi command line."""

    name: str
    folder: Path
    workspace: auto.LocalWorkspace

    @classmethod
    def open(cls, name: str = "", folder: Path | None = None) -> StackView:
        """
        Open stack *name*, or the selected one.

        Raises:
            StackError: no project here, no such stack, or none is selected.
        """
        where = (folder or Path.cwd()).absolute()
        if not (where / "Pulumi.yaml").exists():
            raise StackError(
                f"{where.name}: found no Pulumi.yaml, allowed a folder with a redismove project; change to it first"
            )
        try:
            workspace = auto.LocalWorkspace(work_dir=str(where))
            if not name:
                selected = workspace.stack()
                if selected is None:
                    raise StackError(
                        "stack: found none selected, allowed one; run `pulumi stack select NAME` or give --stack NAME"
                    )
                name = selected.name
            else:
                workspace.select_stack(name)
        except auto.CommandError as error:
            raise StackError(f"stack {name or '(selected)'}: {_reason(error)}") from None
        return cls(name=name, folder=where, workspace=workspace)

    def config(self) -> dict[str, str]:
        """Return the configuration with the project's defaults, as the program would get it."""
        values = {key: value.value for key, value in self.workspace.get_all_config(self.name).items()}
        return {key: value for key, value in values.items() if key.startswith(f"{settings.NAMESPACE}:")}

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs."""
        try:
            return {key: value.value for key, value in self.workspace.stack_outputs(self.name).items()}
        except auto.CommandError as error:
            raise StackError(f"stack {self.name}: {_reason(error)}") from None

    def deployment(self) -> dict[str, Any]:
        """Return the state as `pulumi stack export` gives it; secrets stay encrypted."""
        try:
            return dict(self.workspace.export_stack(self.name).deployment or {})
        except auto.CommandError as error:
            raise StackError(f"stack {self.name}: {_reason(error)}") from None

    def recorded(self) -> Recorded:
        """Return what the state recorded of the last update."""
        by_type = {
            r["type"]: r.get("outputs") or {} for r in self.deployment().get("resources") or [] if not r.get("delete")
        }
        return recorded_by(by_type)

    def survey(self) -> Survey:
        """Read everything the gates judge, live, for the stage that the configuration asks for."""
        return survey(settings.read(self.config()), self.recorded(), stack=self.name, project_folder=self.folder)


def _reason(error: auto.CommandError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    wanted = [line.removeprefix("stderr: ") for line in lines if "error:" in line]
    return (
        wanted[0].split("error:", 1)[1].strip() if wanted else lines[-1] if lines else "pulumi failed"
    ) or "pulumi failed"


def as_json(value: Any) -> str:
    """Return *value* as indented JSON with sorted keys."""
    return json.dumps(value, indent=2, sort_keys=True, default=str)
