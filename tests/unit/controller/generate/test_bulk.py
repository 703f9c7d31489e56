from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from controller.generate import mappingfile
from controller.generate.bulk import FolderReport, document, summary, warnings, write
from controller.generate.manifest_folder import ManifestDir, WriteResult, mark_of
from controller.manifests.environment import Environment
from controller.manifests.environment import read as environment
from controller.manifests.read import InvalidManifestsError, read
from controller.manifests.resolve import jobs
from steps.model.contract import Exit, StepError
from steps.model.machine import Concern, Machine, Power, Severity
from tests.unit.builders import a_cloud, a_disk, a_machine, a_nic, a_secret, a_source, an_archive
from workflows.api.resources import VirtualMachineImport
from workflows.api.sources import Source
from workflows.settings import Settings

BLOCK = Concern(
    severity=Severity.BLOCK, code="disk-backing", message="disk-0 is a raw device", remedy="copy it"
)


def vm(name: str, number: int = 1, folder: str = "", **more: Any) -> Machine:
    more = {"nics": (a_nic(0),), "disks": (a_disk(storage="fast"),)} | more
    return a_machine(name=name, path=f"/DC0/vm/{folder}{name}", source_id=f"vm-{number}", **more)


def written(
    folder: Path, *machines: Machine, source: Source | None = None, force: bool = False, network: str = ""
) -> FolderReport:
    return write(machines, source or a_source(), ManifestDir(folder, force=force), None, network)


def fates(report: FolderReport) -> dict[str, str]:
    return {file.path.name: str(file.result) for file in report.files}


def imports(folder: Path) -> dict[str, VirtualMachineImport]:
    return {name: made for (_, name), made in read([str(folder)]).imports.items()}


def edit(folder: Path, old: str, new: str, name: str = mappingfile.NAME) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


def test_a_folder_has_a_file_per_vm_and_for_source_and_mapping(tmp_path: Path) -> None:
    report = written(tmp_path / "new" / "x", vm("web", 1), vm("Data Base", 2, "prod/"))
    assert fates(report) == {
        "vc.vmwaresource.yaml": "written",
        mappingfile.NAME: "written",
        "web.yaml": "written",
        "data-base.yaml": "written",
    }
    assert sorted(path.name for path in report.root.iterdir()) == sorted(fates(report))
    assert summary(report) == f"{tmp_path}/new/x: 4 written"


@pytest.mark.parametrize("source", [a_source(), a_cloud(), an_archive()])
def test_written_manifests_work_with_the_manifests_of_the_user(tmp_path: Path, source: Source) -> None:
    written(tmp_path, vm("web", 1), vm("Web", 2), vm("db", 3), source=source, network="default/vlan1")
    given = read([str(tmp_path)])
    (key,) = given.sources
    assert given.sources[key] == source  # so that it may be given twice, by the user and here
    name = source.spec.credentials.name if source.spec.credentials else "none"
    given.secrets["default", name] = a_secret(name)
    made = jobs(given, Environment(), Settings())
    assert sorted(job.plan.target.vm_name or job.plan.vm for job in made) == ["db", "web-vm-1", "web-vm-2"]
    assert [rule.destination for rule in made[0].plan.target.networks] == ["default/vlan1"]


def test_no_password_gets_into_the_folder(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"cannot write .* to a file") as caught:
        written(tmp_path, vm("web"), source=an_archive(url="https://u:hush@files.example/web.ova"))
    assert (caught.value.code, list(tmp_path.iterdir())) == (Exit.INVALID, [])


def test_the_source_file_names_its_credentials(tmp_path: Path) -> None:
    written(tmp_path, vm("web"))
    assert "# Its Secret default/vc-login is not written" in (tmp_path / "vc.vmwaresource.yaml").read_text()
    written(tmp_path, vm("web"), source=a_cloud(credentials=None))
    assert "from the environment" in (tmp_path / "os.openstacksource.yaml").read_text()


