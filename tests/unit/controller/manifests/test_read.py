from __future__ import annotations

import io
import itertools
import sys
from pathlib import Path
from typing import Final

import pytest

from controller.manifests.read import InvalidManifestsError, Manifests, read
from steps.model.contract import Exit

SECRET: Final = """\
apiVersion: v1
kind: Secret
metadata: {name: vc-login}
stringData: {username: u, password: p}
"""  # noqa: S105 - a manifest
SOURCE: Final = """\
apiVersion: migration.harvesterhci.io/v1beta1
kind: VmwareSource
metadata: {name: vc}
spec: {endpoint: "https://vcenter.example/sdk", dc: DC0, credentials: {name: vc-login}}
"""
IMPORT: Final = """\
apiVersion: migration.harvesterhci.io/v1beta1
kind: VirtualMachineImport
metadata: {name: web}
spec:
  virtualMachineName: web01
  sourceCluster: {kind: VmwareSource, name: vc}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "all.yaml"


def found(file: Path, text: str | bytes) -> Manifests:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read([str(file)])


def faults(file: Path, text: str | bytes) -> list[str]:
    """The errors of a file, without the file's name."""
    with pytest.raises(InvalidManifestsError) as caught:
        found(file, text)
    assert caught.value.code is Exit.INVALID
    assert all(fault.startswith(str(file)) for fault in caught.value.faults)
    assert all(len(fault.splitlines()) == 1 for fault in caught.value.faults)
    return [fault.removeprefix(str(file)) for fault in caught.value.faults]


def names(manifests: Manifests) -> tuple[list[str], ...]:
    return (
        ["/".join(key) for key in manifests.secrets],
        ["/".join(key) for key in manifests.sources],
        ["/".join(key) for key in manifests.imports],
    )


ALL: Final = (["default/vc-login"], ["vmwaresource/default/vc"], ["default/web"])


@pytest.mark.parametrize("order", list(itertools.permutations([SECRET, SOURCE, IMPORT])))
def test_documents_come_in_any_order(file: Path, order: tuple[str, ...]) -> None:
    assert names(found(file, "---\n".join(order))) == ALL


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(IMPORT.encode())))
    assert names(read(["-"]))[2] == ["default/web"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a: b: c")))
    with pytest.raises(InvalidManifestsError, match="<stdin>:1: mapping values are not allowed here"):
        read(["-"])


def test_standard_input_that_is_not_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8"))
    with pytest.raises(InvalidManifestsError, match="<stdin>"):
        read(["-"])


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    for name, text in (("b.yaml", SECRET), ("a.yml", SOURCE), ("c.json", '{"apiVersion":"v1","kind":"Pod"}')):
        (tmp_path / name).write_text(text)
    (tmp_path / "notes.txt").write_text("a: b: c")
    manifests = read([str(tmp_path)])
    assert names(manifests) == (ALL[0], ALL[1], [])
    assert manifests.ignored == [f"{tmp_path}/c.json:1: Pod"]


def test_several_files_are_read_as_one(tmp_path: Path) -> None:
    for number, text in enumerate((IMPORT, SOURCE, SECRET)):
        (tmp_path / str(number)).write_text(text)
    assert names(read([str(tmp_path / name) for name in "012"])) == ALL


def test_json_is_yaml(file: Path) -> None:
    text = '{"apiVersion": "v1",\n\t"kind": "Secret", "metadata": {"name": "vc-login"}}'
    assert names(found(file, text))[0] == ["default/vc-login"]


def test_a_list_is_read_item_by_item(file: Path) -> None:
    items = "".join(
        f"- {text.replace(chr(10), chr(10) + '  ').rstrip()}\n" for text in (SECRET, SOURCE, IMPORT)
    )
    assert names(found(file, f"apiVersion: v1\nkind: List\nitems:\n{items}")) == ALL


def test_an_error_in_a_list_has_its_own_line(file: Path) -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: [a]}\n"
    assert faults(file, text) == [":6: metadata.name: Input should be a valid string"]


def test_an_empty_list_contains_nothing(file: Path) -> None:
    assert names(found(file, "apiVersion: v1\nkind: List\nitems: null\n")) == ([], [], [])


def test_a_list_with_other_content_is_refused(file: Path) -> None:
    faults(file, "apiVersion: v1\nkind: List\nitems: 5\n")


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n---\n", "\ufeff"])
def test_an_empty_file_contains_nothing(file: Path, text: str) -> None:
    assert names(found(file, text)) == ([], [], [])


