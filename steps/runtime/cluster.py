"""The Kubernetes API as a few verbs over plain dicts, with its errors as StepErrors.

It is a protocol, so that a step can be tested against a cluster in memory. The adapter to a real one is
`steps.runtime.kubeapi`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from steps.model.contract import Exit, StepError
from steps.model.kinds import Kind, Object
from steps.model.naming import is_label_value, is_namespace, is_object_name, shown
from steps.model.refusals import refusal

MANAGER: Final = "vmferry"
"""Our name in `metadata.managedFields`."""


SMALL_PAGE: Final = 10
"""Objects of a page of `each`. A tenant chooses how large its objects are: at most 1.5 MB."""


class ExistsError(StepError):
    """The object to create already exists; the caller checks the owner."""


class ChangedError(StepError):
    """The object was changed by another client since it was read: read it again."""


class ReplacedError(ChangedError):
    """An object with that name exists, but its uid is not the requested one."""


class InvalidNameError(StepError):
    """A name or label that no object can have. It would change the path or the query of the request."""


@dataclass(frozen=True)
class Page:
    """A part of a list, in the order of namespaces and names."""

    items: tuple[Object, ...]
    more: str
    """Token of the next page; "" after the last one."""
    version: str
    """Resource version of the whole list: a watch from there misses nothing."""


class Cluster(Protocol):
    """A Kubernetes API. Every verb raises StepError; see `failure` for which."""

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """The object; None if it does not exist, or if no object can have that name or kind."""

    def find(self, kind: Kind, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[Object]:
        """The objects with all of `labels`, sorted by name; without a namespace, those of all namespaces."""

    def page(self, kind: Kind, namespace: str = "", *, label: str = "", limit: int, more: str = "") -> Page:
        """At most `limit` objects, whole; with `label`, of those with a label of that key.

        `more` is the token of the page before.
        """

    def outlines(self, kind: Kind, namespace: str, label: str) -> Iterator[Object]:
        """The objects with a label of that key, with their metadata only, page by page."""

    def create(self, manifest: Object, *, dry_run: bool = False) -> Object:
        """Create the object. Raises ExistsError if one with that name exists: nothing is adopted blindly.

        With `dry_run` the API server checks it like a real request, webhooks and quotas included, and stores
        nothing. The answer shows the webhooks' changes.
        """

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        """Set the fields of `manifest`, and remove those that an earlier apply set and this one leaves out.

        This is a server-side apply that forces conflicts: vmferry owns the fields that it sends, even if
        a webhook or a person has changed them since. Other fields stay as they are. `dry_run` as
        for `create`.
        """

    def patch(self, kind: Kind, name: str, change: Object, namespace: str = "") -> Object | None:
        """Change some fields (JSON merge patch: None removes); None if the object does not exist.

        With `metadata.resourceVersion` in the change, raises ChangedError if the object has another version.
        """

    def patch_status(self, kind: Kind, name: str, status: Object, namespace: str = "") -> Object | None:
        """Change fields of the status (JSON merge patch on the subresource); None if there is no object.

        For a kind with that subresource `patch` does not change the status.
        """

    def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        """Delete the object; succeeds if it does not exist. With `uid`, only the object with that uid."""

    def serves(self, group: str) -> bool:
        """Whether the API server has the API group. Every authenticated client may ask (system:discovery)."""

    def log(self, pod: str, namespace: str, container: str, *, lines: int, limit: int) -> str:
        """The last `lines` lines of a container's log, at most `limit` bytes from their beginning.

        Bytes that are not UTF-8 are replaced.
        """

    def content(
        self, kind: Kind, name: str, namespace: str, part: str, *, limit: int, port: int = 0
    ) -> bytes:
        """The bytes of a subresource such as `vnc/screenshot`, at most `limit`; never repeated.

        With `port`, the kind is a Pod, and its API server at that port is asked over HTTPS: `proxy/metrics`.
        """


def each(cluster: Cluster, kind: Kind, namespace: str = "") -> Iterator[Object]:
    """The objects one after the other: unlike `find`, it needs little memory for objects of foreign people.

    Raises:
        StepError: like `Cluster.page`, also after some objects.
    """
    more = ""
    while True:
        page = cluster.page(kind, namespace, limit=SMALL_PAGE, more=more)
        yield from page.items
        more = page.more
        if not more:
            return


def check_names(
    verb: str, kind: Kind, namespace: str, name: str = "", labels: Mapping[str, str] | None = None
) -> None:
    """Refuse names that come from a custom resource, a status or an annotation and are not names.

    Every request passes here, because a client puts names into the path as they are: `../../secrets/x` would
    read another object, and `x?watch=true` would start a watch.

    Raises:
        InvalidNameError: INVALID.
    """
    checks = [
        ("name", name, not name or is_object_name(name)),
        ("namespace", namespace, not namespace or is_namespace(namespace)),
        *((f"label {key}", value, is_label_value(value)) for key, value in (labels or {}).items()),
    ]
    for what, text, valid in checks:
        if not valid:
            raise InvalidNameError(
                Exit.INVALID,
                f"cannot {verb} {kind.kind}",
                f"{shown(text)} is not a valid {what}",
                "use lower-case letters, digits, '-' and '.' (RFC 1123)",
            )


def failure(verb: str, kind: Kind, object_name: str, status: int, body: str) -> StepError:
    """The StepError for an error answer of the API server. The only place that decides this."""
    reason, message = _parse_status(body)
    what = f"cannot {verb} {kind.kind} {object_name}".rstrip()
    return refusal(what, status, message) or _api_error(verb, kind, what, status, reason, message)


def _api_error(verb: str, kind: Kind, what: str, status: int, reason: str, message: str) -> StepError:
    """The StepError for an answer of the API server itself, not of a webhook."""
    match status:
        case 401:
            return StepError(Exit.DENIED, what, f"the cluster refuses our credentials: {message}")
        case 403:
            return _forbidden(what, f"{verb} on {kind.resource}", message)
        case 404:
            remedy = f"check that the cluster has the namespace and {kind.resource}"
            return StepError(Exit.NOT_FOUND, what, message, remedy)
        case 409:
            return _conflict(verb, what, reason, message)
        case 400 | 405 | 413 | 415 | 422:
            return StepError(Exit.INVALID, what, message)
        case _:
            return StepError(Exit.UNREACHABLE, what, f"the API server answers {status}: {message}")


def _forbidden(what: str, right: str, message: str) -> StepError:
    if "exceeded quota" in message or "maximum storage usage" in message:  # ResourceQuota, LimitRange
        return StepError(
            Exit.NO_SPACE,
            what,
            message,
            "raise that limit of the namespace or free some of it, then retry",
        )
    # A new quota, or one whose usage is not counted yet (k8s.io/apiserver,
    # pkg/admission/plugin/resourcequota/controller.go): the quota controller counts it soon.
    if "status unknown for quota" in message:
        return StepError(Exit.BUSY, what, message, "the quota's usage is not counted yet; vmferry retries")
    if " cannot " in message:  # RBAC: User "…" cannot create resource "…"
        return StepError(Exit.DENIED, what, message, f"the service account needs the right to {right}")
    return StepError(Exit.DENIED, what, message, "an admission policy of the cluster refuses it")


_PRECONDITION: Final = re.compile(r"UID in (the )?precondition")
"""k8s.io/apiserver, pkg/registry/rest/delete.go and pkg/storage/interfaces.go. Webhooks use 409 as well."""


def _conflict(verb: str, what: str, reason: str, message: str) -> StepError:
    if _PRECONDITION.search(message):
        return ReplacedError(Exit.BUSY, what, message)
    if reason == "AlreadyExists":
        return ExistsError(Exit.CONFLICT, what, message, "rename or delete it, or choose another name")
    # On create the quota's own counter causes this, if two creations compete for it.
    if verb != "create" or "Operation cannot be fulfilled" in message:
        return ChangedError(Exit.BUSY, what, message)
    return StepError(Exit.CONFLICT, what, message, "rename or delete it, or choose another name")


def _parse_status(body: str) -> tuple[str, str]:
    """(reason, message) of a `Status`; any other answer is quoted as it is."""
    try:
        status = json.loads(body)
        return str(status.get("reason", "")), str(status.get("message", ""))
    except (ValueError, AttributeError):
        return "", " ".join(body.split())[:300]