def test_a_source_from_the_environment_uses_its_credentials(tmp_path: Path) -> None:
    environ = environment(
        {"GOVC_URL": "u:hush@vcenter.example", "OS_AUTH_URL": "https://keystone.example:5000"}
    )
    for source, number in zip(environ.sources, (1, 2), strict=True):
        written(tmp_path, vm("web", number), source=source)
    assert "hush" not in "".join(path.read_text() for path in tmp_path.iterdir())
    only = environment({"GOVC_URL": "u:hush@vcenter.example"})
    (tmp_path / "web-vm-2.yaml").unlink()
    (job,) = jobs(read([str(tmp_path)]), only, Settings())
    assert job.credentials == {"username": b"u", "password": b"hush"}


# --- the mapping


def test_the_mapping_has_a_row_for_each_network_and_datastore(tmp_path: Path) -> None:
    written(tmp_path, vm("web", 1, nics=(a_nic(0), a_nic(1, network="DMZ"))), vm("db", 2))
    text = (tmp_path / mappingfile.NAME).read_text()
    assert YAML(typ="safe").load(text) == {
        "apiVersion": "migration.harvesterhci.io/v1beta1",
        "kind": "ImportMapping",
        "metadata": {"name": "mapping"},
        "spec": {
            "networks": [
                {"source": {"name": "DMZ"}, "destinationNetwork": ""},
                {"source": {"name": "VM Network"}, "destinationNetwork": ""},
            ],
            "storage": [{"source": {"name": "fast"}, "storageClass": ""}],
        },
    }
    assert '# 2 VMs\n  - source:\n      name: "VM Network"' in text
    assert '# 1 VM\n  - source:\n      name: "DMZ"' in text


def test_an_unmapped_network_is_left_out_with_a_warning(tmp_path: Path) -> None:
    report = written(tmp_path, vm("web"))
    assert imports(tmp_path)["web"].spec.network_mapping == ()
    assert report.unmapped == ["VM Network"]
    assert "# warn: nic-0 " in (tmp_path / "web.yaml").read_text()
    (warning,) = warnings(report)
    assert warning.startswith("no destination for VM Network: add one to the mapping")


def test_an_edited_mapping_changes_the_manifests(tmp_path: Path) -> None:
    machine = vm("web", nics=(a_nic(0), a_nic(1, network="DMZ")))
    written(tmp_path, machine, vm("db", 2))
    edit(tmp_path, '"DMZ"\n    destinationNetwork: ""', '"DMZ"\n    destinationNetwork: shop/dmz # ask Ann')
    edit(tmp_path, "shop/dmz # ask Ann\n", "shop/dmz # ask Ann\n    networkInterfaceModel: e1000\n")
    edit(tmp_path, 'storageClass: ""', "storageClass: longhorn")
    before = (tmp_path / mappingfile.NAME).read_text()
    report = written(tmp_path, machine, vm("db", 2))
    assert fates(report)["web.yaml"] == fates(report)["db.yaml"] == "updated"
    (row,) = imports(tmp_path)["web"].spec.network_mapping
    assert (row.source_network, row.destination_network) == ("DMZ", "shop/dmz")
    assert str(row.network_interface_model) == "e1000"
    assert imports(tmp_path)["db"].spec.storage_class == "longhorn"
    assert (tmp_path / mappingfile.NAME).read_text() == before


def test_a_new_network_gets_a_row_and_edits_stay(tmp_path: Path) -> None:
    written(tmp_path, vm("web"))
    edit(tmp_path, 'destinationNetwork: ""', "destinationNetwork: default/vlan1 # ask Ann")
    report = written(tmp_path, vm("web"), vm("db", 2, nics=(a_nic(0, network="new"),)))
    assert fates(report)[mappingfile.NAME] == "updated"
    text = (tmp_path / mappingfile.NAME).read_text()
    assert "default/vlan1 # ask Ann" in text
    assert '# 1 VM\n  - source:\n      name: "new"' in text
    assert report.unmapped == ["new"]


