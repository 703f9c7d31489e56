"""Logging in and out, certificates, and the sessions that killed attempts leave."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from steps.model.contract import Exit, StepError
from steps.providers import Access, connect
from steps.providers.vmware import leftovers
from steps.providers.vmware.session import Session, log_in, log_out, user_agent_of
from tests.real.providers.vmware.conftest import MakeAccess
from tests.real.simulator import Simulator, StartSimulator

pytestmark = pytest.mark.vcenter


def test_verify_uses_one_session_and_ends_it(vcenter: Simulator, access: MakeAccess) -> None:
    asked = access(step="preflight")
    with connect(asked) as source:
        source.verify()
        (session,) = vcenter.sessions()
        assert session["userAgent"] == f"vmferry/0.1.0 run={asked.run} step=preflight"
    assert [len(vcenter.calls("Login")), len(vcenter.calls("Logout"))] == [1, 1]
    assert list(asked.state_folder.iterdir()) == []


def test_the_session_ends_if_the_body_fails(access: MakeAccess) -> None:
    with pytest.raises(ZeroDivisionError), connect(access()):
        raise ZeroDivisionError


def test_the_note_contains_no_secret_of_the_session(access: MakeAccess) -> None:
    asked = access()
    with connect(asked):
        note = asked.state_folder / leftovers.NOTE_FILE
        assert stat.S_IMODE(note.stat().st_mode) == 0o600
        assert set(json.loads(note.read_text())) == {"endpoint", "key"}


@pytest.mark.parametrize("form", ["https://{}/sdk", "https://{}", "{}", "https://{}/ui"])
def test_the_endpoint_is_accepted_in_all_forms(vcenter: Simulator, access: MakeAccess, form: str) -> None:
    place = vcenter.url.removeprefix("https://").removesuffix("/sdk")
    with connect(access(endpoint=form.format(place))) as source:
        source.verify()


@pytest.mark.parametrize("of", ["sha1", "sha256", "sha256 without colons"])
def test_a_thumbprint_replaces_a_ca(vcenter: Simulator, access: MakeAccess, of: str) -> None:
    pin = vcenter.thumbprint if of == "sha1" else vcenter.thumbprint_sha256
    pin = pin.replace(":", "").lower() if "without" in of else pin
    with connect(access(thumbprint=pin, keys={"caCert": ""})) as source:
        source.verify()
    with connect(access(keys={"caCert": "", "thumbprint": pin + "\n"})) as source:
        source.verify()


def test_verification_can_be_skipped(vcenter: Simulator, access: MakeAccess) -> None:
    with connect(access(insecure_skip_tls_verify=True, keys={"caCert": ""})) as source:
        source.verify()


@pytest.mark.parametrize("pin", ["", "00" * 20, "00" * 32])
def test_an_untrusted_certificate_is_refused_before_any_request(
    vcenter: Simulator, access: MakeAccess, pin: str
) -> None:
    error = refused(access, keys={"caCert": ""}, thumbprint=pin)
    assert error.code is Exit.UNTRUSTED
    for word in (vcenter.thumbprint_sha256, "caCert", "insecureSkipTLSVerify"):
        assert word in str(error)
    assert vcenter.calls() == []  # not a byte of a request, and so no password, was sent


def test_another_ca_is_refused(access: MakeAccess, start_simulator: StartSimulator) -> None:
    other = start_simulator({"datacenters": [{}]})
    assert refused(access, keys={"caCert": other.ca.read_text()}).code is Exit.UNTRUSTED


def test_a_wrong_password_is_refused(access: MakeAccess) -> None:
    error = refused(access, keys={"password": "guess"})
    assert error.code is Exit.DENIED
    assert "the user name or password is wrong" in str(error)
    assert "guess" not in str(error)


def test_a_refused_password_is_not_tried_again(vcenter: Simulator, access: MakeAccess) -> None:
    vcenter.faults(loginFault=1)  # accounts are locked after a few attempts
    assert refused(access).code is Exit.DENIED
    assert len(vcenter.calls("Login")) == 1


def test_a_missing_key_is_named(access: MakeAccess) -> None:
    error = refused(access, keys={"password": ""})
    assert error.code is Exit.INVALID
    assert "password" in str(error)


def test_an_unknown_host_name_is_unreachable(access: MakeAccess) -> None:
    error = refused(access, endpoint="https://vc.invalid/sdk")
    assert error.code is Exit.UNREACHABLE
    assert "vc.invalid" in str(error)


def test_a_closed_port_is_unreachable(access: MakeAccess) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        error = refused(access, endpoint=f"127.0.0.1:{unused.getsockname()[1]}")
    assert error.code is Exit.UNREACHABLE
    assert "refuses the connection" in str(error)


def test_a_silent_port_is_unreachable(access: MakeAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.providers.vmware.session.ANSWER_SECONDS", 0.1)
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        error = refused(access, endpoint=f"127.0.0.1:{silent.getsockname()[1]}")
    assert error.code is Exit.UNREACHABLE
    assert "does not answer in time" in str(error)


def test_an_address_that_is_not_the_api_is_unreachable(vcenter: Simulator, access: MakeAccess) -> None:
    error = refused(access, endpoint=vcenter.url.replace("/sdk", "/wrong"))
    assert error.code is Exit.UNREACHABLE
    assert "/wrong" in str(error)


def test_a_session_ended_by_the_server_is_not_a_wrong_password(
    vcenter: Simulator, access: MakeAccess
) -> None:
    with connect(access()) as source:
        vcenter.faults(expireSession="now")
        with pytest.raises(StepError) as caught:
            source.verify()
    assert caught.value.code is Exit.UNREACHABLE


def test_the_next_attempt_ends_the_session_of_a_killed_one(vcenter: Simulator, access: MakeAccess) -> None:
    asked = access(step="export-disk-0")
    with ExitStack() as stack:
        killed, other = kill(asked), log_in(replace(asked, step="export-disk-1"))
        stack.callback(log_out, other)
        with connect(asked):
            assert {each["key"] for each in vcenter.sessions()} >= {other.key}
            assert killed.key not in {each["key"] for each in vcenter.sessions()}
    assert len(vcenter.calls("TerminateSession")) == 1


@pytest.fixture
def unlistable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account that may not list sessions sees none."""
    monkeypatch.setattr(leftovers, "_own_sessions", lambda _: [])
    return iter(())


