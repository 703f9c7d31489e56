"""Imports from the other kinds of source with the real Argo: an OVA behind HTTPS, and the real OpenStack."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from steps.model import names
from steps.model.kinds import API_VERSION, CLAIM, MACHINE, STORAGE_CLASS, Object
from steps.model.sources import SourceKind
from tests import demosources
from tests.real import scenario
from tests.real.argo.ground import HOST, Ground, eventually
from tests.real.argo.place import RUNNING, Imported, Place, bytes_of, claims_of, images_of, place
from tests.real.argo.website import PASSWORD, USER, site
from tests.real.argo.world import a_disk
from tests.real.guest import datadisk
from tests.real.openstack import machines
from tests.real.openstack.cloud import Cloud, Project
from tests.real.openstack.stack import operate
from tests.real.ovirt import guest
from tests.real.ovirt.lab import Lab as Ovirt
from tests.real.standins import harvester_machines
from tests.real.standins.api import Api
from tests.real.standins.consoles import fresh_console, reported
from tests.unit.steps.providers.ova.make import build_ova
from workflows.api.conditions import find
from workflows.status.marked import MARKED

pytestmark = pytest.mark.argo

GIB = 1 << 30
BASE_PORT = 17000


def test_ova_behind_https_is_imported(ground: Ground, tmp_path: Path) -> None:
    """With a login, a CA of its own and Range. Two disks are read from their positions in the archive."""
    (tmp_path / "files").mkdir()
    originals = [Path(a_disk(tmp_path, number)["file"]) for number in (41, 42)]
    archive = tmp_path / "files" / "appliance.ova"
    build_ova(archive, originals, "virtualbox", tables_last=False, name="appliance")
    with site(tmp_path) as web, place(ground, "it-ova") as made:
        secret = _secret(made, "login", {"username": USER, "password": PASSWORD, "ca.crt": web.certificate})
        spec = {"url": f"{web.url}/appliance.ova", "credentials": {"name": "login"}}
        source = _source(made, "OvaSource", "appliance", spec)
        imported = _begin(made, secret, source, "my-appliance", originals)
        assert imported.status.percent == 100
        ranged = [line for line in web.asked() if " 206 " in line]
        assert len(ranged) > len(originals)


def test_guest_of_an_ovirt_boots_with_its_data(ground: Ground, tmp_path: Path) -> None:
    """Its disks come from the real ovirt-imageio; the engine is a stand-in."""
    scenario.guest_image()
    data = datadisk.make(tmp_path / "data.img", stay=True)
    with (
        Ovirt.start(guest.inventory(data.path), tmp_path / "engine", listen=f"{HOST}:0") as engine,
        place(ground, "it-ovirt") as made,
    ):
        secret, source = demosources.ovirt_source(engine, made.namespace)
        mapping = [
            {"sourceNetwork": name, "destinationNetwork": f"vlan{number}"}
            for number, name in enumerate(guest.NETWORKS, 1)
        ]
        reference = {"kind": "OvirtSource", "name": "engine"}
        document = made.document(scenario.VM, reference, networkMapping=mapping)
        console = fresh_console(ground.lab, made.namespace)
        ground.apply(document, source, secret)
        status = made.imported(scenario.VM).until(RUNNING)
        assert {row.integrity for row in status.disk_import_status} == {"sha512"}
        report = scenario.proven(reported(console), data)
        assert [nic.mac for nic in report.nics] == list(scenario.MACS)
        vm = engine.vm(scenario.VM)
        assert (vm["status"], vm["shutdowns"], vm["stops"]) == ("down", 1, 0)
        assert engine.transfers(live=True) == []
        assert {disk["status"] for disk in engine.disks()} == {"ok"}


@pytest.fixture(scope="module")
def openstack(ground: Ground) -> Iterator[Cloud]:
    del ground  # the lab runs
    with Cloud.for_pods("cluster", HOST, BASE_PORT) as cloud:
        yield cloud


@pytest.fixture
def project(openstack: Cloud) -> Iterator[Project]:
    with openstack.project() as made:
        yield made


@pytest.mark.alone
def test_three_openstack_servers_are_imported_in_parallel(
    ground: Ground, project: Project, tmp_path: Path
) -> None:
    """One by UUID, one by name, one with two disks and two NICs (the QA plan's case)."""
    fronts = [machines.Nic(network=machines.network(project, name)) for name in ("front", "back")]
    one, two = _whole(tmp_path, 51), _whole(tmp_path, 52)
    by_name = machines.server(project, "by-name", [one], nics=fronts[:1])
    by_uuid = machines.server(project, "by-uuid", [one], nics=fronts[:1])
    both = machines.server(project, "two-of-each", [one, two], nics=fronts)
    with place(ground, "it-openstack") as made:
        secret, source = demosources.openstack_source(project, made.namespace)
        wanted = {"by-name": "by-name", "by-uuid": by_uuid.id, "two-of-each": "two-of-each"}
        reference = {"kind": "OpenstackSource", "name": "cloud"}
        mapping = [{"sourceNetwork": "front", "destinationNetwork": "vlan1"}]
        ground.apply(
            *(
                made.document(vm, reference, name=name, targetVirtualMachineName=name, networkMapping=mapping)
                for name, vm in wanted.items()
            ),
            source,
            secret,
        )
        every = [made.imported(name) for name in wanted]
        for imported in every:
            imported.until(RUNNING, seconds=900)
        for name, originals in (("by-name", [one]), ("by-uuid", [one]), ("two-of-each", [one, two])):
            _same_bytes(made, name, originals)
        machine = made.imported("two-of-each").machine()
        assert machine is not None
        assert len(machine["spec"]["template"]["spec"]["domain"]["devices"]["interfaces"]) == 2
        assert [project.stops(server.id) for server in (by_name, by_uuid, both)] == [1, 1, 1]
        eventually(lambda: not project.held(), lambda: f"left at the source: {project.held()}", 120)


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["snapshot", "volume", "image"])
def test_what_an_openstack_that_is_away_still_holds_is_deleted_when_it_answers(
    ground: Ground,
    openstack: Cloud,
    project: Project,
    settings: Callable[..., None],
    tmp_path: Path,
    kind: str,
) -> None:
    """The export is killed by the deletion of the import, while Cinder or Glance makes the next copy."""
    settings(controller={"deletionTimeoutSeconds": 20})
    server = machines.server(project, "left", [_whole(tmp_path, 53)])
    with place(ground, f"it-left-{kind}") as made:
        secret, source = demosources.openstack_source(project, made.namespace)
        reference = {"kind": "OpenstackSource", "name": "cloud"}
        ground.apply(made.document(server.id, reference, name="left"), source, secret)
        imported = made.imported("left")
        imported.when(lambda _: any(one.startswith(f"{kind} ") for one in project.held()), 300, f"a {kind}")
        with operate.away(openstack.layout):
            imported.delete(seconds=180)
            (request,) = made.requests()
            assert request["metadata"]["labels"][names.LABEL_LEFTOVERS] == "true"
        made.verify_now(SourceKind.OPENSTACK, "cloud")
        eventually(lambda: not made.requests(), lambda: f"requests to go: {len(made.requests())}", 300)
        assert project.held() == []


