"""The Pod or Workflow of a hook, and the ConfigMap with what it gets. Pure.

Everything in the pod comes from the ImportHook, which the administrator writes, and from the installation.
Names of a tenant and of the source are only in the document, which is a file.

The pod has no volume of the import, none of its Secrets, and no token unless its ImportHook names a service
account. It belongs to the Workflow of the import and is deleted with it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from controller.operator.checkpods.objects import CONTAINER, GRACE_SECONDS
from controller.operator.decide.actions import StartHook
from controller.operator.observe.hooks import CREATED, DISK, ON_FAILURE, POINT, SECONDS
from controller.operator.options import Options
from steps.model.kinds import CONFIG_MAP, POD, WORKFLOW, Kind, Object
from steps.model.names import LABEL_HOOK
from workflows.api.import_hook import HookContainer, HookTemplate
from workflows.author import pods
from workflows.hooks import DOCUMENT, DOCUMENT_ENV

FOLDER: Final = "/hook"
"""Where a container finds the document."""
SECRET_FOLDER: Final = "/hook-secret"  # noqa: S105 - a folder
SERVICE_ACCOUNT: Final = "vmferry-hook"
PARAMETER: Final = "document"
"""The parameter of a Workflow: the name of the ConfigMap. Nothing that a tenant or a source writes."""
NO_SIDECAR: Final = "sidecar.istio.io/inject"


def made(action: StartHook, options: Options, workflow: Object, now: datetime) -> tuple[Object, Object]:
    """The ConfigMap and the Pod or Workflow; `workflow` is that of the import, which owns both."""
    spec = action.hook.spec
    template, container = spec.workflow_template, spec.container
    document = _object(CONFIG_MAP, action, options, workflow, now)
    document["data"] = {DOCUMENT: action.document.to_json()}
    if template is not None:
        runs = _object(WORKFLOW, action, options, workflow, now)
        return document, runs | {"spec": _workflow(action, template)}
    runs = _object(POD, action, options, workflow, now)
    runs["metadata"]["annotations"][NO_SIDECAR] = "false"
    return document, runs | {"spec": _pod(action, container or HookContainer(), options)}


def _object(kind: Kind, action: StartHook, options: Options, workflow: Object, now: datetime) -> Object:
    owner = workflow["metadata"]
    spec = action.hook.spec
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": action.name,
            "namespace": options.namespace,
            "labels": {
                "app.kubernetes.io/name": "vmferry",
                "app.kubernetes.io/component": "hook",
                LABEL_HOOK: action.document.run,
            },
            "annotations": {
                CREATED: now.isoformat(),
                SECONDS: str(spec.timeout_seconds),
                ON_FAILURE: str(spec.on_failure),
                POINT: f"{action.document.moment}-{action.document.stage}",
                DISK: action.document.disk or "",
            },
            "ownerReferences": [WORKFLOW.owner_reference(owner["name"], owner["uid"])],
        },
    }


def _workflow(action: StartHook, template: HookTemplate) -> Object:
    """Only fields that Argo allows in its modes Strict and Secure (workflow/util/merge.go)."""
    spec: Object = {
        "workflowTemplateRef": {"name": template.name},
        "activeDeadlineSeconds": action.hook.spec.timeout_seconds,
        "arguments": {"parameters": [{"name": PARAMETER, "value": action.name}]},
    }
    return {**spec, **({"entrypoint": template.entrypoint} if template.entrypoint else {})}


def _pod(action: StartHook, given: HookContainer, options: Options) -> Object:
    spec, settings = action.hook.spec, options.checks
    volumes: list[Object] = [
        {"name": "document", "configMap": {"name": action.name}},
        {"name": "tmp", "emptyDir": {"sizeLimit": options.installation.tmp_size}},
    ]
    mounts: list[Object] = [
        {"name": "document", "mountPath": FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the pod
    ]
    if spec.secret:
        volumes.append({"name": "secret", "secret": {"secretName": spec.secret, "defaultMode": 0o440}})
        mounts.append({"name": "secret", "mountPath": SECRET_FOLDER, "readOnly": True})
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": given.image,
        "env": [
            *({"name": one.name, "value": one.value} for one in given.env),
            {"name": DOCUMENT_ENV, "value": f"{FOLDER}/{DOCUMENT}"},
        ],
        "resources": given.resources.model_dump(by_alias=True, mode="json"),
        "securityContext": _plain(pods.restricted()),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
        **({"command": list(given.command)} if given.command else {}),
        **({"args": list(given.args)} if given.args else {}),
    }
    return {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": spec.timeout_seconds,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "serviceAccountName": spec.service_account_name or SERVICE_ACCOUNT,
        "automountServiceAccountToken": bool(spec.service_account_name),
        "enableServiceLinks": False,
        "securityContext": _plain(pods.pod_security(options.installation.user)),
        "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
        "containers": [container],
        "volumes": volumes,
    }


def _plain(model: Any) -> Object:
    """A model of Hera as the API takes it."""
    document: Object = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return document
