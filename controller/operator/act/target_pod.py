"""Asks the target for a dry run, in a pod with the identity of `admit`.

The pod that looks at the source has no token, and this one has no credentials of the source. It belongs to
that pod, which exists until the dry run is over: its deletion deletes this pod, and with it the ConfigMap
with the request. So nothing has to be cleaned here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from controller.operator.checkpods.objects import CONTAINER, GRACE_SECONDS
from controller.operator.observe.fields import annotations_of
from controller.operator.options import Options
from steps.model import names
from steps.model.contract import OUTPUTS, REQUEST, StepError, is_retryable
from steps.model.kinds import CONFIG_MAP, GROUP, POD, Object, kind_of
from steps.model.log_text import MOST_LINES, from_lines
from steps.model.machine import Machine
from steps.model.plan import Plan
from steps.model.target_answer import TargetAnswer
from steps.runtime.cluster import Cluster, ExistsError
from steps.runtime.program import MACHINE, PLAN
from workflows import argo_names
from workflows.author import pods
from workflows.stages import Identity

PROGRAM: Final = "steps.ask_target"
STAGE: Final = "dry-run"
"""Value of the stage's label, and part of the pod's name: the admission policy knows its run by the name."""
IMAGE: Final = "target"
CREATED: Final = f"{GROUP}/created"
"""Annotation: when the controller created the pod."""
NO_SIDECAR: Final = "sidecar.istio.io/inject"
"""Annotation: a sidecar of a mesh would not end when the program does."""
SECONDS: Final = 180
"""Seconds that the target may take to answer."""
_LOG_LINES: Final = MOST_LINES + 200
_LOG_BYTES: Final = 1 << 20


def answer_of(
    cluster: Cluster, options: Options, plan: Plan, machine: Machine, owner: Object, now: datetime
) -> TargetAnswer | None:
    """The answer of the target; None while the pod starts or runs. `owner` is the pod of the check.

    Raises:
        StepError: where the API does not answer.
    """
    if IMAGE not in options.checks.images:
        return TargetAnswer.unknown("the controller does not know the image of the step; upgrade the chart")
    name = pod_name(plan)
    found = cluster.get(POD, name, options.namespace)
    if found is None:
        try:
            found = cluster.create(_pod(plan, options, owner, now))
        except ExistsError:
            return None
        except StepError as error:
            return _unless_temporary(error)
    if not _belongs_to(found, owner):
        return None  # of an earlier dry run; it is being deleted
    _ensure_request(cluster, options, plan, machine, found)
    return _read(cluster, options, found, now)


def pod_name(plan: Plan) -> str:
    """The name of the pod, which is that of a step of the run."""
    return f"{plan.run}-{STAGE}-1"


def _unless_temporary(error: StepError) -> TargetAnswer:
    if is_retryable(error.code):
        raise error
    return TargetAnswer.unknown(str(error))


def _ensure_request(cluster: Cluster, options: Options, plan: Plan, machine: Machine, pod: Object) -> None:
    """The pod waits for this ConfigMap. A controller that was killed may have created only the pod."""
    name = pod["metadata"]["name"]
    if cluster.get(CONFIG_MAP, name, options.namespace) is not None:
        return
    metadata = {**_metadata(plan, options), "ownerReferences": [_reference(pod)]}
    data = {PLAN: plan.to_json(), MACHINE: machine.to_json()}
    made = {"apiVersion": CONFIG_MAP.api_version, "kind": CONFIG_MAP.kind, "metadata": metadata, "data": data}
    try:
        cluster.create(made)
    except ExistsError:
        return


def _read(cluster: Cluster, options: Options, pod: Object, now: datetime) -> TargetAnswer | None:
    status = pod.get("status") or {}
    match status.get("phase"):
        case "Succeeded":
            return _answer_in_log(cluster, options, pod)
        case "Failed":
            return TargetAnswer.unknown(_why(status))
        case "Running":
            return None
        case _:
            waits = _age(pod, now) > options.checks.start_seconds
            return TargetAnswer.unknown("the pod that asks it could not start") if waits else None


def _answer_in_log(cluster: Cluster, options: Options, pod: Object) -> TargetAnswer:
    name = pod["metadata"]["name"]
    try:
        log = cluster.log(name, options.namespace, CONTAINER, lines=_LOG_LINES, limit=_LOG_BYTES)
        return TargetAnswer.from_output(from_lines(log))
    except StepError as error:
        return _unless_temporary(error)


def _why(status: Object) -> str:
    """The last words of the program, or why Kubernetes ended the pod."""
    for container in status.get("containerStatuses") or []:
        words = ((container.get("state") or {}).get("terminated") or {}).get("message")
        if words:
            return str(words).strip()
    why = status.get("message") or status.get("reason") or "no reason is given"
    return f"the pod that asks it failed: {why}"


def _age(pod: Object, now: datetime) -> float:
    """Seconds since the controller created it, by its own clock: that of the API server may differ."""
    created = annotations_of(pod).get(CREATED, "")
    try:
        return (now - datetime.fromisoformat(str(created))).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _belongs_to(pod: Object, owner: Object) -> bool:
    references = pod["metadata"].get("ownerReferences") or []
    return any(one.get("uid") == owner["metadata"]["uid"] for one in references)


def _reference(owner: Object) -> Object:
    return kind_of(owner).owner_reference(owner["metadata"]["name"], owner["metadata"]["uid"])


def _metadata(plan: Plan, options: Options) -> Object:
    labels = {**names.run_labels(plan), names.LABEL_STAGE: STAGE, "app.kubernetes.io/name": "vmferry"}
    return {"name": pod_name(plan), "namespace": options.namespace, "labels": labels}


def _pod(plan: Plan, options: Options, owner: Object, now: datetime) -> Object:
    settings, share = options.checks, options.installation.share("admit")
    notes = {CREATED: now.isoformat(), NO_SIDECAR: "false"}
    metadata = {
        **_metadata(plan, options),
        "annotations": notes,
        "ownerReferences": [_reference(owner)],
    }
    if plan.pods.network:
        notes[pods.NETWORKS] = plan.pods.network
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": settings.images[IMAGE],
        "imagePullPolicy": settings.pull_policy,
        "command": ["python", "-m", PROGRAM],
        "resources": {
            "requests": {"cpu": share.cpu, "memory": share.memory},
            "limits": {"memory": share.memory_limit},
        },
        "securityContext": pods.restricted().model_dump(mode="json", by_alias=True, exclude_none=True),
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "request", "mountPath": str(REQUEST), "readOnly": True},
            {"name": "tmp", "mountPath": str(OUTPUTS)},
            pods.API_MOUNT,
        ],
    }
    security = pods.pod_security(options.installation.user)
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": metadata,
        "spec": {
            **pods.placement(plan.pods),
            "restartPolicy": "Never",
            "activeDeadlineSeconds": SECONDS,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "serviceAccountName": argo_names.service_account(Identity.TARGET),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": security.model_dump(mode="json", by_alias=True, exclude_none=True),
            "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
            "containers": [container],
            "volumes": [
                {"name": "request", "configMap": {"name": pod_name(plan)}},
                {"name": "tmp", "emptyDir": {"sizeLimit": options.installation.tmp_size}},
                pods.API_VOLUME,
            ],
        },
    }
