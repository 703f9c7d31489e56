from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from controller.cli import dryrun
from controller.cli.dryrun import DryRunResult, credentials
from controller.manifests.resolve import Job
from steps.model.contract import Exit
from steps.model.kinds import NODE
from steps.model.machine import Power
from steps.model.manifest import virtual_machine
from steps.model.mapping import shape
from steps.model.plan import DiskForm, DiskRule, DiskWay, NamePolicy, NetworkRule, TargetKind
from steps.model.sources import SourceKind
from steps.model.vm_settings import Matcher, VmSettings
from steps.preflight import examine, refusal_reasons
from steps.runtime import kubeapi
from steps.runtime.stop import Stop
from tests.unit.builders import a_disk, a_machine, a_nic, a_plan, without_provider
from tests.unit.controller.cli.test_view import text
from tests.unit.providers import FakeProvider
from tests.unit.steps.targets.harvester.world import World as TargetWorld
from tests.unit.steps.targets.surroundings import another_vm
from workflows.ways import EMBEDDED_VOLUME


def examined(plan: Any = None, **machine: Any) -> DryRunResult:
    """A dry run with its source in memory."""
    plan = plan or a_plan()
    found = examine(FakeProvider(a_machine(**machine)), plan)
    made = shape(plan, found)
    manifest = virtual_machine(made, {disk.id: disk.id for disk in made.disks})
    return DryRunResult(Job(plan, {}), found, made, manifest, tuple(refusal_reasons(plan, found)))


def test_a_vm_is_shown_before_and_after_the_import() -> None:
    rule = NetworkRule(source="VM Network", destination="default/vlan1")
    nics = (a_nic(0), a_nic(1, network="a"), a_nic(2, network="b"))
    result = examined(a_plan(networks=(rule,)), nics=nics, disks=(a_disk(allocated=1 << 20),), vcpus=4)
    shown = text(dryrun.render(result))
    assert result.code is Exit.DONE
    for words in ("can be imported", "default/web01", "1 socket of 4 cores", "2048Mi", "default/vlan1"):
        assert words in shown
    for words in ("1 MiB", "pod network", "left out", "warn: nic-2"):
        assert words in shown
    assert dryrun.document(result)["possible"] is True


def test_without_a_cluster_the_target_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    result = dry_run_in_a_cluster()
    assert "target: not checked: target: KUBECONFIG is not set" in text(dryrun.render(result))
    assert result.code is Exit.DONE


def test_a_refusal_of_the_cluster_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    world = TargetWorld(storage_class="gone")
    monkeypatch.setenv("KUBECONFIG", "a-file")
    monkeypatch.setattr(kubeapi, "connect", lambda *_, **__: world.cluster)
    result = dry_run_in_a_cluster(storage_class="gone")
    assert result.code is Exit.NOT_FOUND
    assert "there is no storage class gone" in text(dryrun.render(result))
    assert dryrun.document(result)["possible"] is False


def test_every_reason_of_the_cluster_is_shown_with_what_could_not_be_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = TargetWorld()
    world.cluster.put(another_vm("default", "web01", "02:00:00:00:00:01"))
    world.cluster.denied.add(("list", NODE))
    monkeypatch.setenv("KUBECONFIG", "a-file")
    monkeypatch.setattr(kubeapi, "connect", lambda *_, **__: world.cluster)
    result = dry_run_in_a_cluster(storage_class="gone")
    assert sorted(int(code) for code, _ in result.reasons) == [Exit.NOT_FOUND, Exit.CONFLICT]
    shown = text(dryrun.render(result))
    assert "reason: there is no storage class gone" in shown
    assert "reason: VirtualMachine default/web01 already exists" in shown
    assert "not checked: node" in shown
    assert dryrun.document(result)["admission"]["findings"]


