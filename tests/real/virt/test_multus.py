"""The stand-in for Multus runs the plug-ins that it should; needs no lab.

The plug-ins and kubectl are small programs that note how they were called.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.real.cluster.lab import SCRIPTS

STANDIN: Final = SCRIPTS / "multus" / "standin"
PLUGIN: Final = """\
#!{python}
import json, os, sys
given = json.load(sys.stdin)
row = {{"type": given["type"], "command": os.environ["CNI_COMMAND"], "interface": os.environ["CNI_IFNAME"],
       "arguments": os.environ.get("CNI_ARGS", ""), "previous": "prevResult" in given,
       "runtime": given.get("runtimeConfig")}}
with open("{folder}/calls", "a") as calls:
    calls.write(json.dumps(row) + "\\n")
if given.get("fails") and os.environ["CNI_COMMAND"] == "ADD":
    print(json.dumps({{"code": 11, "msg": "no such bridge"}}))
    sys.exit(1)
if os.environ["CNI_COMMAND"] == "ADD":
    print(json.dumps({{"cniVersion": "0.4.0", "interfaces": [{{"name": "x", "mac": "02:00:00:00:00:01",
          "sandbox": "/n"}}], "ips": [{{"address": "10.0.0.7/24"}}]}}))
"""
KUBECTL: Final = """\
#!{python}
import json, pathlib, sys
words = sys.argv[1:]
if "patch" in words:
    pathlib.Path("{folder}/patch").write_text(words[-1])
elif "pod" in words:
    print(pathlib.Path("{folder}/pod").read_text())
else:
    print(pathlib.Path("{folder}/network").read_text())
"""


class Node:
    """A node with the plug-ins `bridge`, `portmap` and `lan`."""

    def __init__(self, folder: Path, wanted: str, **network: Any) -> None:
        self.folder = folder
        for name in ("bridge", "portmap", "lan"):
            self._program(name, PLUGIN)
        self._program("kubectl", KUBECTL)
        (folder / "pod").write_text(
            json.dumps({"metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": wanted}}})
        )
        (folder / "network").write_text(
            json.dumps({"spec": {"config": json.dumps({"cniVersion": "0.3.1", "type": "lan", **network})}})
        )

    def _program(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text.format(python=sys.executable, folder=self.folder))
        (self.folder / name).chmod(0o755)

    def call(self, command: str) -> subprocess.CompletedProcess[str]:
        plugins = [{"type": "bridge"}, {"type": "portmap", "capabilities": {"portMappings": True}}]
        config = {
            "cniVersion": "0.4.0",
            "name": "multus",
            "type": "multus",
            "runtimeConfig": {"portMappings": [{"hostPort": 80}]},
            "kubectl": str(self.folder / "kubectl"),
            "kubeconfig": "unused",
            "cniDir": str(self.folder / "state"),
            "delegates": [{"cniVersion": "0.4.0", "name": "cluster", "plugins": plugins}],
        }
        environment = {
            **os.environ,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": "/n",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.folder),
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=p",
        }
        return subprocess.run(
            [STANDIN], input=json.dumps(config), capture_output=True, text=True, env=environment, check=False
        )

    def calls(self) -> list[dict[str, Any]]:
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


MAC: Final = "00:50:56:12:34:02"


@pytest.mark.parametrize(
    ("wanted", "interface", "mac"),
    [
        (json.dumps([{"name": "lan", "namespace": "b", "interface": "pod1", "mac": MAC}]), "pod1", MAC),
        ("b/lan@pod1", "pod1", ""),
        ("lan", "net1", ""),
    ],
    ids=["json", "long", "short"],
)
def test_a_pod_gets_its_interfaces_and_loses_them(
    tmp_path: Path, wanted: str, interface: str, mac: str
) -> None:
    node = Node(tmp_path, wanted)
    added = node.call("ADD")
    assert added.returncode == 0, added.stdout
    assert json.loads(added.stdout)["ips"] == [{"address": "10.0.0.7/24"}]
    bridge, portmap, lan = node.calls()
    assert (bridge["type"], bridge["interface"], bridge["previous"]) == ("bridge", "eth0", False)
    assert (portmap["type"], portmap["previous"]) == ("portmap", True)
    assert portmap["runtime"] == {"portMappings": [{"hostPort": 80}]}
    assert (lan["type"], lan["interface"]) == ("lan", interface)
    assert (f"MAC={mac}" in lan["arguments"]) is bool(mac)
    status = json.loads(
        json.loads((tmp_path / "patch").read_text())["metadata"]["annotations"][
            "k8s.v1.cni.cncf.io/network-status"
        ]
    )
    assert [(one["interface"], one["default"]) for one in status] == [("eth0", True), (interface, False)]
    (tmp_path / "pod").unlink()  # the pod is gone from the API
    assert node.call("DEL").returncode == 0
    assert [one["type"] for one in node.calls()] == ["lan", "portmap", "bridge"]
    assert node.call("DEL").returncode == 0  # again, as a kubelet does


def test_a_pod_without_wishes_has_one_interface(tmp_path: Path) -> None:
    node = Node(tmp_path, "")
    assert node.call("ADD").returncode == 0
    assert [one["type"] for one in node.calls()] == ["bridge", "portmap"]
    assert not (tmp_path / "patch").exists()


def test_the_error_of_a_plug_in_is_the_error_of_the_stand_in(tmp_path: Path) -> None:
    node = Node(tmp_path, "lan", fails=True)
    ended = node.call("ADD")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["msg"] == "no such bridge"


def test_a_missing_pod_is_an_error_in_words(tmp_path: Path) -> None:
    node = Node(tmp_path, "lan")
    (tmp_path / "pod").unlink()
    ended = node.call("ADD")
    assert ended.returncode == 1
    assert "CalledProcessError" in json.loads(ended.stdout)["msg"] or "pod" in json.loads(ended.stdout)["msg"]
