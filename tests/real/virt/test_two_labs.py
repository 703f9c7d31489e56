"""A VM goes from one cluster to another, over a computer that reaches both.

The clusters have no network in common: the pods of each reach nothing but the host's address in their own
lab. `vmferry run` reads the export of the first at virt-exportproxy, and CDI of the second reads from
`vmferry run`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.kinds import MACHINE
from tests.real import scenario
from tests.real.cluster.lab import Lab
from tests.real.e2e import harness
from tests.real.virt import exporting, guests, multus, other, sources
from tests.real.virt.cases import Case
from tests.real.virt.test_import import IMPORT_SECONDS

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("cdi")]

CASE: Final = Case("kubevirt", "embedded", "uefi", "virtio", "Filesystem")
ELSEWHERE: Final = (
    "domain.firmware.uuid",
    "networks",
    "volumes",
)
"""What another cluster has to name differently: networks and claims. KubeVirt makes the UUID from the name of
a VM if it has none, so vmferry writes it."""


@pytest.fixture(scope="module")
def second(lab: Lab) -> Iterator[Lab]:
    with (
        other.running() as found,
        multus.installed(lab, dict(os.environ)),
        multus.installed(found, other.environment()),
    ):
        yield found


def test_a_vm_moves_from_one_cluster_to_another(lab: Lab, second: Lab, tmp_path: Path) -> None:
    scenario.guest_image()
    exporting.turn_on(lab)
    assert not reaches(lab, second)
    assert not reaches(second, lab)
    namespace = second.make_namespace("moved")
    lan = multus.make_lan(second, namespace)
    with exporting.running_guest(lab, CASE.bus, CASE.firmware, tmp_path, lan=True) as (guest, data):
        before = guest.stored()["spec"]["template"]["spec"]
        documents = exporting.documents(lab, guest.namespace, namespace, **exporting.address(lab))
        offered = sources.Offered(documents, sources.reference(documents[1]), data, list)
        import_ = sources.import_of(CASE, offered, namespace, "wffc")
        rows = [{"sourceNetwork": f"{guest.namespace}/{multus.LAN}", "destinationNetwork": lan}]
        import_["spec"]["networkMapping"] = rows
        path = scenario.write(tmp_path / "import.yaml", [*documents, import_])
        environment = {"KUBECONFIG": str(second.place.kubeconfig), "SVC_ADDRESS": second.host}
        argv = ("run", "--to", "kubevirt", "-f", path, "--into", tmp_path / "into")
        with harness.started(tmp_path, *argv, **environment) as run:
            ended = run.wait(IMPORT_SECONDS)
        assert ended.code == 0, ended.err
        assert exporting.left(guest) == []
        moved = guests.Guest(second, namespace, CASE.name)
        report = scenario.proven(moved.reported(), data)
    assert (report.firmware, report.secureboot, report.tpm) == ("uefi", "on", "2.0")
    assert [nic.mac for nic in report.nics] == list(scenario.MACS)
    assert len(report.disks) == 2
    vm = second.get(MACHINE, CASE.name, namespace)
    assert vm is not None
    after = vm["spec"]["template"]["spec"]
    assert differences(before, after) == {}
    assert moved.screenshot() >= guests.SMALLEST_SCREEN
    second.kubectl("--namespace", namespace, "delete", "vm", "--all", "--timeout=300s", seconds=330)


def reaches(one: Lab, another: Lab) -> bool:
    """Whether the node of a lab reaches the API server of another one."""
    argv = [
        "nsenter",
        f"--net=/proc/{root_of(one)}/ns/net",
        "curl",
        "--silent",
        "--max-time",
        "5",
        "--insecure",
    ]
    return (
        subprocess.run(
            [*argv, f"https://{another.node}:6443/readyz"], capture_output=True, check=False
        ).returncode
        == 0
    )


def root_of(lab: Lab) -> str:
    """The process that holds the lab's namespaces: its root is /proc/PID/root."""
    return lab.place.root.parts[2]


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Each field of a document by its path; the elements of a list by their names."""
    if isinstance(value, Mapping):
        items = {f"{path}.{name}".lstrip("."): one for name, one in value.items()}
    elif isinstance(value, list):
        items = {f"{path}[{position}]": one for position, one in enumerate(value)}
    else:
        return {path: value}
    return {name: field for at, one in items.items() for name, field in flat(one, at).items()}


def differences(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """The fields that the moved VM has with another value, except for those of `ELSEWHERE`."""
    one, other_ = flat(before), flat(after)
    return {
        path: (one.get(path), other_.get(path))
        for path in sorted({*one, *other_})
        if one.get(path) != other_.get(path) and not path.startswith(ELSEWHERE)
    }
