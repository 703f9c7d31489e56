"""Which certificate is trusted, before any service gets a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.model.contract import Exit, StepError
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers import Access
from steps.providers.openstack.cloud import connect
from steps.runtime.stop import Stop
from tests.tls import self_signed
from tests.unit.steps.disk.server import Behaviour, Server

SECRET = {"username": "u", "password": "p", "project_name": "shop", "domain_name": "Default"}


def refused(folder: Path, port: str, ca: str = "", *, insecure: bool = False) -> StepError:
    secret = folder / "secret"
    secret.mkdir(exist_ok=True)
    for key, value in {**SECRET, "ca_cert": ca}.items():
        (secret / key).write_text(value)
        if not value:
            (secret / key).unlink()
    plan = SourcePlan(
        kind=SourceKind.OPENSTACK,
        name="cloud",
        endpoint=f"https://localhost:{port}/v3",
        region="RegionOne",
        insecure_skip_tls_verify=insecure,
    )
    access = Access(plan=plan, credentials=secret, stop=Stop(), run="r", step="look", state_folder=folder)
    with pytest.raises(StepError) as caught, connect(access):
        pass
    return caught.value


def port_of(server: Server) -> str:
    return server.url.rsplit(":", 1)[1].partition("/")[0]


def test_a_certificate_is_verified(tmp_path: Path) -> None:
    """It is verified by the Secret's CA; without one, by the system's roots. The message names a remedy."""
    ours, other = self_signed(tmp_path, "ours"), self_signed(tmp_path, "other")
    with Server(Behaviour(b"no Keystone"), ours.server()) as server:
        port = port_of(server)
        for ca in ("", other.pem):
            error = refused(tmp_path, port, ca)
            assert error.code is Exit.UNTRUSTED
            assert "is not trusted (self-signed certificate)" in str(error)
            assert "thumbprint is " in str(error)
            assert "ca_cert" in error.remedy
            assert "Max retries" not in str(error)
        assert refused(tmp_path, port, ours.pem).code is not Exit.UNTRUSTED
        assert refused(tmp_path, port, insecure=True).code is not Exit.UNTRUSTED


def test_a_server_without_tls_is_not_reported_as_untrusted(tmp_path: Path) -> None:
    """There was no certificate: a message that it is not trusted would mislead the user."""
    with Server(Behaviour(b"no TLS")) as server:
        error = refused(tmp_path, port_of(server))
    assert error.code is Exit.UNREACHABLE
    assert "WRONG_VERSION_NUMBER" in str(error)
    assert "endpoint" in error.remedy