@pytest.mark.alone
def test_openstack_server_boots_with_its_data(ground: Ground, project: Project, tmp_path: Path) -> None:
    scenario.guest_image()
    with place(ground, "it-cloud-guest") as made:
        stage = demosources.openstack_stage(project, tmp_path, made.namespace, stay=True)
        console = fresh_console(ground.lab, made.namespace)
        ground.kubectl("apply", "-f", str(stage.manifests))
        made.imported(scenario.VM).until(RUNNING, seconds=900)
        report = scenario.proven(reported(console), stage.data)
        assert [nic.mac for nic in report.nics] == list(scenario.MACS)
        assert project.held() == []


CLOUD: Final = {"kind": "OpenstackSource", "name": "cloud"}


@pytest.mark.alone
def test_an_openstack_import_is_deleted_and_made_again_over_its_images(
    ground: Ground, project: Project, tmp_path: Path
) -> None:
    """The deletion keeps VM, volumes and images. Nothing is uploaded again (two of the QA plan's cases)."""
    originals = [_whole(tmp_path, 54), _whole(tmp_path, 55)]
    machines.server(project, "again", originals)
    with place(ground, "it-cloud-again") as made:
        secret, source = demosources.openstack_source(project, made.namespace)
        imported = _begin(made, secret, source, "again", originals, seconds=900)
        images = {image["metadata"]["uid"] for image in images_of(made)}
        imported.delete()
        assert imported.machine() is not None
        assert len(made.all(CLAIM)) == len(images) == 2
        api = Api(ground.lab.kubeconfig)
        harvester_machines.remove(api, made.namespace, "again", ["disk-0", "disk-1"])
        eventually(lambda: not made.all(MACHINE) and not made.all(CLAIM), "the VM and its volumes to go", 60)
        assert {image["metadata"]["uid"] for image in images_of(made)} == images
        _begin(made, secret, source, "again", originals, seconds=900)
        assert {image["metadata"]["uid"] for image in images_of(made)} == images
        assert project.held() == []