def test_disks_on_several_datastores_have_a_row_each(tmp_path: Path) -> None:
    disks = (a_disk(0, storage="fast"), a_disk(1, storage="slow"), a_disk(2))
    written(tmp_path, vm("web", disks=disks))
    edit(tmp_path, '"slow"\n    storageClass: ""', '"slow"\n    storageClass: hdd')
    written(tmp_path, vm("web", disks=disks))
    spec = imports(tmp_path)["web"].spec
    assert [(row.source_disk, row.storage_class) for row in spec.disk_mapping] == [("disk-1", "hdd")]
    assert spec.storage_class == ""


def test_networks_with_the_same_name_are_distinguished_by_id(tmp_path: Path) -> None:
    machines = [
        vm(name, number, nics=(a_nic(0, network_id=f"net-{number}"),)) for number, name in enumerate("ab")
    ]
    written(tmp_path, *machines)
    edit(tmp_path, '"net-0"\n    destinationNetwork: ""', '"net-0"\n    destinationNetwork: default/left')
    report = written(tmp_path, *machines)
    (row,) = imports(tmp_path)["a"].spec.network_mapping
    assert (row.source_network, row.destination_network) == ("net-0", "default/left")
    assert report.unmapped == ["net-1"]
    assert "# 1 VM, called VM Network" in (tmp_path / mappingfile.NAME).read_text()


HEAD = "apiVersion: migration.harvesterhci.io/v1beta1\nkind: ImportMapping\nmetadata: {name: m}\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("spec: [", r"m:1: "),
        ("- a", "expected one ImportMapping"),
        ("kind: Secret\n", "expected apiVersion: migration.harvesterhci.io/v1beta1, kind: ImportMapping"),
        ("networkMapping: []\n", "the file of an earlier vmferry"),
        (HEAD + "spec:\n  networks:\n  - a: b\n", r"m:6: spec\.networks\.0\.a: unknown field"),
        (
            HEAD + "spec: {networks: [{source: {name: a}, destinationNetwork: a/b/c}]}\n",
            "invalid destinationNetwork 'a/b/c'",
        ),
        (
            HEAD + "spec:\n  networks:\n  - &a {source: {name: a}, destinationNetwork: b}\n  - *a\n",
            "2 rows for name 'a'",
        ),
        (
            HEAD + "spec:\n  storage:\n  - &a {source: {name: a}, storageClass: b}\n  - *a\n",
            "2 rows for name 'a'",
        ),
    ],
)
def test_a_wrong_mapping_is_an_error_with_its_line(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "m").write_text(text)
    with pytest.raises(InvalidManifestsError, match=fault):
        write([vm("web")], a_source(), ManifestDir(tmp_path / "out"), tmp_path / "m", "")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", ["", HEAD, HEAD + "spec:\n", HEAD + "spec:\n  networks:\n  storage: []\n", "# nothing\n"]
)
def test_an_emptied_mapping_is_filled_again(tmp_path: Path, text: str) -> None:
    (tmp_path / mappingfile.NAME).write_text(text)
    written(tmp_path, vm("web"), network="vlan7")
    (row,) = mappingfile.load(tmp_path / mappingfile.NAME)[1].mapping.spec.networks
    assert row.source.name == "VM Network"


def a_mapping(*networks: str) -> str:
    return HEAD + "spec:\n  networks:\n" + "".join(f"  - {row}\n" for row in networks)


def test_a_mapping_in_another_folder_is_only_read(tmp_path: Path) -> None:
    mapping = tmp_path / "shared.yaml"
    mapping.write_text(a_mapping("{source: {name: VM Network}, destinationNetwork: vlan7}"))
    before = mapping.read_text()
    report = write([vm("web")], a_source(), ManifestDir(tmp_path / "out"), mapping, "")
    assert imports(tmp_path / "out")["web"].spec.network_mapping[0].destination_network == "vlan7"
    assert (mapping.read_text(), mappingfile.NAME in fates(report)) == (before, False)


