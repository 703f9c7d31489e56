"""Old manifests in, current ones out. `make golden` rewrites `new.yaml` and `warnings.txt` from `old.yaml`.

The cases `readme-…` and `proposal-…` are manifests as vm-import-controller's README and the enhancement
proposal print them; in tests/real/crd the API server's own code checks the results.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from controller.cli.migrate import migrate, write
from controller.manifests import read
from controller.manifests.read import InvalidManifestsError
from steps.model.contract import Exit, StepError
from tests.unit.controller.manifests.test_read import IMPORT

GOLDEN: Final = Path(__file__).parents[2] / "golden" / "migrate"
CASES: Final = sorted(path.name for path in GOLDEN.iterdir())
OLD_SOURCE: Final = """\
apiVersion: source.harvesterhci.io/v1beta1
kind: Vmware
metadata: {name: vc}
spec: {endpoint: "https://vcenter.example/sdk", dc: DC0, credentials: {name: vc-login}}
"""
OLD_IMPORT: Final = """\
apiVersion: importjob.harvesterhci.io/v1beta1
kind: VirtualMachine
metadata: {name: web}
spec:
  virtualMachineName: web01
  sourceCluster: {kind: Vmware, name: vc, apiVersion: source.harvesterhci.io/v1beta1}
"""


@pytest.mark.parametrize("case", CASES)
def test_golden_migration(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN / case)
    (made,) = migrate(["old.yaml"])
    notes = "".join(f"{line}\n" for line in made.warnings)
    if os.environ.get("VMFERRY_GOLDEN") == "write":
        assert "CI" not in os.environ, "golden files are written by a person, who reads the diff"
        Path("new.yaml").write_text(made.text)
        Path("warnings.txt").write_text(notes)
        pytest.skip(f"{case} written")
    assert made.text == Path("new.yaml").read_text()
    assert notes == Path("warnings.txt").read_text()


@pytest.mark.parametrize("case", CASES)
def test_migrated_manifests_are_accepted_and_stay_unchanged(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(GOLDEN / case)
    found = read.read(["new.yaml"])
    assert found.secrets or found.sources or found.imports
    (again,) = migrate(["new.yaml"])
    assert again.warnings == ()
    assert again.text == Path("new.yaml").read_text()


def migrated(tmp_path: Path, text: str) -> tuple[str, list[str]]:
    """The result of one file, and the warnings without its name."""
    file = tmp_path / "old.yaml"
    file.write_text(text)
    (made,) = migrate([str(file)])
    return made.text, [line.removeprefix(str(file)) for line in made.warnings]


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(InvalidManifestsError) as caught:
        migrated(tmp_path, text)
    assert caught.value.code is Exit.INVALID
    return [line.removeprefix(str(tmp_path / "old.yaml")) for line in caught.value.faults]


def test_a_field_without_an_equivalent_is_left_out_with_a_warning(tmp_path: Path) -> None:
    text, notes = migrated(tmp_path, OLD_IMPORT + "  prio: 1\nstatus: {conditions: []}\n")
    assert "prio" not in text
    assert notes == [
        ":8: status: left out: the controller writes it again",
        ":7: spec.prio: left out: it has no equivalent",
    ]


@pytest.mark.parametrize(
    ("reached", "words"),
    [
        (
            "virtualMachineRunning",
            "this import has ended: if it is used again, the VM is shut down at its",
        ),
        ("sourceReady", "this import was begun: before you use it, stop the former controller"),
        ("[]", ""),
        ('""', ""),
    ],
)
def test_an_import_that_was_carried_out_is_reported(tmp_path: Path, reached: str, words: str) -> None:
    text, notes = migrated(tmp_path, OLD_IMPORT + f"status: {{importStatus: {reached}}}\n")
    assert "status" not in text
    found = [note for note in notes if "importStatus" in note]
    assert [note.startswith(f":7: status.importStatus: {words}") for note in found] == [True] * bool(words)


def test_a_harvester_of_the_first_proposal_is_a_source_of_kubevirt(tmp_path: Path) -> None:
    source = OLD_SOURCE.replace("Vmware", "Harvester").replace(" dc: DC0,", "").replace("/sdk", ":6443")
    job = OLD_IMPORT.replace("kind: Vmware,", "kind: harvester,")
    text, notes = migrated(tmp_path, f"{job}---\n{source}")
    assert text.count("kind: KubeVirtSource") == 2
    assert notes == [":11: spec.credentials: its Secret needs the key kubeconfig"]


def test_fields_of_the_api_server_are_left_out(tmp_path: Path) -> None:
    old = OLD_SOURCE.replace(
        "{name: vc}",
        "{name: vc, resourceVersion: '7', annotations: "
        "{a: b, kubectl.kubernetes.io/last-applied-configuration: '{}'}}",
    )
    text, notes = migrated(tmp_path, old)
    assert "annotations: {a: b}" in text
    assert [line.split(":")[2] for line in notes] == [
        " metadata.resourceVersion",
        " metadata.annotations.kubectl.kubernetes.io/last-applied-configuration",
    ]


def test_a_bare_source_name_means_the_given_source(tmp_path: Path) -> None:
    old = (
        OLD_SOURCE.replace("Vmware", "Openstack").replace("dc: DC0, ", "").replace("vc}", "vc, namespace: x}")
    )
    job = OLD_IMPORT.partition("  sourceCluster")[0] + "  sourceCluster: vc\n"
    text, notes = migrated(tmp_path, f"{job}---\n{old}")
    assert "    kind: OpenstackSource\n    name: vc\n    namespace: x\n" in text
    assert notes == []


def test_an_ambiguous_bare_source_name_is_reported(tmp_path: Path) -> None:
    other = OLD_SOURCE.replace("{name: vc}", "{name: vc, namespace: x}")
    job = OLD_IMPORT.partition("  sourceCluster")[0] + "  sourceCluster: vc\n"
    _, notes = migrated(tmp_path, "---\n".join([job, OLD_SOURCE, other]))
    assert notes == [
        ":6: spec.sourceCluster: converted to VmwareSource default/vc: "
        "more than one source of that name was given"
    ]


def test_comments_are_kept_or_reported_as_lost(tmp_path: Path) -> None:
    old = f"# top\n---\n{OLD_IMPORT}".replace("web01", "web01  # the shop") + "  prio: 1  # high\n"
    text, notes = migrated(tmp_path, old)
    assert text.startswith("# top\n")
    assert "web01  # the shop" in text
    assert notes[-1] == ": comment left out: # high"


def test_a_list_is_converted_item_by_item(tmp_path: Path) -> None:
    item = OLD_SOURCE.replace("\n", "\n  ").rstrip()
    text, _ = migrated(tmp_path, f"apiVersion: v1\nkind: List\nitems:\n- {item}\n")
    assert "kind: VmwareSource" in text


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (
            OLD_SOURCE.replace("Vmware", "Proxmox"),
            ":2: kind: unknown kind of source 'Proxmox'; known:",
        ),
        (OLD_IMPORT.replace("kind: Vmware,", "kind: Proxmox,"), ":6: spec.sourceCluster.kind: unknown"),
        (OLD_IMPORT + "  vmName: web02\n", ":7: spec.vmName: spec.virtualMachineName is also set"),
        (OLD_SOURCE.replace("DC0", "[a]"), ":4: spec.dc: Input should be a valid string"),
        (IMPORT + "  vmName: x\n", ":7: spec.vmName: unknown field"),
        (OLD_IMPORT + "  a: b: c\n", ":7: mapping values are not allowed here"),
        (OLD_SOURCE.replace("metadata: {name: vc}", "metadata: {}"), ":3: metadata.name: Field required"),
        (
            f"{OLD_SOURCE}---\n{OLD_SOURCE.replace('DC0', 'DC1')}",
            ":6: vmwaresource/default/vc is given twice",
        ),
    ],
)
def test_what_cannot_be_migrated_is_an_error_with_its_line(tmp_path: Path, text: str, notes: str) -> None:
    (fault,) = faults(tmp_path, text)
    assert fault.startswith(notes)


def test_a_merged_field_without_an_equivalent_is_an_error(tmp_path: Path) -> None:
    old = OLD_IMPORT.replace("spec:\n", "x: &x {prio: 1}\nspec:\n  <<: *x\n")
    (fault,) = faults(tmp_path, old)
    assert fault.endswith("spec.prio: it has no equivalent; remove it from the mapping that `<<` merges in")


def test_no_error_and_no_warning_shows_a_secret(tmp_path: Path) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {password: [hunter2]}\n"  # noqa: S105
    assert "hunter" not in "".join(faults(tmp_path, f"{OLD_SOURCE}---\n{secret}"))


def test_each_file_is_written_and_none_overwritten(tmp_path: Path) -> None:
    for name, text in (("a.yaml", OLD_SOURCE), ("b.yml", OLD_IMPORT)):
        (tmp_path / name).write_text(text)
    (tmp_path / "a.yaml").chmod(0o600)
    made = migrate([str(tmp_path / "a.yaml"), str(tmp_path / "b.yml")])
    into = tmp_path / "new"
    assert write(made, into) == [into / "a.yaml", into / "b.yaml"]
    assert (into / "a.yaml").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StepError, match="already exists") as caught:
        write(made, into)
    assert caught.value.code is Exit.CONFLICT


def test_two_files_with_the_same_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "a.yml"):
        (tmp_path / name).write_text(OLD_SOURCE)
    with pytest.raises(StepError, match="two files would become"):
        write(migrate([str(tmp_path)]), tmp_path / "new")
    assert not (tmp_path / "new").exists()
