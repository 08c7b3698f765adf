"""Each room imports what its row allows, and nothing else: a breach names the row."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
_OURS = {"redismove", "components", "policies", "localazure"}

# Room: what of ours and of others it may import; the standard library always. A name covers what is below it.
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "__main__.py": ({"components", "redismove.settings", "redismove.errors"}, {"pulumi"}),
    "components": ({"components", "redismove"}, {"pulumi", "pulumi_azure_native"}),
    "policies": ({"policies", "redismove.rules", "redismove.stages", "redismove.facts"}, {"pulumi_policy"}),
    "redismove/rules": ({"redismove.rules", "redismove.stages", "redismove.facts"}, set()),
    "redismove/stages.py": (set(), set()),
    "redismove/facts.py": (set(), set()),
    "redismove/plan.py": ({"redismove.estimate", "redismove.rules", "redismove.stages", "redismove.facts"}, set()),
    "redismove/estimate.py": ({"redismove.rules", "redismove.stages", "redismove.facts"}, set()),
    "redismove/target.py": ({"redismove.rules", "redismove.stages", "redismove.facts", "redismove.settings"}, set()),
    "redismove/settings.py": ({"redismove.stages", "redismove.errors"}, {"pydantic"}),
    "redismove/dataplane": (
        {"redismove.dataplane", "redismove.errors", "redismove.facts", "redismove.endpoint"},
        {"redis", "hiredis", "tenacity", "rich", "distributed", "dask"},
    ),
    "redismove/endpoint.py": ({"redismove.errors"}, set()),
    "redismove/admission.py": ({"redismove.endpoint"}, {"redis"}),
    "redismove/application.py": (
        {"redismove.admission", "redismove.endpoint", "redismove.errors"},
        {"redis", "hiredis"},
    ),
    "redismove/azure": ({"redismove.azure", "redismove.errors", "redismove.facts"}, {"azure", "tenacity", "msal"}),
    "redismove/steps": (
        {
            "redismove.steps",
            "redismove.azure",
            "redismove.dataplane",
            "redismove.endpoint",
            "redismove.errors",
            "redismove.facts",
            "redismove.settings",
            "redismove.stages",
            "redismove.target",
        },
        set(),
    ),
    "redismove/dual_write": (
        {
            "redismove.dual_write",
            "redismove.admission",
            "redismove.application",
            "redismove.endpoint",
            "redismove.errors",
        },
        {"redis", "hiredis"},
    ),
    "redismove/review": ({"redismove"}, {"tenacity", "yaml"}),
    "redismove/cli": ({"redismove", "localazure"}, {"typer", "click", "rich", "pulumi", "azure", "redis"}),
    "localazure": (
        {"localazure"},
        {
            *("starlette", "uvicorn", "cryptography", "certifi", "pydantic", "redis", "hiredis", "azure"),
            *("pulumi", "grpc", "google", "requests", "urllib3"),
        },
    ),
}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if node.module in _OURS else {node.module}
    return found


def _files(room: str) -> list[Path]:
    place = REPOSITORY / room
    return [place] if place.suffix == ".py" else sorted(place.rglob("*.py"))


def _breaches(room: str) -> list[str]:
    ours, others = ROOMS[room]
    breaches = []
    for path in _files(room):
        for name in sorted(_imports(path)):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names:
                continue
            allowed = ours if top in _OURS else others
            if not any(name == entry or name.startswith(f"{entry}.") for entry in allowed):
                breaches.append(f"{path.relative_to(REPOSITORY)} imports {name}, allowed {sorted(ours | others)}")
    return breaches


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_what_its_row_allows(room: str) -> None:
    assert _files(room), f"{room} is in the table and not in the repository"
    assert _breaches(room) == []


def test_only_the_local_command_imports_the_local_azure() -> None:
    importing = [p.name for p in _files("redismove") if any(n.startswith("localazure") for n in _imports(p))]

    assert importing == ["local.py"]


def test_a_breach_is_seen(tmp_path: Path) -> None:
    """The walk sees an import that is not allowed: a test that cannot fail proves nothing."""
    (tmp_path / "x.py").write_text("from redismove import dataplane\nimport pulumi\n")

    assert _imports(tmp_path / "x.py") == {"redismove.dataplane", "pulumi"}
