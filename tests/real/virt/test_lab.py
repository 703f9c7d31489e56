"""The lab with KubeVirt: its aggregated API answers, and the stand-ins do not start next to it."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.real.cluster.lab import KUBECTL, ROOT, Lab


def test_the_aggregated_apis_are_available(lab: Lab) -> None:
    found = json.loads(lab.kubectl("get", "apiservices", "-o", "json"))["items"]
    aggregated = [one for one in found if one["spec"].get("service")]
    assert "v1.subresources.kubevirt.io" in [one["metadata"]["name"] for one in aggregated]
    unavailable = [
        (one["metadata"]["name"], condition.get("message"))
        for one in aggregated
        for condition in one["status"]["conditions"]
        if condition["type"] == "Available" and condition["status"] != "True"
    ]
    assert unavailable == []


def test_the_aggregated_api_knows_who_asks(lab: Lab) -> None:
    """The API server names the user, with its front-proxy certificate; KubeVirt checks that user's rights."""
    where = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/none/vnc/screenshot"
    argv = [str(KUBECTL), "--kubeconfig", str(lab.place.kubeconfig), "get", "--raw", where]
    stranger = "system:serviceaccount:default:default"
    refused = subprocess.run([*argv, "--as", stranger], capture_output=True, text=True, check=False)
    assert "forbidden" in refused.stderr.lower()
    allowed = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "not found" in allowed.stderr.lower()


def test_the_standins_refuse_a_lab_with_the_real_kubevirt(lab: Lab) -> None:
    argv = [sys.executable, "-m", "tests.real.standins", "--kubeconfig", str(lab.place.kubeconfig)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
    assert ended.returncode != 0
    assert "the real KubeVirt runs in this lab" in ended.stderr
