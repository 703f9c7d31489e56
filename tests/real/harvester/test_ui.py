"""What a user can do with an imported VM in Harvester's UI; the whole Harvester server answers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import urllib3

from steps.model.kinds import CLAIM, MACHINE, Kind
from tests.real.cluster.lab import Lab
from tests.real.harvester import refusals
from tests.real.harvester.install import Real
from tests.real.harvester.refusals import GIB, TEMPLATES, World
from tests.real.standins.crds import LONGHORN_SYSTEM, V1_CLASS
from tests.real.standins.machine_rules import GOLDEN
from tests.real.standins.process import eventually

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")

Object = dict[str, Any]
READY: Final = 240.0
BACKUP: Final = Kind("harvesterhci.io/v1beta1", "VirtualMachineBackup", "virtualmachinebackups")
SNAPSHOT: Final = Kind("snapshot.storage.k8s.io/v1", "VolumeSnapshot", "volumesnapshots")
ODD: Final = GIB + (1 << 20)
"""A size that the UI rounds: it shows GiB with two decimals."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: Object

    @property
    def message(self) -> str:
        return str(self.body.get("message") or self.body.get("error") or self.body)


class Ui:
    """The API that the UI uses; it needs no login."""

    def __init__(self, url: str) -> None:
        self._base = f"{url}/v1/harvester"
        self._pool = urllib3.PoolManager(cert_reqs="CERT_NONE", assert_hostname=False)

    def ask(self, method: str, path: str, body: Object | None = None) -> Answer:
        response = self._pool.request(
            method,
            f"{self._base}/{path}",
            body=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            timeout=60,
            retries=False,
        )
        return Answer(response.status, json.loads(response.data) if response.data else {})

    def machine(self, world: World, name: str = "web") -> str:
        return f"kubevirt.io.virtualmachines/{world.space}/{name}"

    def answers(self) -> bool:
        try:
            return self.ask("GET", "kubevirt.io.virtualmachines").status == 200
        except urllib3.exceptions.HTTPError:
            return False


@pytest.fixture(scope="module")
def ui(real: Real) -> Iterator[Ui]:
    with real.server() as url:
        found = Ui(url)
        eventually(found.answers, "the API of Harvester's UI", READY)
        yield found


@pytest.fixture
def world(lab: Lab, ui: Ui) -> Iterator[World]:
    assert ui.answers()
    with refusals.world(lab) as made:
        yield made


def templates(world: World, size: int = ODD) -> list[Object]:
    return [world.template(name, size, "disk") for name in ("plain", "golden")]


def imported(world: World, annotation: list[Object] | None, storage_class: str = "disk") -> None:
    """A VM of two disks: one with a backing image's class, one with CDI's own claim."""
    world.stored(world.claim("plain", storage_class))
    world.stored(world.claim("golden", storage_class, annotations={GOLDEN: "true"}))
    made = world.machine(claim="plain", templates=annotation)
    spec = made["spec"]["template"]["spec"]
    spec["domain"]["devices"]["disks"].append({"name": "disk-1", "disk": {"bus": "virtio"}})
    spec["volumes"].append({"name": "disk-1", "persistentVolumeClaim": {"claimName": "golden"}})
    made["metadata"]["annotations"]["field.cattle.io/description"] = "imported"
    world.stored(made)


Annotation = Callable[[World], list[Object] | None]
BOTH: Final = pytest.mark.parametrize(
    "annotation", [lambda _: None, templates], ids=["without-templates", "with-templates"]
)


@BOTH
def test_ticked_disks_are_deleted_with_the_vm_except_a_golden_claim(
    ui: Ui, world: World, annotation: Annotation
) -> None:
    imported(world, annotation(world))

    answers: list[Answer] = []

    def is_deleted() -> bool:
        """The server's cache may not have the VM yet, for a minute and more on a busy host."""
        ticked = "removedDisks=disk-0&removedDisks=disk-1"
        answers.append(ui.ask("DELETE", f"{ui.machine(world)}?{ticked}"))
        return answers[-1].status in (200, 204)

    try:
        eventually(is_deleted, "the UI's deletion", READY)
    except TimeoutError:
        pytest.fail(f"the UI refuses the deletion: {list(dict.fromkeys(map(str, answers)))}")
    eventually(lambda: world.cluster.get(MACHINE, "web", world.space) is None, "the VM goes")
    eventually(lambda: world.cluster.get(CLAIM, "plain", world.space) is None, "its ticked claim goes")
    kept = world.cluster.get(CLAIM, "golden", world.space)
    assert kept is not None
    assert "deletionTimestamp" not in kept["metadata"]


@BOTH
def test_an_edit_is_saved(ui: Ui, world: World, annotation: Annotation) -> None:
    imported(world, annotation(world))
    answer = edited(ui, world, {"field.cattle.io/description": "edited"})
    assert answer.status == 200, answer.message


