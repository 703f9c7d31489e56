"""Calls of the engine: login, tokens, versions, and answers that no engine gives."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from steps.model.contract import Exit, NoAnswerError, StepError
from steps.model.machine import Machine
from steps.model.plan import DiskFormat, PowerPlan
from steps.providers import connect, json_call
from steps.providers.ovirt import OvirtProvider, engine, export, routes
from steps.providers.ovirt.credentials import Credentials
from steps.providers.ovirt.endpoint import Endpoint
from steps.runtime.stop import Stop
from tests.tls import SelfSigned
from tests.unit.steps.providers.ovirt.conftest import MakeAccess
from tests.unit.steps.providers.ovirt.documents import CLUSTER, DISKS, SIZE, VM, Json, text, vm
from tests.unit.steps.providers.ovirt.fake import Fake, Reply

WHAT = "cannot export disk-0 of web"


def refusal(access: MakeAccess, **plan: Any) -> StepError:
    with pytest.raises(StepError) as caught, connect(access("verify", plan=plan)) as source:
        source.verify()
    return caught.value


@pytest.mark.parametrize(
    ("address", "host", "port", "base"),
    [
        ("https://engine/ovirt-engine/api", "engine", 443, "/ovirt-engine"),
        ("https://engine:8443/ovirt-engine/api/", "engine", 8443, "/ovirt-engine"),
        ("https://engine/ovirt-engine", "engine", 443, "/ovirt-engine"),
        ("engine", "engine", 443, "/ovirt-engine"),
        ("https://[fd00::1]/other/api", "fd00::1", 443, "/other"),
    ],
)
def test_an_address_may_be_written_in_several_ways(address: str, host: str, port: int, base: str) -> None:
    assert Endpoint.parse(address) == Endpoint(host, port, base)


@pytest.mark.parametrize(
    "address",
    ["http://engine/ovirt-engine/api", "ftp://engine", "https://", "https://u:secret@e", "https://e:x"],
)
def test_an_address_that_cannot_be_used_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(StepError) as caught:
        Endpoint.parse(address)
    assert caught.value.code is Exit.INVALID
    assert "u:secret" not in str(caught.value)


def _base64(pem: str) -> str:
    return base64.encodebytes(pem.strip().encode()).decode()


@pytest.mark.parametrize("key", ["caCert", "ca.cert"])
@pytest.mark.parametrize("encode", [str, _base64], ids=["PEM", "base64"])
def test_the_ca_may_be_under_both_keys(
    tmp_path: Path, tls: SelfSigned, key: str, encode: Callable[[str], str]
) -> None:
    for name, value in {"username": "admin@internal\n", "password": " p ", key: encode(tls.pem)}.items():
        (tmp_path / name).write_text(value)
    found = Credentials.read(tmp_path)
    assert (found.username, found.password, found.ca) == ("admin@internal", " p ", tls.pem.strip())
    assert "p " not in repr(found)


def test_a_wrong_password_is_denied(fake: Fake, access: MakeAccess) -> None:
    for body in (b'{"error": "access_denied", "error_code": "no\\u001b[2J"}', b"", b"<html>"):
        for status in (400, 401):
            fake.hook = lambda method, path, s=status, b=body: Reply(s, b) if "sso/oauth" in path else None  # type: ignore[misc]
            error = refusal(access)
            assert error.code is Exit.DENIED
            assert "\x1b" not in str(error)
    fake.hook = lambda method, path: (
        Reply(200, b'{"error": "access_denied"}') if "sso/oauth" in path else None
    )
    assert refusal(access).code is Exit.DENIED


def test_a_token_that_has_ended_is_replaced_once(fake: Fake, access: MakeAccess) -> None:
    with connect(access("look")) as source:
        fake.tokens.clear()
        assert source.networks()
        fake.hook = lambda method, path: Reply(401, b"") if "/vms" in path else None
        with pytest.raises(StepError) as caught:
            source.verify()
    assert caught.value.code is Exit.DENIED


def test_the_password_goes_nowhere_but_to_the_login(fake: Fake, access: MakeAccess) -> None:
    with connect(access("look")) as source:
        source.inventory()
    assert fake.asked[0] == "POST /ovirt-engine/sso/oauth/token"
    assert fake.asked[-1] == "POST /ovirt-engine/services/sso-logout"
    assert fake.tokens == set()


def test_an_old_engine_is_unsupported(fake: Fake, access: MakeAccess) -> None:
    fake.version = {"major": 4, "minor": 3}
    error = refusal(access)
    assert error.code is Exit.UNSUPPORTED
    assert "4.3" in str(error)


def test_a_certificate_of_another_ca_is_not_trusted(access: MakeAccess, tmp_path: Path) -> None:
    (tmp_path / "credentials" / "caCert").unlink()
    error = refusal(access)
    assert error.code is Exit.UNTRUSTED
    assert "SHA-256 thumbprint" in str(error)
    with connect(access("verify", plan={"insecure_skip_tls_verify": True})) as source:
        source.verify()


def test_an_engine_that_does_not_answer_is_waited_for(access: MakeAccess) -> None:
    error = refusal(access, endpoint="https://localhost:1/ovirt-engine/api")
    assert isinstance(error, NoAnswerError)
    assert error.code is Exit.UNREACHABLE


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(fake: Fake, access: MakeAccess, status: int) -> None:
    away = Reply(status, b"", headers={"Location": "https://localhost:1/"})
    fake.hook = lambda method, path: away if "/vms" in path else None
    assert refusal(access).code is Exit.INVALID


def test_an_answer_that_is_cut_is_asked_for_again(fake: Fake, access: MakeAccess) -> None:
    cut = iter([Reply(200, b'{"vm": []}', cut=3)])
    fake.hook = lambda method, path: next(cut, None) if "/vms" in path else None
    with connect(access("verify")) as source:
        source.verify()


def test_an_endless_answer_is_refused(
    fake: Fake, access: MakeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.providers.json_call.MOST_BYTES", 1 << 20)
    fake.hook = lambda method, path: Reply(200, bytes(2 << 20)) if "/vms" in path else None
    error = refusal(access)
    assert error.code is Exit.UNREACHABLE
    assert "more than 1 MiB" in str(error)


# Answers of any shape, without a network.


@dataclass(kw_only=True)
class Canned(engine.Engine):
    """An engine whose answers are documents by path; `broken` replaces one of them."""

    documents: Mapping[str, Json]
    broken: tuple[str, bytes]

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> json_call.Reply:
        path = target.partition("?")[0].removeprefix("/ovirt-engine").removeprefix("/api") or "/"
        place, data = self.broken
        if path == place:
            return json_call.Reply(200, data, {})
        if path not in self.documents:
            return json_call.Reply(404, b"", {})
        return json_call.Reply(200, json.dumps(text(self.documents[path])).encode(), {})


TRANSFER = {
    "id": "t",
    "phase": "transferring",
    "direction": "download",
    "image": {"id": DISKS[0]},
    "transfer_url": "https://localhost:1/images/t",
}
DOCUMENTS: dict[str, Json] = {
    "/": {"product_info": {"version": {"major": 4, "minor": 5}}},
    "/sso/oauth/token": {"access_token": "t"},
    "/vms": {"vm": [vm()]},
    f"/vms/{VM}": vm(status="down"),
    "/clusters": {"cluster": [{"id": CLUSTER, "name": "Default"}]},
    "/vnicprofiles": {"vnic_profile": [{"id": "profile-1", "name": "fast", "network": {"id": "net-1"}}]},
    "/networks": {"network": [{"id": "net-1", "name": "red"}]},
    "/storagedomains": {"storage_domain": [{"id": "domain-1", "name": "data"}]},
    "/hosts": {"host": [{"id": "h", "address": "localhost", "status": "up"}]},
    "/imagetransfers": {"id": "t", "image_transfer": [TRANSFER]},
    "/imagetransfers/t": TRANSFER,
    "/imagetransfers/t/cancel": {},
}


def hostile() -> Iterator[tuple[str, bytes]]:
    """Path and answer: each answer of an engine replaced by what is none, as a whole and in its parts."""
    whole = (b"[]", b"null", b"5", b"<html>", b"\xff\xfe", b"[" * 100_000, b"1" * 5000)
    bads: tuple[Any, ...] = ([[]], {}, None, True, "\x1b[2J\u202e", "9" * 40, {"id": {}})
    for path, document in DOCUMENTS.items():
        yield from ((path, data) for data in whole)
        for key, value in document.items():
            for bad in bads:
                if bad != value:
                    yield path, json.dumps({**document, key: bad}).encode()


def use(opened: Canned, access: Any, tmp_path: Path) -> None:
    """Everything that reads an answer."""
    opened.log_in()
    opened.check_version()
    source = OvirtProvider(opened, access)
    source.verify()
    source.networks()
    source.inventory()
    machine = source.describe("web", None)
    Machine.model_validate_json(machine.to_json())
    source.power_off(machine, PowerPlan())
    for disk in machine.disks[:1]:  # an answer may have none
        source.export(machine, disk, tmp_path / "out", DiskFormat.RAW, lambda _done, _total: None)


def refused(opened: Canned, access: Any, tmp_path: Path) -> StepError | None:
    """The error of `use`; at the latest there is one because no daemon answers."""
    try:
        use(opened, access, tmp_path)
    except StepError as error:
        return error
    return None


def test_no_answer_makes_a_fault_of_our_own(
    access: MakeAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.disk.ranges.RESUME_PAUSES", ())
    monkeypatch.setattr("steps.providers.ovirt.transfers.END_SECONDS", 0.0)
    monkeypatch.setattr("steps.providers.ovirt.transfers.READY_SECONDS", 0.0)
    monkeypatch.setattr("steps.providers.ovirt.power.STOP_SECONDS", 0.0)
    options, tls = routes.Options(frozenset(), 1), ssl.create_default_context()
    monkeypatch.setattr(routes, "probe", lambda *_: options)
    count = 0
    for number, broken in enumerate(hostile()):
        opened = Canned(
            endpoint=Endpoint("localhost", 1),
            tls=tls,
            insecure=False,
            stop=Stop(),
            credentials=Credentials(username="u", password="p"),  # noqa: S106 - of the fake
            ports=engine.Ports(1, 1),
            mark="m",
            documents=DOCUMENTS,
            broken=broken,
        )
        error = refused(opened, access("x"), tmp_path / str(number))
        if error is None:  # an answer may have no disks
            assert broken[0] == f"/vms/{VM}"
            continue
        assert error.code is not Exit.INTERNAL
        assert str(error).isprintable()
        count += 1
    assert count > 100


EXTENT = {"start": 0, "length": SIZE, "zero": False, "hole": False}


@pytest.mark.parametrize(
    ("extents", "code"),
    [
        ([], Exit.CORRUPT),
        ([{**EXTENT, "length": SIZE + 512}], Exit.CORRUPT),
        ([{**EXTENT, "start": 1}], Exit.BROKEN_STREAM),
        ([{**EXTENT, "length": 0}], Exit.BROKEN_STREAM),
        ([{**EXTENT, "length": -1}], Exit.BROKEN_STREAM),
        ([{**EXTENT, "length": "8"}], Exit.BROKEN_STREAM),
        ([{**EXTENT, "zero": "no"}], Exit.BROKEN_STREAM),
        ([{"start": 0}], Exit.BROKEN_STREAM),
        ([EXTENT, EXTENT], Exit.BROKEN_STREAM),
        (["x"], Exit.BROKEN_STREAM),
        ({"start": 0}, Exit.BROKEN_STREAM),
        (5, Exit.BROKEN_STREAM),
        (None, Exit.BROKEN_STREAM),
    ],
    ids=str,
)
def test_a_map_that_does_not_cover_the_disk_is_refused(extents: Any, code: Exit) -> None:
    with pytest.raises(StepError) as caught:
        export.data_map(json.dumps(extents).encode(), SIZE, WHAT)
    assert caught.value.code is code


def test_small_holes_are_read_along() -> None:
    small, large = export.SMALLEST_HOLE - 512, export.SMALLEST_HOLE
    lengths = [(512, False), (small, True), (512, False), (large, True), (512, False), (1 << 20, True)]
    extents, start = [], 0
    for length, zero in lengths:
        extents.append({"start": start, "length": length, "zero": zero, "hole": zero})
        start += length
    first = 1024 + small
    expected = ((0, first), (first + large, first + large + 512))
    assert export.data_map(json.dumps(extents).encode(), start, WHAT) == expected


@pytest.mark.parametrize(
    "body",
    [b"[]", b"null", b'{"features": 5}', b'{"features": [[]]}', b'{"max_readers": "8"}', b"x", b"\xff"],
)
def test_options_of_another_service_are_refused(body: bytes) -> None:
    with pytest.raises(StepError) as caught:
        routes.Options.parse(body, "the host h")
    assert caught.value.code is Exit.UNREACHABLE


def test_an_old_daemon_allows_one_reader() -> None:
    assert routes.Options.parse(b'{"features": ["extents"]}', "h") == routes.Options(
        frozenset({"extents"}), 1
    )