def test_rows_by_vlan_and_of_other_types_reach_the_manifests(tmp_path: Path) -> None:
    mapping = tmp_path / "shared.yaml"
    mapping.write_text(a_mapping("{source: {vlan: 12}, type: ignored}", "{source: {name: B}, type: pod}"))
    machine = vm("web", nics=(a_nic(0, network="A", vlan=12), a_nic(1, network="B")))
    write([machine], a_source(), ManifestDir(tmp_path / "out"), mapping, "")
    rows = imports(tmp_path / "out")["web"].spec.network_mapping
    assert [(row.source_network, str(row.type)) for row in rows] == [("A", "ignored"), ("B", "pod")]


def test_a_row_by_mac_is_named_as_it_needs_the_mapping_itself(tmp_path: Path) -> None:
    mapping = tmp_path / "shared.yaml"
    mapping.write_text(a_mapping("{source: {mac: '00-50-56-00-00-00'}, type: pod}"))
    write([vm("web")], a_source(), ManifestDir(tmp_path / "out"), mapping, "")
    assert imports(tmp_path / "out")["web"].spec.network_mapping == ()
    assert "MAC address of nic-0, which networkMapping cannot have" in (tmp_path / "out/web.yaml").read_text()


def test_a_bus_of_the_mapping_reaches_the_manifests(tmp_path: Path) -> None:
    mapping = tmp_path / "shared.yaml"
    mapping.write_text(HEAD + "spec: {disks: [{source: {id: '2000'}, busType: virtio}]}\n")
    write([vm("web")], a_source(), ManifestDir(tmp_path / "out"), mapping, "")
    (row,) = imports(tmp_path / "out")["web"].spec.disk_mapping
    assert (row.source_disk, row.bus_type, row.storage_class) == ("disk-0", "virtio", "")


# --- changes by a person


def test_a_second_write_changes_nothing(tmp_path: Path) -> None:
    written(tmp_path, vm("web"), vm("db", 2))
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert set(fates(written(tmp_path, vm("web"), vm("db", 2))).values()) == {"unchanged"}
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_a_changed_manifest_is_kept_unless_forced(tmp_path: Path) -> None:
    written(tmp_path, vm("web"))
    edit(tmp_path, "folder: /", "folder: /\n  cpus: 8", "web.yaml")
    edit(tmp_path, 'destinationNetwork: ""', "destinationNetwork: default/vlan1")
    report = written(tmp_path, vm("web"))
    assert fates(report)["web.yaml"] == "kept"
    assert imports(tmp_path)["web"].spec.cpus == 8
    assert f"{tmp_path}/web.yaml was edited by hand and is kept" in next(iter(warnings(report)))
    assert fates(written(tmp_path, vm("web"), force=True))["web.yaml"] == "updated"
    assert imports(tmp_path)["web"].spec.cpus is None


def test_a_foreign_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text("# mine\n")
    assert fates(written(tmp_path, vm("web")))["web.yaml"] == "kept"
    assert (tmp_path / "web.yaml").read_text() == "# mine\n"


def test_another_source_in_the_same_folder_overwrites_no_file(tmp_path: Path) -> None:
    written(tmp_path, vm("web"))
    report = written(tmp_path, vm("web"), source=a_source("other"))
    assert fates(report)["web-vm-1.yaml"] == "written"
    assert report.stale == []
    assert imports(tmp_path)["web"].spec.source_cluster.name == "vc"


def test_a_second_vm_of_the_name_does_not_rename_the_first(tmp_path: Path) -> None:
    written(tmp_path, vm("web", 2, "prod/"))
    written(tmp_path, vm("web", 1, "old/"), vm("web", 2, "prod/"))
    assert {name: made.spec.folder for name, made in imports(tmp_path).items()} == {
        "web": "prod",
        "web-vm-1": "old",
    }


def test_the_file_of_a_deleted_vm_is_reported_and_kept(tmp_path: Path) -> None:
    written(tmp_path, vm("web"), vm("db", 2))
    report = written(tmp_path, vm("web"))
    assert report.stale == [tmp_path / "db.yaml"]
    assert "delete the file" in next(iter(warnings(report)))
    assert (tmp_path / "db.yaml").exists()


