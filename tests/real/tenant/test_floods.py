"""Abuses by number and size: hundreds of objects, objects of more than 1 MiB, log-ins without end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from steps.model import names
from steps.model.contract import StepError
from steps.model.kinds import IMPORT, SECRET, SOURCES, WORKFLOW
from steps.model.sources import SourceKind
from tests.real.simulator import Simulator
from tests.real.tenant.client import Tenant, eventually
from tests.real.tenant.conftest import Attempt
from tests.real.tenant.ground import ADDRESS, RELEASE, Ground

VMWARE: Final = SourceKind.VMWARE
VCENTERS: Final = SOURCES[VMWARE]
LIMIT: Final = 256 << 20
"""Memory of the controller's container: values.yaml."""
LARGE: Final = 1_200_000
"""Bytes of a text in an object; etcd accepts 1.5 MiB."""
MANY_LARGE: Final = 120
MANY: Final = 200
PASSWORDS: Final = 12
LOCKED_AFTER: Final = 5
"""Refused log-ins after which vCenter locks an account."""


@pytest.fixture(scope="module")
def victim(ground: Ground) -> Tenant:
    return ground.tenant()


@pytest.fixture
def vcenter(tmp_path: Path, ground: Ground) -> Iterator[Simulator]:
    inventory = {"datacenters": [{"name": "DC0", "vms": []}]}
    with Simulator.start(inventory, tmp_path, listen=f"{ADDRESS}:0") as made:
        yield made


def test_a10_huge_objects(ground: Ground, attempt: Attempt, victim: Tenant) -> None:
    with attempt("A10", f"{MANY_LARGE} imports and sources of {LARGE / 1e6:g} MB each") as row:
        tenant, accepted, refusals = ground.tenant(), 0, []
        for number in range(MANY_LARGE):
            try:
                if number % 3:
                    tenant.import_(f"huge-{number}", "absent", folder="x" * LARGE)
                else:
                    tenant.ova(f"huge-{number}", f"http://{'x' * LARGE}")
                accepted += 1
            except StepError as error:
                refusals.append(str(error))
        ground.assert_serves(victim)
        ground.assert_alive()
        used = ground.memory()
        assert used < LIMIT, f"the controller used {used >> 20} MiB"
        if refusals:
            row.denied(
                "the API server",
                f"{len(refusals)} of {MANY_LARGE}: {refusals[0][-160:]}; controller {used >> 20} MiB",
            )
        else:
            row.harmless(f"{accepted} objects; the controller used {used >> 20} MiB")


def test_a11_many_imports(ground: Ground, attempt: Attempt, victim: Tenant) -> None:
    with attempt("A11", f"{MANY} imports at once") as row:
        tenant = ground.tenant()
        tenant.ova("web", f"{ground.web.url}/many.ovf")
        victim.ova("few", f"{ground.web.url}/few.ovf")
        for one, name in ((tenant, "web"), (victim, "few")):
            one.until_ready(name)
        for number in range(MANY):
            tenant.import_(f"many-{number}", "web")
        before = begun(ground, tenant)
        ground.started(victim.import_("one", "few"))
        after = begun(ground, tenant)
        assert after < MANY, "the honest import started last"
        for number in range(MANY):
            tenant.cluster.patch(
                IMPORT, f"many-{number}", {"metadata": {"finalizers": None}}, tenant.namespace
            )
            tenant.cluster.delete(IMPORT, f"many-{number}", tenant.namespace)
        row.harmless(
            f"the honest import started when {after} of {MANY} had ({after - before} since its creation)"
        )


def begun(ground: Ground, tenant: Tenant) -> int:
    """How many imports of a tenant have a Workflow."""
    return len(ground.admin.find(WORKFLOW, RELEASE, {names.LABEL_NAMESPACE: tenant.namespace}))


def test_a17_new_wrong_passwords(ground: Ground, attempt: Attempt, vcenter: Simulator) -> None:
    with attempt(
        "A17", f"lock another tenant's account with {PASSWORDS} wrong passwords, each a new one"
    ) as row:
        owner, tenant = ground.tenant(), ground.tenant()
        owner.login(vcenter)
        owner.vcenter("vc", vcenter)
        owner.until_ready("vc", VMWARE)
        own = {call["userAgent"] for call in vcenter.calls("Login")}
        for number in range(PASSWORDS):
            tenant.login(vcenter, f"guess-{number}", password=f"wrong-{number}")
            tenant.vcenter(f"vc-{number}", vcenter, f"guess-{number}")

        def answers() -> list[str]:
            return [tenant.source(f"vc-{number}", VMWARE).message for number in range(PASSWORDS)]

        eventually(lambda: all(answers()), lambda: str(answers()))
        wrong = len([call for call in vcenter.calls("Login") if call["userAgent"] not in own])
        assert wrong < LOCKED_AFTER, f"{wrong} refused log-ins"
        row.denied("the controller", f"{wrong} refused log-ins of {PASSWORDS}; {answers()[-1]}")
        assert owner.source("vc", VMWARE).status == "clusterReady"
        tenant.cluster.delete(SECRET, "guess-0", tenant.namespace)
