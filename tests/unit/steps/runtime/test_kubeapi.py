"""The adapter to a real API server: its requests, and how it reads the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration

from steps.model.contract import Exit, StepError, Stopped
from steps.model.kinds import CLAIM, IMAGE, INSTANCE_PARTS, POD, STORAGE_CLASS
from steps.runtime import kubeapi
from steps.runtime.cluster import ChangedError, ExistsError, failure
from steps.runtime.kubeapi import ApiCluster, RetryingCluster
from steps.runtime.stop import Stop
from tests.forwardproxy import Forward, forward
from tests.serving import serving
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from tests.unit.steps.targets.harvester.stand_ins import FakeTime

__all__ = ["forward"]


class Server(ThreadingHTTPServer):
    """Answers each request with the next configured answer, and records the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, str, str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = self.headers.get("Content-Type") or ""
        self.server.asked.append((self.command, self.path, content, json.loads(body) if body else None))
        status, content = self.server.answers.pop(0)
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as running:
        yield running


@pytest.fixture
def api(server: Server) -> Iterator[ApiCluster]:
    settings = Configuration(host=f"http://127.0.0.1:{server.server_port}")
    with ApiClient(settings) as client:
        yield ApiCluster(client)


def status(reason: str, message: str) -> dict[str, str]:
    return {"kind": "Status", "reason": reason, "message": message}


def an_image(**metadata: Any) -> dict[str, Any]:
    metadata = {"name": "image-1", "namespace": "default", **metadata}
    return {"apiVersion": IMAGE.api_version, "kind": IMAGE.kind, "metadata": metadata}


def inject(monkeypatch: pytest.MonkeyPatch, forward: Forward) -> None:
    """The variables that a cluster's admission may put into every container."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, forward.url)
        monkeypatch.setenv(name.lower(), forward.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def kubeconfig(folder: Path, server: str, **cluster: str) -> Path:
    path = folder / "kubeconfig"
    made = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(made))
    return path


def test_requests_to_the_api_server_use_no_proxy(
    server: Server, forward: Forward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject(monkeypatch, forward)
    server.answers = [(200, an_image())]
    config = kubeconfig(tmp_path, f"http://127.0.0.1:{server.server_port}")
    cluster = kubeapi.connect(Stop(), kubeconfig=str(config), patience=0)
    assert cluster.get(IMAGE, "image-1", "default") == an_image()
    assert forward.asked == []


def test_a_pod_uses_no_proxy_for_the_api_server(
    server: Server, forward: Forward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its service account, and the proxy that every pod of its namespace gets."""
    inject(monkeypatch, forward)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    seen: list[Configuration] = []

    def in_cluster(client_configuration: Configuration) -> None:
        client_configuration.host = f"http://127.0.0.1:{server.server_port}"
        seen.append(client_configuration)

    monkeypatch.setattr("steps.runtime.kubeapi.config.load_incluster_config", in_cluster)
    server.answers = [(200, an_image())]
    assert kubeapi.connect(Stop(), patience=0).get(IMAGE, "image-1", "default") == an_image()
    assert (len(seen), forward.asked) == (1, [])


