"""Log-in, rights, feature gate and answers of the API server."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from steps.model.contract import Exit, NoAnswerError, StepError
from steps.model.machine import Tag
from steps.providers import connect
from steps.providers.kubevirt import checks
from tests.tls import SelfSigned
from tests.unit.steps.providers.kubevirt.conftest import MakeAccess
from tests.unit.steps.providers.kubevirt.documents import NAMESPACE, vm
from tests.unit.steps.providers.kubevirt.standin import Reply, StandIn, kubeconfig
from tests.unit.steps.providers.kubevirt.test_provider import described


def verify(access: MakeAccess, **more: Any) -> None:
    with connect(access("verify", **more)) as source:
        source.verify()


def refusal(access: MakeAccess, **more: Any) -> StepError:
    with pytest.raises(StepError) as caught:
        verify(access, **more)
    return caught.value


def test_a_source_that_can_be_used_is_verified_without_a_change(standin: StandIn, access: MakeAccess) -> None:
    verify(access)
    assert standin.changes() == []
    assert standin.cluster.held() == 0


def test_without_the_gate_the_message_has_the_command_for_this_cluster(
    standin: StandIn, access: MakeAccess
) -> None:
    standin.cluster.gate = False
    error = refusal(access)
    assert error.code is Exit.UNSUPPORTED
    gates = '{"developerConfiguration": {"featureGates": ["LiveMigration", "VMExport"]}}'
    patch = f'{{"spec": {{"configuration": {gates}}}}}'
    assert f"kubectl patch kubevirt -n kubevirt kubevirt --type=merge -p '{patch}'" in str(error)


def test_without_the_gate_and_its_list_the_message_has_a_command_that_keeps_the_list(
    standin: StandIn, access: MakeAccess
) -> None:
    standin.cluster.gate, standin.cluster.kubevirt_visible = False, False
    error = refusal(access)
    assert "--type=json" in str(error)
    change = json.loads(str(error).partition("-p '")[2].partition("'")[0])
    assert change[0]["path"].endswith("/featureGates/-")


def test_for_a_harvester_without_the_gate_the_command_is_for_harvester(
    standin: StandIn, access: MakeAccess
) -> None:
    standin.cluster.gate, standin.cluster.harvester = False, True
    error = refusal(access)
    assert error.code is Exit.UNSUPPORTED
    assert "kubectl patch kubevirt -n harvester-system kubevirt" in str(error)
    assert "off again before Harvester is upgraded" in str(error)


def test_every_missing_right_is_named(standin: StandIn, access: MakeAccess) -> None:
    standin.cluster.denied = {
        (right.verb, "/".join(filter(None, (right.resource, right.subresource)))) for right in checks.RIGHTS
    } - {("list", "virtualmachines")}
    error = refusal(access)
    assert error.code is Exit.DENIED
    assert all(str(right) in str(error) for right in checks.RIGHTS if right.verb != "list")


def test_a_wrong_token_is_refused(standin: StandIn, access: MakeAccess) -> None:
    error = refusal(access, user={"token": "wrong"})
    assert error.code is Exit.DENIED
    assert "wrong" not in str(error)


def test_a_cluster_without_kubevirt_is_not_found(standin: StandIn, access: MakeAccess) -> None:
    standin.hook = lambda method, path: Reply(404, b"404 page not found") if path.endswith("/v1") else None
    assert refusal(access).code is Exit.NOT_FOUND


def test_the_endpoint_must_be_that_of_the_kubeconfig(standin: StandIn, access: MakeAccess) -> None:
    error = refusal(access, plan={"endpoint": "https://other.example:6443"})
    assert error.code is Exit.INVALID
    assert standin.asked == []


@pytest.mark.parametrize(
    "spelling", ["https://LOCALHOST:{}", "https://localhost:{}/", " https://localhost:{} "]
)
def test_another_spelling_of_the_endpoint_is_the_same_one(
    standin: StandIn, access: MakeAccess, spelling: str
) -> None:
    verify(access, plan={"endpoint": spelling.format(standin.port)})


def test_an_unknown_ca_is_refused(standin: StandIn, access: MakeAccess, tls: SelfSigned) -> None:
    document = json.loads(kubeconfig(standin.url, tls.pem))
    del document["clusters"][0]["cluster"]["certificate-authority-data"]
    error = refusal(access, kubeconfig=json.dumps(document))
    assert error.code is Exit.UNTRUSTED
    verify(access, kubeconfig=json.dumps(document), plan={"insecure_skip_tls_verify": True})


def test_a_kubeconfig_does_not_turn_verification_off(
    standin: StandIn, access: MakeAccess, tls: SelfSigned
) -> None:
    document = json.loads(kubeconfig(standin.url, tls.pem))
    document["clusters"][0]["cluster"] = {"server": standin.url, "insecure-skip-tls-verify": True}
    assert refusal(access, kubeconfig=json.dumps(document)).code is Exit.INVALID


def test_a_client_certificate_can_be_used(standin: StandIn, access: MakeAccess, tls: SelfSigned) -> None:
    data = {
        "client-certificate-data": base64.b64encode(tls.certificate.read_bytes()).decode(),
        "client-key-data": base64.b64encode(tls.key.read_bytes()).decode(),
    }
    verify(access, user=data)
    data["client-key-data"] = base64.b64encode(b"-----BEGIN KEY-----\nno\n").decode()
    assert refusal(access, user=data).code is Exit.INVALID


MALFORMED = (
    Reply(200, b"<html>"),
    Reply(200, b"[]"),
    Reply(200, b"null"),
    Reply(200, b'"x"'),
    Reply(200, b"1" * 5000),
    Reply(200, b"[" * 100_000),
    Reply(200, b'{"metadata": 7}'),
    Reply(200, b'{"metadata": {"uid": []}}'),
    Reply(200, b'{"items": 7}'),
    Reply(200, b'{"items": [7]}'),
    Reply(200, b'{"kind": []}'),
    Reply(200, b'{"status": []}'),
    Reply(200, b'{"status": {"conditions": {"a": 1}}}'),
    Reply(200, b"\xff\xfe{}"),
    Reply(200, gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}),
    Reply(200, b'{"metadata": {"name": "../../secrets"}}'),
    Reply(200, b"{}", cut=1),
    Reply(200, b"{}", cut=0),
    Reply(204, b""),
    Reply(302, b"", headers={"Location": "https://elsewhere.example/"}),
    Reply(400, b"bad"),
    Reply(403, b'{"kind": "Status", "message": 7}'),
    Reply(404, b"{}"),
    Reply(409, b"{}"),
    Reply(418, b"{}"),
    Reply(429, b"", headers={"Retry-After": "soon"}),
    Reply(500, b'{"kind": "Status", "message": "' + b"x" * 9000 + b'"}'),
    Reply(502, b"<html>"),
    Reply(503, b"", headers={"Retry-After": "7"}),
)


@pytest.mark.parametrize("reply", MALFORMED, ids=range(len(MALFORMED)))
@pytest.mark.parametrize(
    "part", ["virtualmachines/web", "virtualmachineinstances/web", "persistentvolumeclaims/"]
)
def test_a_malformed_answer_is_one_clear_error_or_none(
    standin: StandIn, access: MakeAccess, reply: Reply, part: str
) -> None:
    standin.hook = lambda method, path: reply if part in path else None
    with connect(access("preflight")) as source:
        try:
            text = source.describe("web", None).name  # for example of a VM without that claim
        except StepError as error:
            text = str(error)
    assert 3 <= len(text) < 1000
    assert "Traceback" not in text
    assert standin.changes() == []


def test_an_answer_without_an_end_is_refused(
    standin: StandIn, access: MakeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.providers.json_call.MOST_BYTES", 1000)
    standin.hook = lambda method, path: Reply(200, b" " * 5000) if "virtualmachines/web" in path else None
    with pytest.raises(StepError) as caught:
        described(access)
    assert caught.value.code is Exit.UNREACHABLE


def test_a_list_without_an_end_is_refused(
    standin: StandIn, access: MakeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.providers.kubevirt.api.MOST_PAGES", 3)
    page = json.dumps({"items": [], "metadata": {"continue": "again"}}).encode()
    standin.hook = lambda method, path: Reply(200, page) if "virtualmachines?" in path else None
    with connect(access("look")) as source, pytest.raises(StepError) as caught:
        source.inventory()
    assert "does not end" in str(caught.value)


def test_a_server_that_asks_to_wait_is_waited_for(standin: StandIn, access: MakeAccess) -> None:
    standin.hook = lambda method, path: Reply(503, b"", headers={"retry-after": "7"})
    error = refusal(access)
    assert isinstance(error, NoAnswerError)
    assert error.retry_after == 7


@pytest.mark.parametrize("name", ["../x", "a b", "A", "x?watch=true", "", "a/b", "\n"])
def test_a_hostile_name_is_never_a_path(standin: StandIn, access: MakeAccess, name: str) -> None:
    for vm_name, folder in ((name, None), ("web", name or "..")):
        standin.asked.clear()
        with connect(access("preflight")) as source, pytest.raises(StepError) as caught:
            source.describe(vm_name, folder)
        assert caught.value.code is Exit.NOT_FOUND
        assert len(standin.asked) == 1  # the API of KubeVirt


def test_another_namespace_can_be_named(standin: StandIn, access: MakeAccess) -> None:
    assert described(access, folder=NAMESPACE).path == f"{NAMESPACE}/web"
    assert described(access, plan={"vm_namespace": NAMESPACE}).path == f"{NAMESPACE}/web"
    with pytest.raises(StepError) as caught:
        described(access, folder="other")
    assert caught.value.code is Exit.NOT_FOUND


def test_the_inventory_has_all_pages(
    standin: StandIn, access: MakeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steps.providers.kubevirt.api.PAGE", 2)
    standin.cluster.put("virtualmachines", {"metadata": {"name": "broken", "namespace": NAMESPACE}})
    for number in range(4):
        other = vm()
        other["metadata"] |= {"name": f"vm-{number}", "uid": f"uid-{number}"}
        standin.cluster.put("virtualmachines", other)
    with connect(access("look")) as source:
        inventory = source.inventory()
        assert source.networks() == {f"{NAMESPACE}/vlan10", "pod"}
    assert [one.name for one in inventory.machines] == ["vm-0", "vm-1", "vm-2", "vm-3", "web"]
    assert inventory.folders == (NAMESPACE,)
    assert inventory.machines[0].tags == (Tag(name="harvesterhci.io/os", value="ubuntu"),)
    assert inventory.tags_unknown == ""


def test_an_inventory_needs_no_more_than_to_list_vms(standin: StandIn, access: MakeAccess) -> None:
    standin.cluster.denied = {
        ("list", name)
        for name in ("virtualmachineinstances", "persistentvolumeclaims", "network-attachment-definitions")
    }
    with connect(access("look")) as source:
        (machine,) = source.inventory().machines
    assert machine.name == "web"
    assert machine.disks == ()
