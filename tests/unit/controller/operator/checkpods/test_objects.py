"""The pod of a check and its Secret: what they may do, and what is in them."""

from __future__ import annotations

import base64
import json

from controller.operator.checkpods import objects
from controller.operator.checkpods.check import VERIFY, Check, Owner, account_of
from controller.operator.options import CheckOptions, Options
from steps.model.kinds import SOURCES, Object
from steps.model.sources import SourceKind
from steps.runtime import guard
from steps.runtime.guard import Guard

OWNER = Owner(SOURCES[SourceKind.VMWARE], "team", "vcenter")
CHECK = Check(
    owner=OWNER,
    uid="uid-1",
    version="3/v7",
    source=SourceKind.VMWARE,
    program=VERIFY,
    request="{}",
    credentials={"username": "dQ==", "password": "cA=="},
    seconds=60,
    arguments=("--run", "verify-1"),
    account=account_of("https://vcenter/sdk", {"username": "dQ==", "password": "cA=="}),
)
RELEASE: Object = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "vmferry-controller", "uid": "uid-2"},
}


def a_pod(**settings: object) -> Object:
    return objects.pod(CHECK, Options(checks=CheckOptions(**settings)), RELEASE)


def test_the_pod_has_no_rights() -> None:
    spec = a_pod()["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == "vmferry-check"
    assert spec["restartPolicy"] == "Never"
    assert all(not {"hostPath", "projected"} & set(volume) for volume in spec["volumes"])


def test_the_pod_is_restricted() -> None:
    spec = a_pod()["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }


def test_the_pod_has_limits() -> None:
    spec = a_pod()["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "256Mi"}
    assert 60 < spec["activeDeadlineSeconds"] < 600
    assert [volume["emptyDir"] for volume in spec["volumes"] if "emptyDir" in volume] == [
        {"sizeLimit": "128Mi"}
    ]


def test_credentials_are_in_the_secret_only() -> None:
    pod = a_pod()
    secret = objects.secret(CHECK, Options(), {**pod, "metadata": {**pod["metadata"], "uid": "uid-3"}})
    assert "cA==" not in json.dumps(pod)
    assert set(secret["data"]) == {"username", "password", "plan.json"}
    assert base64.b64decode(secret["data"]["plan.json"]) == b"{}"
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Pod", "uid-3")


def test_each_key_is_mounted_by_name() -> None:
    volumes = {volume["name"]: volume for volume in a_pod()["spec"]["volumes"]}
    keys = {
        name: [item["key"] for item in volumes[name]["secret"]["items"]] for name in ("request", "source")
    }
    assert keys == {"request": ["plan.json"], "source": ["password", "username"]}


def test_a_source_without_credentials_gets_none() -> None:
    check = Check(OWNER, "u", "1/", SourceKind.OVA, VERIFY, "{}", {}, 60)
    volumes = {volume["name"]: volume for volume in objects.pod(check, Options(), None)["spec"]["volumes"]}
    assert volumes["source"] == {"name": "source", "emptyDir": {}}, "no list of keys would mean all keys"


def test_the_pod_is_deleted_with_the_installation() -> None:
    (owner,) = a_pod()["metadata"]["ownerReferences"]
    assert owner["uid"] == "uid-2"
    assert "ownerReferences" not in objects.pod(CHECK, Options(), None)["metadata"]


def test_network_policies_find_the_pod() -> None:
    assert a_pod()["metadata"]["labels"]["migration.harvesterhci.io/stage"] == "verify"


def test_settings_reach_the_pod() -> None:
    proxy = {"name": "https_proxy", "valueFrom": {"secretKeyRef": {"name": "p", "key": "https"}}}
    spec = a_pod(
        images={"vmware": "r/v:1"}, pull_policy="Always", pull_secrets=("one",), environment=(proxy,)
    )["spec"]
    (container,) = spec["containers"]
    assert (container["image"], container["imagePullPolicy"]) == ("r/v:1", "Always")
    assert spec["imagePullSecrets"] == [{"name": "one"}]
    assert proxy in container["env"]
    assert container["command"] == ["python", "-m", "steps.verify"]


def test_the_api_server_is_no_exception_of_the_guard() -> None:
    environment = {row["name"]: row.get("value", "") for row in a_pod()["spec"]["containers"][0]["env"]}
    found = Guard.read({guard.BLOCKED: "", "KUBERNETES_SERVICE_PORT": "443", **environment})
    assert found is not None
    assert found.api is None


def test_an_account_is_known_without_its_password() -> None:
    one = account_of("https://vcenter/sdk", {"username": "dQ==", "password": "cA=="})
    assert one == account_of("https://VCENTER:443/", {"username": "dQ==", "password": "xx=="})
    assert one != account_of("https://vcenter/sdk", {"username": "dg==", "password": "cA=="})
    assert account_of("https://files/x.ova", {}) == ""