@pytest.mark.usefixtures("unlistable")
def test_the_note_ends_a_session_that_cannot_be_listed(vcenter: Simulator, access: MakeAccess) -> None:
    asked = access()
    killed = kill(asked, noted=True)
    with connect(asked):
        assert killed.key not in {each["key"] for each in vcenter.sessions()}


@pytest.mark.usefixtures("unlistable")
def test_a_note_of_an_expired_session_is_ignored(vcenter: Simulator, access: MakeAccess) -> None:
    asked = access()
    asked.state_folder.mkdir()
    note = leftovers.SessionNote(endpoint=vcenter.url.split("/")[2], key="12345678-no-such-session")
    (asked.state_folder / leftovers.NOTE_FILE).write_text(note.to_json())
    with connect(asked) as source:
        source.verify()
    assert [call["fault"] for call in vcenter.calls("TerminateSession")] == ["NotFound"]


def test_a_damaged_note_is_ignored(access: MakeAccess) -> None:
    asked = access()
    asked.state_folder.mkdir()
    (asked.state_folder / leftovers.NOTE_FILE).write_text("{")
    with connect(asked) as source:
        source.verify()


def test_release_ends_only_the_sessions_of_the_run(vcenter: Simulator, access: MakeAccess) -> None:
    asked = access(step="release-source")
    with ExitStack() as stack:
        for step in ("export-disk-0", "poweroff"):
            kill(replace(asked, step=step))
        other = log_in(replace(asked, run=asked.run + "0", step="poweroff"))
        stack.callback(log_out, other)
        with connect(asked) as source:
            assert source.release() == []
            agents = [each["userAgent"] for each in vcenter.sessions()]
            assert sorted(agents) == sorted([user_agent_of(asked), other.user_agent])


def kill(asked: Access, *, noted: bool = False) -> Session:
    """Log in as an attempt does that is killed afterwards, and leave its session."""
    session = log_in(asked)
    if noted:
        leftovers.end_previous(session, asked)
    session.stub.DropConnections()
    return session


def refused(access: MakeAccess, **how: object) -> StepError:
    """The error of connecting with these arguments."""
    with pytest.raises(StepError) as caught, connect(access(**how)):  # type: ignore[arg-type]
        pass
    return caught.value


def test_the_note_contains_no_credentials(access: MakeAccess, tmp_path: Path) -> None:
    asked = access()
    with connect(asked):
        assert "secret" not in (tmp_path / "memory" / leftovers.NOTE_FILE).read_text()
