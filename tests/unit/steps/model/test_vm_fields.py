"""What an import asks for about the new VM, in its manifest."""

from __future__ import annotations

from typing import Any, Final

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kinds import V2V_API_VERSION
from steps.model.machine import Firmware, Machine, Power, Tag
from steps.model.manifest import machine_for
from steps.model.mapping import shape
from steps.model.plan import Plan, TargetKind
from steps.model.source_tags import labels_of_tags, wanted_tags
from steps.model.vm_fields import check_request, words
from steps.model.vm_settings import Matcher, RunStrategy, TagLabel, VmSettings
from tests.unit.builders import a_machine, a_nic, a_plan

KINDS: Final = (TargetKind.HARVESTER, TargetKind.KUBEVIRT, TargetKind.DIRECTORY)
HARVESTER_STRATEGY: Final = "harvesterhci.io/vmRunStrategy"


def a_plan_with(kind: TargetKind = TargetKind.KUBEVIRT, *, start: bool = True, **settings: Any) -> Plan:
    return a_plan(kind=kind, start=start, settings=VmSettings(**settings))


def manifest(plan: Plan, machine: Machine | None = None) -> dict[str, Any]:
    vm = shape(plan, machine or a_machine(nics=(a_nic(),)))
    return machine_for(plan.target.kind, vm, {disk.id: f"web01-{disk.id}" for disk in vm.disks})


@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_annotations_of_the_import_are_on_the_vm(kind: TargetKind) -> None:
    plan = a_plan(kind=kind, vm_labels={"team": "shop"}, vm_annotations={"note": "moved"})
    metadata = manifest(plan)["metadata"]
    assert metadata["labels"]["team"] == "shop"
    assert metadata["labels"]["migration.harvesterhci.io/imported"] == "true"
    assert metadata["annotations"]["note"] == "moved"