def test_the_proxy_of_a_kubeconfig_is_used(
    server: Server, forward: Forward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    server.answers = [(200, an_image())]
    there = f"http://127.0.0.1:{server.server_port}"
    config = kubeconfig(tmp_path, there, **{"proxy-url": forward.url})
    kubeapi.connect(Stop(), kubeconfig=str(config), patience=0).get(IMAGE, "image-1", "default")
    assert forward.asked == [f"GET {there}{PLACE}/image-1"]


PLACE = "/apis/harvesterhci.io/v1beta1/namespaces/default/virtualmachineimages"


def test_get_returns_the_object(server: Server, api: ApiCluster) -> None:
    server.answers = [(200, an_image())]
    assert api.get(IMAGE, "image-1", "default") == an_image()
    assert server.asked[0][:2] == ("GET", f"{PLACE}/image-1")


def test_one_read_is_one_request(server: Server, api: ApiCluster) -> None:
    server.answers = [(200, an_image())]
    api.get(IMAGE, "image-1", "default")
    assert len(server.asked) == 1


def test_a_missing_object_is_none(server: Server, api: ApiCluster) -> None:
    server.answers = [(404, status("NotFound", "not found"))] * 3
    assert api.get(IMAGE, "image-1", "default") is None
    assert api.patch(IMAGE, "image-1", {}, "default") is None
    api.delete(IMAGE, "image-1", "default")


def test_a_group_is_served_or_not(server: Server, api: ApiCluster) -> None:
    server.answers = [(200, {"kind": "APIGroup"}), (404, b"404 page not found")]
    assert api.serves("kubevirt.io")
    assert not api.serves("harvesterhci.io")
    assert [path for _, path, _, _ in server.asked] == ["/apis/kubevirt.io", "/apis/harvesterhci.io"]


def test_a_failure_is_not_taken_for_a_group_that_is_not_served(server: Server, api: ApiCluster) -> None:
    server.answers = [(503, status("ServiceUnavailable", "starting"))]
    with pytest.raises(StepError) as caught:
        api.serves("kubevirt.io")
    assert caught.value.code is Exit.UNREACHABLE


def test_core_and_cluster_wide_kinds_have_their_paths(server: Server, api: ApiCluster) -> None:
    server.answers = [(200, {}), (200, {})]
    api.get(CLAIM, "c", "default")
    api.get(STORAGE_CLASS, "fast")
    assert server.asked[0][1] == "/api/v1/namespaces/default/persistentvolumeclaims/c"
    assert server.asked[1][1] == "/apis/storage.k8s.io/v1/storageclasses/fast"


def test_find_selects_by_labels(server: Server, api: ApiCluster) -> None:
    server.answers = [
        (200, {"items": [{"metadata": {"name": "image-1", "namespace": "default"}}]}),
        (200, {}),
    ]
    assert api.find(IMAGE, "default", {"a/b": "c", "d": "e"}) == [an_image()]
    assert server.asked[0][1] == f"{PLACE}?labelSelector=a/b%3Dc%2Cd%3De"
    assert api.find(IMAGE, "default") == []
    assert server.asked[1][1] == PLACE


def test_outlines_are_read_page_by_page_without_data(server: Server, api: ApiCluster) -> None:
    server.answers = [
        (200, {"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "one"}}]}),
        (200, {"metadata": {}, "items": [{"metadata": {"name": "two"}}]}),
    ]
    outlines = list(api.outlines(IMAGE, "default", "a/b"))
    assert [outline["metadata"]["name"] for outline in outlines] == ["one", "two"]
    assert set(outlines[0]) == {"apiVersion", "kind", "metadata"}
    assert server.asked[0][1] == f"{PLACE}?labelSelector=a/b&limit=200"
    assert "continue=more" in server.asked[1][1]


def test_an_empty_list_of_metadata_has_null_for_its_items(server: Server, api: ApiCluster) -> None:
    """As the API server answers for PartialObjectMetadataList (seen, 1.34)."""
    server.answers = [(200, {"metadata": {}, "items": None}), (200, {"items": None})]
    assert list(api.outlines(IMAGE, "default", "a/b")) == []
    assert api.find(IMAGE, "default") == []


def test_create_sends_the_object(server: Server, api: ApiCluster) -> None:
    server.answers = [(201, an_image(uid="1"))]
    assert api.create(an_image())["metadata"]["uid"] == "1"
    assert server.asked == [("POST", f"{PLACE}?fieldManager=vmferry", "application/json", an_image())]


def test_a_dry_run_only_adds_its_parameter(server: Server, api: ApiCluster) -> None:
    server.answers = [(201, an_image()), (200, an_image())]
    api.create(an_image(), dry_run=True)
    api.apply(an_image(), dry_run=True)
    assert server.asked[0][1] == f"{PLACE}?dryRun=All&fieldManager=vmferry"
    assert "dryRun=All" in server.asked[1][1]
    assert [asked[3] for asked in server.asked] == [an_image(), an_image()]


REFUSED = 'admission webhook "validator.harvesterhci.io" denied the request: '


def test_a_refusal_is_not_retried_whatever_its_status(server: Server, api: ApiCluster) -> None:
    words = f"{REFUSED}duplicate mac address present for vm web for cluster network mgmt"
    server.answers = [(500, status("InternalError", words))]
    with pytest.raises(StepError) as caught:
        RetryingCluster(api, FakeTime(), 120).create(an_image())
    assert caught.value.code is Exit.CONFLICT
    assert len(server.asked) == 1


def test_a_refused_patch_is_not_a_missing_object(server: Server, api: ApiCluster) -> None:
    words = f'{REFUSED}network-attachment-definitions.k8s.cni.cncf.io "vlan9" not found'
    server.answers = [(500, status("InternalError", words))]
    with pytest.raises(StepError) as caught:
        api.patch(IMAGE, "image-1", {}, "default")
    assert caught.value.code is Exit.NOT_FOUND


@pytest.mark.parametrize("uid", ["", "1"])
def test_a_delete_refused_by_a_webhook_is_an_error(server: Server, api: ApiCluster, uid: str) -> None:
    words = f"{REFUSED}can not delete the volume c which is currently attached to VM default/web"
    server.answers = [(409, status("Conflict", words))]
    with pytest.raises(StepError) as caught:
        api.delete(CLAIM, "c", "default", uid=uid)
    assert caught.value.code is Exit.CONFLICT
    assert "attached to VM" in str(caught.value)


def test_a_delete_leaves_another_object_of_that_name(server: Server, api: ApiCluster) -> None:
    words = "the UID in the precondition (1) does not match the UID in record (2)"
    server.answers = [(409, status("Conflict", words))]
    api.delete(CLAIM, "c", "default", uid="1")


def test_a_delete_in_conflict_with_a_change_is_left_to_the_step(server: Server, api: ApiCluster) -> None:
    words = 'Operation cannot be fulfilled on "c": the object has been modified'
    server.answers = [(409, status("Conflict", words))]
    with pytest.raises(ChangedError):
        api.delete(CLAIM, "c", "default", uid="1")


def test_apply_is_forced_with_our_field_manager(server: Server, api: ApiCluster) -> None:
    server.answers = [(200, an_image())]
    api.apply(an_image())
    verb, path, content, body = server.asked[0]
    assert (verb, content, body) == ("PATCH", "application/apply-patch+yaml", an_image())
    assert path in (
        f"{PLACE}/image-1?fieldManager=vmferry&force=True",
        f"{PLACE}/image-1?fieldManager=vmferry&force=true",
    )


def test_patch_is_a_merge_patch(server: Server, api: ApiCluster) -> None:
    server.answers = [(200, an_image())]
    api.patch(IMAGE, "image-1", {"metadata": {"labels": {"a": None}}}, "default")
    verb, path, content, body = server.asked[0]
    assert (verb, path) == ("PATCH", f"{PLACE}/image-1?fieldManager=vmferry")
    assert (content, body) == ("application/merge-patch+json", {"metadata": {"labels": {"a": None}}})


def test_delete_has_the_uid_as_precondition(server: Server, api: ApiCluster) -> None:
    server.answers = [(200, {}), (409, status("Conflict", "Precondition failed: UID in precondition: 1"))]
    api.delete(IMAGE, "image-1", "default", uid="1")
    assert server.asked[0][3] == {"propagationPolicy": "Background", "preconditions": {"uid": "1"}}
    api.delete(IMAGE, "image-1", "default", uid="1")  # another object of that name: ours is deleted


def test_an_answer_that_never_comes_is_unreachable(server: Server, api: ApiCluster) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(
        StepError, match=r"cannot get VirtualMachineImage default/image-1: no answer"
    ) as caught:
        api.get(IMAGE, "image-1", "default")
    assert caught.value.code is Exit.UNREACHABLE


RBAC = 'virtualmachineimages.harvesterhci.io is forbidden: User "x" cannot create resource'
QUOTA = 'persistentvolumeclaims "c" is forbidden: exceeded quota: q, requested: requests.storage=2Gi'
UNCOUNTED = (
    'persistentvolumeclaims "c" is forbidden: status unknown for quota: q, resources: requests.storage'
)
RANGE = 'persistentvolumeclaims "c" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi'
POLICY = 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'


@pytest.mark.parametrize(
    ("code", "reason", "message", "exit_code", "words"),
    [
        (401, "Unauthorized", "Unauthorized", Exit.DENIED, "refuses our credentials"),
        (403, "Forbidden", RBAC, Exit.DENIED, "the right to create on virtualmachineimages.harvesterhci.io"),
        (403, "Forbidden", QUOTA, Exit.NO_SPACE, "raise that limit of the namespace"),
        (403, "Forbidden", UNCOUNTED, Exit.BUSY, "not counted yet"),
        (403, "Forbidden", RANGE, Exit.NO_SPACE, "raise that limit of the namespace"),
        (403, "Forbidden", POLICY, Exit.DENIED, "an admission policy"),
        (
            404,
            "NotFound",
            'namespaces "x" not found',
            Exit.NOT_FOUND,
            "check that the cluster has the namespace",
        ),
        (409, "AlreadyExists", "already exists", Exit.CONFLICT, "rename or delete it"),
        (409, "Conflict", "A resource with the same name exists", Exit.CONFLICT, "choose another name"),
        (409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "q"', Exit.BUSY, "resourcequotas"),
        (422, "Invalid", "spec.url: Invalid value", Exit.INVALID, "spec.url"),
        (400, "BadRequest", "admission webhook denied the request: no", Exit.INVALID, "denied"),
        (429, "TooManyRequests", "slow down", Exit.UNREACHABLE, "answers 429"),
        (500, "InternalError", "failed calling webhook", Exit.UNREACHABLE, "failed calling webhook"),
        (503, "", "", Exit.UNREACHABLE, "answers 503"),
    ],
)
def test_answers_have_exit_codes(code: int, reason: str, message: str, exit_code: Exit, words: str) -> None:
    error = failure("create", IMAGE, "default/x", code, json.dumps(status(reason, message)))
    assert error.code is exit_code
    assert words in str(error)
    assert str(error).startswith("cannot create VirtualMachineImage default/x: ")
    assert message in str(error)


def test_conflicts_are_distinguished() -> None:
    exists = failure("create", IMAGE, "d/x", 409, json.dumps(status("AlreadyExists", "m")))
    changed = failure("patch", IMAGE, "d/x", 409, json.dumps(status("Conflict", "m")))
    assert isinstance(exists, ExistsError)
    assert isinstance(changed, ChangedError)


def test_an_answer_of_a_proxy_is_quoted() -> None:
    error = failure("get", IMAGE, "d/x", 502, "<html>\n<h1>Bad Gateway</h1>")
    assert "answers 502: <html> <h1>Bad Gateway</h1>" in str(error)


# --- patience


class Away(FakeCluster):
    """Does not answer the first `silent` requests."""

    silent = 0

    def get(self, *_: Any, **__: Any) -> None:
        if self.silent:
            self.silent -= 1
            raise StepError(Exit.UNREACHABLE, "no answer")


def test_an_api_server_that_is_restarted_is_waited_for() -> None:
    time, cluster = FakeTime(), Away()
    cluster.silent = 6
    assert RetryingCluster(cluster, time, 120, time.clock).get(IMAGE, "x") is None
    assert cluster.silent == 0
    assert time.now < 60


def test_the_wait_has_a_time_limit() -> None:
    time, cluster = FakeTime(), Away()
    cluster.silent = 10_000
    with pytest.raises(StepError, match="no answer"):
        RetryingCluster(cluster, time, 120, time.clock).get(IMAGE, "x")
    assert 100 < time.now <= 120


def test_without_patience_no_request_is_repeated() -> None:
    time, cluster = FakeTime(), Away()
    cluster.silent = 1
    with pytest.raises(StepError):
        RetryingCluster(cluster, time, 0, time.clock).get(IMAGE, "x")


def test_a_stop_ends_the_waiting() -> None:
    time, cluster = FakeTime(), Away()
    cluster.silent = 10_000
    time.set()
    with pytest.raises(Stopped):
        RetryingCluster(cluster, time, 120, time.clock).get(IMAGE, "x")


def test_other_errors_are_not_repeated() -> None:
    time, cluster = FakeTime(), FakeCluster(denied={("list", IMAGE)})
    with pytest.raises(StepError):
        RetryingCluster(cluster, time, 120, time.clock).find(IMAGE, "default")
    assert len(cluster.calls) == 1


# --- which cluster


def test_a_missing_kubeconfig_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(StepError, match="set KUBECONFIG") as caught:
        kubeapi.connect(FakeTime())
    assert caught.value.code is Exit.INVALID


def test_the_release_namespace_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(kubeapi.NAMESPACE_ENV, raising=False)
    monkeypatch.setattr(kubeapi, "NAMESPACE_FILE", tmp_path / "namespace")
    with pytest.raises(StepError, match=kubeapi.NAMESPACE_ENV):
        kubeapi.own_namespace()
    (tmp_path / "namespace").write_text("vmferry\n")
    assert kubeapi.own_namespace() == "vmferry"
    monkeypatch.setenv(kubeapi.NAMESPACE_ENV, "other")
    assert kubeapi.own_namespace() == "other"


def test_the_end_of_a_log_is_read_with_bounds(server: Server, api: ApiCluster) -> None:
    server.answers = [(200, b"one\n\xff\n" + b"x" * 100)]
    assert api.log("check", "vmferry", "main", lines=7, limit=20) == "one\n\ufffd\n" + "x" * 14
    ((method, path, _, _),) = server.asked
    assert (method, path) == (
        "GET",
        "/api/v1/namespaces/vmferry/pods/check/log?container=main&tailLines=7&limitBytes=20",
    )


def test_a_log_that_may_not_be_read_names_the_right(server: Server, api: ApiCluster) -> None:
    words = 'pods "check" is forbidden: User "sa" cannot get resource "pods/log"'
    server.answers = [(403, status("Forbidden", words))]
    with pytest.raises(StepError) as caught:
        api.log("check", "vmferry", "main", lines=7, limit=20)
    assert caught.value.code is Exit.DENIED
    assert "get on pods/log" in str(caught.value)


def test_a_log_of_a_pod_with_a_bad_name_is_not_requested(server: Server, api: ApiCluster) -> None:
    with pytest.raises(StepError):
        api.log("../secrets/x", "vmferry", "main", lines=7, limit=20)
    assert server.asked == []


def test_the_content_of_a_subresource_is_read_with_a_bound(server: Server, api: ApiCluster) -> None:
    server.answers = [(200, b"\x89PNG" + b"x" * 5000)]
    found = api.content(INSTANCE_PARTS, "web", "shop", "vnc/screenshot", limit=1000)
    assert found == b"\x89PNG" + b"x" * 996
    ((method, path, _, _),) = server.asked
    where = "namespaces/shop/virtualmachineinstances/web/vnc/screenshot"
    assert (method, path) == ("GET", f"/apis/subresources.kubevirt.io/v1/{where}")


def test_a_port_of_a_pod_is_asked_through_the_api_server(server: Server, api: ApiCluster) -> None:
    server.answers = [(200, b"metrics")]
    assert api.content(POD, "handler", "kubevirt", "proxy/metrics", limit=1000, port=8443) == b"metrics"
    ((_, path, _, _),) = server.asked
    assert path == "/api/v1/namespaces/kubevirt/pods/https:handler:8443/proxy/metrics"


def test_content_that_may_not_be_read_names_the_right(server: Server, api: ApiCluster) -> None:
    words = (
        'User "sa" cannot get resource "virtualmachineinstances/vnc" in API group "subresources.kubevirt.io"'
    )
    server.answers = [(403, status("Forbidden", words))]
    with pytest.raises(StepError) as caught:
        api.content(INSTANCE_PARTS, "web", "shop", "vnc/screenshot", limit=1000)
    assert caught.value.code is Exit.DENIED
    assert "get on virtualmachineinstances/vnc.subresources.kubevirt.io" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "namespace"), [("../x", "shop"), ("web", "shop/../../x"), ("web?a=b", "shop")]
)
def test_content_with_a_bad_name_is_not_requested(
    server: Server, api: ApiCluster, name: str, namespace: str
) -> None:
    with pytest.raises(StepError):
        api.content(INSTANCE_PARTS, name, namespace, "vnc/screenshot", limit=1000)
    assert server.asked == []


def test_content_is_asked_once_even_if_nobody_answers(server: Server, api: ApiCluster) -> None:
    server.answers = [(503, status("ServiceUnavailable", "virt-api starts")), (200, b"late")]
    with pytest.raises(StepError):
        RetryingCluster(api, FakeTime(), 120).content(POD, "x", "default", "log", limit=10)
    assert len(server.asked) == 1
