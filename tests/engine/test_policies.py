"""The policy pack on the real engine: on the gate of a move, and on plain caches of somebody else's program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redismove import rules
from redismove.facts import to_dict
from redismove.rules import RULES, Level, Outcome
from tests.support.local_cloud import LocalCloud
from tests.support.moves import HOUR_S, NOW_S, move
from tests.support.pulumi_project import ROOT, Answer, PulumiProject, end_all, processes_that_name
from tests.support.rule_cases import CASES

pytestmark = pytest.mark.engine

PACK = ("--policy-pack", str(ROOT / "policies"))

GATES = """
    import json

    import pulumi
    from pulumi.dynamic import CreateResult, Resource, ResourceProvider


    class Anything(ResourceProvider):
        def create(self, props):
            return CreateResult("one", {**props, "region": "eastus"})


    class StageGate(Resource, name="StageGate", module="redismove"):
        def __init__(self, name, move):
            super().__init__(Anything(), name, {"move": move})


    class Region(Resource):
        region: pulumi.Output[str]

        def __init__(self, name):
            super().__init__(Anything(), name, {"region": None})


    with open("moves.json") as file:
        moves = json.load(file)
    for number, move in enumerate(moves):
        if move["stack"] == "unknown":
            move["declared_target"]["location"] = Region("region").region
        StageGate(f"gate{number}", move)
"""

PAIR = """
    import pulumi
    from pulumi_azure_native import redis, resources

    config = pulumi.Config()
    prefix = config.require("prefix")
    group = resources.ResourceGroup("group", resource_group_name=f"rg-{prefix}", location="eastus")


    def cache(name, location, **more):
        return redis.Redis(
            name,
            name=f"{prefix}-{name}",
            resource_group_name=group.name,
            location=location,
            sku={"name": "Premium", "family": "P", "capacity": 1},
            redis_configuration={},
            **more,
        )


    primary = cache("primary", "eastus", zonal_allocation_policy="NoZones")
    zones = {"zones": ["1", "2"], "zonal_allocation_policy": "UserDefined"}
    without = {"zonal_allocation_policy": "NoZones"}
    secondary = cache("secondary", "westus2", **(zones if config.get_bool("zoned") else without))
    redis.LinkedServer(
        "link",
        name=primary.name,
        resource_group_name=group.name,
        linked_server_name=secondary.name,
        linked_redis_cache_id=secondary.id,
        linked_redis_cache_location=secondary.location,
        server_role="Secondary",
    )
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_all(processes_that_name(tmp_path))


def moves_that_break(ids: set[str]) -> list[Any]:
    """Few moves that together break all rules of *ids*: each breaks as many as it can of those that are left."""
    refused = [
        (case.move, {finding.rule.id for finding in rules.refusals(case.move)})
        for cases in CASES.values()
        for case in cases
        if case.outcome is Outcome.FAIL
    ]
    chosen = []
    while ids:
        made, breaks = max(refused, key=lambda pair: len(pair[1] & ids))
        assert breaks & ids, f"no case breaks {ids}"
        chosen.append(made)
        ids = ids - breaks
    return chosen


def judge(folder: Path, moves: list[Any], *command: str) -> Answer:
    """Let the pack judge the gates of *moves*."""
    stack = PulumiProject(folder, GATES)
    (folder / "moves.json").write_text(json.dumps([to_dict(made) for made in moves]), encoding="utf-8")
    return stack.pulumi(*(command or ("preview",)), *PACK)


def told(text: str) -> str:
    """The engine's text with its line breaks and indents taken out."""
    return " ".join(text.split())


def test_every_mandatory_rule_stops_a_preview_in_its_own_words(folder: Path) -> None:
    """A broken move for each; rule id, found, allowed and cure are printed."""
    broken = moves_that_break({rule.id for rule in RULES if rule.level is Level.MANDATORY})
    answer = judge(folder, broken)

    assert answer.code != 0
    assert "Traceback" not in answer.text
    text = told(answer.text)
    wanted = {finding.rule.id: told(finding.message) for made in broken for finding in rules.refusals(made)}
    assert [id_ for id_, message in wanted.items() if message not in text] == []
    assert set(wanted) == {rule.id for rule in RULES if rule.level is Level.MANDATORY}


