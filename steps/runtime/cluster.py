"""The Kubernetes API as six verbs over plain dicts, and its errors in the words of the step contract.

One protocol, so that a step can be tested against a cluster in memory. The adapter to a real one is
`steps.runtime.kubeapi`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, Protocol

from steps.model.contract import Exit, StepError
from steps.model.kinds import Kind, Object
from steps.model.refusals import refusal

MANAGER: Final = "vmferry"
"""Our name in `metadata.managedFields`."""


class ExistsError(StepError):
    """What was to be created is there already; whose it is, the caller has to look."""


class ChangedError(StepError):
    """The object was changed by someone else since it was read: read it again."""


class ReplacedError(ChangedError):
    """Another object of that name is there, with another uid than the request named."""


class Cluster(Protocol):
    """A Kubernetes API. Every verb raises StepError; see `failure` for which."""

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """The object; None when there is none, or when the cluster does not know the kind."""

    def find(self, kind: Kind, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[Object]:
        """The objects that carry all of `labels`, by name; without a namespace, those of all."""

    def create(self, manifest: Object, *, dry_run: bool = False) -> Object:
        """Make the object. Raises ExistsError when one of that name is there: nothing is adopted blindly.

        With `dry_run` the API server judges it as if it were made, webhooks and quotas included, and keeps
        nothing. The answer shows what the webhooks would change.
        """

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        """Set the fields of `manifest`, and remove those that an earlier apply set and this one leaves out.

        This is a server-side apply that forces conflicts: a field that we send is ours to decide, even where
        a webhook or a person has written it since. Fields that we do not send stay as they are. `dry_run` as
        for `create`.
        """

    def patch(self, kind: Kind, name: str, change: Object, namespace: str = "") -> Object | None:
        """Change some fields (JSON merge patch: None removes); None when the object is gone.

        With `metadata.resourceVersion` in the change it holds for that version only, else ChangedError.
        """

    def patch_status(self, kind: Kind, name: str, status: Object, namespace: str = "") -> Object | None:
        """Change fields of the status (JSON merge patch on the subresource); None when the object is gone.

        Of a kind with that subresource `patch` leaves the status alone.
        """

    def delete(self, kind: Kind, name: str, namespace: str = "", *, uid: str = "") -> None:
        """Ask for the object to go; well if it has. With `uid`, only that very object."""


def failure(verb: str, kind: Kind, where: str, status: int, body: str) -> StepError:
    """What an answer of the API server means for a step. The one place where that is decided."""
    reason, message = _said(body)
    what = f"cannot {verb} {kind.kind} {where}"
    return refusal(what, status, message) or _answered(verb, kind, what, status, (reason, message))


def _answered(verb: str, kind: Kind, what: str, status: int, said: tuple[str, str]) -> StepError:
    """What an answer of the API server itself means; no webhook was at work."""
    reason, message = said
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
    # A quota that was made a moment ago, or whose usage nobody has counted yet (k8s.io/apiserver,
    # pkg/admission/plugin/resourcequota/controller.go): the quota controller does so in a while.
    if "status unknown for quota" in message:
        return StepError(Exit.BUSY, what, message, "the quota's usage is not counted yet; vmferry retries")
    if " cannot " in message:  # the words of RBAC: User "…" cannot create resource "…"
        return StepError(Exit.DENIED, what, message, f"the service account needs the right to {right}")
    return StepError(Exit.DENIED, what, message, "an admission policy of the cluster refuses it")


_PRECONDITION: Final = re.compile(r"UID in (the )?precondition")
"""k8s.io/apiserver, pkg/registry/rest/delete.go and pkg/storage/interfaces.go. Webhooks use 409 as well."""


def _conflict(verb: str, what: str, reason: str, message: str) -> StepError:
    if _PRECONDITION.search(message):
        return ReplacedError(Exit.BUSY, what, message)
    if reason == "AlreadyExists":
        return ExistsError(Exit.CONFLICT, what, message, "rename or delete it, or choose another name")
    # On create this comes from the quota's own counter, which two creations at once compete for.
    if verb != "create" or "Operation cannot be fulfilled" in message:
        return ChangedError(Exit.BUSY, what, message)
    return StepError(Exit.CONFLICT, what, message, "rename or delete it, or choose another name")


def _said(body: str) -> tuple[str, str]:
    """(reason, message) of a `Status`; whatever else answered is quoted as it is."""
    try:
        status = json.loads(body)
        return str(status.get("reason", "")), str(status.get("message", ""))
    except (ValueError, AttributeError):
        return "", " ".join(body.split())[:300]
