"""Logging in to the real Keystone, and what is said when that fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steps.model.contract import Exit, StepError
from steps.providers import connect
from tests.openstack.cloud import Project
from tests.providers.openstack.conftest import MakeAccess


def refused(access: MakeAccess, **more: object) -> StepError:
    with pytest.raises(StepError) as caught, connect(access(**more)) as source:
        source.verify()
    return caught.value


def test_user_and_project_of_different_domains(project: Project, access: MakeAccess) -> None:
    assert project.credentials.user_domain != project.credentials.project_domain
    with connect(access()) as source:
        source.verify()


def test_an_application_credential(project: Project, access: MakeAccess) -> None:
    with connect(access(credentials=project.application_credential())) as source:
        source.verify()
        assert source.inventory().machines == ()


def test_an_application_credential_that_may_only_read(project: Project, access: MakeAccess) -> None:
    """With the role `reader` a source can be verified and looked at; an import would be denied."""
    with connect(access(credentials=project.application_credential("reader"))) as source:
        source.verify()


def test_a_wrong_password(project: Project, access: MakeAccess) -> None:
    error = refused(access, credentials=replace(project.credentials, password="not this"))  # noqa: S106
    assert error.code is Exit.DENIED
    assert "correct the credentials in the source's secret" in str(error)
    assert "not this" not in str(error)


def test_a_project_that_is_not_there(project: Project, access: MakeAccess) -> None:
    assert refused(access, credentials=replace(project.credentials, project="none")).code is Exit.DENIED


def test_a_region_that_is_not_there(access: MakeAccess) -> None:
    error = refused(access, region="Mars")
    assert error.code is Exit.INVALID
    assert "'Mars'" in str(error)
    assert "RegionOne" in str(error)


def test_an_endpoint_where_nobody_listens(project: Project, access: MakeAccess) -> None:
    error = refused(access, endpoint="http://127.0.0.1:9/v3")
    assert error.code is Exit.UNREACHABLE
    assert "check the source's endpoint" in str(error)


def test_an_endpoint_that_is_no_keystone(project: Project, access: MakeAccess) -> None:
    glance = project.cloud.layout.public("glance")
    assert refused(access, endpoint=f"{glance}/v3").code in (Exit.UNREACHABLE, Exit.NOT_FOUND)


def test_an_endpoint_without_its_version(project: Project, access: MakeAccess) -> None:
    with connect(access(endpoint=project.cloud.layout.public("keystone"))) as source:
        source.verify()


def test_an_endpoint_that_is_no_url(access: MakeAccess) -> None:
    error = refused(access, endpoint="keystone.example.com")
    assert (error.code, "use https://HOST:5000/v3" in str(error)) == (Exit.INVALID, True)