def test_an_update_without_preview_is_stopped_before_the_gate_is_made(folder: Path) -> None:
    """A resource policy runs before its resource's step."""
    answer = judge(folder, [move("prepare", declared_target={"location": "eastus"})], "up", "-y", "--skip-preview")

    assert answer.code != 0
    assert "[RM-T08]" in answer.text
    state = json.loads((folder / "home" / "state" / ".pulumi" / "stacks" / "toy" / "dev.json").read_text())
    types = {resource["type"] for resource in state["checkpoint"]["latest"].get("resources", [])}
    assert types <= {"pulumi:pulumi:Stack", "pulumi:providers:pulumi-python"}, "the gate was made"


def test_a_move_in_order_passes_with_its_advice(folder: Path) -> None:
    """Advice is printed, the update goes on."""
    answer = judge(folder, [move("replicate")], "up", "-y", "--skip-preview").good()

    assert "[advisory]" in answer.text
    assert "suspended" in answer.text
    assert "mandatory" not in answer.text


def test_a_value_that_a_preview_does_not_know_is_told_and_not_passed(folder: Path) -> None:
    """And the update, which knows it, is stopped."""
    unknown = move("prepare", stack="unknown", declared_target={"location": "westus2"})
    preview = judge(folder, [unknown])

    assert "can't run policy 'rm-t08-the-target-is-in-another-region'" in told(preview.text)
    assert "not known yet [RM-T08]" in told(preview.text)
    assert "[mandatory]" not in preview.text
    second = folder / "second"
    second.mkdir()
    update = judge(second, [unknown], "up", "-y", "--skip-preview")

    assert update.code != 0
    assert "found region eastus" in told(update.text)


def test_the_packs_own_configuration_makes_the_soak_longer(folder: Path, tmp_path: Path) -> None:
    """A file with policy configuration, as the engine takes it."""
    made = move("cleanup", stage_since_s=NOW_S - 30 * HOUR_S)
    assert judge(folder, [made]).code == 0
    name = next(rule.name for rule in RULES if rule.id == "RM-L20")
    config = tmp_path / "policies.json"
    config.write_text(json.dumps({name: {"soakHours": 48}}), encoding="utf-8")
    second = folder / "second"
    second.mkdir()
    answer = judge(second, [made], "preview", "--policy-pack-config", str(config))

    assert answer.code != 0
    assert "allowed 48.0 h of soak or more" in told(answer.text)


def pair(folder: Path, cloud: LocalCloud, **config: str) -> PulumiProject:
    """A program of somebody else's with two caches and a link."""
    made = PulumiProject(folder, PAIR)
    for name, value in cloud.environment.items():
        if name.startswith(("ARM_", "AZURE_")) or name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            made.variables[name] = value
    made.variables["PATH"] = f"{cloud.home / 'bin'}:{made.variables['PATH']}"
    for name, value in config.items():
        made.pulumi("config", "set", name, value).good()
    return made


def test_a_plain_link_is_refused_in_preview_and_before_it_is_made(folder: Path, cloud: LocalCloud) -> None:
    """In a preview, whose ids are unknown, and in an update without one; the same program mended passes."""
    stack = pair(folder, cloud, prefix="zoned", zoned="true")
    try:
        preview = stack.pulumi("preview", *PACK)
        assert preview.code != 0
        assert 'secondary "zoned-secondary"' in told(preview.text)
        assert "[RM-G07]" in preview.text

        update = stack.pulumi("up", "-y", "--skip-preview", *PACK)
        assert update.code != 0
        assert "[RM-G07]" in update.text
        state = json.loads(stack.pulumi("stack", "export").good().text)["deployment"].get("resources", [])
        assert not any(r["type"] == "azure-native:redis:LinkedServer" for r in state), "the link was made"
    finally:
        stack.pulumi("destroy", "-y", "--skip-preview").good()

    good = folder / "good"
    good.mkdir()
    mended = pair(good, cloud, prefix="plain")
    try:
        mended.pulumi("preview", *PACK).good()
        mended.pulumi("up", "-y", "--skip-preview", *PACK).good()
    finally:
        mended.pulumi("destroy", "-y", "--skip-preview").good()
