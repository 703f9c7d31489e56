"""Checks the network path to the ESXi host that serves the disks, before a VM is shut down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steps.model.contract import Exit, StepError
from steps.model.plan import DiskFormat, PowerPlan
from steps.providers import connect
from tests.forwardproxy import Forward, forward
from tests.real.simulator import Simulator, StartSimulator, make_access
from tests.unit.builders import a_machine

__all__ = ["forward"]

pytestmark = pytest.mark.vcenter

VM = {"name": "web", "power": "on", "shutdownSeconds": 0, "disks": [{"capacity": 1 << 20}]}
INVENTORY = {"datacenters": [{"name": "DC0", "vms": [VM]}]}


@pytest.fixture
def unknown(simulator_states: Callable[[str], Path]) -> Iterator[Simulator]:
    """A vCenter that answers; the name of its host is known only inside."""
    with Simulator.start(INVENTORY, simulator_states("unknown"), host="esxi01.invalid") as simulator:
        yield simulator


def refused(simulator: Simulator, folder: Path, action: str) -> StepError:
    # Its certificate is for the name.
    access = make_access(simulator, folder, datacenter="DC0", insecure_skip_tls_verify=True)
    machine = a_machine(name="web", source_id=simulator.vm("web")["moid"])
    with connect(access) as source:
        actions: dict[str, Callable[[], object]] = {
            "describe": lambda: source.describe("web", None),
            "power_off": lambda: source.power_off(machine, PowerPlan()),
            "force": lambda: source.power_off(machine, PowerPlan(force=True)),
        }
        with pytest.raises(StepError) as caught:
            actions[action]()
    return caught.value


@pytest.mark.parametrize("action", ["describe", "power_off", "force"])
def test_an_unresolvable_host_is_detected_while_the_vm_runs(
    unknown: Simulator, tmp_path: Path, action: str
) -> None:
    error = refused(unknown, tmp_path, action)
    assert error.code is Exit.UNREACHABLE
    for word in ("the ESXi host esxi01.invalid", "port ", "DNS", "hostAliases"):
        assert word in str(error)
    assert unknown.vm("web")["power"] == "on"
    assert unknown.tasks() == []
    assert unknown.calls("ShutdownGuest") == []


@pytest.mark.parametrize("disk_host", ["same", "own", "self-signed"])
def test_a_reachable_host_is_accepted(
    start_simulator: StartSimulator, tmp_path: Path, disk_host: str
) -> None:
    simulator = start_simulator({**INVENTORY, "diskHost": disk_host})
    with connect(make_access(simulator, tmp_path, datacenter="DC0")) as source:
        machine = source.describe("web", None)
        source.power_off(machine, PowerPlan())
    assert simulator.vm("web")["power"] == "off"


def test_an_inventory_connects_to_no_host(unknown: Simulator, tmp_path: Path) -> None:
    """It lists hundreds of VMs, and stops none of them."""
    access = make_access(unknown, tmp_path, datacenter="DC0", insecure_skip_tls_verify=True)
    with connect(access) as source:
        assert [machine.name for machine in source.inventory().machines] == ["web"]


def test_all_requests_to_a_vcenter_go_through_the_proxy(
    start_simulator: StartSimulator, tmp_path: Path, forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API, the check and the disk; only the proxy gets its login."""
    # The host of the disk plays an ESXi host: the ticket in the URL is enough for it.
    simulator = start_simulator({**INVENTORY, "diskHost": "own", "requireCookie": False})
    monkeypatch.setenv("HTTPS_PROXY", forward.url.replace("//", "//me:pw@"))
    monkeypatch.setenv("NO_PROXY", "")
    with connect(make_access(simulator, tmp_path, datacenter="DC0")) as source:
        machine = source.describe("web", None)
        source.power_off(machine, PowerPlan())
        disk = machine.disks[0]
        source.export(machine, disk, tmp_path / "out", DiskFormat.RAW, lambda _done, _total: None)
    api = simulator.url.partition("://")[2].partition("/")[0]
    hosts = {asked.removeprefix("CONNECT ") for asked in forward.asked}
    assert len(hosts) == 2
    assert api in hosts
    assert set(forward.logins) == {"Basic bWU6cHc="}


def test_a_proxy_that_refuses_a_vcenter_is_named(
    start_simulator: StartSimulator, tmp_path: Path, forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = start_simulator(INVENTORY)
    monkeypatch.setenv("HTTPS_PROXY", forward.url)
    monkeypatch.setenv("NO_PROXY", "")
    forward.refuses = 403
    access = make_access(simulator, tmp_path, datacenter="DC0")
    with pytest.raises(StepError, match=r"the proxy 127\.0\.0\.1:\d+: .*403"), connect(access):
        pass
