"""The stand-ins with the real API server of the lab: tests can rely on the results."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from steps.model.kinds import BACKING_IMAGE, CLAIM, DATA_VOLUME, IMAGE, MACHINE, STORAGE_CLASS
from tests.real.guest import datadisk, report
from tests.real.standins import harvester_machines
from tests.real.standins.api import INSTANCE, NAMESPACE, VOLUME, Api, ApiError
from tests.real.standins.asked import a_claim, a_machine, an_image, bound, digest, gone, when_condition
from tests.real.standins.controller import condition
from tests.real.standins.crds import LONGHORN_SYSTEM
from tests.real.standins.files import served
from tests.real.standins.images import DISPLAY_NAME, backing_name
from tests.real.standins.lab import Lab, NoLabError
from tests.real.standins.machine_rules import GOLDEN
from tests.real.standins.process import eventually, lab, reserved, running
from tests.real.standins.webhook import own_address

pytestmark = pytest.mark.lab

NAME = "standins-test"
MIB = 1 << 20
GUEST = Path(__file__).resolve().parents[3] / ".cache" / "guest" / "guest.img"
GUEST_BOOTS = 240.0
"""Seconds for a guest to report with QEMU's own emulation, on a busy host."""
OPTIONS = ("--backoff", "1", "--grace", "2")


@pytest.fixture(scope="module")
def where() -> Iterator[Lab]:
    try:
        found = lab()
    except NoLabError as error:
        pytest.skip(str(error))
    with reserved(found):
        yield found