@pytest.mark.parametrize(("target", "collide"), [(TargetKind.HARVESTER, True), (TargetKind.DIRECTORY, False)])
def test_two_imports_of_a_plan_must_not_get_one_name(
    monkeypatch: pytest.MonkeyPatch, target: TargetKind, *, collide: bool
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    found = [
        dryrun._examine(
            Job(a_plan(name=name, vm=vm, kind=target), {}), FakeProvider(a_machine(name=vm)), Stop()
        )
        for name, vm in (("a", "Web 01"), ("b", "web-01"))
    ]
    results = dryrun.with_collisions(found)
    words = "would both become VirtualMachine default/web-01"
    assert [words in text(dryrun.render(result)) for result in results] == [collide, collide]
    assert [result.code for result in results] == [Exit.CONFLICT if collide else Exit.DONE] * 2


def test_changes_by_the_cluster_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    world = TargetWorld()
    world.rules.overhead_ratio = ""
    monkeypatch.setenv("KUBECONFIG", "a-file")
    monkeypatch.setattr(kubeapi, "connect", lambda *_, **__: world.cluster)
    result = dry_run_in_a_cluster()
    assert "target: warn: the guest gets 100 MiB of memory less" in text(dryrun.render(result))
    assert dryrun.document(result)["possible"] is True


def dry_run_in_a_cluster(**target: Any) -> DryRunResult:
    """The dry run of an import into the cluster of KUBECONFIG."""
    plan = a_plan(kind=TargetKind.HARVESTER, **target)
    return dryrun._examine(Job(plan, {}), FakeProvider(a_machine()), Stop())


def test_a_plan_shows_which_disks_land_on_volumes_and_who_can_do_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    rows = (DiskRule(disk="disk-1", form=DiskForm.VOLUME),)
    plan = a_plan(kind=TargetKind.HARVESTER, way=DiskWay.MIXED, way_reason="rows say so", disks=rows)
    machine = a_machine(disks=(a_disk(0), a_disk(1)))
    result = dryrun._examine(Job(plan, {}), FakeProvider(machine), Stop())
    shown = text(dryrun.render(result))
    first, second = [line.split() for line in shown.splitlines() if line.startswith("disk-")]
    assert (first[-1], second[-1]) == ("image", "volume")
    assert "disks: mixed, because rows say so" in shown
    assert EMBEDDED_VOLUME.split(":")[0] in shown
    assert dryrun.document(result)["possible"] is False


def test_every_reason_is_shown() -> None:
    result = examined(power=Power.ON, disks=())
    shown = text(dryrun.render(result))
    assert shown.count("reason: ") == 2
    assert "cannot be imported" in shown
    assert result.code is Exit.UNSUPPORTED
    assert dryrun.document(result)["reasons"][1]["exitCode"] == 17


def test_the_json_document_contains_everything() -> None:
    found = json.loads(json.dumps(dryrun.document(examined(nics=(a_nic(),)))))
    assert found["manifest"]["kind"] == "VirtualMachine"
    assert found["source"]["memoryMib"] == found["target"]["memoryMib"] == 2048
    assert [concern["code"] for concern in found["concerns"]] == ["cpu-one-socket", "network-unmapped"]
    assert found["stages"][0] == "preflight"


def test_a_missing_provider_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_provider(monkeypatch, SourceKind.OVA)
    plan = a_plan()
    source = plan.source.model_copy(update={"kind": SourceKind.OVA})
    result = dryrun.dry_run(Job(plan.model_copy(update={"source": source}), {"password": b"p"}), Stop())
    assert (result.code, result.machine) == (Exit.UNSUPPORTED, None)
    assert "ProviderNotInstalled" in text(dryrun.render(result))
    assert dryrun.document(result)["source"] is None
    assert list(tmp_path.iterdir()) == []


def test_concerns_are_shown_even_if_the_name_is_refused() -> None:
    plan = a_plan(name_policy=NamePolicy.STRICT)
    machine = a_machine(name="Web01")
    result = DryRunResult(Job(plan, {}), machine, None, None, tuple(refusal_reasons(plan, machine)))
    assert dryrun.concerns(result) == machine.concerns
    assert "is not RFC 1123 compliant" in text(dryrun.render(result))


def test_credentials_are_deleted_after_use() -> None:
    with credentials({"password": b"p"}) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (folder / "password").read_bytes() == b"p"
    assert not folder.exists()


def test_nics_without_a_mac_are_distinguished() -> None:
    rule = NetworkRule(source="b", destination="default/vlan-b")
    nics = (a_nic(0, mac=None, network="a"), a_nic(1, mac=None, network="b"))
    rows = text(dryrun.render(examined(a_plan(networks=(rule,)), nics=nics))).splitlines()
    (first,) = [row for row in rows if row.startswith("nic-0 ")]
    assert "pod network" in first


def test_brackets_in_names_are_shown() -> None:
    assert "web [old]" in text(dryrun.render(examined(path="/DC0/vm/web [old]")))


def test_a_plan_shows_what_the_import_says_about_the_new_vm() -> None:
    settings = VmSettings(
        instancetype=Matcher(kind="VirtualMachineClusterInstancetype", name="u1"),
        as_source=True,
        node_selector={"zone": "a"},
        patch={"spec": {"template": {"spec": {"domain": {"devices": {"rng": {}}}}}}},
        patch_paths=("spec.template.spec.domain.devices.rng",),
    )
    rows = (DiskRule(disk="disk-1", skip=True),)
    plan = a_plan(vm_labels={"team": "shop"}, settings=settings, disks=rows)
    result = examined(plan, disks=(a_disk(0), a_disk(1)), power=Power.OFF)
    shown = text(dryrun.render(result))
    for words in (
        "VirtualMachineClusterInstancetype u1",
        "vm: power state: as at the source when the import began: off",
        "vm: label: team=shop",
        "vm: node selector: zone=a",
        "vm: patch: spec.template.spec.domain.devices.rng",
        "log: disk-1 is left out",
        "left off",
    ):
        assert words in shown
    assert [disk["id"] for disk in dryrun.document(result)["target"]["disks"]] == ["disk-0"]