def test_windows_files_are_read(file: Path) -> None:
    assert names(found(file, b"\xef\xbb\xbf" + IMPORT.replace("\n", "\r\n").encode()))[2] == ["default/web"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b\n  c: d\n", [":2: mapping values are not allowed here"]),
        ("a:\n\tb: c\n", [":2: found character '\\t' that cannot start any token"]),
        (SECRET + "kind: Secret\n", [':5: found duplicate key "kind"']),
        ("hello\n", [": expected an object with apiVersion and kind, found str"]),
        ("a: [1\n", [":2: "]),
        ('a: "\x00"\n', [": character 5: special characters are not allowed"]),
        ("spec: {}\n", [":1: unknown kind ''"]),
    ],
)
def test_malformed_yaml_has_a_file_a_line_and_a_reason(file: Path, text: str, expected: list[str]) -> None:
    assert [
        fault[: len(wanted)] for fault, wanted in zip(faults(file, text), expected, strict=True)
    ] == expected


def changed(old: str, new: str) -> str:
    """Three documents with one change: lines count from the start of the file."""
    text = "---\n".join([SECRET, SOURCE, IMPORT])
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  virtualMachineName", "  vmName", ":15: spec.vmName: unknown field"),
        ("dc: DC0", "datacenter: DC0", ":9: spec.datacenter: unknown field"),
        (
            "virtualMachineName: web01",
            "virtualMachineName: 7",
            ":15: spec.virtualMachineName: Input should be",
        ),
        ("{name: web}", "{}", ":13: metadata.name: Field required"),
        ("kind: VirtualMachineImport", "kind: VmImport", ":11: unknown kind 'VmImport' of"),
        ("{username: u, password: p}", "[u, p]", ":4: stringData: Input should be"),
    ],
)
def test_a_wrong_field_has_its_line_and_path(file: Path, old: str, new: str, expected: str) -> None:
    (fault,) = faults(file, changed(old, new))
    assert fault.startswith(expected)


def test_an_unknown_field_in_a_row_is_found_at_its_line(file: Path) -> None:
    rows = "  networkMapping:\n  - {sourceNetwork: a}\n  - sourceNetwork: c\n    dest: d\n"
    assert faults(file, IMPORT + rows) == [":10: spec.networkMapping.1.dest: unknown field"]


def test_every_error_of_every_document_is_reported(file: Path) -> None:
    text = changed("dc: DC0", "datacenter: DC0").replace("virtualMachineName: web01", "vmName: web01, 7")
    assert len(faults(file, text)) == 2


OLD: Final = """\
apiVersion: importjob.harvesterhci.io/v1beta1
kind: VirtualMachine
metadata: {name: web}
spec: {vmName: web01, sourceCluster: vc, priority: 1}
---
apiVersion: source.harvesterhci.io/v1beta1
kind: Vmware
metadata: {name: vc, namespace: sources}
spec: {endpoint: "https://vcenter.example/sdk", dc: DC0, credentials: {name: vc-login}}
"""


def test_manifests_from_before_v1_1_are_read_as_they_are_converted(file: Path) -> None:
    manifests = found(file, OLD)
    import_ = manifests.imports["default", "web"]
    source = import_.spec.source_cluster
    assert import_.spec.virtual_machine_name == "web01"
    assert (source.kind, source.namespace, source.name) == ("VmwareSource", "sources", "vc")
    assert ("vmwaresource", "sources", "vc") in manifests.sources
    assert manifests.converted == [
        f"{file}: manifests from before Harvester v1.1 are used as `vmferry migrate-manifests` converts them",
        f"{file}:4: spec.priority: left out: it has no equivalent",
    ]
    assert manifests.ignored == []


def test_current_manifests_are_not_converted(file: Path) -> None:
    assert found(file, IMPORT).converted == []


def test_the_source_of_an_old_import_may_be_in_another_file(tmp_path: Path) -> None:
    job, _, source = OLD.partition("---\n")
    (tmp_path / "a.yaml").write_text(job)
    (tmp_path / "b.yaml").write_text(source)
    (import_,) = read([str(tmp_path)]).imports.values()
    assert import_.spec.source_cluster.namespace == "sources"


