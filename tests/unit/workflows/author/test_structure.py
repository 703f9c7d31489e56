"""No field is lost or misspelt: Hera's models silently drop names they do not know.

One template is written here by hand, with all fields that our templates can have. In the others, every key is
one that Argo has at that place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.unit.workflows.author.rendered import TEMPLATE, parse, templates
from workflows.author.installation import Installation, Share
from workflows.author.template import template

SERVE: Final = """
name: serve
annotations: {workflows.argoproj.io/display-name: "serve-{{inputs.parameters.disk}}"}
inputs: {parameters: [{name: disk}]}
metadata:
  labels:
    migration.harvesterhci.io/stage: serve
    migration.harvesterhci.io/disk: "{{inputs.parameters.disk}}"
    migration.harvesterhci.io/scratch: "true"
serviceAccountName: vmferry-serve
podSpecPatch: |
  {
    "containers": [{"name": "main", "volumeMounts": [MOUNT]}]
  }
pendingTimeout: 30m
retryStrategy:
  limit: 5
  expression: >-
    lastRetry.status == 'Error' || asInt(lastRetry.exitCode) < 10 || asInt(lastRetry.exitCode) > 21
  backoff: {duration: 10s, factor: 2, cap: 60s}
volumes:
  - name: request
    projected:
      sources:
        - configMap: {name: "{{workflow.parameters.run}}-request"}
        - configMap: {name: "{{workflow.parameters.run}}-machine"}
        - configMap: {name: "{{workflow.name}}-volumes"}
  - name: tmp
    emptyDir: {sizeLimit: 128Mi}
  - name: address
    secret: {secretName: "{{workflow.parameters.run}}-address", defaultMode: 288}
  - name: scratch
    persistentVolumeClaim: {claimName: "{{workflow.parameters.run}}-{{inputs.parameters.disk}}"}
container:
  image: vmferry/serve:0.1.0
  imagePullPolicy: IfNotPresent
  command: [python, -m, steps.serve]
  args:
    - --disk
    - "{{inputs.parameters.disk}}"
    - --token-file
    - /run/address/token
    - --workflow
    - "{{workflow.name}}"
  ports: [{name: http, containerPort: 8080}]
  readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 2, timeoutSeconds: 5}
  resources: {requests: {cpu: 50m, memory: 96Mi}, limits: {memory: 512Mi}}
  securityContext:
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
    readOnlyRootFilesystem: true
    runAsNonRoot: true
  terminationMessagePolicy: FallbackToLogsOnError
  volumeMounts:
    - {name: request, mountPath: /request, readOnly: true}
    - {name: tmp, mountPath: /tmp}
    - {name: address, mountPath: /run/address, readOnly: true}
    - {name: scratch, mountPath: /scratch}
"""

MOUNT: Final = (
    '{"name": "api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}'
)

SPEC: Final[dict[str, Any]] = {
    "arguments": {"parameters": [{"name": ..., "value": ..., "enum": ...}]},
    "entrypoint": ...,
    "onExit": ...,
    "podGC": {"strategy": ...},
    "podMetadata": {"labels": ...},
    "podSpecPatch": ...,
    "securityContext": ...,
    "serviceAccountName": ...,
    "ttlStrategy": {"secondsAfterSuccess": ..., "secondsAfterFailure": ...},
    "templates": [
        {
            "name": ...,
            "annotations": ...,
            "metadata": {"labels": ...},
            "container": ...,
            "initContainers": ...,
            "dag": {
                "tasks": [
                    {
                        "name": ...,
                        "template": ...,
                        "depends": ...,
                        "when": ...,
                        "withParam": ...,
                        "arguments": {"parameters": [{"name": ..., "value": ...}]},
                    }
                ]
            },
            "suspend": {},
            "inputs": {"parameters": [{"name": ...}]},
            "outputs": {"parameters": [{"name": ..., "valueFrom": {"path": ..., "default": ...}}]},
            "retryStrategy": ...,
            "podSpecPatch": ...,
            "serviceAccountName": ...,
            "synchronization": {"semaphores": [{"configMapKeyRef": {"name": ..., "key": ...}}]},
            "pendingTimeout": ...,
            "volumes": ...,
        }
    ],
}
"""The fields of Argo 4.1 by place (pkg/apis/workflow/v1alpha1/workflow_types.go); `...`: anything."""


def strange(value: Any, known: Any, path: str = "") -> Iterator[str]:
    """Paths of keys that Argo does not have at that place."""
    if known is ...:
        return
    if isinstance(value, list):
        for inner in value:
            yield from strange(inner, known[0], path + "[]")
        return
    for key, inner in value.items():
        if key in known:
            yield from strange(inner, known[key], f"{path}.{key}")
        else:
            yield f"{path}.{key}"


def test_a_template_field_by_field() -> None:
    assert templates()["serve"] == parse(SERVE.replace("MOUNT", MOUNT))


def test_every_key_is_known_to_argo() -> None:
    assert list(strange(parse(TEMPLATE.read_text())["spec"], SPEC)) == []


def test_key_in_the_wrong_place_is_found() -> None:
    wrong = {"templates": [{"name": "a", "pendingTimeOut": "30m", "dag": {"tasks": [{"need": "b"}]}}]}
    assert list(strange(wrong, SPEC)) == [".templates[].pendingTimeOut", ".templates[].dag.tasks[].need"]


def test_template_has_no_namespace_of_its_own() -> None:
    made = parse(TEMPLATE.read_text())
    assert (made["apiVersion"], made["kind"]) == ("argoproj.io/v1alpha1", "WorkflowTemplate")
    assert "namespace" not in made["metadata"], "the chart's release decides"


def test_each_setting_changes_its_field() -> None:
    settings = Installation(
        repository="r",
        tag="t",
        user=7,
        pending_timeout="1h",
        keep_failed=1,
        shares={"export": Share(cpu="2")},
    )
    made = template(settings)["spec"]
    export = next(one for one in made["templates"] if one["name"] == "export")
    assert export["container"]["image"] == "r/vmware:t"
    assert export["container"]["resources"]["requests"] == {"cpu": "2", "memory": "96Mi"}
    assert (made["securityContext"]["runAsUser"], made["ttlStrategy"]["secondsAfterFailure"]) == (7, 1)
    assert {one["pendingTimeout"] for one in made["templates"] if "pendingTimeout" in one} == {"1h"}
