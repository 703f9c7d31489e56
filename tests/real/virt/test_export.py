"""KubeVirt as a source while its exports are off. tests/real/virt/test_import.py imports from it."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from steps.model.contract import Exit
from tests.real import scenario
from tests.real.cluster.lab import KUBECTL, Lab
from tests.real.e2e import harness
from tests.real.virt import exporting, sources
from tests.real.virt.cases import Case

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("cdi")]


def test_without_the_feature_gate_the_message_has_a_command_that_works(
    lab: Lab, namespace: str, tmp_path: Path
) -> None:
    exporting.set_gates(lab, [one for one in exporting.gates(lab) if one != exporting.GATE])
    case = Case("kubevirt", "embedded", "bios", "virtio", "Block")
    with exporting.running_guest(lab, case.bus, case.firmware, tmp_path) as (guest, data):
        documents = exporting.documents(lab, guest.namespace, namespace)
        offered = sources.Offered(documents, sources.reference(documents[1]), data, list)
        import_ = sources.import_of(case, offered, namespace, "wffc")
        path = scenario.write(tmp_path / "import.yaml", [*documents, import_])
        environment = {"KUBECONFIG": str(lab.place.kubeconfig), "SVC_ADDRESS": lab.host}
        argv = ("run", "--to", "kubevirt", "-f", path, "--into", tmp_path / "into")
        ended = harness.vmferry(*argv, **environment)
        assert ended.code == Exit.UNSUPPORTED, ended.err
        assert "the feature gate VMExport is off" in ended.err
        assert guest.stored()["status"]["printableStatus"] == "Running"

        # the lab's KubeVirt has no gate, so the second of the two commands is right
        commands = re.findall(r"(kubectl patch kubevirt .*? -p '.*?')", ended.err.replace("\n", " "))
        assert len(commands) == 2, ended.err
        patch = [str(KUBECTL), "--kubeconfig", str(lab.place.kubeconfig), *shlex.split(commands[-1])[1:]]
        subprocess.run(patch, check=True, capture_output=True, timeout=120)
        assert exporting.gates(lab) == [exporting.GATE]
        exporting.await_exports(lab)
