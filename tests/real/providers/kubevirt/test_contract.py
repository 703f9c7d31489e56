"""The contract of every source, with the stand-in of a cluster with KubeVirt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.provider_contract import Given, ProviderContract
from tests.unit.steps.providers.kubevirt.conftest import MakeAccess, access, standin, tls
from tests.unit.steps.providers.kubevirt.documents import CLAIMS
from tests.unit.steps.providers.kubevirt.standin import StandIn

__all__ = ["access", "standin", "tls"]


class TestKubeVirt(ProviderContract):
    @pytest.fixture
    def given(self, standin: StandIn, access: MakeAccess, tmp_path: Path) -> Given:
        originals = tuple(tmp_path / f"{claim}.original" for claim in CLAIMS)
        for claim, file in zip(CLAIMS, originals, strict=True):
            file.write_bytes(standin.content[claim])
        return Given(
            access=access,
            vm="web",
            folder=None,
            originals=originals,
            held=standin.cluster.held,
            stops=lambda: standin.cluster.stops,
        )