def edited(ui: Ui, world: World, annotations: dict[str, str]) -> Answer:
    """As the form does: read the VM, send it with the change; repeat it if the VM was outdated."""

    def saved() -> Answer | None:
        found = ui.ask("GET", ui.machine(world))
        if found.status == 404:  # not in its cache yet
            return None
        found.body["metadata"].setdefault("annotations", {}).update(annotations)
        answer = ui.ask("PUT", ui.machine(world), found.body)
        return None if answer.status == 409 else answer

    return eventually(saved, "the form is saved")


def as_the_form_writes(world: World) -> str:
    """All disks, also those that were attached as existing volumes, with sizes in GiB (parseDiskRows)."""
    entries = templates(world)
    for entry in entries:
        entry["spec"]["resources"]["requests"]["storage"] = "1Gi"
    return json.dumps(entries)


def test_the_form_adds_missing_templates(ui: Ui, world: World) -> None:
    imported(world, None)
    answer = edited(ui, world, {TEMPLATES: as_the_form_writes(world)})
    assert answer.status == 200, answer.message


def test_the_form_cannot_save_templates_without_whole_gibibytes(ui: Ui, world: World) -> None:
    imported(world, templates(world))
    answer = edited(ui, world, {TEMPLATES: as_the_form_writes(world)})
    assert answer.status == 422
    assert "requests storage can't be less than previous value" in answer.message


@BOTH
def test_a_snapshot_includes_every_disk(
    ui: Ui, world: World, lab: Lab, annotation: Annotation, request: pytest.FixtureRequest
) -> None:
    """Up to the VolumeSnapshots: no stand-in does what Longhorn does with them."""
    request.addfinalizer(lambda: without_longhorn_volumes(world, lab))
    for name in ("plain", "golden"):
        longhorn_volume(world, lab, name)
    imported(world, annotation(world), storage_class=V1_CLASS)
    lab.kubectl(
        *("--namespace", world.space, "wait", "pvc/plain", "pvc/golden"),
        *("--for=jsonpath={.status.phase}=Bound", "--timeout=60s"),
    )
    made = eventually(lambda: asked_for_snapshot(ui, world), "the UI's snapshot")

    def taken() -> bool:
        backup = world.cluster.get(BACKUP, made, world.space) or {}
        assert not (backup.get("status") or {}).get("error"), backup["status"]["error"]
        found = world.cluster.find(SNAPSHOT, world.space)
        sources = {one["spec"]["source"]["persistentVolumeClaimName"] for one in found}
        return sources == {"plain", "golden"}

    eventually(taken, "a VolumeSnapshot of each disk")


def asked_for_snapshot(ui: Ui, world: World) -> str:
    """Returns its name. The UI creates the object; the API's action `snapshot` does nothing (v1.8.2)."""
    name = f"snap-{secrets.token_hex(2)}"
    source = {"apiGroup": "kubevirt.io", "kind": MACHINE.kind, "name": "web"}
    answer = ui.ask(
        "POST",
        "harvesterhci.io.virtualmachinebackups",
        {
            "type": "harvesterhci.io.virtualmachinebackup",
            "apiVersion": BACKUP.api_version,
            "kind": BACKUP.kind,
            "metadata": {"name": name, "namespace": world.space},
            "spec": {"type": "snapshot", "source": source},
        },
    )
    if answer.status == 422 and "not found" in answer.message:  # the webhook has not seen the claims yet
        return ""
    assert answer.status == 201, answer.message
    return name


def longhorn_volume(world: World, lab: Lab, claim: str) -> None:
    """A Longhorn volume and its Engine for the next claim; the lab's volumes have no CSI driver."""
    name = f"{world.space}-{claim}"
    lab.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": str(GIB)},
                "accessModes": ["ReadWriteMany"],
                "volumeMode": "Block",
                "storageClassName": V1_CLASS,
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": world.space, "name": claim},
                "csi": {"driver": "driver.longhorn.io", "volumeHandle": name},
            },
        },
        {
            "apiVersion": "longhorn.io/v1beta2",
            "kind": "Engine",
            "metadata": {"name": name, "namespace": LONGHORN_SYSTEM, "labels": {"longhornvolume": name}},
            "spec": {"volumeName": name, "dataEngine": "v1"},
        },
    )


def without_longhorn_volumes(world: World, lab: Lab) -> None:
    for claim in ("plain", "golden"):
        name = f"{world.space}-{claim}"
        lab.kubectl("delete", "--wait=false", f"pv/{name}")
        lab.kubectl("--namespace", LONGHORN_SYSTEM, "delete", f"engines.longhorn.io/{name}")
