"""`spec.bootCheck` in the plan, and every reason why it cannot be had."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

import pytest

from steps.model.plan import BootCheckPlan, Plan, TargetKind
from tests.unit.builders import a_source, an_import
from workflows.plan import Invalid, plan
from workflows.settings import Settings

ALLOWED: Final = Settings(target=TargetKind.KUBEVIRT, boot_check=True)


def planned(wanted: dict[str, Any] | None, settings: Settings = ALLOWED, **spec: Any) -> Plan:
    return plan(an_import(bootCheck=wanted, **spec), a_source(), settings)


def reason(wanted: dict[str, Any], settings: Settings = ALLOWED, **spec: Any) -> str:
    with pytest.raises(Invalid) as caught:
        planned(wanted, settings, **spec)
    (found,) = caught.value.reasons
    return found


def test_without_the_field_the_request_is_that_of_earlier_versions() -> None:
    made = planned(None)
    assert made.boot_check is None
    assert "bootCheck" not in made.to_json()


def test_an_empty_object_means_all_defaults() -> None:
    assert planned({}).boot_check == BootCheckPlan()


def test_the_fields_reach_the_request() -> None:
    settings = ALLOWED.model_copy(update={"kubevirt_namespace": "kubevirt-system"})
    wanted = {"timeoutSeconds": 90, "fallBack": False, "tcpPort": 22}
    assert planned(wanted, settings).boot_check == BootCheckPlan(
        timeout_seconds=90, fall_back=False, tcp_port=22, kubevirt_namespace="kubevirt-system"
    )
    assert planned(dict.fromkeys(("timeoutSeconds", "fallBack", "tcpPort", "address"))) == planned({})


def test_a_folder_runs_no_vm() -> None:
    found = reason({}, Settings(boot_check=True))
    assert "a folder runs no VM" in found
    assert "`vmferry boot`" in found


def test_an_installation_that_does_not_allow_it_says_so() -> None:
    assert "bootCheck.allowed" in reason({}, Settings(target=TargetKind.HARVESTER))


@pytest.mark.parametrize(
    "spec",
    [{"startVirtualMachine": False}, {"virtualMachine": {"powerState": "off"}}],
    ids=["field", "state"],
)
def test_a_vm_that_is_not_started_cannot_boot(spec: dict[str, Any]) -> None:
    assert "the new VM is not started" in reason({}, **spec)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"timeoutSeconds": 5}, "timeoutSeconds is 5: write 60 to 14400"),
        ({"timeoutSeconds": 10**9}, "write 60 to 14400"),
        ({"tcpPort": 0}, "tcpPort is 0: write 1 to 65535"),
        ({"tcpPort": 65536}, "write 1 to 65535"),
    ],
)
def test_numbers_have_bounds(wanted: dict[str, Any], words: str) -> None:
    assert words in reason(wanted)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("db.example", "is not an IP address"),
        ("192.0.2.0/24", "is not an IP address"),
        ("127.0.0.1", "is no address of a VM"),
        ("169.254.169.254", "is no address of a VM"),
        ("ff02::1", "is no address of a VM"),
        ("::ffff:127.0.0.1", "is no address of a VM"),
        ("::ffff:169.254.169.254", "is no address of a VM"),
        ("::ffff:198.51.100.7", "is in no network that this installation allows"),
        ("198.51.100.7", "bootCheck.networks"),
        ("2001:db8::7", "bootCheck.networks"),
    ],
)
def test_an_address_must_be_in_a_network_that_the_installation_allows(address: str, words: str) -> None:
    networks = tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "169.254.0.0/16", "::ffff:0:0/96")))
    settings = ALLOWED.model_copy(update={"boot_check_networks": networks})
    assert words in reason({"tcpPort": 22, "address": address}, settings)
    allowed = planned({"tcpPort": 22, "address": "192.0.2.9"}, settings)
    assert allowed.boot_check is not None
    assert allowed.boot_check.address == "192.0.2.9"


def test_on_a_persons_own_computer_the_network_is_theirs() -> None:
    settings = ALLOWED.model_copy(update={"boot_check_networks": None, "mounts_claims": False})
    made = planned({"tcpPort": 22, "address": "198.51.100.7"}, settings)
    assert made.boot_check is not None


def test_an_address_needs_a_port() -> None:
    settings = ALLOWED.model_copy(update={"boot_check_networks": None})
    assert "no effect without tcpPort" in reason({"address": "192.0.2.9"}, settings)
