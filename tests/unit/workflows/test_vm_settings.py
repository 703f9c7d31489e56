"""`spec.virtualMachine` of an import in the plan, and what is refused."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from steps.model.patching import DEFAULT_PATHS
from steps.model.plan import Plan, TargetKind
from steps.model.vm_settings import EvictionStrategy, Matcher, RunStrategy, TagLabel, VmSettings
from tests.unit.builders import a_source, an_import
from workflows.plan import Invalid, plan
from workflows.settings import Settings
from workflows.vm_settings import parsed_patch

AFFINITY: Final = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
        }
    },
    "podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 1,
                "podAffinityTerm": {
                    "labelSelector": {"matchLabels": {"app": "db"}},
                    "topologyKey": "kubernetes.io/hostname",
                },
            }
        ]
    },
}
CPU_MODEL: Final = "spec: {template: {spec: {domain: {cpu: {model: host-passthrough}}}}}"


def planned(target: TargetKind = TargetKind.KUBEVIRT, spec: dict[str, Any] | None = None, **vm: Any) -> Plan:
    fields: dict[str, Any] = {**(spec or {}), **({"virtualMachine": vm} if vm else {})}
    return plan(an_import(**fields), a_source(), Settings(target=target))


def refusals(
    target: TargetKind = TargetKind.KUBEVIRT, spec: dict[str, Any] | None = None, **vm: Any
) -> list[str]:
    with pytest.raises(Invalid) as caught:
        planned(target, spec, **vm)
    return list(caught.value.reasons)


def test_without_the_field_the_request_is_the_same_text_as_before() -> None:
    target = json.loads(planned().to_json())["target"]
    assert "settings" not in target
    assert planned(spec={"virtualMachine": None}) == planned(spec={"virtualMachine": {}}) == planned()


def test_every_field_reaches_the_plan() -> None:
    made = planned(
        labels={"team": "shop"},
        annotations={"example.com/ticket": "OPS-12 and more"},
        tagLabels=[{"tag": "Environment", "label": "example.com/environment"}],
        instancetype={"name": "u1.medium"},
        preference={"kind": "VirtualMachinePreference", "name": "fedora"},
        runStrategy="Always",
        evictionStrategy="LiveMigrate",
        nodeSelector={"zone": "a"},
        affinity=AFFINITY,
        tolerations=[{"key": "dedicated", "operator": "Equal", "value": "vms", "effect": "NoSchedule"}],
        powerState="asSource",
        persistentEfiVariables=True,
        patch=CPU_MODEL,
    ).target
    assert made.vm_labels == {"team": "shop"}
    assert made.vm_annotations == {"example.com/ticket": "OPS-12 and more"}
    assert made.start
    assert made.settings == VmSettings(
        tag_labels=(TagLabel(tag="Environment", label="example.com/environment"),),
        instancetype=Matcher(kind="VirtualMachineClusterInstancetype", name="u1.medium"),
        preference=Matcher(kind="VirtualMachinePreference", name="fedora"),
        run_strategy=RunStrategy.ALWAYS,
        eviction_strategy=EvictionStrategy.LIVE_MIGRATE,
        node_selector={"zone": "a"},
        affinity=AFFINITY,
        tolerations=({"key": "dedicated", "operator": "Equal", "value": "vms", "effect": "NoSchedule"},),
        as_source=True,
        persistent_efi=True,
        patch={"spec": {"template": {"spec": {"domain": {"cpu": {"model": "host-passthrough"}}}}}},
        patch_paths=DEFAULT_PATHS,
    )
    assert Plan.model_validate_json(planned(patch=CPU_MODEL).to_json()) == planned(patch=CPU_MODEL)


@pytest.mark.parametrize(
    ("state", "start", "started"),
    [
        (None, None, True),
        (None, False, False),
        ("on", None, True),
        ("off", None, False),
        ("asSource", None, True),
    ],
)
def test_the_power_state_and_the_older_field_say_whether_it_is_started(
    state: str | None, start: bool | None, started: bool
) -> None:
    assert planned(spec={"startVirtualMachine": start}, powerState=state).target.start is started


RESERVED: Final = [
    "harvesterhci.io/vmName",
    "network.harvesterhci.io/type",
    "migration.harvesterhci.io/import-uid",
    "migration.example/x",
    "kubevirt.io/domain",
    "vm.kubevirt.io/os",
    "hooks.kubevirt.io/hookSidecars",
    "HarvesterHCI.io/vmName",
]


@pytest.mark.parametrize("key", RESERVED)
@pytest.mark.parametrize("field", ["labels", "annotations", "tagLabels"])
def test_a_reserved_key_is_refused(field: str, key: str) -> None:
    value: Any = [{"tag": "a", "label": key}] if field == "tagLabels" else {key: "x"}
    (reason,) = refusals(**{field: value})
    assert reason.startswith(f"spec.virtualMachine.{field}")
    assert "is reserved" in reason


@pytest.mark.parametrize(
    "key", ["notkubevirt.io/a", "harvesterhci.io.example/a", "team", "a.example/migration.x"]
)
def test_a_key_that_only_looks_reserved_is_allowed(key: str) -> None:
    assert planned(labels={key: "x"}).target.vm_labels == {key: "x"}


@pytest.mark.parametrize(
    ("vm", "words"),
    [
        ({"labels": {"bad key": "x"}}, "'bad key' is not a key"),
        ({"labels": {"a/b/c": "x"}}, "'a/b/c' is not a key"),
        ({"labels": {"team": "two words"}}, "'two words' of 'team' is not the value of a label"),
        ({"labels": {"team": "x" * 64}}, "is not the value of a label"),
        (
            {"labels": {f"key{number}": "x" for number in range(65)}},
            "labels has 65 entries; write at most 64",
        ),
        ({"annotations": {"a": "x" * 2049}}, "write at most 2048"),
        ({"tagLabels": [{"label": "a"}]}, "has no tag"),
        ({"tagLabels": [{"tag": "a", "label": ""}]}, "'' is not a key"),
        (
            {"tagLabels": [{"tag": "a", "label": "x"}, {"tag": "b", "label": "x"}]},
            "an earlier row has the label",
        ),
        ({"instancetype": {"name": "../x"}}, "'../x' is not a valid name"),
        ({"preference": {}}, "'' is not a valid name"),
        ({"nodeSelector": {"a b": "x"}}, "'a b' is not the key of a label"),
        ({"nodeSelector": {"a": "x y"}}, "'x y' is not the value of a label"),
        ({"tolerations": [{}]}, "has no key"),
        ({"tolerations": [{"key": "a b"}]}, "is not the key of a taint"),
        ({"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]}, "remove one of the two"),
        ({"tolerations": [{"key": "a", "tolerationSeconds": 5}]}, "needs the effect NoExecute"),
        (
            {"tolerations": [{"key": "a", "effect": "NoExecute", "tolerationSeconds": -1}]},
            "has the tolerationSeconds -1; write 0 or more",
        ),
        (
            {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}] * 33}}},
            "33 entries",
        ),
        ({"runStrategy": "Manual"}, 'write powerState: "off"'),
        ({"runStrategy": "Manual", "powerState": "asSource"}, 'write powerState: "off"'),
        ({"runStrategy": "Always", "powerState": "off"}, "it shall stay off"),
    ],
)
def test_a_wrong_value_is_refused_with_what_to_write(vm: dict[str, Any], words: str) -> None:
    (reason,) = refusals(**vm)
    assert reason.startswith("spec.virtualMachine.")
    assert words in reason


def test_an_instancetype_excludes_cpu_and_memory_and_the_target_harvester() -> None:
    (reason,) = refusals(spec={"cpus": 4, "memory": "8Gi"}, instancetype={"name": "u1"})
    assert "spec.cpus and spec.memory" in reason
    (reason,) = refusals(TargetKind.HARVESTER, instancetype={"name": "u1"})
    assert "cannot be used with the target harvester" in reason
    assert planned(TargetKind.DIRECTORY, instancetype={"name": "u1"}).target.settings.instancetype


def test_two_fields_for_the_power_state_are_refused() -> None:
    (reason,) = refusals(spec={"startVirtualMachine": False}, powerState="off")
    assert "are both set" in reason


def test_the_older_field_also_excludes_a_run_strategy_that_starts() -> None:
    (reason,) = refusals(spec={"startVirtualMachine": False}, runStrategy="Always")
    assert "it shall stay off" in reason
    assert planned(spec={"startVirtualMachine": False}, runStrategy="Manual").target.start is False


# --- the patch


def test_a_patch_is_yaml_or_json_and_may_remove_a_field() -> None:
    json_text = json.dumps({"spec": {"template": {"spec": {"domain": {"devices": {"sound": None}}}}}})
    assert parsed_patch(json_text) == parsed_patch(
        "spec: {template: {spec: {domain: {devices: {sound: null}}}}}"
    )
    assert planned(patch=json_text).target.settings.patch


@pytest.mark.parametrize("text", ["", "  \n", "{}"])
def test_an_empty_patch_is_none(text: str) -> None:
    assert planned(patch=text) == planned(powerState=None)


BOMB: Final = "\n".join(
    [
        "a0: &a0 [x, x, x, x, x, x, x, x, x]",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)),
    ]
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "it is not an object"),
        ("text", "it is not an object"),
        ("spec: {a", "it is not the YAML of JSON values"),
        ("spec: {a: 1, a: 2}", "it is not the YAML of JSON values"),
        ("a: 1\n---\nb: 2", "it is not the YAML of JSON values"),
        ("spec: .nan", "it is not the YAML of JSON values"),
        ("spec: 2026-11-30", "it is not the YAML of JSON values"),
        ("spec: !!python/object:os.system {}", "it is not the YAML of JSON values"),
        (BOMB, "aliases are not supported"),
        ("spec: &a {b: *a}", "aliases are not supported"),
        ("spec: " + "[" * 501, "more than 500 opening brackets"),
        ("- " * 4000, "it is not"),
        ("x" * (16 << 10) + "x", "characters"),
    ],
)
def test_a_text_that_is_no_patch_is_refused_in_bounded_time(text: str, words: str) -> None:
    found = refusals(patch=text)
    assert any(words in reason for reason in found), found
    assert all(len(reason) < 500 for reason in found)


def test_a_patch_that_is_not_allowed_is_refused_before_anything_runs() -> None:
    (reason,) = refusals(patch="spec: {template: {spec: {volumes: []}}}")
    assert reason.startswith("spec.virtualMachine.patch: 'spec.template.spec.volumes' cannot be patched")


def test_the_installation_says_what_a_patch_may_change() -> None:
    given = an_import(virtualMachine={"patch": "spec: {template: {spec: {hostname: web}}}"})
    with pytest.raises(Invalid, match=r"import\.patchPaths"):
        plan(given, a_source(), Settings())
    allowing = Settings(patch_paths=("spec.template.spec.hostname",))
    assert plan(given, a_source(), allowing).target.settings.patch_paths == ("spec.template.spec.hostname",)
    with pytest.raises(Invalid):
        plan(an_import(virtualMachine={"patch": CPU_MODEL}), a_source(), Settings(patch_paths=()))


# --- disks


def disk_refusals(target: TargetKind = TargetKind.KUBEVIRT, **row: Any) -> list[str]:
    return refusals(target, {"diskMapping": [{"sourceDisk": "disk-0", **row}]})


def test_the_fields_of_a_disk_reach_the_plan() -> None:
    row = {"sourceDisk": "disk-0", "name": "data", "accessMode": "ReadWriteMany", "volumeMode": "Block"}
    (rule,) = planned(spec={"diskMapping": [row]}).target.disks
    assert (rule.name, rule.access_mode, rule.volume_mode, rule.skip) == (
        "data",
        "ReadWriteMany",
        "Block",
        False,
    )
    (rule,) = planned(spec={"diskMapping": [{"sourceDisk": "disk-1", "skip": True}]}).target.disks
    assert rule.skip
    plain = planned(spec={"diskMapping": [{"sourceDisk": "disk-0", "busType": "sata"}]})
    assert not {"skip", "name"} & set(json.loads(plain.to_json())["target"]["disks"][0])


@pytest.mark.parametrize("row", [{"name": "Data"}, {"name": "a.b"}, {"name": "x" * 64}, {"name": "../x"}])
def test_a_name_that_no_volume_can_have_is_refused(row: dict[str, Any]) -> None:
    (reason,) = disk_refusals(**row)
    assert "is not valid" in reason


@pytest.mark.parametrize(
    "row", [{"storageClass": "fast"}, {"busType": "sata"}, {"name": "a"}, {"accessMode": "ReadWriteOnce"}]
)
def test_a_disk_that_is_left_out_has_no_other_field(row: dict[str, Any]) -> None:
    (reason,) = disk_refusals(skip=True, **row)
    assert f"{next(iter(row))} of that row has no effect" in reason


def test_two_volumes_with_one_name_are_refused() -> None:
    rows = [{"sourceDisk": f"disk-{number}", "name": "data"} for number in range(2)]
    (reason,) = refusals(spec={"diskMapping": rows})
    assert "a volume is for one disk" in reason


@pytest.mark.parametrize("row", [{"accessMode": "ReadWriteMany"}, {"volumeMode": "Filesystem"}])
def test_an_image_of_harvester_has_its_own_modes(row: dict[str, Any]) -> None:
    (reason,) = disk_refusals(TargetKind.HARVESTER, **row)
    assert "as: volume" in reason
    settings = Settings(target=TargetKind.HARVESTER, allow_volumes=True)
    given = an_import(diskMapping=[{"sourceDisk": "disk-0", "as": "volume", **row}])
    assert plan(given, a_source(), settings).target.disks


def test_power_off_without_tools_is_a_choice() -> None:
    assert planned(spec={"powerOffWithoutGuestTools": True}).power.force_without_tools
    assert "forceWithoutTools" not in json.loads(planned().to_json())["power"]
