"""The hand-over of a volume at the real API server: rights, policy, and the real controllers of volumes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, PERSISTENT_VOLUME, Object
from steps.model.plan import DiskWay, ImportRef, Plan, TargetKind
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster import markers
from steps.targets.landing.finished import is_finished
from steps.targets.landing.handover import HandOver
from tests.real.controller.apiserver import ApiServer, _write_kubeconfig
from tests.real.landing.conftest import RELEASE, TENANT, wait_for
from tests.unit.builders import a_plan

_NUMBERS: Final = itertools.count()
SIZE: Final = "64Mi"


class Killed:
    """A cluster whose request number `at` is lost, before or after it had its effect."""

    def __init__(self, cluster: Cluster, at: int, *, answer_only: bool) -> None:
        self._cluster = cluster
        self._at = at
        self._answer_only = answer_only
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            number, self.calls = self.calls, self.calls + 1
            if number == self._at and not self._answer_only:
                raise KilledError
            result = getattr(self._cluster, name)(*args, **named)
            if number == self._at:
                raise KilledError
            return result

        return call


class KilledError(Exception):
    """The process died."""


class Landed:
    """A disk that landed on a claim in the release namespace."""

    def __init__(self, server: ApiServer, mode: str) -> None:
        self.server = server
        self.admin = server.connect()
        number = next(_NUMBERS)
        self.plan: Plan = a_plan(kind=TargetKind.KUBEVIRT, way=DiskWay.LAND, namespace=TENANT).model_copy(
            update={
                "run": f"vmi-web-{number:08x}-g1",
                "import_": ImportRef(name="web", namespace=TENANT, uid=f"uid-{number}"),
            }
        )
        self.final = f"web{number}-disk-0"
        self.volumes = Volumes(vm=f"web{number}", names={"disk-0": self.final})
        self.volume = f"volume-{number}"
        self.source = names.claim(self.plan.run, "disk-0")
        self._create_volume(mode)
        self._create_claim(mode)
        wait_for(lambda: self.phase(self.source, RELEASE) == "Bound", "the claim is not bound")

    def _create_volume(self, mode: str) -> None:
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": self.volume},
            "spec": {
                "capacity": {"storage": SIZE},
                "accessModes": ["ReadWriteOnce"],
                "volumeMode": mode,
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": self.volume,
                "csi": {"driver": "csi.example.com", "volumeHandle": self.volume},
            },
        }
        self.server.kubectl("create", "-f", "-", given=json.dumps(volume))

    def _create_claim(self, mode: str) -> None:
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": self.source,
                "namespace": RELEASE,
                "labels": names.volume_labels(self.plan, "disk-0"),
                "annotations": {markers.UNFINISHED: "x"},
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "volumeMode": mode,
                "storageClassName": self.volume,
                "resources": {"requests": {"storage": SIZE}},
            },
        }
        self.server.kubectl("create", "-f", "-", given=json.dumps(claim))

    def client(self, run: str = "", stage: str = "hand-over") -> Cluster:
        """The API with the token of a pod of a run."""
        pod = f"{run or self.plan.run}-{stage}-{next(_NUMBERS) + 1000}"
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod, "namespace": RELEASE},
            "spec": {
                "serviceAccountName": "vmferry-target",
                "containers": [{"name": "main", "image": "vmferry/target"}],
            },
        }
        self.server.kubectl("create", "-f", "-", given=json.dumps(manifest))
        bound = ("--bound-object-kind", "Pod", "--bound-object-name", pod)
        token = self.server.kubectl("create", "token", "vmferry-target", "-n", RELEASE, *bound).strip()
        path = _write_kubeconfig(self.server.folder / f"{pod}.kubeconfig", token)
        return self.server.connect(Path(path))

    def hand_over(self, cluster: Any) -> str:
        return HandOver(self.plan, "disk-0", cluster, Stop(), volumes=self.volumes, release=RELEASE).run()

    def hand_over_at_last(self, cluster: Cluster) -> None:
        """As Argo runs it: what fails for a temporary cause, such as a slow controller, runs again."""

        def is_done() -> bool:
            try:
                return bool(self.hand_over(cluster))
            except StepError as error:
                if error.code.permanent:
                    raise
                return False

        wait_for(is_done, "not handed over")

    def claim(self, name: str, namespace: str) -> Object | None:
        return self.admin.get(CLAIM, name, namespace)

    def phase(self, name: str, namespace: str) -> str:
        return str(((self.claim(name, namespace) or {}).get("status") or {}).get("phase") or "")

    def current_volume(self) -> Object:
        found = self.admin.get(PERSISTENT_VOLUME, self.volume)
        assert found is not None
        return found

    def is_moved(self) -> bool:
        claim = self.claim(self.final, TENANT)
        assert claim is not None
        volume = self.current_volume()
        assert volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]
        assert volume["status"]["phase"] == "Bound"
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        assert claim["spec"]["volumeName"] == self.volume
        assert claim["status"]["phase"] == "Bound"
        assert is_finished(claim, self.plan, "disk-0")
        wait_for(lambda: self.claim(self.source, RELEASE) is None, "the first claim stays")
        return True


@pytest.fixture(params=["Filesystem", "Block"])
def landed(server: ApiServer, request: pytest.FixtureRequest) -> Landed:
    return Landed(server, request.param)


def test_a_volume_is_handed_over_with_the_rights_of_the_chart(landed: Landed) -> None:
    assert landed.hand_over(landed.client()) == landed.final
    assert landed.is_moved()
    assert landed.hand_over(landed.client()) == landed.final  # another attempt finds it done


def test_a_pod_of_another_run_hands_nothing_over(landed: Landed) -> None:
    """The policy refuses the first write; the volume and its claim stay."""
    with pytest.raises(StepError) as caught:
        landed.hand_over(landed.client("vmi-web-89abcdef-g1"))
    assert "a pod of vmferry may change only the claims of its own run" in str(caught.value)
    assert landed.phase(landed.source, RELEASE) == "Bound"


def test_the_policy_protects_a_volume_even_from_a_forged_request(landed: Landed) -> None:
    change = {"spec": {"claimRef": {"namespace": TENANT, "name": "mine", "uid": "uid-mine"}}}
    for client in (landed.client("vmi-web-89abcdef-g1"), landed.client(stage="build")):
        with pytest.raises(StepError) as caught:
            client.patch(PERSISTENT_VOLUME, landed.volume, change)
        assert "a pod of vmferry may hand over only" in str(caught.value)
    with pytest.raises(StepError):
        landed.client().patch(
            PERSISTENT_VOLUME, landed.volume, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
        )
    assert landed.current_volume()["spec"]["claimRef"]["name"] == landed.source


@pytest.mark.parametrize("answer_only", [False, True], ids=["request lost", "answer lost"])
def test_a_kill_at_every_request_has_the_same_result(server: ApiServer, *, answer_only: bool) -> None:
    for at in itertools.count():
        landed = Landed(server, "Block" if at % 2 else "Filesystem")
        client = landed.client()
        killed = Killed(client, at, answer_only=answer_only)
        try:
            landed.hand_over(killed)
        except KilledError:
            landed.hand_over_at_last(client)
        else:
            assert at > 8
            return
        assert landed.is_moved(), f"killed at request {at}"


def test_a_quota_is_counted_at_the_hand_over_and_keeps_the_disk(landed: Landed) -> None:
    hard = {f"{landed.volume}.storageclass.storage.k8s.io/persistentvolumeclaims": "0"}
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": TENANT},
        "spec": {"hard": hard},
    }
    landed.server.kubectl("create", "-f", "-", given=json.dumps(quota))
    # The API server enforces what is counted, and the controller that counts does not run here.
    counted = json.dumps({"status": {"hard": hard, "used": hard}})
    where = ("resourcequota", "small", "-n", TENANT, "--subresource=status")
    landed.server.kubectl("patch", *where, "--type=merge", "--patch", counted)
    with pytest.raises(StepError) as caught:
        landed.hand_over(landed.client())
    assert caught.value.code is Exit.NO_SPACE
    assert landed.phase(landed.source, RELEASE) == "Bound"
    landed.server.kubectl("delete", "resourcequota", "small", "-n", TENANT)
    wait_for(lambda: landed.hand_over(landed.client()), "not handed over")
    assert landed.is_moved()
