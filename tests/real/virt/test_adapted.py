"""A Debian that does not work at its target as it is, from the simulated vCenter to the real KubeVirt.

Its initramfs has no virtio, its static addresses are on `ens192`, it has open-vm-tools and no guest agent,
and no boot loader where a firmware without boot entries looks (tests/real/adaptation/debian.py). The node
pings it over a bridge, which is a second network of the lab.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model.booting import Verdict
from steps.model.kinds import INSTANCE, Object
from tests.real import scenario
from tests.real.adaptation import wire
from tests.real.adaptation.booting import agent_script
from tests.real.adaptation.conftest import debian
from tests.real.argo.ground import Ground
from tests.real.argo.place import RUNNING, Imported
from tests.real.cluster.lab import ROOT, Lab
from tests.real.inspection.conftest import environment
from tests.real.simulator import Simulator
from tests.real.standins.process import eventually
from tests.real.virt import multus, sources
from tests.real.virt.guests import BOOT_SECONDS, Guest
from tests.real.virt.test_boot_check import (
    buses,
    embedded,
    result_of,
    stored,
    with_check,
)
from tests.real.virt.test_two_labs import root_of

__all__ = ["debian", "environment"]
pytestmark = [pytest.mark.vm, pytest.mark.vcenter, pytest.mark.usefixtures("cdi")]
MAC: Final = scenario.MACS[0]
V4, V6 = "192.0.2.10", "2001:db8::10"
BRIDGE: Final = "br-lan"
SCRIPTS: Final = "agent"
ADAPTING_SECONDS: Final = 5400.0
"""Of a whole import: without KVM a conversion takes minutes."""
IN_CLUSTER: Final = (ROOT / "charts/vmferry/files/adapt").exists()


@pytest.fixture(scope="module", autouse=True)
def _multus(lab: Lab) -> Iterator[None]:
    with multus.installed(lab, dict(os.environ)):
        yield


@contextmanager
def offered(
    folder: Path, lab: Lab, namespace: str, image: Path, firmware: str, **spec: Any
) -> Iterator[list[Object]]:
    """The Debian as it runs in vSphere, on PVSCSI and vmxnet3; its only NIC goes to the bridge."""
    lan = multus.make_lan(lab, namespace)
    vm: dict[str, Any] = {
        "disks": [{"file": str(image), "controller": "pvscsi"}],
        "nics": [{"network": sources.NETWORK, "mac": MAC, "type": "vmxnet3"}],
        "firmware": firmware,
    }
    described = scenario.inventory(image, **vm)
    rows = [{"sourceNetwork": sources.NETWORK, "destinationNetwork": lan}]
    with Simulator.start(described, folder / "vcenter", listen=f"{lab.host}:0") as simulator:
        documents = scenario.manifests(simulator, namespace, networkMapping=rows, storageClass="wffc")
        yield with_check(documents, **spec)


def answers(lab: Lab) -> list[str]:
    """Which MAC addresses answer for the two addresses of the guest on the node's bridge; `-` for none."""
    argv = ["nsenter", f"--net=/proc/{root_of(lab)}/ns/net", sys.executable, wire.__file__, BRIDGE, V4, V6]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()


def has_agent(lab: Lab, namespace: str) -> bool:
    instance = lab.get(INSTANCE, scenario.VM, namespace) or {}
    conditions = instance.get("status", {}).get("conditions", [])
    return any(one["type"] == "AgentConnected" and one["status"] == "True" for one in conditions)


def test_without_an_adaptation_it_finds_no_root_file_system(
    lab: Lab, namespace: str, debian: Path, tmp_path: Path
) -> None:
    wanted = {
        # A row has precedence over what the hardware at the source suggests.
        "diskMapping": [{"sourceDisk": "disk-0", "busType": "virtio"}],
        "bootCheck": {"fallBack": False},
    }
    with offered(tmp_path, lab, namespace, debian / "debian.img", "bios", **wanted) as documents:
        ended = embedded(lab, tmp_path, documents)
    assert ended.code == 16, ended.err
    assert "does not boot" in ended.err
    assert buses(stored(lab, namespace)) == {"virtio"}
    result = result_of(json.loads((tmp_path / "into" / "run.json").read_text()))
    assert result.verdict is Verdict.STUCK
    console = (tmp_path / "into" / "boot-check" / "console-built.txt").read_text()
    assert "ALERT!  LABEL=guest-root does not exist" in console


WAYS: Final = (
    "embedded",
    pytest.param("cluster", marks=pytest.mark.skipif(not IN_CLUSTER, reason="the chart has no stage adapt")),
)


@pytest.mark.timeout(ADAPTING_SECONDS + 2 * BOOT_SECONDS)
@pytest.mark.parametrize("way", WAYS)
def test_adapted_it_boots_from_virtio_answers_a_ping_and_has_an_agent(
    request: pytest.FixtureRequest,
    lab: Lab,
    namespace: str,
    environment: dict[str, str],
    debian: Path,
    tmp_path: Path,
    way: str,
) -> None:
    scripts = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": SCRIPTS, "namespace": namespace},
        "data": {"agent": agent_script(debian / "agent.deb")},
    }
    guest = {"adapt": "auto", "whenNotAdaptable": "fail", "firstBoot": {"name": SCRIPTS}}
    with offered(tmp_path, lab, namespace, debian / "debian.img", "efi", guest=guest) as documents:
        if way == "embedded":
            settings = {name: value for name, value in environment.items() if name.startswith("LIBGUESTFS")}
            ended = embedded(lab, tmp_path, [scripts, *documents], seconds=ADAPTING_SECONDS, **settings)
            assert ended.code == 0, ended.err
        else:
            ground: Ground = request.getfixturevalue("ground")
            ground.install(kubevirt={"disks": "land"}, bootCheck={"allowed": True})
            ground.apply(scripts, *documents)
            Imported(ground, namespace, scenario.VM).until(RUNNING, seconds=ADAPTING_SECONDS)
    vm = stored(lab, namespace)
    assert buses(vm) == {"virtio"}
    interfaces = vm["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"]
    assert [(one["model"], one["macAddress"]) for one in interfaces] == [("virtio", MAC)]
    eventually(lambda: answers(lab) == [MAC, MAC], "answers for both addresses", BOOT_SECONDS)
    eventually(lambda: has_agent(lab, namespace), "the guest agent", BOOT_SECONDS)
    console = Guest(lab, namespace, scenario.VM).console()
    assert "guest login:" in console
