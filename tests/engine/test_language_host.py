"""The language host under the real engine, as users of the engine see it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.pulumi_project import (
    VENV,
    PulumiProject,
    end_all,
    processes_that_name,
    wait_until,
)

pytestmark = pytest.mark.engine

#: A component with a dynamic resource below it, and a secret from the configuration.
COMPONENT = """
    import sys

    import pulumi
    from pulumi.dynamic import CreateResult, Resource, ResourceProvider


    class Greeter(ResourceProvider):
        def create(self, props):
            return CreateResult("one", {"text": props["text"] + "!", "interpreter": sys.executable})


    class Greeting(Resource):
        text: pulumi.Output[str]
        interpreter: pulumi.Output[str]

        def __init__(self, name, text, opts=None):
            super().__init__(Greeter(), name, {"text": text, "interpreter": None}, opts)


    class Hall(pulumi.ComponentResource):
        def __init__(self, name):
            super().__init__("toy:index:Hall", name)
            self.greeting = Greeting("greeting", "hello", pulumi.ResourceOptions(parent=self))
            self.register_outputs({})


    config = pulumi.Config()
    print("who:", pulumi.get_organization(), pulumi.get_project(), pulumi.get_stack(), config.get("colour"))
    hall = Hall("hall")
    pulumi.export("text", hall.greeting.text)
    pulumi.export("provider", hall.greeting.interpreter)
    pulumi.export("program", sys.executable)
    pulumi.export("password", config.get_secret("password"))
    pulumi.export("is_preview", pulumi.runtime.is_dry_run())
"""

#: A dynamic resource that is not created before the test says so, and never says so.
SLOW = """
    import pathlib
    import time

    from pulumi.dynamic import CreateResult, Resource, ResourceProvider

    STARTED = pathlib.Path(__file__).with_name("started")


    class Never(ResourceProvider):
        def create(self, props):
            pathlib.Path(props["started"]).touch()
            while True:
                time.sleep(0.1)


    class Slow(Resource):
        def __init__(self, name):
            super().__init__(Never(), name, {"started": str(STARTED)})


    Slow("slow")
"""

#: A program that hangs before it asks the engine for anything.
HANGING = """
    import pathlib
    import time

    pathlib.Path(__file__).with_name("started").touch()
    while True:
        time.sleep(0.1)
"""

#: Forbids the greeting that the stack's configuration names.
FORBIDDING = """
    import pulumi
    from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy

    FORBIDDEN = pulumi.Config().get("forbidden")


    def check(args, report):
        if FORBIDDEN and args.props.get("text") == FORBIDDEN:
            report(f"{FORBIDDEN!r} is not said in {pulumi.get_project()} {pulumi.get_stack()}")


    PolicyPack(
        name="manners",
        enforcement_level=EnforcementLevel.MANDATORY,
        policies=[ResourceValidationPolicy(name="polite", description="Greets politely.", validate=check)],
    )
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Callable[..., PulumiProject]]:
    """Give a maker of projects; whatever still runs of them afterwards is ended."""
    yield lambda *args, **kwargs: PulumiProject(tmp_path, *args, **kwargs)
    end_all(processes_that_name(tmp_path))


def make_environment_without_providers(folder: Path) -> None:
    """Make a virtual environment like this repository's, but without a package whose provider would be fetched."""
    subprocess.run([VENV / "bin" / "python", "-m", "venv", "--without-pip", folder], check=True)
    ours, theirs = (next(place.glob("lib/python*/site-packages")) for place in (VENV, folder))
    for entry in ours.iterdir():
        if not entry.name.startswith("pulumi_azure_native"):
            (theirs / entry.name).symlink_to(entry)


def test_up_runs_program_component_and_dynamic_resource(project: Callable[..., PulumiProject]) -> None:
    toy = project(COMPONENT)
    toy.pulumi("config", "set", "colour", "blue").good()

    first = toy.pulumi("up", "--yes", "--skip-preview").good()

    assert "+ 3 created" in first.text
    assert "who: organization toy dev blue" in first.text
    assert "warning:" not in first.text
    outputs = toy.outputs()
    assert outputs["text"] == "hello!"
    assert outputs["program"] == outputs["provider"] == str(VENV / "bin" / "python")
    assert outputs["is_preview"] is False

    second = toy.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes").good()

    assert "3 unchanged" in second.text