@pytest.fixture(scope="module")
def api(where: Lab) -> Api:
    return Api(where.kubeconfig)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a disk of 64 MiB, raw and as qcow2: data, a hole, and data up to the last byte."""
    path = tmp_path_factory.mktemp("served")
    data = hashlib.shake_256(b"disk").digest(3 * MIB)
    with (path / "disk.raw").open("wb") as file:
        file.write(data[: 2 * MIB])
        file.seek(63 * MIB)
        file.write(data[2 * MIB :])
    argv = ["qemu-img", "convert", "-O", "qcow2", str(path / "disk.raw"), str(path / "disk.qcow2")]
    subprocess.run(argv, check=True)
    return path


@pytest.fixture(scope="module")
def url(api: Api, folder: Path) -> Iterator[str]:
    with served(own_address(api.host), folder) as base:
        yield base


@pytest.fixture
def namespace(where: Lab, api: Api) -> Iterator[str]:
    """A namespace of our own. The running stand-ins delete all objects of the tests with it."""
    thing = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}}
    gone(api, NAMESPACE, "", NAME)
    made = api.create(thing)
    yield NAME
    with running(where, *OPTIONS):
        api.delete(made)
        gone(api, NAMESPACE, "", NAME)


def test_a_backing_image_is_downloaded_and_deleted(
    where: Lab, api: Api, namespace: str, folder: Path, url: str
) -> None:
    with running(where, *OPTIONS):
        image = when_condition(api, api.create(an_image(namespace, "one", f"{url}/disk.qcow2")), "Imported")
        size = (folder / "disk.qcow2").stat().st_size
        status = image["status"]
        assert (status["size"], status["virtualSize"], status["progress"]) == (size, 64 * MIB, 100)
        named = f"lh-{image['metadata']['uid']}"
        assert status["storageClassName"] == named
        backing = api.get(BACKING_IMAGE, LONGHORN_SYSTEM, backing_name(image)) or {}
        sha512 = hashlib.sha512((folder / "disk.qcow2").read_bytes()).hexdigest()
        assert backing["status"]["checksum"] == sha512
        storage_class = api.get(STORAGE_CLASS, "", named) or {}
        assert storage_class["parameters"]["backingImage"] == backing_name(image)
        eventually(
            lambda: (api.get(IMAGE, namespace, "one") or {})["metadata"].get("labels", {}).get(DISPLAY_NAME),
            "label",
        )

        with pytest.raises(ApiError, match="A resource with the same name exists"):
            api.create(an_image(namespace, "two", f"{url}/disk.qcow2", displayName="one"))
        with pytest.raises(ApiError, match="url cannot be modified"):
            api.patch(image, {"spec": {"url": f"{url}/other"}})

        claim = api.create(a_claim(image, 64 * MIB))
        bound(api, claim)
        assert digest(where.disk(api, namespace, "one")) == digest(folder / "disk.raw")
        with pytest.raises(ApiError, match=f"being used by volume {namespace}/one"):
            api.delete(image)

        api.delete(claim)
        gone(api, CLAIM, namespace, "one")
        api.delete(image)
        gone(api, IMAGE, namespace, "one")
        gone(api, STORAGE_CLASS, "", named)
        backing_image = backing_name(image)
        gone(api, BACKING_IMAGE, LONGHORN_SYSTEM, backing_image)
        assert not list(where.backing.glob(f"{backing_image}*"))


@pytest.mark.parametrize(("storage_class", "name"), [("disk", "disk.qcow2"), ("wffc", "disk.raw")])
def test_a_cdi_image_is_a_claim_and_is_deleted_with_it(
    where: Lab, api: Api, namespace: str, folder: Path, url: str, storage_class: str, name: str
) -> None:
    with running(where, *OPTIONS):
        wanted = an_image(
            namespace, "golden", f"{url}/{name}", backend="cdi", targetStorageClassName=storage_class
        )
        image = when_condition(api, api.create(wanted), "Imported")
        assert image["status"]["virtualSize"] == 64 * MIB
        assert image["status"]["storageClassName"] == storage_class
        claim = api.get(CLAIM, namespace, "golden") or {}
        assert claim["metadata"]["annotations"][GOLDEN] == "true"
        assert digest(where.disk(api, namespace, "golden")) == digest(folder / "disk.raw")
        volume = claim["spec"]["volumeName"]

        api.delete(image)
        for kind in (IMAGE, DATA_VOLUME, CLAIM):
            gone(api, kind, namespace, "golden")
        gone(api, VOLUME, "", volume)


def test_a_failing_download_is_retried_and_then_fails(where: Lab, api: Api, namespace: str, url: str) -> None:
    with running(where, *OPTIONS, "--fail", "1", "--corrupt", "4"):
        image = when_condition(api, api.create(an_image(namespace, "cut", f"{url}/disk.raw")), "Imported")
        assert image["status"]["failed"] == 1

        wrong = an_image(namespace, "wrong", f"{url}/disk.raw", retry=0, checksum="0" * 128)
        status = when_condition(api, api.create(wrong), "RetryLimitExceeded")["status"]
        result = condition(status, "Imported")
        assert result["status"] == "False"
        assert "failed to process sync file: the expected checksum" in result["message"]

        spoilt = when_condition(api, api.create(an_image(namespace, "spoilt", f"{url}/disk.raw")), "Imported")
        raw = api.get(BACKING_IMAGE, LONGHORN_SYSTEM, backing_name(spoilt)) or {}
        good = api.get(BACKING_IMAGE, LONGHORN_SYSTEM, backing_name(image)) or {}
        assert raw["status"]["checksum"] != good["status"]["checksum"]

        missing = an_image(namespace, "missing", f"{url}/nothing.raw", retry=1)
        status = when_condition(api, api.create(missing), "RetryLimitExceeded")["status"]
        words = f"retry attempted 1/1 failed due to error: got 404 status code from {url}/nothing.raw"
        assert condition(status, "Initialized")["message"] == words


def test_work_in_progress_continues_after_a_restart(
    where: Lab, api: Api, namespace: str, folder: Path, url: str
) -> None:
    with running(where, *OPTIONS, "--rate", str(8 * MIB)):
        image = api.create(an_image(namespace, "slow", f"{url}/disk.raw"))

        def moving() -> bool:
            found = api.get(IMAGE, namespace, "slow") or {}
            return bool(0 < (found.get("status") or {}).get("progress", 0) < 100)

        eventually(moving, "progress")
    assert condition((api.get(IMAGE, namespace, "slow") or {})["status"], "Imported")["status"] == "Unknown"
    with running(where, *OPTIONS):
        when_condition(api, image, "Imported")
        claim = api.create(a_claim(image, 64 * MIB))
        bound(api, claim)
        assert digest(where.disk(api, namespace, "slow")) == digest(folder / "disk.raw")


@dataclass(frozen=True)
class Web01:
    """The VM of these tests, and its status from KubeVirt."""

    api: Api
    namespace: str
    console: Path

    @property
    def instance(self) -> str:
        """The uid of the instance; empty if there is none."""
        found = self.api.get(INSTANCE, self.namespace, "web01") or {}
        return str(found.get("metadata", {}).get("uid", ""))

    def run(self, strategy: str, ready: bool) -> None:
        """Set the run strategy, and wait until the status shows it."""
        thing = self.api.get(MACHINE, self.namespace, "web01") or {}
        self.api.patch(thing, {"spec": {"runStrategy": strategy}})
        self.await_state(ready)

    def await_state(self, ready: bool, seconds: float = 60.0) -> None:
        wanted = ("Running", True) if ready else ("Stopped", False)

        def reached() -> bool:
            status = (self.api.get(MACHINE, self.namespace, "web01") or {}).get("status") or {}
            return (status.get("printableStatus"), status.get("ready")) == wanted

        eventually(reached, f"machine {wanted[0]}", seconds)

    def report(self) -> report.GuestReport:
        def done() -> bool:
            return self.console.exists() and b"VMFERRY-GUEST done" in self.console.read_bytes()

        eventually(done, "report of the guest", GUEST_BOOTS)
        return report.parse(self.console.read_text(errors="replace"))


@pytest.fixture
def web01(where: Lab, api: Api, namespace: str, folder: Path) -> Web01:
    if not GUEST.exists():
        pytest.skip(f"{GUEST} is not there: tests/real/guest/build.sh {GUEST.parent}")
    with contextlib.suppress(FileExistsError):
        (folder / "guest.raw").symlink_to(GUEST)
    console = where.state / "consoles" / f"{namespace}-web01.log"
    console.unlink(missing_ok=True)
    return Web01(api, namespace, console)


def with_guest_disk(api: Api, namespace: str, url: str) -> None:
    image = when_condition(api, api.create(an_image(namespace, "disk-0", f"{url}/guest.raw")), "Imported")
    api.create(a_claim(image, 2048 * MIB))


@pytest.mark.vm
def test_a_vm_boots_from_its_claims_and_again_after_a_lost_node(
    where: Lab, api: Api, namespace: str, folder: Path, url: str, web01: Web01
) -> None:
    data = datadisk.make(folder / "data.raw", size=32 * MIB, payload_mib=4, stay=True)
    with running(where, *OPTIONS):
        with_guest_disk(api, namespace, url)
        golden = an_image(
            namespace, "disk-1", f"{url}/data.raw", backend="cdi", targetStorageClassName="disk"
        )
        when_condition(api, api.create(golden), "Imported")
        api.create(a_machine(namespace, ["disk-0", "disk-1"]))
        web01.await_state(ready=False)
        assert not web01.instance
        web01.run("RerunOnFailure", ready=True)
        result = web01.report()
        assert result.data == report.GuestData(data.nonce, data.sha256)
        assert (result.firmware, result.root.bus, result.disks[1].bus) == ("bios", "virtio", "sata")
        first = web01.instance

    argv = ["pgrep", "-f", str(where.state / "guests")]
    assert not subprocess.run(argv, check=False, capture_output=True).stdout
    with running(where, *OPTIONS):
        eventually(lambda: web01.instance not in ("", first), "another instance")
        web01.await_state(ready=True)
        web01.run("Halted", ready=False)
        eventually(lambda: not web01.instance, "no instance")


@pytest.mark.vm
def test_a_vm_that_powers_off_stays_off_and_is_deleted_with_ticked_claims(
    where: Lab, api: Api, namespace: str, url: str, web01: Web01
) -> None:
    with running(where, *OPTIONS):
        with_guest_disk(api, namespace, url)
        golden = an_image(
            namespace, "disk-1", f"{url}/disk.raw", backend="cdi", targetStorageClassName="disk"
        )
        when_condition(api, api.create(golden), "Imported")
        api.create(a_machine(namespace, ["disk-0", "disk-1"]))
        web01.run("RerunOnFailure", ready=True)
        web01.report()
        web01.await_state(ready=False)
        eventually(lambda: not web01.instance, "no instance")

        web01.run("Always", ready=True)
        harvester_machines.remove(api, namespace, "web01", ["disk-0", "disk-1"])
        gone(api, MACHINE, namespace, "web01")
        assert not web01.instance
        gone(api, CLAIM, namespace, "disk-0")
        assert api.get(CLAIM, namespace, "disk-1") is not None  # golden: deleted only with its image
