"""Which target notices, before the VM is built, a byte that was changed on its way from serve (F20)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from steps import image, serve
from steps.model.contract import Exit
from steps.model.kinds import Object
from tests.real.targets.meddler import download, meddling, running
from tests.tls import serving_folder
from tests.unit.steps.targets.harvester.stand_ins import Harvester, a_class
from tests.unit.steps.targets.harvester.test_programs import DATA, Pod, pod
from tests.unit.steps.targets.harvester.test_run import a_request
from tests.unit.steps.targets.harvester.world import World

__all__ = ["pod"]
pytestmark = pytest.mark.programs


@dataclass
class Pulling(Harvester):
    """It really downloads the disk, as the program that the backend uses."""

    ca: Path | None = None
    folder: Path = field(default_factory=Path)
    got: list[bytes] = field(default_factory=list)
    words: str = ""
    """The last words of `image`."""

    def _import(self, image: Object, status: Object) -> None:
        job = download(image["spec"]["url"], self.folder / "download", ca=self.ca)
        if job.error:
            self.fail, self._at[image["metadata"]["uid"]] = [job.error], 0
            return
        self.got.append((self.folder / "download").read_bytes())
        super()._import(image, status)

    def _downloaded(self, image: Object) -> bytes:
        return self.got[-1]


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A Harvester whose class leads to the backend that the test names."""
    monkeypatch.setattr("tests.unit.steps.targets.harvester.world.Harvester", Pulling)
    monkeypatch.setattr(serve, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr("steps.targets.harvester.publishing.POLL", 0.01)
    made = World(storage_class="chosen")
    longhorn = request.param == "backingimage"
    provisioner = "driver.longhorn.io" if longhorn else "lvm.driver.harvesterhci.io"
    made.cluster.put(a_class("chosen", provisioner, parameters={"dataEngine": "v1"} if longhorn else {}))
    made.cluster.put(a_request(made.plan))
    (tmp_path / "receiver").mkdir()
    receiver(made).folder = tmp_path / "receiver"
    return made


def receiver(world: World) -> Pulling:
    assert isinstance(world.harvester, Pulling)
    return world.harvester


def publish(pod: Pod, world: World, *, tls: Path | None = None, change: bool) -> Exit:
    """Run `serve` and `image`, with a byte changed between serve and the receiver, or none."""
    world.volumes().save(pod.folder / "request" / "volumes.json")
    receiver(world).ca = tls / "ca.crt" if tls else None
    at = len(DATA) // 2 if change else 1 << 40
    with running(pod, tls=tls) as serving, meddling(serving.port, at) as meddler:
        origin = serving.origin.replace(str(serving.port), str(meddler.port))
        where = [
            "--token-file",
            pod.token,
            "--origin",
            origin,
            *(["--ca", str(tls / "ca.crt")] if tls else []),
        ]
        code = pod.run(image.body, image.arguments(), "--disk", "disk-0", *where)
        receiver(world).words = pod.words  # before those of the stopped serve
    assert bool(meddler.changed) == change
    return code


@pytest.mark.parametrize("world", ["backingimage"], indirect=True)
def test_longhorns_digest_shows_it_and_the_next_attempt_gets_the_right_bytes(pod: Pod, world: World) -> None:
    assert publish(pod, world, change=True) is Exit.BROKEN_STREAM
    assert "differs from the disk that was served" in receiver(world).words
    assert world.images() == [], "nobody can build a VM from it"
    assert publish(pod, world, change=False) is Exit.DONE
    assert pod.output("integrity") == "sha512"
    assert receiver(world).got[-1] == DATA


@pytest.mark.parametrize("world", ["cdi"], indirect=True)
def test_with_cdi_over_http_nobody_notices_and_the_status_says_so(pod: Pod, world: World) -> None:
    assert publish(pod, world, change=True) is Exit.DONE
    assert receiver(world).got[-1] != DATA
    assert pod.output("integrity") == "transfer-only"


@pytest.mark.parametrize("world", ["cdi", "backingimage"], indirect=True)
def test_over_tls_the_receiver_itself_notices(pod: Pod, world: World, tmp_path: Path) -> None:
    tls = serving_folder(tmp_path / "tls")
    assert publish(pod, world, tls=tls, change=True) is Exit.BROKEN_STREAM
    assert receiver(world).got == []
    assert publish(pod, world, tls=tls, change=False) is Exit.DONE
    assert receiver(world).got == [DATA]
    assert pod.output("integrity") == ("tls" if world.images()[0]["spec"]["backend"] == "cdi" else "sha512")
    assert pod.output("digest") == hashlib.sha512(DATA).hexdigest()