def test_preview_is_a_dry_run(project: Callable[..., PulumiProject]) -> None:
    toy = project("import pulumi; print('dry run:', pulumi.runtime.is_dry_run())")

    answer = toy.pulumi("preview").good()

    assert "dry run: True" in answer.text


def test_secret_configuration_stays_secret(project: Callable[..., PulumiProject], tmp_path: Path) -> None:
    toy = project(COMPONENT)
    toy.pulumi("config", "set", "--secret", "password", "open-sesame").good()

    answer = toy.pulumi("up", "--yes").good()

    assert toy.outputs(show_secrets=True)["password"] == "open-sesame"
    assert toy.outputs()["password"] == "[secret]"
    assert "open-sesame" not in answer.text
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and b"open-sesame" in path.read_bytes()]
    assert kept == []


def test_failing_program_shows_its_own_traceback_once(project: Callable[..., PulumiProject]) -> None:
    toy = project("def helper():\n    raise ValueError('the source is missing')\n\nhelper()\n")

    answer = toy.pulumi("up", "--yes", "--skip-preview", "--suppress-progress")

    assert answer.code != 0
    # Once while it happens, once in the summary; the line of the user's program, and nothing of the host's own.
    assert 1 <= answer.text.count("ValueError: the source is missing") <= 2
    assert "__main__.py" in answer.text
    assert "runpy" not in answer.text
    assert "non-zero exit code" not in answer.text


def test_exit_code_of_a_program_is_told(project: Callable[..., PulumiProject]) -> None:
    toy = project("import os; os._exit(3)")

    answer = toy.pulumi("preview")

    assert answer.code != 0
    assert "program exited with non-zero exit code: 3" in answer.text


