"""Log lines, Events, metrics, health, other controllers, and the key that an event belongs to."""

from __future__ import annotations

import io
import itertools
import logging
import re
import urllib.error
import urllib.request
from contextlib import redirect_stderr

import pytest
import structlog

from controller.operator import compat, health, telemetry
from controller.operator.act.transitions import events_between
from controller.operator.cache import StatusCache
from controller.operator.checkpods.runner import CheckPods
from controller.operator.events import LIMIT, emit
from controller.operator.metrics import Collector
from controller.operator.options import Options
from controller.operator.routing import EventRouter, ImportKey, SourceKey
from controller.operator.workqueue import Queue
from steps.model.kinds import CRD, DEPLOYMENT, EVENT, IMPORT, SOURCES, WORKFLOW, Object
from steps.model.sources import SourceKind
from tests.unit.builders import an_import as a_model
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster, an_import
from workflows.api import crd
from workflows.api.migration_plan import MigrationPlanStatus, PlanCounts, PlanPhase, VmPhase
from workflows.api.status import Condition, DiskImportStatus, ImportPhase, ImportStatus, WorkflowReference

DNS_LABEL_END = re.compile(r"^[a-z0-9].*[a-z0-9]$")
RUN = WorkflowReference(name="vmi-web-0a1b2c3d-g1", namespace="vmferry", generation=1)


def at(phase: str, **more: object) -> ImportStatus:
    return ImportStatus(import_status=phase, workflow=RUN, **more)


def test_log_lines_have_the_format_of_logrus() -> None:
    before = (logging.getLogger().handlers[:], logging.getLogger().level)
    with redirect_stderr(io.StringIO()) as written:
        telemetry.configure(debug=False)
        log = structlog.get_logger().bind(name="web", **{"spec.sourceCluster.kind": "VmwareSource"})
        log.error('it said "no"', reason="two words")
        logging.getLogger("urllib3").info("a request with a token")
    logging.getLogger().handlers[:], _ = before
    logging.getLogger().setLevel(before[1])
    structlog.reset_defaults()
    (line,) = written.getvalue().splitlines()
    stamp, _, rest = line.partition(" level=")
    assert stamp.startswith('time="2')
    wanted = 'error msg="it said \\"no\\"" name=web reason="two words" spec.sourceCluster.kind=VmwareSource'
    assert rest == wanted


def test_log_lines_of_the_qa_plan_are_written() -> None:
    import_ = a_model("focal-bad-name", virtualMachineName="testFocalCamelCase")
    path = [
        ImportStatus(),
        at(""),
        at(ImportPhase.VALID),
        at(ImportPhase.SOURCE_READY),
        at(ImportPhase.RUNNING),
    ]
    written = [
        text for one, two in itertools.pairwise(path) for _, text, _ in telemetry.lines(one, two, import_)
    ]
    for text in (
        "Running preflight checks ...",
        "Sanitizing the import spec ...",
        "The VM was imported successfully",
    ):
        assert text in written
    refusal = Condition(
        type="Succeeded", status="False", reason="Invalid", message="x is not RFC 1123 compliant"
    )
    invalid = at(ImportPhase.INVALID, import_conditions=(refusal,))
    lines = list(telemetry.lines(at(""), invalid, import_))
    where = "focal-bad-name in namespace default"
    assert (
        logging.ERROR,
        f"vm migration target testFocalCamelCase in VM {where} is not RFC 1123 compliant",
        {},
    ) in lines
    assert (logging.INFO, f"vm {where} has an invalid spec", {}) in lines
    assert list(telemetry.lines(invalid, invalid, import_)) == []


def test_log_lines_of_the_phases_are_written() -> None:
    read = DiskImportStatus(disk_name="disk-0", disk_size=7, step="export", bus_type="sata")
    submitted = (Condition(type="VirtualMachineImageSubmitted", status="True"),)
    image = read.model_copy(update={"step": "image", "disk_conditions": submitted})
    unready = Condition(type="Succeeded", status="Unknown", reason="SourceNotReady", message="wrong password")
    refused = Condition(type="Succeeded", status="False", reason="NotFound", message="network 'X' not found")
    asked_to_shut_down = (Condition(type="VMShutdownGuest", status="True"),)
    off = (*asked_to_shut_down, Condition(type="VMPoweredOff", status="True"))
    ready = ImportPhase.SOURCE_READY
    for before, after, wanted in (
        (ImportStatus(), ImportStatus(import_conditions=(unready,)), ["The source cluster is not ready yet"]),
        (
            at(ready),
            at(ready, import_conditions=asked_to_shut_down),
            ["Shutting down guest OS of the source VM", "Waiting for VM to be powered off ..."],
        ),
        (
            at(ready, import_conditions=asked_to_shut_down),
            at(ready, import_conditions=off),
            ["Exporting source VM"],
        ),
        (at(ready), at(ready, disk_import_status=(read,)), ["Downloading an image"]),
        (
            at(ready, disk_import_status=(read,)),
            at(ready, disk_import_status=(image,)),
            ["Creating a new Harvester VirtualMachineImage"],
        ),
        (
            at(""),
            at(ImportPhase.INVALID, step="preflight", import_conditions=(refused,)),
            [
                "Failed to perform source cluster specific preflight checks: network 'X' not found",
                "The VM import spec is invalid",
                "vm web in namespace default has an invalid spec",
            ],
        ),
    ):
        assert [text for _, text, _ in telemetry.lines(before, after, a_model())] == wanted
        assert list(telemetry.lines(after, after, a_model())) == []


