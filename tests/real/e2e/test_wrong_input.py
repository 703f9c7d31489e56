"""Mistakes of a user: one line with what failed, why and what to do, an exit code, and no change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.contract import Exit
from tests.real import scenario
from tests.real.e2e import harness
from tests.real.e2e.conftest import MakeDisk
from tests.real.e2e.harness import Ended, Json
from tests.real.simulator import Simulator

pytestmark = [pytest.mark.vcenter, pytest.mark.programs]

NIC: Final = [{"sourceNetwork": "bogus", "destinationNetwork": "vlan1"}]


@pytest.fixture(scope="module")
def vcenter(disks: MakeDisk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    disk = disks("one", 1)
    machines = [
        harness.machine("web", disk, power="on"),
        harness.machine("Camel_Case", disk, power="on"),
        harness.machine("twice", disk, power="on", folder="prod"),
        harness.machine("twice", disk, power="on", folder="test"),
        harness.machine("no-disks", power="on"),
        harness.machine("no-tools", disk, power="on", tools="notInstalled"),
    ]
    with harness.vcenter(tmp_path_factory.mktemp("wrong"), *machines) as simulator:
        yield simulator


def documents(simulator: Simulator, vm: str = "web", **spec: Any) -> list[Json]:
    """Secret, source and import, for a test to make a mistake in."""
    usual: Json = {"virtualMachineName": vm, "folder": None, "networkMapping": []}
    return scenario.manifests(simulator, **{**usual, **spec})


def run(tmp_path: Path, given: list[Json], *options: str) -> Ended:
    manifests = scenario.write(tmp_path / "manifests.yaml", given)
    return harness.vmferry("run", "-f", manifests, "--into", tmp_path / "out", *options)


def refused(ended: Ended, code: Exit, *words: str) -> None:
    """Assert this exit code, one line with these words, and no traceback."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert re.search(word, ended.error), f"{word!r} is not in {ended.error!r}"
    assert sum(line.startswith("error: ") for line in ended.err.splitlines()) == 1


def all_untouched(simulator: Simulator) -> bool:
    """Whether no VM was changed."""
    running = all(vm["power"] == "on" and not vm["shutdowns"] + vm["powerOffs"] for vm in simulator.vms())
    return running and simulator.tasks() == [] and harness.left(simulator) == []


@pytest.mark.parametrize(
    ("vm", "spec", "options", "code", "words"),
    [
        ("wab", {}, (), Exit.NOT_FOUND, ["no VM 'wab' in /DC0/vm", "called web", "correct the name"]),
        ("web", {"folder": "prod"}, (), Exit.NOT_FOUND, ["/DC0/vm/prod", "there is /DC0/vm/web"]),
        (
            "twice",
            {},
            (),
            Exit.AMBIGUOUS,
            ["/DC0/vm/prod/twice, /DC0/vm/test/twice", "set spec.folder"],
        ),
        ("no-disks", {}, (), Exit.UNSUPPORTED, ["no-disks has no disks"]),
        ("no-tools", {}, (), Exit.POWER, ["VMware Tools", "spec.powerOffWithoutGuestTools: true"]),
        (
            "web",
            {"networkMapping": NIC},
            ("--network-policy", "strict"),
            Exit.NOT_FOUND,
            ["source network 'bogus' not found", "the source has: VM Network"],
        ),
        (
            "Camel_Case",
            {},
            ("--name-policy", "strict"),
            Exit.INVALID,
            [
                "vm migration target Camel_Case in VM web-01 in namespace default is not RFC 1123 compliant",
                "spec.targetVirtualMachineName",
            ],
        ),
    ],
)
def test_a_vm_that_cannot_be_imported_as_requested(
    vcenter: Simulator,
    tmp_path: Path,
    vm: str,
    spec: Json,
    options: tuple[str, ...],
    code: Exit,
    words: list[str],
) -> None:
    refused(run(tmp_path, documents(vcenter, vm, **spec), *options), code, *words)
    assert all_untouched(vcenter)


def test_a_wrong_password_is_tried_once(vcenter: Simulator, tmp_path: Path) -> None:
    given = documents(vcenter)
    given[0]["stringData"]["password"] = "wrong"  # noqa: S105
    vcenter.forget_calls()
    refused(run(tmp_path, given), Exit.DENIED, "cannot log in to 127.0.0.1", "username and password")
    assert len(vcenter.calls("Login")) == 1  # accounts are locked after a few attempts
    assert all_untouched(vcenter)


@pytest.mark.parametrize("lacks", ["VApp.Export", "VirtualMachine.Interact.PowerOff"])
def test_a_missing_privilege_is_found_before_the_vm_is_stopped(
    vcenter: Simulator, tmp_path: Path, lacks: str
) -> None:
    vcenter.set_lacks(lacks)
    try:
        ended = run(tmp_path, documents(vcenter))
    finally:
        vcenter.set_lacks()
    refused(ended, Exit.DENIED, "web cannot be imported", re.escape(lacks), "grant it to the account")
    assert all_untouched(vcenter)


