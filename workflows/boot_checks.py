"""`spec.bootCheck` as a part of the plan, and what is wrong with it. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from steps.model.naming import shown
from steps.model.plan import BootCheckPlan, TargetKind
from workflows import vm_settings
from workflows.api.boot_check import LEAST_SECONDS, MOST_SECONDS
from workflows.api.spec import VirtualMachineImportSpec
from workflows.settings import Settings

_REMOVE: Final = "remove it"
FIELD: Final = "spec.bootCheck"


def planned(spec: VirtualMachineImportSpec, settings: Settings) -> BootCheckPlan | None:
    """What is checked after the start; None: nothing."""
    wanted = spec.boot_check
    if wanted is None:
        return None
    return BootCheckPlan(
        timeout_seconds=wanted.timeout_seconds,
        fall_back=wanted.fall_back is not False,
        tcp_port=wanted.tcp_port,
        address=wanted.address,
        kubevirt_namespace=settings.kubevirt_namespace,
    )


def reasons(spec: VirtualMachineImportSpec, settings: Settings) -> Iterator[str]:
    """What is wrong with it, or cannot be done here."""
    wanted = spec.boot_check
    if wanted is None:
        return
    if settings.target is TargetKind.DIRECTORY:
        yield (
            f"{FIELD} is set, but a folder runs no VM; {_REMOVE}, or import into a cluster with --to; "
            "`vmferry boot` starts the VM of a folder on this computer"
        )
    elif not settings.boot_check:
        yield (
            f"{FIELD} is set, which this installation does not allow; {_REMOVE}, or ask its administrator to "
            "set the chart's value bootCheck.allowed"
        )
    if not vm_settings.is_started(spec):
        yield f"{FIELD} is set, but the new VM is not started, so no guest boots; remove one of the two"
    seconds, port = wanted.timeout_seconds, wanted.tcp_port
    if seconds is not None and not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        yield f"{FIELD}.timeoutSeconds is {seconds}: write {LEAST_SECONDS} to {MOST_SECONDS}"
    if port is not None and not 0 < port < 65536:
        yield f"{FIELD}.tcpPort is {port}: write 1 to 65535"
    if wanted.address:
        yield from _address_reasons(wanted.address, settings, has_port=port is not None)


def _address_reasons(text: str, settings: Settings, *, has_port: bool) -> Iterator[str]:
    if not has_port:
        yield f"{FIELD}.address has no effect without tcpPort; write the port that must answer there"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        yield f"{FIELD}.address {shown(text)} is not an IP address; write one such as 192.0.2.10"
        return
    # Python does not look into ::ffff:127.0.0.1, and the kernel connects to 127.0.0.1.
    address = getattr(address, "ipv4_mapped", None) or address
    networks = settings.boot_check_networks
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        yield f"{FIELD}.address {text} is no address of a VM; write that of the guest"
    elif networks is not None and not any(address in network for network in networks):
        yield (
            f"{FIELD}.address {text} is in no network that this installation allows for it; {_REMOVE}, or "
            "ask its administrator to add the network to the chart's value bootCheck.networks"
        )
