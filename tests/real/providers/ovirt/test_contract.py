"""The contract of every source, with a stand-in of an engine and the real ovirt-imageio."""

from __future__ import annotations

import pytest

from tests.provider_contract import Given, ProviderContract
from tests.real.ovirt.conftest import Images
from tests.real.ovirt.lab import Lab
from tests.real.providers.ovirt.conftest import MakeAccess


class TestOvirt(ProviderContract):
    @pytest.fixture
    def given(self, lab: Lab, images: Images, access: MakeAccess) -> Given:
        def stops() -> int:
            vm = lab.vm("web")
            return int(vm["shutdowns"]) + int(vm["stops"])

        return Given(
            access=access,
            vm="web",
            folder=None,
            originals=(images.raw, images.raw),  # the second disk is a chain with the same content
            held=lambda: lab.sessions() + len(lab.transfers(live=True)),
            stops=stops,
        )