@pytest.mark.alone
def test_an_openstack_import_that_is_deleted_during_the_download_leaves_nothing(
    ground: Ground, project: Project, tmp_path: Path
) -> None:
    machines.server(project, "quick", [_whole(tmp_path, 56)])
    with place(ground, "it-cloud-quick") as made:
        secret, source = demosources.openstack_source(project, made.namespace)
        ground.apply(made.document("quick", CLOUD, approvals=["start"]), source, secret)
        imported = made.imported("quick")
        eventually(lambda: bool(images_of(made)), imported.describe, 600)
        imported.delete()
        eventually(lambda: not images_of(made), "the images to go", 60)
        assert made.all(CLAIM) == made.all(MACHINE) == []
        eventually(lambda: not project.held(), lambda: f"left at the source: {project.held()}", 120)


@pytest.mark.alone
def test_an_openstack_server_gets_the_default_class_and_the_network_of_the_pods(
    ground: Ground, project: Project, tmp_path: Path
) -> None:
    """No class and a source network that does not exist (two of the QA plan's cases)."""
    nics = [machines.Nic(network=machines.network(project, "front"))]
    machines.server(project, "default", [_whole(tmp_path, 57)], nics=nics)
    bogus = [{"sourceNetwork": "no such network", "destinationNetwork": "vlan1"}]
    with place(ground, "it-cloud-default") as made:
        secret, source = demosources.openstack_source(project, made.namespace)
        ground.apply(made.document("default", CLOUD, networkMapping=bogus), source, secret)
        imported = made.imported("default")
        imported.until(RUNNING, seconds=900)
        machine = imported.machine()
        assert machine is not None
        template = machine["spec"]["template"]["spec"]
        (nic,), (network,) = template["domain"]["devices"]["interfaces"], template["networks"]
        assert (nic["model"], nic["masquerade"], network["pod"]) == ("virtio", {}, {})
        classes = {image["status"]["storageClassName"] for image in images_of(made)}
        parameters = [ground.cluster.get(STORAGE_CLASS, name) for name in classes]
        assert parameters
        assert all(one and one["provisioner"] == "driver.longhorn.io" for one in parameters)


@pytest.mark.alone
def test_an_openstack_server_is_imported_with_a_token_and_marked(
    ground: Ground, project: Project, tmp_path: Path
) -> None:
    """`forcePowerOff` is a warning: Nova stops the server once."""
    server = machines.server(project, "marked", [_whole(tmp_path, 58)])
    with place(ground, "it-cloud-token") as made:
        secret, source = demosources.openstack_source(project, made.namespace)
        login = {"token": project.connection.auth_token, "project_id": project.id}
        authority = {key: value for key, value in secret["stringData"].items() if key == "ca_cert"}
        secret["stringData"] = {**login, **authority}
        mark = {"tag": "moved", "nameSuffix": "-imported", "disconnectNics": True}
        ground.apply(made.document("marked", CLOUD, markSource=mark, forcePowerOff=True), source, secret)
        imported = made.imported("marked")
        imported.until(RUNNING, seconds=900)
        marked = eventually(lambda: find(imported.status.import_conditions, MARKED), imported.describe, 120)
        assert (marked.status, marked.reason) == ("True", "Marked"), marked.message
        now = project.connection.compute.get_server(server.id)
        assert (now.name, now.tags, now.status) == ("marked-imported", ["moved"], "SHUTOFF")
        ports = list(project.connection.network.ports(device_id=server.id))
        assert not any(port.is_admin_state_up for port in ports)
        assert project.stops(server.id) == 1


def _whole(folder: Path, number: int) -> Path:
    """A disk of whole GiB, as volumes are."""
    path = Path(a_disk(folder, number)["file"])
    with path.open("r+b") as file:
        file.truncate(GIB)
    return path


def _secret(made: Place, name: str, values: dict[str, str]) -> Object:
    metadata = {"name": name, "namespace": made.namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


def _source(made: Place, kind: str, name: str, spec: Object) -> Object:
    metadata = {"name": name, "namespace": made.namespace}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _begin(
    made: Place, secret: Object, source: Object, vm: str, originals: list[Path], *, seconds: float = 300
) -> Imported:
    """Import a VM to its end and compare its claims with the originals."""
    reference = {"kind": source["kind"], "name": source["metadata"]["name"]}
    made.ground.apply(made.document(vm, reference), source, secret)
    imported = made.imported(vm)
    imported.until(RUNNING, seconds=seconds)
    _same_bytes(made, vm, originals)
    return imported


def _same_bytes(made: Place, name: str, originals: list[Path]) -> None:
    machine = Imported(made.ground, made.namespace, name).machine()
    assert machine is not None
    for claim, original in zip(claims_of(machine), originals, strict=True):
        digest = hashlib.sha256(original.read_bytes()).hexdigest()
        assert bytes_of(made.ground, made.namespace, claim) == digest
