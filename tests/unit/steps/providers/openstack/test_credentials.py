"""Which files of the Secret make which login."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.model.contract import Exit, StepError
from steps.providers.openstack.credentials import Credentials

UPSTREAM = {"username": "u", "password": "p", "project_name": "shop", "domain_name": "Default"}


def read(folder: Path, **values: str) -> Credentials:
    for key, value in values.items():
        (folder / key).write_text(value)
    return Credentials.read(folder)


def test_the_secret_of_vm_import_controller_is_accepted(tmp_path: Path) -> None:
    found = read(tmp_path, **UPSTREAM, ca_cert="PEM\n")
    assert (found.method, found.ca) == ("password", "PEM")
    assert found.options == {
        "username": "u",
        "password": "p",
        "user_domain_name": "Default",
        "project_name": "shop",
        "project_domain_name": "Default",
    }


def test_user_and_project_may_be_of_different_domains(tmp_path: Path) -> None:
    found = read(tmp_path, **UPSTREAM, user_domain_name="people\n")
    assert found.options["user_domain_name"] == "people"
    assert found.options["project_domain_name"] == "Default"


def test_a_project_may_be_named_by_its_id(tmp_path: Path) -> None:
    by_id = {"username": "u", "password": "p", "user_domain_name": "people", "project_id": "0c1d"}
    found = read(tmp_path, **by_id)
    assert found.options["project_id"] == "0c1d"
    assert "project_domain_name" not in found.options


def test_an_application_credential_is_bound_to_its_project(tmp_path: Path) -> None:
    given = {"application_credential_id": "i", "application_credential_secret": "s"}
    found = read(tmp_path, **UPSTREAM, **given)
    assert (found.method, found.options) == ("application-credential", given)


def test_an_application_credential_by_name_needs_its_user(tmp_path: Path) -> None:
    given = {"application_credential_name": "n", "application_credential_secret": "s"}
    found = read(tmp_path, **given, username="u", domain_name="people")
    assert found.options == given | {"username": "u", "user_domain_name": "people"}


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("username", "username"),
        ("password", "password"),
        ("project_name", "project_name"),
        ("domain_name", "user_domain_name or domain_name"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, missing: str, named: str) -> None:
    given = {key: value for key, value in UPSTREAM.items() if key != missing}
    with pytest.raises(StepError, match=f"has no {named}:") as caught:
        read(tmp_path, **given)
    assert caught.value.code is Exit.INVALID


def test_no_secret_is_shown(tmp_path: Path) -> None:
    assert "hunter2" not in repr(read(tmp_path, **UPSTREAM | {"password": "hunter2"}))
