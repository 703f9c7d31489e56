"""The lab with the real KubeVirt; without KubeVirt's programs the tests are skipped."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.real import lab_only
from tests.real.argo.ground import Ground, has_argo, installed
from tests.real.cluster.lab import ROOT, SCRIPTS, Lab
from tests.real.openstack.cloud import Cloud, Project
from tests.real.standins.process import reserved
from tests.real.virt import storage
from tests.real.virt.judge import recorded

HERE = Path(__file__).parent
UP_SECONDS = 2400.0
"""The first time KubeVirt's images are made and loaded."""
PURE = ("test_judge.py", "test_cases.py", "test_multus.py")
OPENSTACK_PORT = 17600


NOT_COLLECTED: Final = {
    # Only `make e2e` records VMs, so without a recording there is nothing to judge.
    **({} if recorded() else {"test_recorded.py": "no other suite has recorded a VM"}),
}
collect_ignore = list(NOT_COLLECTED)


def _missing() -> str:
    argv = [str(SCRIPTS / "kubevirt" / "build"), "--status"]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    return "" if ended.returncode == 0 else f"NOT RUN: no KubeVirt; {ended.stdout.strip()}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("VMFERRY_E2E"):
        for name, why in NOT_COLLECTED.items():
            terminalreporter.write_line(f"!!! tests/real/virt/{name} WAS NOT RUN: {why}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lab_only.mark(items, HERE, _missing, pure=PURE)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    found = Lab.start("--kubevirt", seconds=UP_SECONDS)
    with reserved(found.place):
        yield found


@pytest.fixture(scope="session")
def cdi(lab: Lab) -> None:
    """The real CDI; the test is skipped if it was not given to the lab."""
    status = subprocess.run(
        [SCRIPTS / "cdi" / "install", "--status"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if status.startswith("none"):
        pytest.skip(f"NOT RUN: no CDI; {status}")


@pytest.fixture(scope="session")
def csi_class(lab: Lab, cdi: None) -> Iterator[str]:
    with storage.csi_class(lab) as name:
        yield name


@pytest.fixture(scope="session")
def ground(lab: Lab, cdi: None) -> Ground:
    """The chart next to the real KubeVirt, with the real Argo; the test is skipped if that was not given."""
    if not has_argo():
        pytest.skip("NOT RUN: no Argo given; set LAB_ARGO (tests/real/lab/README.md)")
    subprocess.run([ROOT / "tests" / "real" / "cluster" / "images"], check=True)
    return installed(lab.place)


@pytest.fixture(scope="session")
def openstack(lab: Lab) -> Iterator[Cloud]:
    with Cloud.for_pods("virt", lab.host, OPENSTACK_PORT) as cloud:
        yield cloud


@pytest.fixture
def project(openstack: Cloud) -> Iterator[Project]:
    with openstack.project() as made:
        yield made


@pytest.fixture
def namespace(lab: Lab) -> Iterator[str]:
    """A namespace of one test, with all that is in it."""
    name = lab.make_namespace(f"virt-{secrets.token_hex(3)}")
    yield name
    lab.kubectl("--namespace", name, "delete", "vm", "--all", "--timeout=300s", seconds=330)
    lab.kubectl("delete", "namespace", name, "--timeout=300s", seconds=330)