def test_killed_program_is_told_by_its_signal(project: Callable[..., PulumiProject]) -> None:
    toy = project("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    answer = toy.pulumi("preview")

    assert answer.code != 0
    assert "program was ended by SIGKILL" in answer.text


def test_policy_pack_knows_the_stack_and_stops_the_update(project: Callable[..., PulumiProject]) -> None:
    toy = project(COMPONENT, FORBIDDING)

    toy.pulumi("config", "set", "forbidden", "goodbye").good()
    allowed = toy.pulumi("preview", "--policy-pack", "pack").good()
    toy.pulumi("config", "set", "forbidden", "hello").good()
    preview = toy.pulumi("preview", "--policy-pack", "pack")
    update = toy.pulumi("up", "--yes", "--skip-preview", "--policy-pack", "pack")

    assert "manners@v0.0.1" in allowed.text
    for refused in (preview, update):
        assert refused.code != 0
        assert "'hello' is not said in toy dev" in refused.text
        # The program is stopped in the middle: that is no failure of its own to show.
        assert "KeyboardInterrupt" not in refused.text
    state = json.loads(toy.pulumi("stack", "export").good().text)
    assert not [r for r in state["deployment"].get("resources", []) if "dynamic" in r["type"]]


def test_policy_pack_that_cannot_start_is_told(project: Callable[..., PulumiProject]) -> None:
    toy = project("", "raise ValueError('no rules here')\n")

    answer = toy.pulumi("preview", "--policy-pack", "pack")

    assert answer.code != 0
    assert "ValueError: no rules here" in answer.text


def test_about_names_the_interpreter_and_the_packages(project: Callable[..., PulumiProject]) -> None:
    toy = project("")

    shown = toy.pulumi("about").good().text
    about = json.loads(toy.pulumi("about", "--json", "--transitive").good().text)

    assert f"executable='{VENV / 'bin' / 'python'}'" in shown
    assert "toolchain='Pip'" in shown
    assert {"pulumi-policy", "grpcio"} <= {package["name"] for package in about["dependencies"]}
    assert {"azure-native", "python"} <= {plugin["name"] for plugin in about["plugins"]}


def test_missing_virtual_environment_is_one_clear_error(project: Callable[..., PulumiProject], tmp_path: Path) -> None:
    toy = project("", options={"toolchain": "pip", "virtualenv": "nowhere"})

    answer = toy.pulumi("preview")

    assert answer.code != 0
    assert f"'{tmp_path / 'nowhere'}' doesn't exist" in answer.text
    assert "pulumi install" in answer.text
    assert "Traceback" not in answer.text


def test_unknown_toolchain_is_one_clear_error(project: Callable[..., PulumiProject]) -> None:
    toy = project("", options={"toolchain": "conda"})

    answer = toy.pulumi("preview")

    assert answer.code != 0
    assert "'toolchain' must be one of pip, uv, poetry, found 'conda'" in answer.text
    assert "Traceback" not in answer.text


def test_relative_virtual_environment_starts_at_the_project(
    project: Callable[..., PulumiProject], tmp_path: Path
) -> None:
    (tmp_path / "mine").symlink_to(VENV)
    toy = project(COMPONENT, options={"virtualenv": "mine"})

    toy.pulumi("up", "--yes", "--skip-preview").good()

    outputs = toy.outputs()
    assert outputs["program"] == outputs["provider"] == str(tmp_path / "mine" / "bin" / "python")


def test_install_makes_the_virtual_environment(project: Callable[..., PulumiProject], tmp_path: Path) -> None:
    toy = project("", options={"toolchain": "pip", "virtualenv": "fresh"})

    toy.pulumi("install", "--no-plugins").good()

    assert (tmp_path / "fresh" / "bin" / "python").exists()


def test_schema_of_a_component_plugin(project: Callable[..., PulumiProject], tmp_path: Path) -> None:
    toy = project("")
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    make_environment_without_providers(tmp_path / "environment")
    runtime = {"name": "python", "options": {"virtualenv": str(tmp_path / "environment")}}
    (plugin / "PulumiPlugin.yaml").write_text(json.dumps({"runtime": runtime}), encoding="utf-8")
    (plugin / "__main__.py").write_text(
        "from typing import TypedDict\n"
        "import pulumi\n"
        "from pulumi.provider.experimental import component_provider_host\n"
        "class HallArgs(TypedDict):\n"
        "    seats: pulumi.Input[int]\n"
        "class Hall(pulumi.ComponentResource):\n"
        "    def __init__(self, name: str, args: HallArgs, opts: pulumi.ResourceOptions | None = None) -> None:\n"
        "        super().__init__('halls:index:Hall', name, {}, opts)\n"
        "component_provider_host(name='halls', components=[Hall])\n",
        encoding="utf-8",
    )

    answer = toy.pulumi("package", "get-schema", str(plugin)).good()

    schema = json.loads(answer.text[answer.text.index("{") :])
    assert "seats" in schema["resources"]["halls:index:Hall"]["inputProperties"]


@pytest.mark.parametrize("program", [SLOW, HANGING], ids=["in a provider", "in the program"])
def test_nothing_outlives_a_killed_engine(project: Callable[..., PulumiProject], tmp_path: Path, program: str) -> None:
    toy = project(program, FORBIDDING)
    engine = toy.start("up", "--yes", "--skip-preview", "--policy-pack", "pack")
    with engine:
        wait_until((tmp_path / "started").exists, 60, "the start of the program")
        running = " ".join(processes_that_name(tmp_path).values())
        assert "pulumi.policy" in running  # or the test would prove nothing

        engine.send_signal(signal.SIGKILL)
        engine.wait(10)

        wait_until(lambda: not processes_that_name(tmp_path), 15, "the end of every process of the killed engine")


def test_interrupt_ends_everything_quietly(project: Callable[..., PulumiProject], tmp_path: Path) -> None:
    toy = project(HANGING)
    engine = toy.start("up", "--yes", "--skip-preview")
    with engine:
        wait_until((tmp_path / "started").exists, 60, "the start of the program")

        engine.send_signal(signal.SIGINT)
        text, _ = engine.communicate(timeout=30)

        assert engine.returncode != 0
        assert "Traceback" not in text
        wait_until(lambda: not processes_that_name(tmp_path), 10, "the end of every process")
