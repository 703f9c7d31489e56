"""Disks through a real forward proxy; the check that a host is reachable uses the way of the transfer."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from steps.disk import reachability
from steps.disk.land import Source
from steps.model.contract import Exit, StepError
from steps.runtime import certificates
from tests.forwardproxy import Forward, forward
from tests.tls import SelfSigned, self_signed
from tests.unit.steps.disk.conftest import fetch, make_disk
from tests.unit.steps.disk.server import Behaviour, Server

__all__ = ["forward"]

DISK = make_disk(3 << 20)


@pytest.fixture
def tls(tmp_path: Path) -> SelfSigned:
    return self_signed(tmp_path)


@contextmanager
def serving(how: Behaviour, tls: SelfSigned, *, secure: bool) -> Iterator[Source]:
    with Server(how, tls.server() if secure else None) as server:
        trusted = certificates.tls_context(ca=tls.pem) if secure else None
        yield Source(server.url, format="raw", identity="disk", tls=trusted)


@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
def test_a_disk_comes_through_the_proxy(
    tmp_path: Path, forward: Forward, tls: SelfSigned, monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    monkeypatch.setenv("HTTPS_PROXY" if secure else "HTTP_PROXY", forward.url.replace("//", "//me:pw@"))
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setattr("steps.disk.web.RESUME_PAUSES", (0.0, 0.0))
    how = Behaviour(DISK, cuts=[1 << 20] if secure else [])
    with serving(how, tls, secure=secure) as source:
        assert fetch(source, tmp_path / "out", format="raw").path.read_bytes() == DISK
    assert [asked.split()[0] for asked in forward.asked] == (["CONNECT"] * 2 if secure else ["GET"])
    assert set(forward.logins) == {"Basic bWU6cHc="}
    assert not any("Proxy-Authorization" in asked for asked in how.headers)


def test_the_proxy_receives_ipv6_addresses_in_brackets(
    forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scheme in ("https", "http"):
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", forward.url)
    monkeypatch.setenv("NO_PROXY", "")
    forward.refuses = 502
    with pytest.raises(StepError, match="the proxy"):
        reachability.check("https://[fd00::1]:8443/", None, "the ESXi host")
    assert forward.asked == ["CONNECT [fd00::1]:8443"]


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_the_proxy_receives_host_names_in_ascii(
    tmp_path: Path, forward: Forward, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", forward.url)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setattr("steps.disk.web.RESUME_PAUSES", (0.0,))
    forward.refuses = 502
    with pytest.raises(StepError, match="the proxy"):
        fetch(Source(f"{scheme}://büro.corp/für%20a?b=ä", format="raw"), tmp_path / "out", format="raw")
    asked = {
        "https": "CONNECT xn--bro-hoa.corp:443",
        "http": "GET http://xn--bro-hoa.corp/f%C3%BCr%20a?b=%C3%A4",
    }
    assert set(forward.asked) == {asked[scheme]}


@pytest.mark.parametrize("host", ["ü" * 70, "ü..corp"])
def test_an_impossible_host_name_is_refused(host: str) -> None:
    with pytest.raises(StepError) as caught:
        reachability.check(f"https://{host}/", None, "the host")
    assert caught.value.code is Exit.INVALID


def test_no_proxy_exempts_a_host(
    tmp_path: Path, forward: Forward, tls: SelfSigned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", forward.url)
    monkeypatch.setenv("NO_PROXY", "localhost")
    with serving(Behaviour(DISK), tls, secure=False) as source:
        fetch(source, tmp_path / "out", format="raw")
    assert forward.asked == []


@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
@pytest.mark.parametrize("status", [407, 503])
def test_a_proxy_that_refuses_is_named(
    tmp_path: Path,
    forward: Forward,
    tls: SelfSigned,
    monkeypatch: pytest.MonkeyPatch,
    secure: bool,
    status: int,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY" if secure else "HTTP_PROXY", forward.url)
    monkeypatch.setenv("NO_PROXY", "")
    forward.refuses = status
    with serving(Behaviour(DISK), tls, secure=secure) as source, pytest.raises(StepError) as caught:
        fetch(source, tmp_path / "out", format="raw")
    assert caught.value.code is Exit.UNREACHABLE
    for word in ("localhost (through the proxy 127.0.0.1:", str(status), "NO_PROXY"):
        assert word in str(caught.value)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def unknown_name() -> str:
    return "https://esxi01.invalid:8443/"


def nobody_listens() -> str:
    return f"https://localhost:{closed_port()}/"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (unknown_name, ["esxi01.invalid", "port 8443", "DNS", "hostAliases"]),
        (nobody_listens, ["localhost", "port ", "refused", "firewall"]),
    ],
)
def test_a_host_that_cannot_be_reached_is_named_with_what_to_change(
    url: Callable[[], str], words: list[str]
) -> None:
    with pytest.raises(StepError) as caught:
        reachability.check(url(), None, "the ESXi host")
    assert caught.value.code is Exit.UNREACHABLE
    for word in ("the ESXi host", *words):
        assert word.lower() in str(caught.value).lower(), str(caught.value)


def test_an_untrusted_certificate_is_detected(tls: SelfSigned) -> None:
    with Server(Behaviour(DISK), tls.server()) as server:
        reachability.check(server.url, certificates.tls_context(ca=tls.pem), "the ESXi host")
        with pytest.raises(StepError, match="the certificate of the ESXi host localhost, port") as caught:
            reachability.check(server.url, certificates.tls_context(), "the ESXi host")
    assert caught.value.code is Exit.UNTRUSTED
    assert server.how.asked == []


def test_the_reachability_check_uses_the_proxy_of_the_transfer(
    forward: Forward, tls: SelfSigned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", forward.url)
    monkeypatch.setenv("NO_PROXY", "")
    with Server(Behaviour(DISK), tls.server()) as server:
        reachability.check(server.url, certificates.tls_context(ca=tls.pem), "the ESXi host")
        assert forward.asked == [f"CONNECT localhost:{server.server_address[1]}"]
        forward.refuses = 403
        with pytest.raises(StepError, match="through the proxy"):
            reachability.check(server.url, certificates.tls_context(ca=tls.pem), "the ESXi host")
