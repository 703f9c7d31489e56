"""What vSphere's events prove about the power of a VM."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine, Power
from steps.model.plan import PowerPlan
from steps.model.power import PowerMark
from steps.providers import Access, connect
from steps.providers.vmware import collector, history, power, power_on
from tests.real.simulator import Simulator, StartSimulator, make_access, start_simulator

__all__ = ["start_simulator"]

pytestmark = pytest.mark.vcenter

VM = "web"
INVENTORY: dict[str, Any] = {
    "datacenters": [
        {
            "name": "DC0",
            "vms": [
                {"name": VM, "power": "on", "disks": [{"capacity": 1 << 20}]},
                {"name": "other", "power": "on", "disks": [{"capacity": 1 << 20}]},
            ],
        }
    ]
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(power_on, "POLL_SECONDS", 0.05)


class Site:
    """A vCenter with a VM that was shut down, and the mark after that."""

    def __init__(self, start: StartSimulator, folder: Path) -> None:
        self._start, self._folder = start, folder
        self.simulator = start(INVENTORY)
        with connect(self.access("poweroff")) as source:
            self.machine: Machine = source.describe(VM, None)
            source.power_off(self.machine, PowerPlan())
            self.mark: PowerMark = source.power_mark(self.machine)

    def access(self, step: str) -> Access:
        return make_access(self.simulator, self._folder, step=step, datacenter="DC0")

    def reason(self) -> str | None:
        with connect(self.access("unchanged")) as source:
            return source.was_started_since(self.machine, self.mark)

    def restart_vcenter(self) -> Simulator:
        """Another vCenter takes the address: one that was restored, so that its events are gone."""
        self.simulator = self._start(INVENTORY)
        return self.simulator


@pytest.fixture
def site(start_simulator: StartSimulator, tmp_path: Path) -> Site:
    return Site(start_simulator, tmp_path)


def test_the_mark_is_the_newest_event_of_the_server(site: Site) -> None:
    assert site.mark.scope == "server"
    assert site.mark.position
    assert site.reason() is None


def test_the_guests_own_start_names_vsphere_and_the_time(site: Site) -> None:
    site.simulator.set_power(VM, "on")
    site.simulator.set_power(VM, "off")
    reason = site.reason()
    assert reason is not None
    assert reason.startswith("vSphere started it at 20")
    assert "VmStartingEvent" in reason


def test_a_start_by_an_account_names_it(site: Site) -> None:
    with connect(site.access("release-source")) as source:
        source.power_on(site.machine)
    reason = site.reason()
    assert reason is not None
    assert reason.startswith(site.simulator.username)


def test_the_start_of_another_vm_does_not_count(site: Site) -> None:
    site.simulator.set_power("other", "off")
    site.simulator.set_power("other", "on")
    assert site.reason() is None


def test_a_vcenter_that_has_lost_its_events_proves_nothing(site: Site) -> None:
    simulator = site.restart_vcenter()
    simulator.set_power(VM, "off")
    reason = site.reason()
    assert reason is not None


def test_expired_events_prove_nothing(site: Site) -> None:
    """The mark's own event is gone: with it newer ones may be gone, too."""
    earlier = datetime.fromisoformat(site.mark.position_time) - timedelta(hours=1)
    site.mark = site.mark.model_copy(update={"position_time": earlier.isoformat()})
    assert "not complete" in (site.reason() or "")


def test_another_vcenter_proves_nothing(site: Site) -> None:
    site.mark = site.mark.model_copy(update={"server": "another"})
    assert "another vSphere installation" in (site.reason() or "")


def test_another_vm_with_the_same_id_proves_nothing(site: Site) -> None:
    site.machine = site.machine.model_copy(update={"instance_uuid": "another"})
    assert "another VM" in (site.reason() or "")


def test_without_events_of_the_server_those_of_the_vm_count(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "read_one", without(collector.read_one, "latestEvent"))
    with connect(site.access("poweroff")) as source:
        site.mark = source.power_mark(site.machine)
    assert site.mark.scope == "vm"
    assert site.reason() is None
    site.simulator.set_power(VM, "on")
    assert site.reason() is not None


def test_an_event_that_cannot_be_found_again_is_not_compared_with(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account without a role on the root may read the server's newest event, but not look for it."""
    events = history._events

    def of_vm_only(session: Any, entity: Any, **more: Any) -> list[Any]:
        return events(session, entity, **more) if entity is not None else []

    monkeypatch.setattr(history, "_events", of_vm_only)
    with connect(site.access("poweroff")) as source:
        site.mark = source.power_mark(site.machine)
    assert site.mark.scope == "vm"
    assert site.reason() is None


def test_without_any_event_a_vm_that_is_off_is_not_exported(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_newest_events", lambda *_: iter(()))
    with connect(site.access("poweroff")) as source, pytest.raises(StepError) as caught:
        source.power_mark(site.machine)
    assert caught.value.code is Exit.DENIED
    assert "Read-only" in str(caught.value)


def without(read: Callable[..., Any], hidden: str) -> Callable[..., Any]:
    """The same reader for an account that may not see a property."""

    def reader(session: Any, ref: Any, *paths: str) -> Any:
        row = read(session, ref, *paths)
        properties = {name: value for name, value in row.properties.items() if name != hidden}
        return type(row)(row.ref, properties)

    return reader


class TestPowerOn:
    def test_it_is_started_once(self, site: Site) -> None:
        with connect(site.access("release-source")) as source:
            source.power_on(site.machine)
            source.power_on(site.machine)
            assert source.describe(VM, None).power is Power.ON
        assert len(site.simulator.calls("PowerOnMultiVM_Task")) == 1

    def test_a_refusal_is_explained(self, site: Site) -> None:
        site.simulator.faults(callFault={"method": "PowerOnMultiVM_Task", "fault": "NoPermission"}, times=1)
        with connect(site.access("release-source")) as source, pytest.raises(StepError) as caught:
            source.power_on(site.machine)
        assert caught.value.code is Exit.DENIED