def test_a_certificate_of_an_unknown_ca_is_refused(vcenter: Simulator, tmp_path: Path) -> None:
    given = documents(vcenter)
    del given[0]["stringData"]["caCert"]
    vcenter.forget_calls()
    refused(run(tmp_path, given), Exit.UNTRUSTED, vcenter.thumbprint_sha256, "caCert")
    assert vcenter.calls("Login") == []  # the password was not sent
    given[1]["spec"]["thumbprint"] = ":".join(["00"] * 32)
    (tmp_path / "pinned").mkdir()
    refused(run(tmp_path / "pinned", given), Exit.UNTRUSTED, "thumbprint")
    assert vcenter.calls("Login") == []
    assert all_untouched(vcenter)


def test_an_unknown_datacenter_is_refused(vcenter: Simulator, tmp_path: Path) -> None:
    given = documents(vcenter)
    given[1]["spec"]["dc"] = "DC9"
    refused(run(tmp_path, given), Exit.NOT_FOUND, "no datacenter DC9", "there are: /DC0", "spec.dc")
    assert all_untouched(vcenter)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("kind: [", [r"manifests.yaml:\d+: "]),
        ("kind: Secret\n\tname: x", [r"manifests.yaml:2: "]),
        ("just words", ["manifests.yaml: expected an object with apiVersion and kind"]),
    ],
)
def test_text_that_is_not_a_manifest_is_refused(tmp_path: Path, spoil: str, words: list[str]) -> None:
    path = tmp_path / "manifests.yaml"
    path.write_text(spoil)
    refused(harness.vmferry("run", "-f", path, "--into", tmp_path / "out"), Exit.INVALID, *words)
    assert not (tmp_path / "out").exists()


def test_an_unknown_field_is_reported_with_its_line(vcenter: Simulator, tmp_path: Path) -> None:
    given = documents(vcenter, forcePoweroff=True)
    ended = run(tmp_path, given)
    lines = (tmp_path / "manifests.yaml").read_text().splitlines()
    number = next(n for n, line in enumerate(lines, 1) if "forcePoweroff" in line)
    refused(ended, Exit.INVALID, rf"manifests.yaml:{number}: spec.forcePoweroff: unknown field")
    assert not (tmp_path / "out").exists()
    assert vcenter.sessions() == []


def test_all_errors_of_the_manifests_are_reported(vcenter: Simulator, tmp_path: Path) -> None:
    given = documents(vcenter, networkMapping=[*NIC, *NIC], defaultDiskBusType="floppy")
    given[1]["spec"]["endpont"] = "https://vcenter"
    ended = run(tmp_path, given)
    assert ended.code == Exit.INVALID
    assert "spec.endpont: unknown field" in ended.err
    assert "spec.defaultDiskBusType" in ended.err


def test_a_missing_source_or_secret_is_refused(vcenter: Simulator, tmp_path: Path) -> None:
    secret, source, import_ = documents(vcenter)
    refused(
        run(tmp_path, [secret, import_]), Exit.INVALID, "source VmwareSource default/vcenter is not given"
    )
    ended = run(tmp_path, [source, import_])
    refused(ended, Exit.INVALID, "Secret default/vcenter-credentials is not given")
    ended = harness.vmferry("run", "--into", tmp_path / "out")
    refused(ended, Exit.INVALID, "no VirtualMachineImport given")
    ended = harness.vmferry("run", "-f", tmp_path / "nothing.yaml", "--into", tmp_path / "out")
    refused(ended, Exit.INVALID, "nothing.yaml: No such file or directory")


@pytest.mark.parametrize("there", ["file", "foreign", "import"])
def test_a_target_folder_in_use_is_refused(vcenter: Simulator, tmp_path: Path, there: str) -> None:
    into = tmp_path / "out"
    match there:
        case "file":
            into.write_text("mine")
            words = ["out is not a folder", "choose another --into"]
        case "foreign":
            into.mkdir()
            (into / "photo.jpg").write_text("mine")
            words = ["out is not empty", "vmferry did not fill it", "choose an empty or new folder"]
        case _:
            into.mkdir()
            (into / "run.json").write_text('{"status": {"phase": "Succeeded"}}')
            words = ["out already contains an import", "vmferry retry"]
    before = sorted(into.rglob("*"))
    vcenter.forget_calls()
    refused(run(tmp_path, documents(vcenter)), Exit.CONFLICT, *words)
    assert sorted(into.rglob("*")) == before
    assert vcenter.calls() == []


def test_retry_without_an_import_is_refused(tmp_path: Path) -> None:
    refused(harness.vmferry("retry", tmp_path), Exit.NOT_FOUND, "no import in")
    refused(harness.vmferry("retry", tmp_path / "nowhere"), Exit.NOT_FOUND, "no import in")
    refused(harness.vmferry("status", tmp_path), Exit.NOT_FOUND, "no import in")


def test_a_refused_import_can_run_again(vcenter: Simulator, tmp_path: Path) -> None:
    refused(run(tmp_path, documents(vcenter, "wab")), Exit.NOT_FOUND, "no VM")
    (tmp_path / "manifests.yaml").unlink()
    refused(run(tmp_path, documents(vcenter, "twice")), Exit.AMBIGUOUS, "spec.folder")


def test_a_wrong_command_line_is_exit_code_2(tmp_path: Path) -> None:
    assert harness.vmferry("run").code == 2
    assert harness.vmferry("run", "--into", tmp_path, "--format", "vdi").code == 2
    assert harness.vmferry("fly").code == 2
