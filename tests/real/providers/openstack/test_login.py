"""Logging in to the real Keystone, and the messages if it fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steps.model.contract import Exit, StepError
from steps.providers import connect
from tests.real.openstack.cloud import Project
from tests.real.providers.openstack.conftest import MakeAccess


def refused(access: MakeAccess, **more: object) -> StepError:
    with pytest.raises(StepError) as caught, connect(access(**more)) as source:
        source.verify()
    return caught.value


def test_user_and_project_may_be_in_different_domains(project: Project, access: MakeAccess) -> None:
    assert project.credentials.user_domain != project.credentials.project_domain
    with connect(access()) as source:
        source.verify()


def test_an_application_credential_can_log_in(project: Project, access: MakeAccess) -> None:
    with connect(access(credentials=project.application_credential())) as source:
        source.verify()
        assert source.inventory().machines == ()


def test_a_read_only_application_credential_can_verify(project: Project, access: MakeAccess) -> None:
    """With the role `reader` a source can be verified and listed; an import would be denied."""
    with connect(access(credentials=project.application_credential("reader"))) as source:
        source.verify()


def test_a_wrong_password_is_refused(project: Project, access: MakeAccess) -> None:
    error = refused(access, credentials=replace(project.credentials, password="not this"))  # noqa: S106
    assert error.code is Exit.DENIED
    assert "correct the credentials in the source's secret" in str(error)
    assert "not this" not in str(error)


def test_an_unknown_project_is_refused(project: Project, access: MakeAccess) -> None:
    assert refused(access, credentials=replace(project.credentials, project="none")).code is Exit.DENIED


def test_an_unknown_region_is_refused(access: MakeAccess) -> None:
    error = refused(access, region="Mars")
    assert error.code is Exit.INVALID
    assert "'Mars'" in str(error)
    assert "RegionOne" in str(error)


def test_a_closed_port_is_unreachable(project: Project, access: MakeAccess) -> None:
    error = refused(access, endpoint="http://127.0.0.1:9/v3")
    assert error.code is Exit.UNREACHABLE
    assert "check the source's endpoint" in str(error)


def test_an_endpoint_that_is_not_keystone_is_refused(project: Project, access: MakeAccess) -> None:
    glance = project.cloud.layout.public("glance")
    assert refused(access, endpoint=f"{glance}/v3").code in (Exit.UNREACHABLE, Exit.NOT_FOUND)


def test_an_endpoint_without_a_version_is_accepted(project: Project, access: MakeAccess) -> None:
    with connect(access(endpoint=project.cloud.layout.public("keystone"))) as source:
        source.verify()


def test_an_endpoint_that_is_not_a_url_is_refused(access: MakeAccess) -> None:
    error = refused(access, endpoint="keystone.example.com")
    assert (error.code, "use https://HOST:5000/v3" in str(error)) == (Exit.INVALID, True)
