"""
For each mandatory rule a stack that breaks it.

Each takes a move that may go on and changes one point of it: the configuration, what Azure answers, what the state
recorded, or the Endpoint document. Whatever it changes is put back by `Stand`.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from redismove import stages
from redismove.rules import Rule
from tests.support.local_cloud import LocalCloud
from tests.support.move import GROUP, Move
from tests.support.stack import Result

GEO, NEW, RDB, DUAL, COPY = stages.METHODS
HOUR_S = 3600.0
OFFICE = {"name": "office", "properties": {"startIP": "10.0.0.0", "endIP": "10.0.0.255"}}
SHOP = {"name": "shop", "properties": {"startIP": "10.1.0.0", "endIP": "10.1.0.9"}}
_MANY = 100_000
_PACK = "(by the policy pack)"
_MARK = re.compile(r"has a problem: |error: |https://\S+ |\(by the policy pack\)")
"""Where in the engine's output a sentence of ours begins."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault of the local Azure, on requests whose path ends with *path*."""

    path: str
    fields: dict[str, Any]
    method: str = "GET"


def source(**properties: Any) -> Fault:
    """Azure says of the source what is given."""
    return Fault(path="redis/{source}", fields={"kind": "answer", "body": {"properties": properties}})


def target(**properties: Any) -> Fault:
    """Azure says of the target what is given."""
    return Fault(path="redis/{target}", fields={"kind": "answer", "body": {"properties": properties}})


def decoy(**properties: Any) -> Fault:
    """Azure says of a cache of somebody else what is given."""
    return Fault(path="redis/{decoy}", fields={"kind": "answer", "body": {"properties": properties}})


def link(**properties: Any) -> Fault:
    """Azure says of the link what is given, also where there is none."""
    return Fault(
        path="redis/{source}/linkedServers/{target}", fields={"kind": "answer", "body": {"properties": properties}}
    )


def account(side: str, **body: Any) -> Fault:
    """Azure says of a storage account what is given."""
    return Fault(path=f"storageAccounts/{{account_{side}}}", fields={"kind": "answer", "body": body})


def firewall(of: str, *rules: dict[str, Any]) -> Fault:
    """Azure lists these firewall rules of a cache."""
    return Fault(path=f"redis/{{{of}}}/firewallRules", fields={"kind": "answer", "body": {"value": list(rules)}})


def missing(path: str) -> Fault:
    """Azure has no such thing."""
    return Fault(path=path, fields={"kind": "status", "status": 404, "code": "ResourceNotFound"})


def only(tier: str, capacity: int = 3) -> dict[str, Any]:
    """The SKU of a tier that is not Premium."""
    return {"sku": {"name": tier, "family": "C", "capacity": capacity}}


@dataclass(frozen=True, kw_only=True)
class Broken:
    """
    How a stack of *method* that stands at *at* breaks *rule* when it asks for *ask*.

    *seed* are the options that its source is seeded with.
    *config* is laid over its configuration (None removes a key), *recorded* over the outputs of the resources of its
    state by name (a function gets what is there), *endpoint* over the Endpoint document, *environment* over the
    variables of the command; *around* holds while the commands run.
    """

    rule: str
    at: str
    ask: str
    method: str = GEO
    seed: dict[str, object] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    recorded: dict[str, dict[str, Any]] = field(default_factory=dict)
    endpoint: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    around: Callable[[Move], AbstractContextManager[Any]] = lambda _move: contextlib.nullcontext()


def _evidence(**changes: Any) -> dict[str, dict[str, Any]]:
    return {"evidence": {"evidence": changes}}


def _cutover(**changes: Any) -> dict[str, dict[str, Any]]:
    return {"endpoint": {"cutover": changes}}


@contextmanager
def _holding(move: Move, size_bytes: int) -> Iterator[None]:
    """Have the source hold one value of *size_bytes* more."""
    settings = move.cloud.home / "settings.json"
    before = settings.read_text()
    settings.write_text(json.dumps({**json.loads(before), "memory_scale": 4}))
    key = b"as-large-as-it-gets"
    try:
        with move.connect(move.source_name) as server:
            deadline = time.monotonic() + 30
            while not isinstance(server.execute([(key, ("SETRANGE", key, size_bytes, b"x"))])[0], int):
                assert time.monotonic() < deadline, "the source takes no large value"
                time.sleep(0.2)
            yield
            server.execute([(key, ("DEL", key))])
    finally:
        settings.write_text(before)