@pytest.mark.parametrize("kind", KINDS)
def test_scheduling_is_that_of_the_template(kind: TargetKind) -> None:
    affinity: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
    }
    tolerations = ({"key": "dedicated", "operator": "Exists"},)
    plan = a_plan_with(
        kind,
        node_selector={"zone": "a"},
        affinity=affinity,
        tolerations=tolerations,
        eviction_strategy="None",
    )
    spec = manifest(plan)["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"zone": "a"}
    assert spec["affinity"] == affinity
    assert spec["tolerations"] == list(tolerations)
    assert spec["evictionStrategy"] == "None"


def test_without_a_wish_the_eviction_strategy_is_as_before() -> None:
    assert "evictionStrategy" not in manifest(a_plan_with())["spec"]["template"]["spec"]
    harvester = manifest(a_plan_with(TargetKind.HARVESTER))["spec"]["template"]["spec"]
    assert harvester["evictionStrategy"] == "LiveMigrateIfPossible"


def test_an_instancetype_replaces_cpu_memory_and_limits() -> None:
    plan = a_plan_with(
        instancetype=Matcher(kind="VirtualMachineClusterInstancetype", name="u1"),
        preference=Matcher(kind="VirtualMachinePreference", name="fedora"),
    )
    for made in (
        manifest(plan),
        manifest(
            plan.model_copy(update={"target": plan.target.model_copy(update={"kind": TargetKind.DIRECTORY})})
        ),
    ):
        assert made["spec"]["instancetype"] == {"kind": "VirtualMachineClusterInstancetype", "name": "u1"}
        assert made["spec"]["preference"] == {"kind": "VirtualMachinePreference", "name": "fedora"}
        assert not {"cpu", "memory", "resources"} & set(made["spec"]["template"]["spec"]["domain"])


@pytest.mark.parametrize(
    ("wanted", "start", "strategy"),
    [
        (None, True, "RerunOnFailure"),
        (None, False, "Halted"),
        (RunStrategy.ALWAYS, True, "Always"),
        (RunStrategy.ONCE, True, "Once"),
        (RunStrategy.MANUAL, False, "Manual"),
        (RunStrategy.ALWAYS, False, "Halted"),
    ],
)
def test_the_run_strategy(wanted: RunStrategy | None, start: bool, strategy: str) -> None:
    for kind in KINDS:
        made = manifest(a_plan_with(kind, start=start, run_strategy=wanted))
        assert made["spec"]["runStrategy"] == strategy
    harvester = manifest(a_plan_with(TargetKind.HARVESTER, start=start, run_strategy=wanted))
    annotations = harvester["metadata"].get("annotations", {})
    assert annotations.get(HARVESTER_STRATEGY) == (strategy if wanted else None)


@pytest.mark.parametrize(
    ("power", "ran_before", "started"),
    [(Power.ON, False, True), (Power.OFF, False, False), (Power.OFF, True, True)],
)
def test_as_at_the_source_means_when_the_import_began(power: Power, ran_before: bool, started: bool) -> None:
    plan = a_plan_with(as_source=True, ran_before=ran_before)
    made = manifest(plan, a_machine(power=power))
    assert made["spec"]["runStrategy"] == ("RerunOnFailure" if started else "Halted")
    assert shape(plan, a_machine(power=power)).start is started
    assert shape(a_plan_with(), a_machine(power=Power.OFF)).start, "without a wish it is started"


def test_persistent_variables_need_efi() -> None:
    efi = a_machine(firmware=Firmware(kind="efi", secure_boot=True))
    plan = a_plan_with(persistent_efi=True)
    firmware = manifest(plan, efi)["spec"]["template"]["spec"]["domain"]["firmware"]
    assert firmware["bootloader"] == {"efi": {"secureBoot": True, "persistent": True}}
    bios = manifest(plan)["spec"]["template"]["spec"]["domain"]["firmware"]
    assert bios["bootloader"] == {"bios": {}}
    assert any("boots with BIOS" in text for text in words(shape(plan, a_machine())))


PATCH: Final = {
    "spec": {"template": {"spec": {"domain": {"cpu": {"model": "host-model"}, "devices": {"rng": {}}}}}}
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_patch_changes_what_it_names_and_nothing_else(kind: TargetKind) -> None:
    before, after = manifest(a_plan_with(kind)), manifest(a_plan_with(kind, patch=PATCH))
    domain = after["spec"]["template"]["spec"]["domain"]
    assert domain["cpu"].pop("model") == "host-model"
    assert domain["devices"].pop("rng") == {}
    assert after == before


# --- tags


def test_a_tag_becomes_the_value_of_a_label() -> None:
    tags = (Tag(name="Environment", value="Größe 3 / Test"), Tag(name="backup"), Tag(name="other", value="x"))
    rules = (TagLabel(tag="Environment", label="example.com/env"), TagLabel(tag="backup", label="backup"))
    labels, concerns = labels_of_tags(tags, rules)
    assert labels == {"example.com/env": "Gr-e-3-Test", "backup": "true"}
    assert concerns == []


def test_of_several_tags_the_first_counts_with_a_warning() -> None:
    tags = (Tag(name="env", value="test"), Tag(name="env", value="live"))
    labels, (concern,) = labels_of_tags(tags, [TagLabel(tag="env", label="env")])
    assert labels == {"env": "live"}
    assert concern.code == "tag-several"


def test_a_vm_without_the_tag_has_no_label_and_the_plan_says_so() -> None:
    plan = a_plan_with(tag_labels=(TagLabel(tag="env", label="env"),))
    vm = shape(plan, a_machine())
    assert vm.labels == {}
    assert "label: env is left out, because the VM has no tag 'env'" in list(words(vm))


def test_a_label_of_the_import_has_precedence_over_a_tag() -> None:
    settings = VmSettings(tag_labels=(TagLabel(tag="env", label="env"),))
    plan = a_plan(kind=TargetKind.KUBEVIRT, vm_labels={"env": "fixed"}, settings=settings)
    machine = a_machine(tags=(Tag(name="env", value="live"),))
    assert manifest(plan, machine)["metadata"]["labels"]["env"] == "fixed"


def test_only_tags_that_a_rule_names_are_kept() -> None:
    tags = [Tag(name=f"t{number}", value="x") for number in range(5000)]
    assert wanted_tags(tags, [TagLabel(tag="t7", label="a")]) == (Tag(name="t7", value="x"),)


def test_many_and_long_tags_are_cut() -> None:
    tags = [Tag(name="a", value=f"{number:04}" + "x" * 100_000) for number in range(1000)]
    kept = wanted_tags(tags, [TagLabel(tag="a", label="a")])
    assert len(kept) == 256
    assert {len(tag.value) for tag in kept} == {256}
    assert kept[0].value.startswith("0000x")


def test_a_long_value_of_a_tag_is_a_valid_label() -> None:
    labels, _ = labels_of_tags([Tag(name="a", value="x" * 500)], [TagLabel(tag="a", label="a")])
    assert len(labels["a"]) <= 63


# --- what a step checks again


def test_a_request_that_was_changed_does_not_patch_more_than_an_import_may() -> None:
    forged = {"spec": {"template": {"spec": {"volumes": [{"name": "x", "secret": {"secretName": "db"}}]}}}}
    for patch, paths in ((forged, ("spec",)), (PATCH, ())):
        with pytest.raises(StepError) as caught:
            check_request(a_plan_with(patch=patch, patch_paths=paths))
        assert caught.value.code is Exit.INVALID


@pytest.mark.parametrize("field", ["vm_labels", "vm_annotations"])
def test_a_request_that_was_changed_has_no_reserved_metadata(field: str) -> None:
    forged: dict[str, Any] = {field: {"kubevirt.io/domain": "x"}}
    plan = a_plan(kind=TargetKind.KUBEVIRT, **forged)
    with pytest.raises(StepError, match="is refused"):
        check_request(plan)
    other = plan.import_.model_copy(update={"api_version": V2V_API_VERSION})
    check_request(plan.model_copy(update={"import_": other}))


def test_a_rule_for_tags_has_no_reserved_label() -> None:
    with pytest.raises(StepError, match="is refused"):
        check_request(a_plan_with(tag_labels=(TagLabel(tag="a", label="harvesterhci.io/os"),)))
