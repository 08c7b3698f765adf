"""The rules' tests notice when a rule is changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mutation
import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_every_rule_and_stage_file_is_changed() -> None:
    """None is left out, and each offers changes."""
    names = {path.name for path in mutation.files().values()}

    assert names == {path.name for path in (ROOT / "redismove" / "rules").glob("*.py")} | {"stages.py"}
    assert all(len(mutation.changes(module, path)) > 5 for module, path in mutation.files().items())


def test_a_change_that_matters_is_noticed_and_one_that_is_none_is_not() -> None:
    """The tool itself tells the two apart: otherwise its percentage would say nothing."""
    program = """
import sys
sys.path[:0] = [{root!r}, {tools!r}]
import mutation
mutation._prepare_process()
module, path = next((m, p) for m, p in mutation.files().items() if p.name == "dual_write.py")
if sys.argv[1] == "none":
    sys.exit(mutation.try_change(None, None))
change = next(c for c in mutation.changes(module, path) if "missing_s <= 0" in c.what and "Gt" in c.what)
sys.exit(mutation.try_change(change, path))
""".format(root=str(ROOT), tools=str(ROOT / "tools"))
    answers = {
        what: subprocess.run([sys.executable, "-c", program, what], capture_output=True, text=True, timeout=300)
        for what in ("none", "one")
    }

    assert answers["none"].returncode == 0, answers["none"].stderr
    assert answers["one"].returncode == 1, answers["one"].stderr


@pytest.mark.slow
def test_nine_of_ten_changes_are_noticed() -> None:
    """A sample; `python tools/mutation.py` tries all."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "mutation.py"), "--sample", "120", "--seed", "7", "--survivors"],
        capture_output=True,
        text=True,
        timeout=1800,
    )

    assert done.returncode == 0, done.stdout + done.stderr
