"""kopf, as a shell: it watches, and every event becomes a key to look at; no handler decides anything.

Two operators beside each other, as kopf watches all kinds in the same namespaces: imports and sources where
they may live, Workflows in the release namespace alone. Handlers of plain events leave no mark on an object.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import kopf

from controller.operator.options import Options
from steps.model import names
from steps.model.kinds import IMPORT, OPENSTACK_SOURCE, OVA_SOURCE, VMWARE_SOURCE, WORKFLOW, Kind

Seen = Callable[[Kind, Mapping[str, Any], bool], None]
"""Called with a kind, an object, and whether it is gone; must not fail and not take long."""

OURS: Final = (IMPORT, VMWARE_SOURCE, OPENSTACK_SOURCE, OVA_SOURCE)
IDENTITY: Final = cast("Any", "vmferry")
"""kopf's name among its peers, of which it has none; else it asks for that of our user, who has none."""


async def watch(options: Options, seen: Seen, stop: threading.Event) -> None:
    """Watch until `stop` is set."""
    imports, workflows = _registry(), _registry()
    for kind in OURS:
        _on_event(imports, kind, seen)
    _on_event(workflows, WORKFLOW, seen, labels={names.LABEL_UID: kopf.PRESENT})
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


def _on_event(registry: kopf.OperatorRegistry, kind: Kind, seen: Seen, **filters: Any) -> None:
    def handler(event: kopf.RawEvent, **_: Any) -> None:
        seen(kind, event["object"], event["type"] == "DELETED")

    version = kind.api_version.rpartition("/")[2]
    kopf.on.event(kind.group, version, kind.plural, registry=registry, id="seen", **filters)(handler)


def _registry() -> kopf.OperatorRegistry:
    """A registry of its own, with the same credentials as our client takes."""
    made = kopf.OperatorRegistry()
    kopf.on.login(registry=made, id="login")(_login)
    return made


def _login(**context: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_service_account(**context) or kopf.login_with_kubeconfig(**context)


def _settings() -> kopf.OperatorSettings:
    made = kopf.OperatorSettings()
    made.posting.enabled = False  # our Events are written where the transition is known
    made.networking.trust_env = False
    return made
