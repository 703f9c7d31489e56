"""Texts from users and servers: endpoints, credentials, thumbprints, paths, lease keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.model.contract import Exit, StepError
from steps.providers.vmware.credentials import Credentials
from steps.providers.vmware.devices import Slot
from steps.providers.vmware.endpoint import Endpoint
from steps.providers.vmware.paths import join_path, split_path, unescape
from steps.runtime import certificates


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://vc.example.org/sdk", Endpoint("vc.example.org")),
        ("https://vc.example.org", Endpoint("vc.example.org")),
        ("https://vc.example.org/", Endpoint("vc.example.org")),
        ("https://vc.example.org/ui/", Endpoint("vc.example.org")),
        ("vc.example.org", Endpoint("vc.example.org")),
        (" vc.example.org:8443 \n", Endpoint("vc.example.org", 8443)),
        ("https://[2001:db8::1]:9443/sdk/", Endpoint("2001:db8::1", 9443)),
        ("https://gate/vc1/sdk", Endpoint("gate", 443, "/vc1/sdk")),
    ],
)
def test_endpoints_are_parsed(text: str, expected: Endpoint) -> None:
    assert Endpoint.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "http://vc/sdk", "https://", "https://vc:port/sdk", "https://u:p@vc/sdk"]
)
def test_an_invalid_endpoint_is_refused(text: str) -> None:
    with pytest.raises(StepError, match="endpoint") as caught:
        Endpoint.parse(text)
    assert caught.value.code is Exit.INVALID
    assert "u:p" not in str(caught.value)


def test_an_endpoint_becomes_text() -> None:
    assert [str(Endpoint("vc")), str(Endpoint("::1", 8443))] == ["vc", "[::1]:8443"]


def test_credentials_lose_only_one_newline(tmp_path: Path) -> None:
    (tmp_path / "username").write_text("root\r\n")
    (tmp_path / "password").write_text(" se cret \n\n")
    found = Credentials.read(tmp_path)
    assert (found.username, found.password, found.ca) == ("root", " se cret \n", "")
    assert "cret" not in repr(found)


@pytest.mark.parametrize("key", ["username", "password"])
@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_missing_empty_or_binary_credentials_are_refused(
    tmp_path: Path, key: str, content: bytes | None
) -> None:
    for name in ("username", "password"):
        (tmp_path / name).write_text("x")
    (tmp_path / key).unlink()
    if content is not None:
        (tmp_path / key).write_bytes(content)
    with pytest.raises(StepError, match=key) as caught:
        Credentials.read(tmp_path)
    assert caught.value.code is Exit.INVALID


@pytest.mark.parametrize("text", ["AB:cd" * 4, "no", "zz" * 20, "ab" * 21])
def test_an_invalid_thumbprint_is_refused(text: str) -> None:
    with pytest.raises(StepError, match="thumbprint") as caught:
        certificates.tls_context(thumbprint=text)
    assert caught.value.code is Exit.INVALID


def test_thumbprints_with_and_without_colons_are_equal() -> None:
    assert certificates.normalize_thumbprint("AB:" * 19 + "CD") == certificates.normalize_thumbprint(
        "ab" * 19 + "cd"
    )


@pytest.mark.parametrize(
    "text", ["rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_an_invalid_ca_is_refused(text: str) -> None:
    with pytest.raises(StepError, match="caCert") as caught:
        certificates.tls_context(ca=text)
    assert caught.value.code is Exit.INVALID


@pytest.mark.parametrize(("name", "written"), [("a/b", "a%2fb"), ("100%", "100%25"), ("c\\d", "c%5cd")])
def test_names_are_escaped_as_in_vsphere(name: str, written: str) -> None:
    assert unescape(written) == name
    assert unescape(written.upper()).lower() == name
    assert join_path(["DC0", name]) == f"/DC0/{written}"
    assert split_path(f"/x//{written}/") == ("x", name)


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("/vm-64/ParaVirtualSCSIController0:0", Slot("ParaVirtualSCSIController", 0, 0)),
        ("/9/VirtualAHCIController1:12", Slot("VirtualAHCIController", 1, 12)),
        ("/vm-64/nvram", None),
        ("", None),
    ],
)
def test_keys_of_device_urls_are_parsed(key: str, slot: Slot | None) -> None:
    assert Slot.parse(key) == slot
