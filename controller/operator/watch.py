"""kopf only watches: every event becomes a key to reconcile, and no handler decides anything.

There are two kopf operators, because each watches all its kinds in the same namespaces: one for imports and
sources, one for Workflows, which are only in the release namespace. Event handlers do not mark objects.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import kopf

from controller.operator.options import Options
from steps.model import names
from steps.model.kinds import IMPORT, RESOURCE_MAPPING, SOURCES, V2V_IMPORT, WORKFLOW, Kind

OnEvent = Callable[[Kind, Mapping[str, Any], bool], None]
"""Called with a kind, an object, and whether it was deleted. It must not fail or block."""

OURS: Final = (IMPORT, *SOURCES.values())
V2V: Final = (V2V_IMPORT, RESOURCE_MAPPING)
IDENTITY: Final = cast("Any", "vmferry")
"""kopf's name among its peers. Without it kopf asks for the user name, and our user has none."""


async def watch(options: Options, on_event: OnEvent, stop: threading.Event) -> None:
    """Watch until `stop` is set."""
    imports, workflows = _registry(), _registry()
    for kind in (*OURS, *(V2V if options.v2v.enabled else ())):
        _watch_kind(imports, kind, on_event)
    _watch_kind(workflows, WORKFLOW, on_event, labels={names.LABEL_UID: kopf.PRESENT})
    await asyncio.gather(
        kopf.operator(
            registry=imports,
            settings=_settings(),
            identity=IDENTITY,
            standalone=True,
            clusterwide=not options.namespaces,
            namespaces=options.namespaces,
            stop_flag=stop,
        ),
        kopf.operator(
            registry=workflows,
            settings=_settings(),
            identity=IDENTITY,
            standalone=True,
            namespaces=[options.namespace],
            stop_flag=stop,
        ),
    )


def _watch_kind(registry: kopf.OperatorRegistry, kind: Kind, on_event: OnEvent, **filters: Any) -> None:
    def handler(event: kopf.RawEvent, **_: Any) -> None:
        on_event(kind, event["object"], event["type"] == "DELETED")

    version = kind.api_version.rpartition("/")[2]
    kopf.on.event(kind.group, version, kind.plural, registry=registry, id="seen", **filters)(handler)


def _registry() -> kopf.OperatorRegistry:
    """A separate registry, with the same credentials as our client."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry, id="login")(_login)
    return registry


def _login(**context: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # `act` writes the Events
    settings.networking.trust_env = False
    return settings