@pytest.mark.parametrize(
    "text", ["", "# vmferry: ", "# vmferry: []", "# vmferry: {}\n", '# vmferry: {"of": 1}']
)
def test_a_broken_mark_is_ignored(text: str) -> None:
    assert mark_of(text) is None


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(StepError, match="Not a directory") as caught:
        written(tmp_path / "x", vm("web"))
    assert caught.value.code == Exit.CONFLICT


def test_a_folder_in_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").mkdir()
    with pytest.raises(StepError, match=r"cannot read .*web\.yaml: Is a directory"):
        written(tmp_path, vm("web"))


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(StepError, match=r"cannot write .*Not a directory"):
        written(tmp_path / "x" / "y", vm("web"))


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, vm("web"))
    before = (tmp_path / "web.yaml").read_text()
    edit(tmp_path, 'destinationNetwork: ""', "destinationNetwork: default/vlan1")

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, vm("web"))
    assert (tmp_path / "web.yaml").read_text() == before
    monkeypatch.undo()
    assert fates(written(tmp_path, vm("web")))["web.yaml"] == "updated"


# --- VMs that cannot be imported, and warnings about the others


def test_a_vm_that_cannot_be_imported_is_left_out_with_the_reason(tmp_path: Path) -> None:
    report = written(tmp_path, vm("web", concerns=(BLOCK,)), vm("empty", 2, disks=()), vm("db", 3))
    assert list(imports(tmp_path)) == ["db"]
    assert [list(entry.refusals) for entry in report.skipped] == [
        ["disk-0 is a raw device; copy it"],
        ["empty has no disks: there is nothing to import"],
    ]
    assert "/DC0/vm/web cannot be imported: disk-0 is a raw device; copy it" in list(warnings(report))
    assert summary(report).endswith("3 written, 2 VMs left out")


def test_a_vm_without_a_name_is_left_out(tmp_path: Path) -> None:
    (entry,) = written(tmp_path, vm("")).skipped
    assert entry.refusals == ("spec.virtualMachineName is empty: write the name of the VM to import",)


def test_what_a_person_can_fix_is_noted_in_the_manifest(tmp_path: Path) -> None:
    written(tmp_path, vm("web", power=Power.ON))
    lines = (tmp_path / "web.yaml").read_text().splitlines()
    assert lines[1] == "# /DC0/vm/web (vm-1): 2 vCPU, 2 GiB, disk-0 1 GiB"
    assert any(line.startswith("# block: web is on and VMware Tools do not run in it") for line in lines)


@pytest.mark.parametrize("name", ["a\nkind: x", "# a", "null", "é \u2028 x", "a: b", "\t", "-"])
def test_any_name_is_written_unchanged(tmp_path: Path, name: str) -> None:
    machine = a_machine(name=name, path=f"/DC0/vm/{name}", nics=(a_nic(0, network=name),))
    written(tmp_path, machine, network="default/vlan1")
    (made,) = imports(tmp_path).values()
    assert made.spec.virtual_machine_name == name
    assert made.spec.network_mapping[0].source_network == name
    assert set(fates(written(tmp_path, machine)).values()) == {str(WriteResult.UNCHANGED)}


def test_the_document_matches_the_report(tmp_path: Path) -> None:
    printed = json.loads(json.dumps(document(written(tmp_path, vm("web"), vm("empty", 2, disks=())))))
    assert printed["folder"] == str(tmp_path)
    by_file = {Path(file["file"]).name: file for file in printed["files"]}
    web = by_file["web.yaml"]
    assert (web["result"], web["import"], web["sourceId"]) == ("written", "web", "vm-1")
    assert web["machine"] == "/DC0/vm/web"
    assert web["remarks"][0].startswith("warn: nic-0")
    assert by_file[mappingfile.NAME] == {"file": f"{tmp_path}/{mappingfile.NAME}", "result": "written"}
    assert [one["machine"] for one in printed["skipped"]] == ["/DC0/vm/empty"]
    assert (printed["unmapped"], printed["stale"]) == (["VM Network"], [])
