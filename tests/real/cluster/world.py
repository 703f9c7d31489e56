"""A namespace to import into and a VM to import: the start of every end-to-end test."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field

from controller.operator import limits
from controller.operator.act import objects
from controller.operator.observe.checks import with_disk_format
from controller.operator.observe.facts import parse
from controller.operator.observe.request import spec_digest
from controller.operator.observe.target import target_kind
from controller.operator.options import Options
from steps.model import names
from steps.model.kinds import CONFIG_MAP, IMPORT, NAD, Object
from steps.model.plan import Plan
from tests.real import scenario
from tests.real.cluster.chart import Chart
from tests.real.cluster.lab import Lab
from tests.real.guest import report
from tests.real.standins.consoles import console_of, reported
from workflows.api.sources import VmwareSource
from workflows.plan import plan


@dataclass
class World:
    """For one test."""

    chart: Chart
    vcenter: scenario.Scenario
    namespace: str = field(default_factory=lambda: f"imports-{secrets.token_hex(3)}")

    @property
    def lab(self) -> Lab:
        return self.chart.lab

    def begin(self) -> None:
        """Start the VM at its source and make the objects that an import of it names."""
        self.vcenter.simulator.clear()
        self.vcenter.simulator.set_power(scenario.VM, "on")
        self.vcenter.simulator.forget_calls()
        self.lab.make_namespace(self.namespace)
        self.lab.apply(*(network(name, self.namespace) for name in ("vlan1", "vlan2")))
        secret, source, _ = self._manifests()
        self.lab.apply(secret, source)

    def end(self) -> None:
        self.vcenter.simulator.clear()
        self.lab.reset()

    def submit(self, **spec: object) -> Object:
        """Ask for the import."""
        self.lab.apply(self._manifests(**spec)[2])
        return self.import_()

    def import_(self) -> Object:
        found = self.lab.get(IMPORT, scenario.VM, self.namespace)
        assert found is not None
        return found

    def request(self, raw: Object) -> tuple[Plan, Object]:
        """All objects that the controller makes for a run except the Workflow, made by its own functions."""
        options = self._options()
        import_, fault = parse(raw)
        assert not fault
        secret, source, _ = self._manifests()
        kind = target_kind(self.lab.cluster, import_.spec.target, options.target, None)
        settings = options.settings.model_copy(update={"target": kind})
        planned = plan(import_, VmwareSource.model_validate(source, by_alias=True), settings)
        planned = with_disk_format(self.lab.cluster, planned, options)
        made = objects.request(planned, spec_digest(import_.spec), options.namespace)
        self.lab.apply(made)
        request = self.lab.get(CONFIG_MAP, names.request(planned.run))
        assert request is not None
        data = {key: base64.b64encode(text.encode()).decode() for key, text in secret["stringData"].items()}
        token = secrets.token_urlsafe(32)
        self.lab.apply(
            objects.credentials(planned, data, options.namespace, request, tried_digest=""),
            objects.address(planned, token, options.namespace, request),
        )
        limits.prepare(self.lab.cluster, options, planned.source, data)
        return planned, request

    def proven(self) -> report.GuestReport:
        """Read the imported VM's report after its boot, and compare its bytes with the source's."""
        return scenario.proven(reported(console_of(self.lab.place, self.namespace)), self.vcenter.data)

    def _manifests(self, **spec: object) -> list[Object]:
        return scenario.manifests(self.vcenter.simulator, self.namespace, **spec)

    def _options(self) -> Options:
        found = self.lab.get(CONFIG_MAP, "vmferry-controller")
        assert found is not None
        return Options.model_validate_json(found["data"]["controller.json"])


def network(name: str, namespace: str) -> Object:
    """A network for VMs; nothing in the lab connects it."""
    return {
        "apiVersion": NAD.api_version,
        "kind": NAD.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"config": '{"cniVersion": "0.3.1", "type": "bridge", "bridge": "mgmt-br"}'},
    }
