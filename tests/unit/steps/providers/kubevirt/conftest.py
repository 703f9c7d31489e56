"""The stand-in, and access to it."""

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
from tests.unit.steps.providers.kubevirt.documents import CLAIMS, SIZE
from tests.unit.steps.providers.kubevirt.standin import StandIn, kubeconfig

MakeAccess = Callable[..., Access]
BLOCK = 1 << 16


def a_disk(seed: int, used_blocks: int = 4, size: int = SIZE) -> bytes:
    """A disk of which some blocks, far apart, have data."""
    disk, rng = bytearray(size), random.Random(seed)
    for block in range(used_blocks):
        at = block * (size // used_blocks // BLOCK) * BLOCK
        disk[at : at + BLOCK] = rng.randbytes(BLOCK)
    return bytes(disk)


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> SelfSigned:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def standin(tls: SelfSigned, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setattr("steps.providers.kubevirt.power.POLL_SECONDS", 0.01)
    # Calls that change something are made once. On a busy computer the stand-in may accept one late.
    monkeypatch.setattr("steps.disk.http_client.CONNECT_SECONDS", 60.0)
    with StandIn(tls.server(), tls.pem) as standin:
        standin.content = {claim: a_disk(number) for number, claim in enumerate(CLAIMS)}
        yield standin


@pytest.fixture
def access(standin: StandIn, tls: SelfSigned, tmp_path: Path) -> MakeAccess:
    """Makes an access for a step; `plan` changes the source, `user` the user of the kubeconfig."""

    def make(step: str = "export-disk-0", *, run: str = "run-1", plan: Any = None, **more: Any) -> Access:
        credentials = tmp_path / "credentials"
        credentials.mkdir(exist_ok=True)
        text = more.pop("kubeconfig", None) or kubeconfig(standin.url, tls.pem, **more.pop("user", {}))
        (credentials / "kubeconfig").write_text(text)
        source = SourcePlan(
            kind=SourceKind.KUBEVIRT, name="cluster", **{"endpoint": standin.url, **(plan or {})}
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