def test_every_phase_change_is_an_event() -> None:
    path = [ImportStatus(), *(at(phase) for phase in list(ImportPhase)[2:])]
    reasons = [one.reason for a, b in itertools.pairwise(path) for one in events_between(a, b)]
    assert reasons[0] == "WorkflowNamed"
    assert "VirtualMachineRunning" in reasons
    assert len(reasons) >= 8


def test_repeated_events_are_counted() -> None:
    cluster = FakeCluster()
    thing = cluster.put(an_import())
    for _ in range(3):
        emit(cluster, thing, "Failed", "x" * 3000, warning=True)
    emit(cluster, thing, "Failed", "other")
    counts = sorted(one["count"] for one in cluster.all(EVENT, "default"))
    assert counts == [1, 3]
    assert max(len(one["message"]) for one in cluster.all(EVENT, "default")) == LIMIT


def test_names_of_events_are_valid() -> None:
    cluster = FakeCluster()
    metadata = {"name": "a" * 199 + "-" + "b" * 20, "namespace": "default"}
    thing = cluster.put({**an_import(), "metadata": {**an_import()["metadata"], **metadata}})
    emit(cluster, thing, "Failed", "x")
    (made,) = cluster.all(EVENT, "default")
    for label in made["metadata"]["name"].split("."):
        assert DNS_LABEL_END.search(label), label


def test_a_failed_event_is_not_an_error() -> None:
    cluster = FakeCluster()
    thing = cluster.put(an_import())
    cluster.denied.add(("create", EVENT))
    emit(cluster, thing, "Failed", "x")
    assert cluster.all(EVENT) == []


@pytest.mark.parametrize("name", compat.DEPLOYMENTS)
@pytest.mark.parametrize(("replicas", "at_work"), [(1, True), (0, False)])
def test_an_active_vm_import_controller_is_detected(name: str, replicas: int, at_work: bool) -> None:
    cluster = FakeCluster()
    assert compat.find_other_controller(cluster) is None
    metadata = {"name": name, "namespace": "harvester-system"}
    cluster.put(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}
    )
    assert (compat.find_other_controller(cluster) is not None) is at_work
    assert DEPLOYMENT in cluster.kinds


def test_foreign_schemas_are_detected_by_the_fields_they_drop() -> None:
    cluster = FakeCluster()
    assert len(list(compat.differences(cluster))) == len(list(crd.manifests()))
    for one in crd.manifests():
        cluster.put(one)
    assert list(compat.differences(cluster)) == []
    found = cluster.peek(CRD, "virtualmachineimports.migration.harvesterhci.io")
    assert found is not None
    schema = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["spec"]["properties"]["dryRun"]
    (written,) = compat.differences(cluster)
    assert "spec.dryRun" in written


@pytest.mark.parametrize(
    ("phase", "bytes_done"),
    [(ImportPhase.SOURCE_READY, 5.0), (ImportPhase.FAILED, 0.0), (ImportPhase.RUNNING, 0.0)],
)
def test_only_running_imports_count_bytes(phase: ImportPhase, bytes_done: float) -> None:
    ledger = StatusCache(lambda: None)
    row = DiskImportStatus(disk_name="disk-0", bytes_done=5, bytes_total=10)
    ledger.put(("default", "web"), at(phase, percent=40, disk_import_status=(row,)))
    queue: Queue[str] = Queue()
    checks = CheckPods(FakeCluster(), Options())
    found = {one.name: one.samples for one in Collector(ledger, queue, dict, checks).collect()}
    assert found["vmferry_bytes_done"][0].value == bytes_done


def test_plans_and_their_vms_are_counted() -> None:
    ledger = StatusCache(lambda: None)
    for name, phase, counts in (
        ("a", "Running", {"total": 5, "pending": 2, "running": 3}),
        ("b", "Stopped", {"total": 4, "failed": 1, "succeeded": 3}),
        ("c", "Stopped", {"total": 1, "pending": 1}),
    ):
        ledger.put_plan(("default", name), MigrationPlanStatus(phase=phase, counts=PlanCounts(**counts)))
    ledger.forget_plan(("default", "c"))
    queue: Queue[str] = Queue()
    families = Collector(ledger, queue, dict, CheckPods(FakeCluster(), Options())).collect()
    found = {
        f"{family.name} {sample.labels['phase']}": sample.value
        for family in families
        if family.name in ("vmferry_plans", "vmferry_plan_vms")
        for sample in family.samples
    }
    assert {name: value for name, value in found.items() if value} == {
        "vmferry_plans Running": 1.0,
        "vmferry_plans Stopped": 1.0,
        "vmferry_plan_vms Pending": 2.0,
        "vmferry_plan_vms Running": 3.0,
        "vmferry_plan_vms Failed": 1.0,
        "vmferry_plan_vms Succeeded": 3.0,
    }
    assert len(found) == len(PlanPhase) + len(VmPhase)


