"""Checks of sources: when they are due, how a verdict changes the status, and what is notified."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from controller.operator.options import Options
from controller.operator.routing import SourceKey
from controller.operator.sources.attempts import FIRST_PAUSE
from controller.operator.sources.check import SourceVerdict, verify
from controller.operator.sources.reconcile import SourceReconciler
from steps.model.kinds import EVENT, SECRET, SOURCES
from steps.model.sources import SourceKind
from tests.forwardproxy import Forward, forward
from tests.unit.builders import a_source, without_provider
from tests.unit.controller.operator.world import World
from workflows.api.conditions import find
from workflows.api.sources import OpenstackSource, OvaSource, Source
from workflows.api.status import SourceStatus

__all__ = ["forward"]
KEY = SourceKey(SOURCES[SourceKind.VMWARE], "default", "vcenter")


class Asked:
    """Replaces a source: it answers as configured and records its inputs."""

    def __init__(self) -> None:
        self.verdict = SourceVerdict(ready=True)
        self.passwords: list[bytes] = []

    def __call__(self, source: Source, credentials: Mapping[str, bytes], options: Options) -> SourceVerdict:
        self.passwords.append(credentials["password"])
        return self.verdict


class Place:
    def __init__(self) -> None:
        self.world = World()
        self.world.set_source("")
        self.asked = Asked()
        self.survey = SourceReconciler(self.world.cluster, Options(), self.asked, lambda: self.world.now)

    def look(self, later: float = 0) -> float | None:
        self.world.now += timedelta(seconds=later)
        return self.survey.reconcile(KEY)

    @property
    def status(self) -> SourceStatus:
        found = self.world.cluster.peek(SOURCES[SourceKind.VMWARE], "vcenter", "default")
        assert found is not None
        return SourceStatus.read(found["status"])


def test_a_source_is_verified_again_after_its_time() -> None:
    place = Place()
    assert place.look() == Options().recheck_seconds
    assert (place.status.status, place.status.observed_generation) == ("clusterReady", 1)
    ready = find(place.status.conditions, "ClusterReady")
    assert ready is not None
    assert (ready.status, ready.reason) == ("True", "Verified")
    place.look(10)
    assert len(place.asked.passwords) == 1
    assert place.survey.count_by_status() == {"clusterReady": 1}
    place.look(300)
    assert len(place.asked.passwords) == 2


def test_a_changed_password_is_detected_at_the_next_reconcile() -> None:
    place = Place()
    place.look()
    place.world.set_password("changed")
    place.look(1)
    assert place.asked.passwords == [b"secret", b"changed"]


def test_a_changed_spec_is_detected() -> None:
    place = Place()
    place.look()
    found = place.world.cluster.peek(SOURCES[SourceKind.VMWARE], "vcenter", "default")
    assert found is not None
    found["metadata"]["generation"] = 2
    place.look(1)
    assert len(place.asked.passwords) == 2
    assert place.status.observed_generation == 2


def test_a_source_that_is_not_ready_has_a_reason_and_is_retried_soon() -> None:
    place = Place()
    place.asked.verdict = SourceVerdict(ready=False, reason="Unreachable", message="nobody answers")
    assert place.look() == FIRST_PAUSE
    assert (place.status.status, place.status.message) == ("clusterNotReady", "nobody answers")
    error = find(place.status.conditions, "ClusterError")
    assert error is not None
    assert (error.status, error.reason) == ("True", "Unreachable")
    place.asked.verdict = SourceVerdict(ready=True)
    place.look(FIRST_PAUSE)
    assert place.status.status == "clusterReady"
    assert place.status.message == ""
    assert [one["reason"] for one in place.world.cluster.all(EVENT)] == ["SourceNotReady", "SourceReady"] or {
        one["reason"] for one in place.world.cluster.all(EVENT)
    } == {"SourceNotReady", "SourceReady"}


def test_a_source_without_its_secret_is_not_ready() -> None:
    place = Place()
    place.world.cluster.drop(SECRET, "credentials", "default")
    place.look()
    assert place.status.status == "clusterNotReady"
    assert "Secret default/credentials" in place.status.message
    assert place.asked.passwords == []
    place.world.set_password("secret")
    place.look(1)
    assert place.status.status == "clusterReady"


def test_a_deleted_source_is_forgotten() -> None:
    place = Place()
    place.world.cluster.drop(SOURCES[SourceKind.VMWARE], "vcenter", "default")
    assert place.look() is None
    assert place.survey.count_by_status() == {}


def test_the_last_words_of_the_child_process_are_the_reason() -> None:
    unreachable = a_source(endpoint="https://127.0.0.1:1/sdk", insecureSkipTLSVerify=True)
    verdict = verify(unreachable, {"username": b"u", "password": b"p"}, Options(verify_seconds=30))
    assert not verdict.ready
    assert verdict.reason == "Unreachable"
    assert "127.0.0.1" in verdict.message


def test_the_child_process_uses_the_proxy_of_the_controller(
    forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward.refuses = 403
    monkeypatch.setenv("https_proxy", forward.url)
    monkeypatch.setenv("no_proxy", "")
    vcenter = a_source(endpoint="https://vcenter.invalid/sdk", insecureSkipTLSVerify=True)
    verdict = verify(vcenter, {"username": b"u", "password": b"p"}, Options())
    assert set(forward.asked) == {"CONNECT vcenter.invalid:443"}
    assert (verdict.ready, verdict.reason) == (False, "Unreachable")
    assert "proxy" in verdict.message


def test_a_child_process_that_takes_too_long_is_stopped() -> None:
    verdict = verify(a_source(), {"username": b"u", "password": b"p"}, Options(verify_seconds=0.01))
    assert (verdict.ready, verdict.reason) == (False, "Unreachable")


def test_a_kind_without_a_provider_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    without_provider(monkeypatch, SourceKind.OVA)
    ova = OvaSource.model_validate(
        {
            "apiVersion": "migration.harvesterhci.io/v1beta1",
            "kind": "OvaSource",
            "metadata": {"name": "ova"},
            "spec": {"url": "https://files/x.ova"},
        }
    )
    assert verify(ova, {}, Options()).reason == "ProviderNotInstalled"


@pytest.mark.parametrize("url", ["/etc/passwd", "file:///srv/appliance.ova", "ftp://files/x.ova"])
def test_local_files_are_refused_in_a_cluster(url: str) -> None:
    ova = OvaSource.model_validate(
        {
            "apiVersion": "migration.harvesterhci.io/v1beta1",
            "kind": "OvaSource",
            "metadata": {"name": "ova"},
            "spec": {"url": url},
        }
    )
    verdict = verify(ova, {}, Options())
    assert (verdict.ready, verdict.reason) == (False, "Invalid")
    assert "serve the file over HTTP" in verdict.message


def test_the_child_process_has_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """openstacksdk needs one when it is imported; with it the child process reaches its endpoint."""
    monkeypatch.setenv("HOME", "")
    cloud = OpenstackSource.model_validate(
        {
            "apiVersion": "migration.harvesterhci.io/v1beta1",
            "kind": "OpenstackSource",
            "metadata": {"name": "cloud"},
            "spec": {"endpoint": "http://127.0.0.1:9/v3", "credentials": {"name": "login"}},
        }
    )
    secret = {"username": b"u", "password": b"p", "project_name": b"n", "domain_name": b"d"}
    seen = verify(cloud, secret, Options())
    assert (seen.ready, seen.reason) == (False, "Unreachable")
    assert "127.0.0.1" in seen.message
