"""One disk with its own lease: the right bytes, and no leftovers however it ends."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from steps.disk.source import Source
from steps.model.contract import Exit, StepError
from steps.providers.vmware import export, lease
from steps.providers.vmware.devices import Slot
from steps.providers.vmware.endpoint import Endpoint


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SHORTEST_PAUSE_SECONDS", 0.05)


# Which entry of a lease belongs to a disk.


def url(key: str, *, disk: bool | None = True, **more: str) -> SimpleNamespace:
    given = {"importKey": "", "targetId": "", "url": "https://*/x", "sslThumbprint": ""}
    return SimpleNamespace(key=key, disk=disk, **{**given, **more})


def picked(urls: Sequence[Any], slot: Slot, *, is_only_disk: bool = False) -> str:
    return str(
        export._device_url(
            urls, export._CurrentDisk(slot=slot, is_only_disk=is_only_disk, identity=""), "cannot export"
        ).key
    )


SATA = Slot("VirtualAHCIController", 0, 0)


def test_disks_with_unit_0_on_three_controllers_are_distinguished() -> None:
    keys = [
        f"/vm-1/{name}0:0" for name in ("ParaVirtualSCSIController", SATA.controller, "VirtualNVMEController")
    ]
    urls = [url(key) for key in keys]
    assert [picked(urls, slot) for slot in map(Slot.parse, keys) if slot] == keys


def test_the_import_key_is_used_if_the_key_is_unknown() -> None:
    assert picked([url("a"), url("b", importKey="/vm/VirtualAHCIController0:0")], SATA) == "b"


@pytest.mark.parametrize("flag", [False, None])
def test_an_iso_or_nvram_is_never_selected(flag: bool | None) -> None:
    with pytest.raises(StepError, match="no entry for VirtualAHCIController0:0"):
        picked(
            [url("/vm-1/VirtualAHCIController0:0", disk=flag, targetId="disk-0.iso")], SATA, is_only_disk=True
        )


def test_the_only_disk_is_selected_whatever_its_key() -> None:
    assert picked([url("x"), url("n", disk=False)], SATA, is_only_disk=True) == "x"
    assert picked([url("x", disk=None, targetId="disk-0.VMDK")], SATA, is_only_disk=True) == "x"


def requested(lease_url: str, endpoint: str = "https://vcenter.example/sdk") -> Source:
    """The download of a disk whose lease has that URL, with a session at the endpoint."""
    session = SimpleNamespace(
        endpoint=Endpoint.parse(endpoint), cookie="vmware_soap_session=secret", tls_for=lambda *_: None
    )
    return export._with_url(cast("Any", session), url("a", url=lease_url), Source(url=""))


@pytest.mark.parametrize(
    "lease_url",
    [
        "https://*/nfc/a/disk-0.vmdk",
        "https://*:902/nfc/a/disk-0.vmdk",
        "https://vcenter.example/nfc/a/disk-0.vmdk",
        "https://VCENTER.example:443/nfc/a/disk-0.vmdk",
    ],
)
def test_the_cookie_goes_to_the_origin_of_the_session(lease_url: str) -> None:
    assert requested(lease_url).headers == {"Cookie": "vmware_soap_session=secret"}


@pytest.mark.parametrize(
    "lease_url",
    [
        "http://vcenter.example/nfc/a/disk-0.vmdk",
        "http://vcenter.example:443/nfc/a/disk-0.vmdk",
        "https://vcenter.example:8443/nfc/a/disk-0.vmdk",
        "https://esx-1.example/nfc/a/disk-0.vmdk",
        "http://*/nfc/a/disk-0.vmdk",
    ],
)
def test_the_cookie_goes_nowhere_else(lease_url: str) -> None:
    """It opens the whole session: not in clear, and not to another server on that host."""
    assert requested(lease_url).headers == {}


def test_a_forwarded_port_is_kept() -> None:
    made = requested("https://*/nfc/a/disk-0.vmdk", "https://[fe80::1]:8443/sdk")
    assert made.url == "https://[fe80::1]:8443/nfc/a/disk-0.vmdk"
    assert made.headers


def test_several_unknown_disks_are_refused() -> None:
    with pytest.raises(StepError, match="/vm-1/VirtualIDEController0:0") as caught:
        picked([url("/vm-1/VirtualIDEController0:0")], SATA)
    assert caught.value.code is Exit.UNSUPPORTED