_JOB = {"where": "container-group", "image": "team.azurecr.io/redismove:1"}


def _groups(location: str) -> Fault:
    """Azure lists a container group of this move in a region."""
    group = {
        "id": "/subscriptions/{subscription}/resourceGroups/rg-orders/providers/Microsoft.ContainerInstance/"
        "containerGroups/copy-orders",
        "name": "copy-orders",
        "location": location,
        "tags": {"redismove-move": "{move_id}"},
        "properties": {"containers": [], "osType": "Linux", "provisioningState": "Succeeded"},
    }
    return Fault(path="containerGroups", fields={"kind": "answer", "body": {"value": [group]}})


_MANAGED: dict[str, object] = {"sku": "Enterprise_E10"}
_LINKED_ELSEWHERE = [{"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Cache/Redis/x/linkedServers/north"}]

BROKEN: tuple[Broken, ...] = (
    # the way
    Broken(rule="RM-S05", at="adopt", ask="relocate"),
    Broken(rule="RM-S01", at="adopt", ask="replicate"),
    Broken(rule="RM-S02", at="adopt", ask="adopt", config={"source": {"name": "{decoy}"}}),
    Broken(rule="RM-S03", at="prepare", ask="prepare", config={"target": {"name": "{decoy}"}}),
    Broken(rule="RM-S04", at="prepare", ask="prepare", config={"method": "copy"}),
    # life
    Broken(rule="RM-L01", at="adopt", ask="adopt", faults=(missing("redis/{source}"),)),
    Broken(rule="RM-L02", at="adopt", ask="prepare", faults=(source(provisioningState="Failed"),)),
    Broken(rule="RM-L03", at="adopt", ask="prepare", config={"target": None}),
    Broken(rule="RM-L04", at="prepare", ask="replicate", faults=(missing("redis/{target}"),)),
    Broken(rule="RM-L05", at="verify", ask="unlink", recorded={"evidence": {"evidence": None}}),
    Broken(rule="RM-L06", at="verify", ask="unlink", recorded=_evidence(source_id="/subscriptions/s/another")),
    Broken(rule="RM-L07", at="verify", ask="unlink", recorded=_evidence(only_in_source=1)),
    Broken(rule="RM-L08", at="verify", ask="unlink", recorded=_evidence(depth="keys")),
    Broken(
        rule="RM-L09",
        at="verify",
        ask="unlink",
        recorded={**_evidence(made_at_s=lambda: time.time() - 25 * HOUR_S), "gate": {"stageSince": 1.0}},
    ),
    Broken(rule="RM-L27", at="verify", ask="unlink", recorded=_evidence(made_at_s=lambda: time.time() - HOUR_S)),
    Broken(rule="RM-L10", at="verify", ask="unlink", recorded=_evidence(settings_differ=["firewall_rules"])),
    Broken(rule="RM-L11", method=NEW, at="prepare", ask="cutover", config={"acceptDataLoss": "{target}"}),
    Broken(rule="RM-L28", method=NEW, at="cutover", ask="prepare"),
    Broken(rule="RM-L12", at="adopt", ask="prepare", config={"target": {"name": "{decoy}"}}),
    Broken(rule="RM-L13", at="prepare", ask="replicate", endpoint={"role": "target", "resourceId": "{target_id}"}),
    Broken(rule="RM-L14", at="adopt", ask="prepare", endpoint={"resourceId": "{decoy_id}"}),
    Broken(rule="RM-L15", at="verify", ask="replicate", endpoint={"phase": "fencing"}),
    Broken(rule="RM-L16", at="cutover", ask="retire", endpoint={"role": "source", "resourceId": "{source_id}"}),
    Broken(rule="RM-L17", at="cutover", ask="retire", recorded=_cutover(fenced=False)),
    Broken(rule="RM-L18", at="cutover", ask="retire", recorded=_cutover(differences=3)),
    Broken(rule="RM-L19", at="cutover", ask="retire", around=lambda move: move.connect(move.source_name)),
    Broken(rule="RM-L20", at="retire", ask="cleanup", config={"soakHours": "24"}),
    Broken(rule="RM-L21", at="retire", ask="cleanup", config={"confirmDelete": "{target}"}),
    Broken(rule="RM-L22", at="retire", ask="cleanup", faults=(source(linkedServers=_LINKED_ELSEWHERE),)),
    Broken(
        rule="RM-L25",
        at="prepare",
        ask="replicate",
        faults=(Fault(path="redis/{target}", fields={"kind": "answer", "body": {"location": "North Europe"}}),),
    ),
    Broken(
        rule="RM-L26", method=COPY, at="prepare", ask="replicate", faults=(target(linkedServers=_LINKED_ELSEWHERE),)
    ),
    # tiers and sizes
    Broken(rule="RM-T01", at="adopt", ask="prepare", faults=(source(**only("Standard")),)),
    Broken(rule="RM-T02", method=RDB, at="adopt", ask="prepare", faults=(source(**only("Standard")),)),
    Broken(rule="RM-T03", method=DUAL, at="adopt", ask="prepare", faults=(source(**only("Enterprise")),)),
    Broken(rule="RM-T04", at="adopt", ask="prepare", config={"target": {"sku": "P9"}}),
    Broken(
        rule="RM-T05",
        at="adopt",
        ask="prepare",
        config={"target": {"sku": "P1"}},
        faults=(source(sku={"capacity": 2}),),
    ),
    Broken(
        rule="RM-T07",
        method=COPY,
        at="adopt",
        ask="prepare",
        config={"target": {"kind": "managed", "sku": "Balanced_B0"}},
        around=lambda move: _holding(move, 500 * 1024**2),
    ),
    Broken(rule="RM-T08", at="adopt", ask="prepare", config={"target": {"location": "eastus"}}),
    Broken(rule="RM-T09", at="adopt", ask="adopt", config={"target": {"name": "{source}"}}),
    Broken(rule="RM-T10", at="adopt", ask="prepare", config={"target": {"name": "orders--west"}}),
    Broken(
        rule="RM-T11",
        at="adopt",
        ask="adopt",
        config={"source": {"subscriptionId": "{subscription}"}},
        environment={"ARM_SUBSCRIPTION_ID": "{other_subscription}"},
    ),
    Broken(rule="RM-T12", method=RDB, at="prepare", ask="replicate", faults=(target(redisVersion="4.0.14"),)),
    Broken(rule="RM-T14", method=NEW, at="adopt", ask="prepare", faults=(source(**only("Enterprise")),)),
    Broken(
        rule="RM-T16",
        at="prepare",
        ask="replicate",
        faults=(source(redisConfiguration={"databases": "32"}),),
    ),
    Broken(
        rule="RM-T20",
        method=COPY,
        at="adopt",
        ask="prepare",
        config={"target": {"kind": "managed", "sku": "Balanced_B50", "clusteringPolicy": "NoCluster"}},
    ),
    Broken(
        rule="RM-T22",
        method=COPY,
        seed=_MANAGED,
        at="adopt",
        ask="prepare",
        faults=(
            Fault(
                path="redisEnterprise/{source}/databases/default",
                fields={"kind": "answer", "body": {"properties": {"modules": [{"name": "RedisJSON"}]}}},
            ),
        ),
    ),
    # geo-replication
    Broken(rule="RM-G01", at="prepare", ask="replicate", faults=(target(**only("Standard")),)),
    Broken(rule="RM-G02", at="adopt", ask="prepare", config={"target": {"subscriptionId": "{other_subscription}"}}),
    Broken(rule="RM-G03", at="prepare", ask="replicate", faults=(source(linkedServers=_LINKED_ELSEWHERE),)),
    Broken(rule="RM-G04", at="adopt", ask="prepare", faults=(source(replicasPerPrimary=2, replicasPerMaster=2),)),
    Broken(rule="RM-G05", at="prepare", ask="replicate", faults=(source(shardCount=3),)),
    Broken(
        rule="RM-G06", at="adopt", ask="prepare", faults=(source(redisConfiguration={"rdb-backup-enabled": "true"}),)
    ),
    Broken(
        rule="RM-G07",
        at="adopt",
        ask="prepare",
        faults=(Fault(path="redis/{source}", fields={"kind": "answer", "body": {"zones": ["1", "2"]}}),),
    ),
    Broken(rule="RM-G08", at="prepare", ask="replicate", faults=(target(redisVersion="7.2.4"),)),
    Broken(rule="RM-G09", at="prepare", ask="replicate", faults=(target(publicNetworkAccess="Disabled"),)),
    Broken(
        rule="RM-G11",
        at="verify",
        ask="unlink",
        faults=(link(serverRole="Primary", linkedRedisCacheId="{target_id}"),),
    ),
    Broken(
        rule="RM-G12",
        at="replicate",
        ask="verify",
        faults=(missing("redis/{source}/linkedServers/{target}"), source(linkedServers=[])),
    ),
    Broken(rule="RM-G13", at="verify", ask="unlink", faults=(link(provisioningState="Syncing"),)),
    Broken(
        rule="RM-G14",
        at="unlink",
        ask="cutover",
        faults=(link(serverRole="Secondary", linkedRedisCacheId="{target_id}", provisioningState="Succeeded"),),
    ),
    Broken(rule="RM-G15", at="verify", ask="unlink", recorded=_evidence(link_state="Linking")),
    Broken(rule="RM-G16", at="verify", ask="unlink", recorded=_evidence(lag_bytes=2_000_000)),
    Broken(rule="RM-G17", at="verify", ask="verify", faults=(target(sku={"capacity": 2}),)),
    Broken(rule="RM-G18", at="verify", ask="verify", faults=(target(shardCount=2),)),
    Broken(
        rule="RM-G19", at="verify", ask="verify", faults=(target(redisConfiguration={"aof-backup-enabled": "true"}),)
    ),
    Broken(rule="RM-G20", at="verify", ask="verify", faults=(target(disableAccessKeyAuthentication=True),)),
    Broken(
        rule="RM-G21",
        at="verify",
        ask="verify",
        recorded={"gate": {"declaredTarget": {"private_endpoints": ["pe-orders"]}}},
    ),
    Broken(rule="RM-G23", at="replicate", ask="verify", faults=(link(provisioningState="Failed"),)),
    # files
    Broken(rule="RM-R01", method=RDB, at="prepare", ask="replicate", faults=(target(**only("Standard")),)),
    Broken(rule="RM-R02", method=RDB, seed=_MANAGED, at="adopt", ask="prepare"),
    Broken(rule="RM-R03", method=RDB, at="prepare", ask="replicate", config={"storage": {"source": ""}}),
    Broken(
        rule="RM-R04", method=RDB, at="prepare", ask="replicate", faults=(account("source", location="northeurope"),)
    ),
    Broken(
        rule="RM-R05",
        method=RDB,
        at="prepare",
        ask="replicate",
        faults=(account("target", properties={"isHnsEnabled": True}),),
    ),
    Broken(
        rule="RM-R06",
        method=RDB,
        at="prepare",
        ask="replicate",
        faults=(account("source", properties={"publicNetworkAccess": "Disabled"}),),
    ),
    Broken(
        rule="RM-R07",
        method=RDB,
        at="prepare",
        ask="replicate",
        faults=(account("source", properties={"allowSharedKeyAccess": False}),),
    ),
    Broken(
        rule="RM-R08",
        method=RDB,
        at="prepare",
        ask="replicate",
        config={"storage": {"target": "{foreign_account_id}"}},
        faults=(account("target", location="westus2", kind="StorageV2", properties={}),),
    ),
    Broken(rule="RM-R09", method=RDB, at="prepare", ask="replicate", config={"managedIdentity": "true"}),
    Broken(
        rule="RM-R10",
        method=RDB,
        at="replicate",
        ask="verify",
        recorded={"rdb-transfer": {"carried": {"files_exported": 3, "files_imported": 2}}},
    ),
    # copy, dual-write
    Broken(
        rule="RM-C01",
        method=COPY,
        at="replicate",
        ask="verify",
        recorded={"bulk-copy": {"carried": {"keys_written": 1}}},
    ),
    Broken(
        rule="RM-C04",
        method=COPY,
        at="prepare",
        ask="replicate",
        config={"copyJob": _JOB},
        faults=(source(publicNetworkAccess="Disabled"), target(publicNetworkAccess="Disabled")),
    ),
    Broken(rule="RM-C05", method=COPY, at="prepare", ask="replicate", config={"copyJob": {**_JOB, "cpu": "9"}}),
    Broken(
        rule="RM-C07",
        method=COPY,
        at="prepare",
        ask="replicate",
        config={"copyJob": _JOB},
        faults=(source(disableAccessKeyAuthentication=True),),
    ),
    Broken(
        rule="RM-C03",
        method=COPY,
        at="prepare",
        ask="replicate",
        config={"copyJob": _JOB},
        faults=(_groups("northeurope"),),
    ),
    Broken(
        rule="RM-C06",
        method=COPY,
        at="verify",
        ask="cutover",
        config={"copyJob": _JOB},
        faults=(_groups("eastus"),),
    ),
    Broken(rule="RM-D01", method=DUAL, at="replicate", ask="verify", recorded={"dual-write": {"carried": None}}),
    # network
    Broken(rule="RM-N01", at="prepare", ask="replicate", faults=(target(minimumTlsVersion="1.0"),)),
    Broken(rule="RM-N02", at="prepare", ask="replicate", faults=(target(enableNonSslPort=True),)),
    Broken(rule="RM-N04", at="prepare", ask="replicate", faults=(source(publicNetworkAccess="Disabled"),)),
    Broken(rule="RM-N05", at="replicate", ask="verify", faults=(target(publicNetworkAccess="Disabled"),)),
    Broken(rule="RM-N06", at="prepare", ask="replicate", faults=(source(disableAccessKeyAuthentication=True),)),
    Broken(
        rule="RM-N20",
        method=COPY,
        at="prepare",
        ask="replicate",
        faults=(source(disableAccessKeyAuthentication=True), target(disableAccessKeyAuthentication=True)),
    ),
    Broken(rule="RM-N08", at="prepare", ask="replicate", faults=(firewall("source", OFFICE),)),
    Broken(rule="RM-N10", at="prepare", ask="replicate", faults=(firewall("source", OFFICE),)),
    Broken(
        rule="RM-N11",
        at="unlink",
        ask="cutover",
        faults=(firewall("source", OFFICE, SHOP), firewall("target", OFFICE)),
    ),
    Broken(
        rule="RM-N12",
        method=COPY,
        at="prepare",
        ask="replicate",
        # The program itself declares a managed target closed where the source has a firewall.
        recorded={"gate": {"declaredTarget": {"product": "managed", "sku_name": "Balanced_B10"}}},
        faults=(firewall("source", OFFICE),),
    ),
    Broken(
        rule="RM-N13",
        method=COPY,
        at="adopt",
        ask="prepare",
        config={"target": {"name": "{decoy}"}, "acceptErase": "{decoy}"},
        faults=(source(subnetId="/subscriptions/s/subnets/east"), decoy(subnetId="/subscriptions/s/subnets/east")),
    ),
)


