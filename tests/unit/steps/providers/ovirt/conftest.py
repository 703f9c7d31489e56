"""The fake, and access to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers import Access
from steps.runtime.stop import Stop
from tests.tls import SelfSigned, self_signed
from tests.unit.steps.providers.ovirt.documents import DISKS, SIZE
from tests.unit.steps.providers.ovirt.fake import BLOCK, PASSWORD, Fake

MakeAccess = Callable[..., Access]


def a_disk(seed: int, used_blocks: int) -> bytes:
    """A disk of which some blocks, far apart, have data."""
    disk, rng = bytearray(SIZE), random.Random(seed)
    for block in range(used_blocks):
        at = block * (SIZE // used_blocks // BLOCK) * BLOCK
        disk[at : at + BLOCK] = rng.randbytes(BLOCK)
    return bytes(disk)


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> SelfSigned:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def fake(tls: SelfSigned, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    for pause in ("waiting.POLL_SECONDS", "power.POLL_SECONDS", "transfers.POLL_SECONDS"):
        monkeypatch.setattr(f"steps.providers.ovirt.{pause}", 0.01)
    with Fake(tls.server()) as fake:
        fake.content = {disk: a_disk(number, 4) for number, disk in enumerate(DISKS)}
        yield fake


@pytest.fixture
def access(fake: Fake, tls: SelfSigned, tmp_path: Path) -> MakeAccess:
    """Makes an access for a step; `plan` changes the source."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for key, value in {"username": "admin@internal", "password": PASSWORD, "caCert": tls.pem}.items():
        (credentials / key).write_text(value)

    def make(step: str = "export-disk-0", *, run: str = "run-1", plan: Any = None, **more: Any) -> Access:
        source = SourcePlan(
            kind=SourceKind.OVIRT,
            name="engine",
            **{
                "endpoint": fake.url,
                "image_daemon_port": fake.port,
                "image_proxy_port": fake.port,
                **(plan or {}),
            },
        )
        return Access(
            plan=source,
            credentials=credentials,
            stop=more.pop("stop", Stop()),
            run=run,
            step=step,
            state_folder=tmp_path / "state",
            **more,
        )

    return make
