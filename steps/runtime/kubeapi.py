"""The protocol `Cluster` over the dynamic client of the `kubernetes` package, in a pod or by KUBECONFIG.

Only the client's requests are used, not its discovery: that would list the API groups at the start of
every step and cache them in /tmp, in a file with a predictable name.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import structlog
from kubernetes import config
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.resource import Resource
from kubernetes.watch import Watch
from urllib3.exceptions import HTTPError

from steps.model.contract import Exit, StepError
from steps.model.kinds import POD, Kind, Object, kind_of
from steps.runtime.cluster import (
    MANAGER,
    Cluster,
    InvalidNameError,
    Page,
    ReplacedError,
    check_names,
    failure,
)
from steps.runtime.stop import Stop

log = structlog.get_logger()
T = TypeVar("T")

REQUEST_SECONDS: Final = 30
"""How long one request may take."""
SILENT_SECONDS: Final = 90
"""How long a watch may be silent: the API server sends a bookmark about every minute."""
PATIENCE: Final = 120.0
"""Seconds that an API server may be unavailable, for example during a restart, before the step fails."""
LONGEST_WAIT: Final = 10.0
NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
NAMESPACE_ENV: Final = "VMFERRY_NAMESPACE"
PAGE: Final = 200
"""Objects in one answer."""
_LOG: Final = Kind("v1", "log of Pod", "pods/log")
"""For messages."""
_GROUP: Final = Kind("v1", "APIGroup", "apigroups", namespaced=False)
"""For messages."""
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
MERGE_PATCH: Final = "application/merge-patch+json"  # custom resources have no strategic merge patch


def connect(
    stop: Stop,
    *,
    patience: float = PATIENCE,
    kubeconfig: str | None = None,
    seconds: float = REQUEST_SECONDS,
) -> Cluster:
    """The cluster this process runs in, or the one that `kubeconfig` or KUBECONFIG names.

    `seconds` is the timeout of one request. A proxy of the environment is ignored, as it is for
    sources; `proxy-url` of the kubeconfig is used.

    Raises:
        StepError: INVALID, if there is neither.
    """
    return RetryingCluster(connect_once(kubeconfig=kubeconfig, seconds=seconds), stop, patience)


def connect_once(*, kubeconfig: str | None = None, seconds: float = REQUEST_SECONDS) -> ApiCluster:
    """Like `connect`, without retries: a request without an answer raises UNREACHABLE at once."""
    settings = Configuration()
    settings.proxy = settings.no_proxy = None  # the package has taken them from the environment
    try:
        # The package reads KUBECONFIG only when it is imported.
        kubeconfig_file = kubeconfig or os.environ.get("KUBECONFIG") or None
        if kubeconfig_file or "KUBERNETES_SERVICE_HOST" not in os.environ:
            config.load_kube_config(config_file=kubeconfig_file, client_configuration=settings)  # type: ignore[no-untyped-call]
        else:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise StepError(
            Exit.INVALID, "cannot connect to a cluster", str(error), "set KUBECONFIG to a kubeconfig file"
        ) from None
    return ApiCluster(ApiClient(settings), seconds)


def context_namespace() -> str:
    """The namespace that kubectl would use: that of the current context, else `default`."""
    try:
        _, current = config.list_kube_config_contexts(  # type: ignore[no-untyped-call]
            config_file=os.environ.get("KUBECONFIG") or None
        )
    except config.ConfigException:
        return "default"
    return str(current["context"].get("namespace") or "default")


def own_namespace() -> str:
    """The namespace this pod runs in: the release namespace.

    Raises:
        StepError: INVALID, outside a pod without the variable.
    """
    if namespace := os.environ.get(NAMESPACE_ENV):
        return namespace
    if NAMESPACE_FILE.is_file():
        return NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    raise StepError(Exit.INVALID, "the namespace of the run is not known", remedy=f"set {NAMESPACE_ENV}")


class ApiCluster:
    """One request per verb; an error answer becomes the StepError of `cluster.failure`."""

    def __init__(self, client: ApiClient, seconds: float = REQUEST_SECONDS) -> None:
        self._seconds = seconds
        self._client = DynamicClient(client, discoverer=_no_discovery)  # type: ignore[no-untyped-call]

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        with contextlib.suppress(_MissingError, InvalidNameError):
            return self._request("get", kind, namespace, name, partial(self._client.get, name=name))
        return None

    def find(self, kind: Kind, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[Object]:
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        listed = partial(self._client.get, label_selector=selector or None)
        answer = self._request("list", kind, namespace, "", listed, labels=labels)
        # The items of a list lack these two.
        type_fields = {"apiVersion": kind.api_version, "kind": kind.kind}
        return [{**type_fields, **item} for item in answer.get("items") or []]

    def page(self, kind: Kind, namespace: str = "", *, label: str = "", limit: int, more: str = "") -> Page:
        return self._page(kind, namespace, label, limit, more)

    def outlines(self, kind: Kind, namespace: str, label: str) -> Iterator[Object]:
        more = ""
        while True:
            page = self._page(kind, namespace, label, PAGE, more, header_params={"Accept": METADATA_ONLY})
            # The kind of such an item is PartialObjectMetadata.
            named = {"apiVersion": kind.api_version, "kind": kind.kind}
            yield from ({**named, "metadata": item["metadata"]} for item in page.items)
            more = page.more
            if not more:
                return

    def changes(
        self, kind: Kind, namespace: str, version: str, *, label: str = "", seconds: int, watch: Watch
    ) -> Iterator[Change]:
        """What happens after `version`, for at most `seconds`; `watch.stop()` of another thread ends it.

        Raises:
            ExpiredError: the API server no longer knows the version.
            StepError: as for the other verbs, for example when nothing arrives for `SILENT_SECONDS`.
        """
        check_names("watch", kind, namespace)
        get = partial(self._client.get, _resource(kind), serialize=False, namespace=namespace or None)
        query = {"label_selector": label or None, "resource_version": version, "timeout_seconds": seconds}
        timeouts = (self._seconds, SILENT_SECONDS)
        try:
            for event in watch.stream(  # type: ignore[no-untyped-call]
                get, allow_watch_bookmarks=True, _request_timeout=timeouts, **query
            ):
                if event is None:
                    why = "the API server sent something that is no event"
                    raise StepError(Exit.UNREACHABLE, f"cannot watch {kind.kind}", why)
                yield Change(str(event["type"]), event["object"])
        except ApiException as error:
            if error.status == HTTPStatus.GONE:
                raise ExpiredError(Exit.UNREACHABLE, f"cannot watch {kind.kind}", str(error.reason)) from None
            raise _error_of("watch", kind, namespace, error) from None
        except (HTTPError, OSError) as error:
            raise _unanswered("watch", kind, namespace, error) from None

    def _page(self, kind: Kind, namespace: str, label: str, limit: int, more: str, **request: Any) -> Page:
        query = {"label_selector": label or None, "limit": limit, "_continue": more or None}
        listed = partial(self._client.get, **query, **request)
        answer = self._request("list", kind, namespace, "", listed)
        metadata = answer.get("metadata") or {}
        type_fields = {"apiVersion": kind.api_version, "kind": kind.kind}
        return Page(
            items=tuple({**type_fields, **item} for item in answer.get("items") or []),
            more=str(metadata.get("continue") or ""),
            version=str(metadata.get("resourceVersion") or ""),
        )

    def create(self, manifest: Object, *, dry_run: bool = False) -> Object:
        kind, namespace, name = _coordinates(manifest)
        create = partial(self._client.create, **_dry_run_options(dry_run=dry_run))
        return self._request("create", kind, namespace, name, create, body=manifest)

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        kind, namespace, name = _coordinates(manifest)
        apply = partial(
            self._client.server_side_apply, force_conflicts=True, **_dry_run_options(dry_run=dry_run)
        )
        return self._request("patch", kind, namespace, name, apply, body=manifest)

    def patch(self, kind: Kind, name: str, change: Object, namespace: str = "") -> Object | None:
        patch = partial(self._client.patch, name=name, content_type=MERGE_PATCH)
        with contextlib.suppress(_MissingError):
            return self._request("patch", kind, namespace, name, patch, body=change)
        return None

    def patch_status(self, kind: Kind, name: str, status: Object, namespace: str = "") -> Object | None:
        body: Object = {"status": status}
        patch = partial(self._patch_status, name=name)
        with contextlib.suppress(_MissingError):
            return self._request("patch", kind, namespace, name, patch, body=body)
        return None

    def _patch_status(self, resource: Resource, *, name: str, namespace: str = "", **request: Any) -> Any:
        path = f"{resource.path(name=name, namespace=namespace or None)}/status"  # type: ignore[no-untyped-call]
        return self._client.request("patch", path, content_type=MERGE_PATCH, **request)

    def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        options: Object = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        # Another object has the name: ours no longer exists.
        with contextlib.suppress(_MissingError, ReplacedError):
            self._request(
                "delete", kind, namespace, name, partial(self._client.delete, name=name), body=options
            )

    def serves(self, group: str) -> bool:
        read = partial(self._client.request, "get", f"/apis/{group}")
        with contextlib.suppress(_MissingError):
            self._call("get", _GROUP, group, read)
            return True
        return False

    def log(self, pod: str, namespace: str, container: str, *, lines: int, limit: int) -> str:
        check_names("get", POD, namespace, pod)
        path = f"{_resource(POD).path(name=pod, namespace=namespace)}/log"  # type: ignore[no-untyped-call]
        query = [("container", container), ("tailLines", lines), ("limitBytes", limit)]
        read = partial(self._client.request, "get", path, query_params=query, header_params={"Accept": "*/*"})
        answer = self._call("get", _LOG, f"{namespace}/{pod}", read)
        return bytes(answer.data[:limit]).decode(errors="replace")

    def content(
        self, kind: Kind, name: str, namespace: str, part: str, *, limit: int, port: int = 0
    ) -> bytes:
        check_names("get", kind, namespace, name)
        asked = f"https:{name}:{port}" if port else name
        path = f"{_resource(kind).path(name=asked, namespace=namespace)}/{part}"  # type: ignore[no-untyped-call]
        read = partial(self._client.request, "get", path, header_params={"Accept": "*/*"})
        of_part = kind._replace(plural=f"{kind.plural}/{part.partition('/')[0]}")
        answer = self._call("get", of_part, f"{namespace}/{name}", read)
        content = b""
        try:
            while len(content) < limit and (chunk := answer.read(limit - len(content))):
                content += chunk
        except (HTTPError, OSError) as error:
            raise _unanswered("get", of_part, f"{namespace}/{name}", error) from None
        finally:
            answer.close()
        return content

    def _request(
        self,
        verb: str,
        kind: Kind,
        namespace: str,
        name: str,
        call: Callable[..., Any],
        labels: Mapping[str, str] | None = None,
        **request: Any,
    ) -> Object:
        check_names(verb, kind, namespace, name, labels)
        object_name = "/".join(part for part in (namespace, name) if part)
        if verb in ("create", "patch"):
            request["field_manager"] = MANAGER
        namespace_option = {"namespace": namespace} if namespace else {}
        prepared = partial(call, _resource(kind), **namespace_option, **request)
        document: Object = json.loads(self._call(verb, kind, object_name, prepared).data)
        return document

    def _call(self, verb: str, kind: Kind, object_name: str, call: Callable[..., Any]) -> Any:
        try:
            return call(serialize=False, _request_timeout=self._seconds)
        except ApiException as error:
            raise _error_of(verb, kind, object_name, error) from None
        except (HTTPError, OSError) as error:
            raise _unanswered(verb, kind, object_name, error) from None


def _dry_run_options(*, dry_run: bool) -> dict[str, str]:
    return {"dry_run": "All"} if dry_run else {}


class ExpiredError(StepError):
    """The API server no longer knows the resource version of a watch: list again."""


class Change(NamedTuple):
    """One event of a watch."""

    type: str
    """ADDED, MODIFIED, DELETED, or BOOKMARK: then the object has only the resource version."""
    object: Object


class _MissingError(StepError):
    """The object does not exist, or the cluster does not have the kind."""


def _error_of(verb: str, kind: Kind, object_name: str, error: ApiException) -> StepError:
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    step_error = failure(verb, kind, object_name, error.status or 0, body)
    # A webhook's refusal may also have that status.
    if error.status == 404 and step_error.code is Exit.NOT_FOUND:
        return _MissingError(step_error.code, step_error.what, step_error.why, step_error.remedy)
    return step_error


def _unanswered(verb: str, kind: Kind, object_name: str, error: Exception) -> StepError:
    why = f"no answer from the API: {type(error).__name__}: {error}"
    return StepError(Exit.UNREACHABLE, f"cannot {verb} {kind.kind} {object_name}".rstrip(), why)


def _no_discovery(_client: object, _file: object) -> None:
    """Replaces a discoverer: `_resource` has the paths."""


def _resource(kind: Kind) -> Resource:
    """The API path of the kind, as discovery would return it."""
    return Resource(  # type: ignore[no-untyped-call]
        prefix="apis" if kind.group else "api",
        group=kind.group,
        api_version=kind.api_version.rpartition("/")[2],
        kind=kind.kind,
        namespaced=kind.namespaced,
        name=kind.plural,
    )


def _coordinates(manifest: Object) -> tuple[Kind, str, str]:
    metadata = manifest["metadata"]
    return kind_of(manifest), metadata.get("namespace", ""), metadata["name"]


class RetryingCluster:
    """A cluster whose API server may be unavailable for a while: requests without an answer are repeated.

    Any verb may be repeated: after an unanswered `create` the next one raises ExistsError, and every caller
    checks the owner.
    """

    def __init__(
        self, inner: Cluster, stop: Stop, patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._inner = inner
        self._stop = stop
        self._patience = patience
        self._clock = clock

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        return self._retry(lambda: self._inner.get(kind, name, namespace))

    def find(self, kind: Kind, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[Object]:
        return self._retry(lambda: self._inner.find(kind, namespace, labels))

    def page(self, kind: Kind, namespace: str = "", *, label: str = "", limit: int, more: str = "") -> Page:
        return self._retry(lambda: self._inner.page(kind, namespace, label=label, limit=limit, more=more))

    def outlines(self, kind: Kind, namespace: str, label: str) -> Iterator[Object]:
        yield from self._retry(lambda: list(self._inner.outlines(kind, namespace, label)))

    def create(self, manifest: Object, *, dry_run: bool = False) -> Object:
        return self._retry(lambda: self._inner.create(manifest, dry_run=dry_run))

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        return self._retry(lambda: self._inner.apply(manifest, dry_run=dry_run))

    def patch(self, kind: Kind, name: str, change: Object, namespace: str = "") -> Object | None:
        return self._retry(lambda: self._inner.patch(kind, name, change, namespace))

    def patch_status(self, kind: Kind, name: str, status: Object, namespace: str = "") -> Object | None:
        return self._retry(lambda: self._inner.patch_status(kind, name, status, namespace))

    def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        self._retry(lambda: self._inner.delete(kind, name, namespace, uid=uid))

    def serves(self, group: str) -> bool:
        return self._retry(lambda: self._inner.serves(group))

    def log(self, pod: str, namespace: str, container: str, *, lines: int, limit: int) -> str:
        return self._retry(lambda: self._inner.log(pod, namespace, container, lines=lines, limit=limit))

    def content(
        self, kind: Kind, name: str, namespace: str, part: str, *, limit: int, port: int = 0
    ) -> bytes:
        return self._inner.content(kind, name, namespace, part, limit=limit, port=port)

    def _retry(self, call: Callable[[], T]) -> T:
        """Repeat while there is no answer, with growing pauses, until the patience or a stop ends it."""
        end, wait = self._clock() + self._patience, 1.0
        while True:
            try:
                return call()
            except StepError as error:
                if error.code is not Exit.UNREACHABLE or self._clock() + wait > end:
                    raise
                log.warning(f"{error}; retrying in {wait:g} s")
            self._stop.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
