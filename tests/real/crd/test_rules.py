"""Each rule in CEL and each bound of our own fields refuses one object and accepts its neighbour.

`RULES` has a row for each message of the definitions: a rule without a row fails a test here.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from steps.model.kinds import API_VERSION, GROUP, MIGRATION_PLAN
from steps.model.plan import TargetKind
from tests.real.crd.judge import Row, assert_judged_as, judged, judged_rows
from tests.unit.builders import a_source, an_import
from workflows.api.crd import manifests, render
from workflows.plan import Invalid, plan
from workflows.settings import Profile, Settings

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="Go builds the API server's judge")

Json = dict[str, Any]
IMPORT: Final = "VirtualMachineImport"
ROOT: Final = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crds") / "crds.yaml"
    path.write_text(render())
    return path


def an_object(kind: str, spec: Json) -> Json:
    metadata = {"name": "web", "namespace": "shop"}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def errors(definitions: Path, kind: str, spec: Json) -> list[str]:
    (answer,) = judged(definitions, [an_object(kind, spec)])
    assert answer["pruned"] == []
    found: list[str] = answer["errors"]
    return found


def network(**row: Any) -> Json:
    return {"networkMapping": [{"sourceNetwork": "a", **row}]}


def disks(*rows: Json) -> Json:
    return {"diskMapping": list(rows)}


def disk(**row: Any) -> Json:
    return disks({"sourceDisk": "disk-0", **row})


def vm(**fields: Any) -> Json:
    return {"virtualMachine": fields}


def mark(**fields: Any) -> Json:
    return {"markSource": fields}


def nodes(**requirement: Any) -> Json:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", **requirement}]}]}
    return vm(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})


def pods(**requirement: Any) -> Json:
    selector = {"matchExpressions": [{"key": "app", **requirement}]}
    terms = [{"topologyKey": "kubernetes.io/hostname", "labelSelector": selector}]
    return vm(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})


def shared(**row: Any) -> Json:
    return {"networks": [{"source": {"name": "a"}, **row}]}


KEY, OTHER = {"key": "dedicated"}, {"key": "dedicated", "effect": "NoExecute"}
SOURCE: Final = {"source": {"name": "a"}}

RULES: Final[tuple[Row, ...]] = (  # kind, refused, accepted, words of the message
    (IMPORT, {"cpus": 0}, {"cpus": 1}, "should be greater than or equal to 1"),
    (IMPORT, {"cpus": -2}, {"cpus": None}, "should be greater than or equal to 1"),
    (IMPORT, {"memory": "lots"}, {"memory": "1.5Gi"}, "memory is not a positive quantity"),
    (IMPORT, {"memory": "-8Gi"}, {"memory": "8589934592"}, "memory is not a positive quantity"),
    (IMPORT, {"memory": "0"}, {"memory": ""}, "memory is not a positive quantity"),
    (
        IMPORT,
        {"targetVirtualMachineName": "Web 01"},
        {"targetVirtualMachineName": "web-01"},
        "use at most 63 lower-case letters, digits and '-'",
    ),
    (IMPORT, {"targetVirtualMachineName": "a" * 64}, {"targetVirtualMachineName": ""}, "Too long"),
    (IMPORT, {"target": "vmware"}, {"target": "kubevirt"}, "Unsupported value"),
    (
        IMPORT,
        {"bootCheck": {"address": "192.0.2.9"}},
        {"bootCheck": {"address": "192.0.2.9", "tcpPort": 22}},
        "address has no effect without tcpPort",
    ),
    (
        IMPORT,
        {"guest": {"inspect": True, "root": "sda2"}},
        {"guest": {"inspect": True, "root": "/dev/vg0/root"}},
        "it is not a device",
    ),
    (IMPORT, {"bootCheck": {"tcpPort": 0}}, {"bootCheck": {"tcpPort": 1}}, "greater than or equal to 1"),
    (IMPORT, {"bootCheck": {"tcpPort": 65536}}, {"bootCheck": {"tcpPort": 65535}}, "less than or equal to"),
    (
        IMPORT,
        {"bootCheck": {"timeoutSeconds": 59}},
        {"bootCheck": {"timeoutSeconds": 60}},
        "greater than or equal to 60",
    ),
    (
        IMPORT,
        {"bootCheck": {"timeoutSeconds": 14401}},
        {"bootCheck": {"timeoutSeconds": 14400}},
        "less than or equal to 14400",
    ),
    (
        IMPORT,
        {"hooks": [{"name": "cmdb"}]},
        {"hooks": [{"name": "cmdb", "before": "poweroff"}]},
        "write exactly one of before and after",
    ),
    (
        IMPORT,
        {"hooks": [{"name": "cmdb", "after": "start"}, {"name": "other", "after": "start"}]},
        {"hooks": [{"name": "cmdb", "after": "start"}, {"name": "other", "before": "start"}]},
        "a point has one hook",
    ),
    (
        IMPORT,
        {"hooks": [{"name": "../cmdb", "after": "start"}]},
        {"hooks": [{"name": "cmdb", "after": "start"}]},
        "should match",
    ),
    (
        IMPORT,
        {"approvals": ["start", "start"]},
        {"approvals": ["start", "poweroff"]},
        "approvals names a step twice",
    ),
    (IMPORT, {"approvals": ["start", "poweroff", "start"]}, {"approvals": None}, "Too many"),
    (
        IMPORT,
        {"cpus": 2, **vm(instancetype={"name": "u1"})},
        {"memory": "", **vm(instancetype={"name": "u1"})},
        "gives the VM its CPU and memory",
    ),
    (
        IMPORT,
        {"startVirtualMachine": False, **vm(powerState="off")},
        {"startVirtualMachine": None, **vm(powerState="off")},
        "are both set: keep powerState",
    ),
    (
        IMPORT,
        {"startVirtualMachine": False, **vm(runStrategy="Always")},
        {"startVirtualMachine": True, **vm(runStrategy="Always")},
        "but startVirtualMachine is false",
    ),
    (
        IMPORT,
        {"target": "harvester", **vm(instancetype={"name": "u1"})},
        {"target": "kubevirt", **vm(instancetype={"name": "u1"})},
        "cannot be used with the target harvester",
    ),
    (
        IMPORT,
        {"target": "kubevirt", **disk(**{"as": "image"})},
        {"target": "kubevirt", **disk(**{"as": "volume"})},
        "the target kubevirt has no images",
    ),
    (
        IMPORT,
        {"target": "harvester", **disk(volumeMode="Block")},
        {"target": "harvester", **disk(volumeMode="Block", **{"as": "volume"})},
        "for an image of Harvester, which has its own",
    ),
    (IMPORT, disk(sourceDisk=""), disk(), "a row needs sourceDisk"),
    (IMPORT, disk(sourceDisk=None), disk(sourceDisk="Hard disk 1"), "a row needs sourceDisk"),
    (IMPORT, disk(skip=True, storageClass="fast"), disk(skip=True), "skip leaves the disk out"),
    (IMPORT, disk(busType="ide"), disk(busType="usb"), "busType is not a bus"),
    (
        IMPORT,
        disk(storageClass="Fast Disks"),
        disk(storageClass="fast.disks"),
        "use lower-case letters, digits, '-' and '.'",
    ),
    (IMPORT, disk(name="-web"), disk(name="web"), "use at most 63 lower-case letters"),
    (
        IMPORT,
        disks({"sourceDisk": "disk-0"}, {"sourceDisk": "disk-0", "busType": "scsi"}),
        disks({"sourceDisk": "disk-0"}, {"sourceDisk": "disk-1"}),
        "two rows have the same sourceDisk",
    ),
    (
        IMPORT,
        disks({"sourceDisk": "disk-0", "name": "a"}, {"sourceDisk": "disk-1", "name": "a"}),
        disks({"sourceDisk": "disk-0", "name": ""}, {"sourceDisk": "disk-1", "name": ""}),
        "two rows have the same name",
    ),
    (
        IMPORT,
        network(type="pod", destinationNetwork="vlan1"),
        network(type="pod", destinationNetwork=""),
        "has no destinationNetwork: remove one of the two",
    ),
    (IMPORT, network(type="pod", sourceNetwork=""), network(type="pod"), "needs sourceNetwork"),
    (
        IMPORT,
        network(type="multus"),
        network(type="multus", destinationNetwork="vlan1"),
        "a row of the type multus needs destinationNetwork",
    ),
    (IMPORT, network(type="ignored", mac="new"), network(type="ignored", mac=""), "so mac has no effect"),
    (
        IMPORT,
        {"importMapping": {"namespace": "infra"}},
        {"importMapping": {"name": "dc1", "namespace": "infra"}},
        "importMapping.name is empty",
    ),
    (
        IMPORT,
        {"importMapping": {"name": "DC 1"}},
        {"importMapping": {"name": "dc.1", "namespace": ""}},
        "use lower-case letters, digits, '-' and '.'",
    ),
    (
        IMPORT,
        vm(runStrategy="Manual"),
        vm(runStrategy="Manual", powerState="off"),
        "Manual needs powerState off",
    ),
    *(
        (IMPORT, mark(**{name: bad}), mark(**{name: good}), "no source takes it")
        for name in ("tag", "nameSuffix")
        for bad, good in (
            ("a/b", "a:b"),
            ("a,b", "a b"),
            ("a%2f", ""),
            ("a\\b", "a.b"),
            (" a", "a"),
            ("a\n", "?"),
        )
    ),
    (IMPORT, mark(tag=".."), mark(nameSuffix=".."), "it means a folder in an address"),
    (IMPORT, mark(tag="."), mark(tag=".a"), "it means a folder in an address"),
    (IMPORT, vm(namespace=""), vm(namespace="team-b"), "should be at least 1 chars long"),
    (IMPORT, vm(namespace="Team B"), vm(), "should match"),
    (IMPORT, vm(labels={"": "a"}), vm(labels={"team": "a"}), "a key is empty"),
    (IMPORT, vm(labels={"a": "-"}), vm(labels={"a": ""}), "should match"),
    (
        IMPORT,
        vm(labels={"harvesterhci.io/vmName": "a"}),
        vm(labels={"example.com/kubevirt.io": "a"}),
        "harvesterhci.io and kubevirt.io",
    ),
    (
        IMPORT,
        vm(annotations={"hooks.kubevirt.io/hookSidecars": "[]"}),
        vm(annotations={"notkubevirt.io/a": "[]"}),
        "harvesterhci.io and kubevirt.io",
    ),
    (
        IMPORT,
        vm(annotations={"migration.example.com/run": ""}),
        vm(annotations={"example.com/migration": ""}),
        "begin with migration.",
    ),
    (
        IMPORT,
        vm(tagLabels=[{"tag": "A", "label": "a"}, {"tag": "B", "label": "a"}]),
        vm(tagLabels=[{"tag": "A", "label": "a"}, {"tag": "A", "label": "b"}]),
        "two rows have the same label",
    ),
    (IMPORT, vm(nodeSelector={"": "x"}), vm(nodeSelector={"zone": "x"}), "a key is empty"),
    (IMPORT, vm(tolerations=[{}]), vm(tolerations=[{"operator": "Exists"}]), "a toleration has no key"),
    (
        IMPORT,
        vm(tolerations=[{**KEY, "operator": "Exists", "value": "a"}]),
        vm(tolerations=[{**KEY, "operator": "Equal", "value": "a"}]),
        "has the operator Exists and a value",
    ),
    (
        IMPORT,
        vm(tolerations=[{**KEY, "tolerationSeconds": 5}]),
        vm(tolerations=[{**OTHER, "tolerationSeconds": 5}]),
        "tolerationSeconds needs the effect NoExecute",
    ),
    (
        IMPORT,
        vm(tolerations=[{**OTHER, "tolerationSeconds": -5}]),
        vm(tolerations=[{**OTHER, "tolerationSeconds": 0}]),
        "greater than or equal to 0",
    ),
    (IMPORT, nodes(operator="In"), nodes(operator="In", values=["a"]), "In and NotIn need values"),
    (
        IMPORT,
        nodes(operator="Exists", values=["a"]),
        nodes(operator="Exists", values=[]),
        "Exists and DoesNotExist compare no values",
    ),
    (IMPORT, nodes(operator="Gt", values=["1", "2"]), nodes(operator="Gt", values=["1"]), "need one value"),
    (IMPORT, pods(operator="NotIn"), pods(operator="NotIn", values=["a"]), "In and NotIn need values"),
    (
        IMPORT,
        pods(operator="DoesNotExist", values=["a"]),
        pods(operator="DoesNotExist"),
        "Exists and DoesNotExist compare no values",
    ),
    (
        "VmwareSource",
        {"thumbprint": "from the vCenter"},
        {"thumbprint": "AA:BB CC"},
        "it is not a fingerprint",
    ),
    (IMPORT, {"profile": "DMZ"}, {"profile": "dmz"}, "use at most 63 lower-case letters"),
    *(
        (kind, {"profile": "DMZ"}, {"profile": ""}, "use at most 63 lower-case letters")
        for kind in ("VmwareSource", "OpenstackSource", "OvaSource", "OvirtSource")
    ),
    ("OpenstackSource", {"interface": "private"}, {"interface": "admin"}, "interface is not a kind"),
    (
        "OvaSource",
        {"redirectHosts": ["a", "a"]},
        {"redirectHosts": ["a", "*.b"]},
        "an empty or a duplicate entry",
    ),
    ("OvaSource", {"redirectHosts": [""]}, {"redirectHosts": None}, "an empty or a duplicate entry"),
    ("OvirtSource", {"imageDaemonPort": 65536}, {"imageDaemonPort": 65535}, "less than or equal to 65535"),
    ("OvirtSource", {"imageProxyPort": -1}, {"imageProxyPort": 0}, "greater than or equal to 0"),
    ("KubeVirtSource", {"endpoint": "http://a"}, {"endpoint": "https://a:6443"}, "it is not an https URL"),
    ("KubeVirtSource", {"exportAddress": "a:443"}, {"exportAddress": "HTTPS://a"}, "it is not an https URL"),
    ("KubeVirtSource", {"namespace": "My VMs"}, {"namespace": ""}, "use at most 63 lower-case letters"),
    (
        "KubeVirtSource",
        {"exportThumbprint": "AB"},
        {"exportThumbprint": "AB", "exportAddress": "https://a"},
        "exportThumbprint is for exportAddress",
    ),
    ("KubeVirtSource", {"exportThumbprint": "none", "exportAddress": "https://a"}, {}, "not a fingerprint"),
    (
        "ImportMapping",
        shared(source={"name": "a", "id": "b"}, type="pod"),
        shared(type="pod"),
        "exactly one of name, id, vlan, mac",
    ),
    ("ImportMapping", shared(), shared(destinationNetwork="vlan1"), "needs destinationNetwork, and one of"),
    (
        "ImportMapping",
        shared(destinationNetwork="a/b/c"),
        shared(destinationNetwork="a/b"),
        "must be NAME or NAMESPACE/NAME",
    ),
    (
        "ImportMapping",
        shared(type="ignored", mac="new"),
        shared(type="ignored"),
        "networkInterfaceModel and mac have no effect",
    ),
    (
        "ImportMapping",
        {"storage": [{"source": {}, "storageClass": "a"}]},
        {"storage": [{**SOURCE, "storageClass": "a"}]},
        "exactly one of name, id:",
    ),
    (
        "ImportMapping",
        {"storage": [{**SOURCE, "storageClass": "a"}, {**SOURCE, "storageClass": "b"}]},
        {"storage": [{**SOURCE, "storageClass": "a"}]},
        "two rows have the same source,",
    ),
    (
        "ImportHook",
        {"container": {"image": "a"}, "command": ["true"]},
        {"command": ["true"]},
        "write exactly one of container, workflowTemplate and command",
    ),
    (
        "ImportHook",
        {"workflowTemplate": {"name": "a"}, "secret": "b"},
        {"container": {"image": "a"}, "secret": "b"},
        "secret and serviceAccountName are for a container",
    ),
    ("ImportHook", {"command": []}, {"command": ["true"]}, "should have at least 1 items"),
    (
        "ImportHook",
        {"command": ["true"], "timeoutSeconds": 0},
        {"command": ["true"], "timeoutSeconds": 1},
        "greater than or equal to 1",
    ),
    (
        "ImportHook",
        {"command": ["true"], "timeoutSeconds": 86401},
        {"command": ["true"], "timeoutSeconds": 86400},
        "less than or equal to 86400",
    ),
    (
        "ImportHook",
        {"command": ["true"], "onFailure": "ignore"},
        {"command": ["true"], "onFailure": "continue"},
        "Unsupported value",
    ),
    (
        "ImportHook",
        {"container": {"image": "a", "env": [{"name": "A-B"}]}},
        {"container": {"image": "a", "env": [{"name": "A_B"}]}},
        "should match",
    ),
    (
        "ImportMapping",
        {"disks": [SOURCE]},
        {"disks": [{**SOURCE, "busType": "sata"}]},
        "needs storageClass or",
    ),
)


@pytest.fixture(scope="module")
def answers(definitions: Path) -> list[tuple[Json, Json]]:
    """The two answers of each row, from one start of the judge."""
    return judged_rows(definitions, RULES, an_object)


@pytest.mark.parametrize("row", range(len(RULES)), ids=[f"{kind}-{words}" for kind, _, _, words in RULES])
def test_a_rule_refuses_one_object_and_accepts_its_neighbour(
    row: int, answers: list[tuple[Json, Json]]
) -> None:
    assert_judged_as(RULES[row], answers[row])


ONLY_THE_API_SERVER: Final = ("In and NotIn need values", "compare no values", "need one value")
"""Rules about affinity. In a file they are judged by the target, which `admit` asks before the power-off."""


@pytest.mark.parametrize(
    ("refused", "accepted", "words"),
    [(row[1], row[2], row[3]) for row in RULES if row[0] == IMPORT],
    ids=[row[3] for row in RULES if row[0] == IMPORT],
)
def test_a_file_is_judged_by_the_same_rules(refused: Json, accepted: Json, words: str) -> None:
    assert is_accepted(accepted)
    assert is_accepted(refused) == any(text in words for text in ONLY_THE_API_SERVER)


def is_accepted(spec: Json) -> bool:
    """Whether vmferry makes a plan of the import, for the target that it names."""
    try:
        wanted = TargetKind(spec.get("target") or "kubevirt")
        own = {"allow_volumes": True, "boot_check": True, "boot_check_networks": None, "hooks": True}
        settings = Settings(target=wanted, profiles={"dmz": Profile()}, **own)
        plan(an_import(**spec), a_source(), settings)
    except (Invalid, ValueError):  # pydantic's error is a ValueError
        return False
    return True


def messages(node: Json) -> set[str]:
    """The message of each rule of a schema."""
    found = {rule["message"] for rule in node.get("x-kubernetes-validations", ())}
    parts = [*node.get("properties", {}).values(), *([node["items"]] if "items" in node else [])]
    return found.union(*(messages(part) for part in parts))


# test_migration_plan.py has the rules of a MigrationPlan, whose template repeats those of an import.
JUDGED: Final = [one for one in manifests() if one["spec"]["names"]["kind"] != MIGRATION_PLAN.kind]


@pytest.mark.parametrize("definition", JUDGED, ids=lambda one: one["spec"]["names"]["kind"])
def test_every_rule_has_a_row(definition: Json) -> None:
    kind = definition["spec"]["names"]["kind"]
    (version,) = definition["spec"]["versions"]
    for message in messages(version["schema"]["openAPIV3Schema"]):
        assert [words for of, _, _, words in RULES if of == kind and words in message], message


def of_ours(text: str) -> list[Json]:
    """The resources of our group in a text with YAML."""
    found = [one for one in YAML(typ="safe").load_all(text) if isinstance(one, dict)]
    return [one for one in found if str(one.get("apiVersion", "")).startswith(f"{GROUP}/")]


OLD: Final = [
    *sorted((ROOT / "tests/unit/workflows/api/manifests").glob("*.yaml")),
    *sorted((ROOT / "tests/unit/workflows/api/accepted").glob("*.yaml")),
    *sorted((ROOT / "tests/unit/controller").rglob("*.yaml")),
]
"""Manifests of vm-import-controller's documentation, and those of our own tests of manifests."""


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_an_older_manifest_stays_valid(path: Path, definitions: Path) -> None:
    for answer in judged(definitions, of_ours(path.read_text())):
        assert not [one for one in answer["errors"] if not re.search(NULL, one)], answer["name"]


NULL: Final = (
    "defaultNetworkInterfaceModel|gracefulShutdownTimeoutSeconds|credentials.*must be of type object"
)
"""Fields for which vm-import-controller's own definitions refuse null, in a file that tries each."""


def test_full_lists_are_within_the_cost_limit_of_the_api_server(definitions: Path) -> None:
    rows = [
        {"sourceDisk": f"{n:03}" * 85, "name": f"disk-{n}", "storageClass": "a" * 253, "busType": "virtio"}
        for n in range(256)
    ]
    keys = {f"{'d' * 60}.{'e' * 60}.{n:03}.example.com/{'n' * 60}": "v" * 63 for n in range(64)}
    settings = {
        "labels": keys,
        "annotations": dict.fromkeys(keys, "v" * 2048),
        "tagLabels": [{"tag": "t" * 317, "label": f"{n:02}{'l' * 300}"} for n in range(32)],
    }
    spec = {"target": "kubevirt", "diskMapping": rows, "virtualMachine": settings}
    assert errors(definitions, IMPORT, spec) == []
    assert errors(definitions, IMPORT, {"diskMapping": rows[:128]}) == []
    assert errors(definitions, "OvaSource", {"redirectHosts": [f"{n:03}" * 85 for n in range(64)]}) == []