class Stand:
    """Moves of all methods in one local Azure, each taken as far as a case asks for."""

    def __init__(self, cloud: LocalCloud, new_move: Callable[..., Move]) -> None:
        self._cloud = cloud
        self._new_move = new_move
        self._moves: dict[tuple[str, str], Move] = {}
        self._decoy = "somebody-elses"
        cloud.seed(self._decoy, keys=20, **{"resource-group": GROUP, "location": "westus2"})

    def at(self, case: Broken) -> Move:
        """Return a move that stands where *case* begins; cases in the order of stages share one."""
        method, stage = case.method, case.at
        way = stages.way(method)
        move = self._moves.get((method, str(case.seed)))
        if move is None or (_recorded(move) and way.index(_recorded(move)) > way.index(stage)):
            move = self._moves[method, str(case.seed)] = self._new_move(keys=20, seed=case.seed, method=method)
            if method == RDB:
                from tests.support.storage import Accounts

                Accounts.of(move)
            if method == NEW:
                move.stack.configure(acceptDataLoss=move.source_name)
        here = way.index(_recorded(move)) if _recorded(move) else -1
        move.go_to(*way[here + 1 : way.index(stage) + 1])
        return move

    @contextmanager
    def broken(self, move: Move, case: Broken) -> Iterator[None]:
        """Break the move as *case* says, and put everything back."""
        names = self._names(move)
        config_file = move.stack.folder / f"Pulumi.{move.stack.name}.yaml"
        endpoint_file = move.stack.folder / ".redismove" / f"endpoint-{move.stack.name}.json"
        files = [config_file, endpoint_file, move.stack.checkpoint_file]
        before = {file: file.read_bytes() for file in files if file.exists()}
        try:
            move.stack.configure(**_filled(case.config, names), stage=case.ask)
            if case.recorded:
                _record(move, case.recorded)
            if case.endpoint:
                document = json.loads(endpoint_file.read_text())
                endpoint_file.write_text(json.dumps({**document, **_filled(case.endpoint, names)}))
            for fault in case.faults:
                fields = {"method": fault.method, "path": f"{_filled(fault.path, names)}$", "count": _MANY}
                move.ask_for_faults("POST", {**fields, **_filled(fault.fields, names)})
            with case.around(move):
                yield
        finally:
            move.ask_for_faults("DELETE")
            for file, content in before.items():
                file.write_bytes(content)

    def environment(self, move: Move, case: Broken) -> dict[str, str]:
        """Return the variables that *case* lays over the environment of its commands."""
        return dict(_filled(case.environment, self._names(move)))

    def writes(self, since: int) -> list[str]:
        """Return the requests after line *since* of the local Azure's log that change something."""
        lines = [json.loads(line) for line in self.log()[since:]]
        return [
            f"{line['method']} {line['path']}"
            for line in lines
            if line["method"] in ("PUT", "PATCH", "DELETE", "POST")
            and not line["path"].endswith(("/listKeys", "/listkeys", "/token"))
            and "/_local/" not in line["path"]
        ]

    def log(self) -> list[str]:
        """Return the lines of the local Azure's request log."""
        return (self._cloud.home / "logs" / "requests.jsonl").read_text().splitlines()

    def _names(self, move: Move) -> dict[str, str]:
        storage = move.stack.configured("storage") or {}
        return {
            "source": move.source_name,
            "target": move.target_name,
            "decoy": self._decoy,
            "source_id": move.cache_id(move.source_name),
            "target_id": move.cache_id(move.target_name),
            "decoy_id": move.cache_id(self._decoy),
            "move_id": str(move.stack.resources()["gate"]["outputs"]["moveId"]),
            "subscription": move.cloud.environment["ARM_SUBSCRIPTION_ID"],
            "other_subscription": move.cloud.environment["ARM_SUBSCRIPTION_ID_2"],
            "account_source": str(storage.get("source", "")).rsplit("/", 1)[-1],
            "account_target": str(storage.get("target", "")).rsplit("/", 1)[-1],
            "foreign_account_id": str(storage.get("target", "")).replace(
                move.cloud.environment["ARM_SUBSCRIPTION_ID"], move.cloud.environment["ARM_SUBSCRIPTION_ID_2"]
            ),
        }