def test_health_and_metrics_are_served() -> None:
    ledger = StatusCache(lambda: None)
    ledger.put(("default", "web"), at(ImportPhase.SOURCE_READY))
    queue: Queue[str] = Queue()
    wrong = [""]
    checks = CheckPods(FakeCluster(), Options())
    collector = Collector(ledger, queue, lambda: {"clusterReady": 2}, checks)
    server = health.serve(collector, lambda: wrong[0], lambda: "", port=0)
    base = f"http://127.0.0.1:{server.server_port}"
    try:
        assert 'vmferry_imports{status="sourceReady"} 1.0' in asked(f"{base}/metrics")
        assert 'vmferry_sources{status="clusterReady"} 2.0' in asked(f"{base}/metrics")
        assert 'vmferry_sources{status="clusterNotReady"} 0.0' in asked(f"{base}/metrics")
        assert asked(f"{base}/healthz") == "ok\n"
        wrong[0] = "imports-0 has been reconciling web for 700 s"
        with pytest.raises(urllib.error.HTTPError) as caught:
            asked(f"{base}/healthz")
        assert caught.value.code == 503
        assert "700 s" in caught.value.read().decode()
        caught.value.close()
    finally:
        server.shutdown()
        server.server_close()


def asked(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own
        return str(answer.read().decode())


def test_an_event_adds_the_keys_of_its_imports() -> None:
    imports: Queue[ImportKey] = Queue()
    sources: Queue[SourceKey] = Queue()
    hub = EventRouter(imports, sources)
    hub.route(
        IMPORT,
        an_object("web", "team", uid="u1", spec={"sourceCluster": {"kind": "vmwareSource", "name": "vc"}}),
        False,
    )
    assert imports.take() == ImportKey("team", "web")
    assert sources.take() == SourceKey(SOURCES[SourceKind.VMWARE], "team", "vc")
    imports.done(ImportKey("team", "web"), 300)
    sources.done(SourceKey(SOURCES[SourceKind.VMWARE], "team", "vc"), 300)
    labels = {"migration.harvesterhci.io/import-uid": "u1"}
    hub.route(WORKFLOW, an_object("vmi-web", "vmferry", labels=labels), False)
    assert imports.take() == ImportKey("team", "web")
    imports.done(ImportKey("team", "web"), 300)
    hub.route(SOURCES[SourceKind.VMWARE], an_object("vc", "team"), False)
    assert imports.take() == ImportKey("team", "web")


def test_a_source_whose_status_records_one_more_attempt_is_no_news() -> None:
    """Each check writes the status: that must not reconcile all imports of the source."""
    imports: Queue[ImportKey] = Queue()
    sources: Queue[SourceKey] = Queue()
    hub = EventRouter(imports, sources)
    kind = SOURCES[SourceKind.VMWARE]
    reference = {"sourceCluster": {"kind": "VmwareSource", "name": "vc"}}
    hub.route(IMPORT, an_object("web", "team", spec=reference), False)
    status = {"status": "clusterReady", "observedGeneration": 1}

    def seen(**changes: object) -> bool:
        """Whether the import is due after an event with this status."""
        for queue, key in ((imports, ImportKey("team", "web")), (sources, SourceKey(kind, "team", "vc"))):
            if len(queue):
                assert queue.take() == key
                queue.done(key, 300)  # type: ignore[arg-type]
        hub.route(kind, an_object("vc", "team", status={**status, **changes}), False)
        assert len(imports) == len(sources)
        return len(imports) == 1

    assert seen()
    assert not seen(verification={"time": "2026-11-29T12:00:00Z"})
    assert seen(message="nobody answers")
    assert seen(status="clusterNotReady")
    hub.route(kind, an_object("vc", "team"), True)
    assert seen(status="clusterNotReady"), "a new source of that name"


def test_a_workflow_of_an_unseen_import_adds_its_key() -> None:
    imports: Queue[ImportKey] = Queue()
    hub = EventRouter(imports, Queue())
    group = "migration.harvesterhci.io"
    labels = {f"{group}/import-uid": "u1", f"{group}/import-namespace": "team", f"{group}/import-name": "web"}
    hub.route(WORKFLOW, an_object("vmi-web", "vmferry", labels=labels), False)
    assert imports.take() == ImportKey("team", "web")


def an_object(
    name: str, namespace: str, *, uid: str = "x", labels: Object | None = None, **parts: object
) -> Object:
    return {"metadata": {"name": name, "namespace": namespace, "uid": uid, "labels": labels or {}}, **parts}