@pytest.mark.parametrize(
    ("version", "kind"),
    [("source.harvesterhci.io/v1beta1", "Proxmox"), ("importjob.harvesterhci.io/v1", "X")],
)
def test_an_unknown_kind_of_the_old_groups_is_refused(file: Path, version: str, kind: str) -> None:
    (fault,) = faults(file, f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n")
    assert fault.startswith(f":2: kind: unknown kind of source '{kind}'; known: VmwareSource, ")


def test_another_version_of_our_group_is_refused(file: Path) -> None:
    (fault,) = faults(file, IMPORT.replace("v1beta1", "v1"))
    assert fault == ":1: apiVersion: Input should be 'migration.harvesterhci.io/v1beta1'"


def test_foreign_objects_are_ignored_and_reported(file: Path) -> None:
    manifests = found(file, IMPORT + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    assert manifests.ignored == [f"{file}:8: ConfigMap"]


def test_an_import_without_api_version_is_refused(file: Path) -> None:
    faults(file, IMPORT.partition("\n")[2])


def test_an_identical_duplicate_is_one_object(file: Path) -> None:
    assert names(found(file, "---\n".join([SECRET, IMPORT, SECRET, IMPORT]))) == (ALL[0], [], ALL[2])


@pytest.mark.parametrize(("text", "old"), [(SECRET, "password: p"), (SOURCE, "DC0"), (IMPORT, "web01")])
def test_one_name_with_two_contents_is_refused(file: Path, text: str, old: str) -> None:
    (fault,) = faults(file, f"{text}---\n{text.replace(old, old + '2')}")
    assert "is given twice with different content" in fault


def test_one_name_in_two_namespaces_is_two_objects(file: Path) -> None:
    other = IMPORT.replace("{name: web}", "{name: web, namespace: shop}")
    assert names(found(file, f"{IMPORT}---\n{other}"))[2] == ["default/web", "shop/web"]


@pytest.mark.parametrize("namespace", ['""', "null"])
def test_an_empty_namespace_is_the_default_one(file: Path, namespace: str) -> None:
    text = IMPORT.replace("{name: web}", f"{{name: web, namespace: {namespace}}}")
    assert names(found(file, text))[2] == ["default/web"]


@pytest.mark.parametrize("name", ["../../escape", "a/b", "", "Web_01"])
def test_a_name_that_kubernetes_refuses_is_refused(file: Path, name: str) -> None:
    faults(file, IMPORT.replace("{name: web}", f'{{name: "{name}"}}'))


@pytest.mark.parametrize("key", ["../key", "/etc/key", "..", "a/b"])
def test_a_key_that_kubernetes_refuses_is_refused(file: Path, key: str) -> None:
    faults(file, SECRET.replace("{username: u", f'{{"{key}": u'))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifestsError) as caught:
        read([str(tmp_path / "none.yaml")])
    assert caught.value.faults == (f"{tmp_path}/none.yaml: No such file or directory",)


def test_a_file_that_is_not_text_is_refused(file: Path) -> None:
    assert faults(file, IMPORT.encode("utf-16")) == [": not a text file (invalid start byte at byte 0)"]


BROKEN_SECRETS: Final = {
    "scalar": "stringData: hunter2",
    "list": "stringData: [hunter2]",
    "number": "stringData: {password: 0x68756e746572}",
    "not base64": "data: {password: hunter2!}",
    "not ASCII": "data: {password: hunter2ü}",
    "open quote": 'stringData: {password: "hunter2',
    "bad escape": 'stringData: {password: "hunter2\\q"}',
    "tag": "stringData: {password: !hunter2 x}",
    "indent": "stringData:\n  password: hunter2\n username: u",
}


@pytest.mark.parametrize("broken", BROKEN_SECRETS.values(), ids=BROKEN_SECRETS)
def test_no_error_shows_a_secret(file: Path, broken: str) -> None:
    text = "".join(faults(file, SECRET.replace("stringData: {username: u, password: p}", broken)))
    assert "hunter" not in text
    assert "68756e746572" not in text


@pytest.mark.parametrize("broken", ["{password: hunter2, password: hunter3}", "{password: *hunter2}"])
def test_a_duplicate_key_or_an_asterisk_shows_no_secret(file: Path, broken: str) -> None:
    text = faults(file, SECRET.replace("{username: u, password: p}", broken))
    assert "hunter" not in "".join(text)