def declared(move: Move) -> dict[str, Any]:
    """Return what a state says of each resource that stands for something, without times."""
    return {
        resource["urn"]: [resource.get(key) for key in ("id", "inputs", "outputs", "protect", "delete")]
        for resource in move.stack.resources().values()
        if not resource["type"].startswith(("pulumi:", "redismove:index:"))
    }


def sentences(result: Result, rule: Rule) -> set[str]:
    """Return the sentences of a rule that a command printed, without what the engine put around them."""
    text = " ".join(result.output.split()).replace(f"[{rule.id}]. {rule.source.says}", _PACK)
    before = (_MARK.split(part)[-1].strip() for part in text.split(f"[{rule.id}]")[:-1])
    return {sentence for sentence in before if ": found " in sentence}


def _recorded(move: Move) -> str:
    gate = move.stack.resources().get("gate")
    return str(gate["outputs"]["stage"]) if gate else ""


def _record(move: Move, changes: Mapping[str, Mapping[str, Any]]) -> None:
    whole = move.stack.checkpoint()
    for resource in whole["checkpoint"]["latest"]["resources"]:
        change = changes.get(resource["urn"].rsplit("::", 1)[-1])
        for part in ("inputs", "outputs") if change else ():
            assert change is not None
            resource[part] = _laid_over(resource[part], change)
    move.stack.checkpoint_file.write_text(json.dumps(whole))


def _laid_over(there: Any, change: Any) -> Any:
    if callable(change):
        return change()
    if isinstance(change, Mapping):
        if not isinstance(there, Mapping):
            return there  # an input that is known only afterwards
        return {**there, **{key: _laid_over(there.get(key), value) for key, value in change.items()}}
    return change


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return value.format_map(names) if "{" in value else value
    if isinstance(value, Mapping):
        return {key: _filled(item, names) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_filled(item, names) for item in value]
    return value
