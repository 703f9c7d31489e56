"""Stand-ins for Harvester's image controllers, Longhorn, CDI and KubeVirt, with a real API server.

    python -m tests.real.standins [--kubeconfig FILE] [--harvester played|real]

With `--harvester=real` Harvester's own webhook and controllers and KubeVirt's own webhook work, instead of
their stand-ins (tests/real/harvester). It prints a line to stdout when it is ready. SIGTERM ends it and its
VMs; after a restart it continues from the state in the cluster. tests/real/standins/README.md lists what is
real and what is not.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from steps.model.kinds import CRD, MACHINE
from tests.real.harvester.install import Real
from tests.real.harvester.programs import NotBuiltError, Programs
from tests.real.standins import (
    admission,
    cdi,
    crds,
    guests,
    harvester_machines,
    images,
    instances,
    machines,
    webhook,
)
from tests.real.standins.api import Api
from tests.real.standins.controller import Cluster, Controller
from tests.real.standins.downloads import Faults
from tests.real.standins.lab import Lab, NoLabError
from tests.real.standins.longhorn import Longhorn
from tests.real.standins.web import Web

WATCHED = {
    kind for module in (images, cdi, machines, instances, harvester_machines) for kind in module.WATCHED
}


def arguments() -> argparse.ArgumentParser:
    parser = crds.options(__doc__ or "")
    numbers = lambda text: frozenset(map(int, text.split(",")))  # noqa: E731
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="default: standins[-LAB] next to the kubeconfig"
    )
    parser.add_argument("--backing", type=Path, metavar="DIR", help="default: backing next to the kubeconfig")
    parser.add_argument("--rate", type=int, default=0, metavar="BYTES", help="of a download, per second")
    parser.add_argument(
        "--fail", type=numbers, default=frozenset(), metavar="N,…", help="cut these downloads"
    )
    parser.add_argument(
        "--corrupt", type=numbers, default=frozenset(), metavar="N,…", help="spoil a byte of these"
    )
    parser.add_argument(
        "--backoff", type=float, default=10.0, metavar="SECONDS", help="Harvester's; default 10"
    )
    parser.add_argument(
        "--harvester",
        choices=("played", "real"),
        default="played",
        help="real: its own webhook and controllers",
    )
    parser.add_argument(
        "--grace", type=float, default=guests.GRACE, metavar="SECONDS", help="guests power off"
    )
    return parser


def controllers(given: argparse.Namespace, lab: Lab, cluster: Cluster) -> list[Controller]:
    faults = Faults(given.rate, given.fail, given.corrupt)
    web = Web(cluster.api.host)  # the lab's name server is on the node, too
    below = [
        Longhorn(cluster, web, lab.backing, faults),
        cdi.DataVolumes(cluster, web, lab, faults),
        machines.Machines(cluster),
        instances.Instances(cluster, lab, given.grace),
    ]
    if given.harvester == "real":
        return below
    return [
        *below,
        images.Images(cluster, web, given.backoff),
        harvester_machines.HarvesterMachines(cluster),
    ]


@contextmanager
def admitted(given: argparse.Namespace, lab: Lab, api: Api) -> Iterator[None]:
    """While the webhooks answer; with `--harvester=real` Harvester's own controllers work, too."""
    if given.harvester == "real":
        real = Real.of(lab, Programs.found())
        real.install(default=given.default_class)
        with real.webhooks(), real.controllers():
            yield
        return
    server = webhook.Server(webhook.own_address(api.host), admission.Rules(api), lab.state)
    webhook.install(api, server)
    yield
    webhook.remove(api)


def alone(lab: Lab) -> IO[str]:
    """A lock that prevents a second instance in the same lab."""
    for folder in (lab.state, lab.backing):
        folder.mkdir(parents=True, exist_ok=True)
    lock = (lab.state / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NoLabError(f"stand-ins are already running for this lab: {lab.state}/lock is taken") from None
    return lock


def check_played(api: Api) -> None:
    """Raises NoLabError if the real KubeVirt runs there: both would start the same VMs."""
    kinds = api.get(CRD, "", MACHINE.resource) or {"metadata": {}}
    if (kinds["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by") == "virt-operator":
        raise NoLabError(
            "the real KubeVirt runs in this lab; run tests/real/lab/down, then tests/real/lab/up without it"
        )


def work(given: argparse.Namespace, lab: Lab) -> None:
    api = Api(lab.kubeconfig)
    check_played(api)
    webhook.remove(api)
    crds.install(api, default=given.default_class)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with ExitStack() as stack:
        stack.enter_context(admitted(given, lab, api))
        cluster = Cluster(api, WATCHED)
        working = controllers(given, lab, cluster)
        cluster.start()
        for one in working:
            one.start()
        sys.stdout.write(f"stand-ins ready: {api.server}\n")
        sys.stdout.flush()
        ended.wait()
        cluster.stop.set()
        cluster.wake.all()
        for one in working:
            one.join(30)


def main() -> None:
    given = arguments().parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stderr)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    try:
        lab = Lab.of(given.kubeconfig, given.state, given.backing)
        with alone(lab):
            work(given, lab)
    except (NoLabError, NotBuiltError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
