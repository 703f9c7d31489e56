"""Honest imports among hundreds of sources that never answer, or answer without end (finding F6).

    python -m tests.real.controller.crowd [--silent 200] [--endless 200] [--honest 20]

It runs the controller as its own process, with the rights of the chart, against a real API server. The
kubelet is a stand-in: check pods are child processes of this program. It prints how long honest imports take
from their creation to their Workflow, alone and in the crowd, and the controller's peak of memory (VmHWM).
It needs root, Helm, and the lab's program (tests/real/lab/build). Exit code 1: a goal was not reached.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.server
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from controller.operator.checkpods.objects import LABEL_CHECK
from controller.operator.options import PATH_ENV
from steps.model.kinds import API_VERSION, IMPORT, POD, SECRET, SOURCES, WORKFLOW, Object
from steps.model.sources import SourceKind
from steps.runtime.cluster import Cluster
from tests.real.controller import apiserver
from tests.real.controller.apiserver import ROOT, ApiServer
from tests.unit.controller.operator import programs
from tests.unit.controller.operator.kubelet import Files, Kubelet
from tests.unit.steps.providers.ova.make import Wanted, descriptor

RELEASE: Final = "vmferry"
HELM: Final = os.environ.get("HELM") or str(ROOT / ".cache" / "bin" / "helm")
POLICY: Final = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"
RATIO: Final = 1.2
MEMORY: Final = 160 << 20
PATIENCE: Final = 1800.0
SETTLE_SECONDS: Final = 120.0
"""The crowd fills all its slots, and its first checks reach their deadline of 60 s."""
LOGIN: Final = ("username", "password", "project_name", "domain_name")
CLASS: Final = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "example.com/none",
}


# --- sources


class Handler(http.server.BaseHTTPRequestHandler):
    """One server for all: the path says how it answers."""

    def do_GET(self) -> None:
        if self.path.startswith("/silent"):
            time.sleep(3600)
        elif self.path.startswith("/endless"):
            self._endless()
        elif self.path.endswith(".ovf"):
            self._descriptor()
        else:
            self.send_error(404)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b" " * (1 << 16))

    def _descriptor(self) -> None:
        body = descriptor(Wanted(), {"disk.vmdk": b"x"}, [1 << 20])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Server(http.server.ThreadingHTTPServer):
    """Serves each connection in a thread."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that was ended is no error."""


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The URL of the server, in a process of its own: it must not slow down the stand-in for the kubelet."""
    code = "from tests.real.controller.crowd import serve; serve()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def serve() -> None:
    """Serve until this process is killed; its first line is the port."""
    server = Server(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


# --- objects


def ova(namespace: str, name: str, url: str) -> Object:
    return _source(SourceKind.OVA, namespace, name, {"url": url})


def cloud(namespace: str, name: str, url: str) -> Object:
    return _source(SourceKind.OPENSTACK, namespace, name, {"endpoint": url, "credentials": {"name": name}})


def login(namespace: str, name: str) -> Object:
    """Each source has an account of its own: otherwise they would be checked one after another."""
    data = {key: base64.b64encode(f"{key}-{name}".encode()).decode() for key in LOGIN}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": SECRET.kind, "metadata": metadata, "data": data}


def _source(kind: SourceKind, namespace: str, name: str, spec: Object) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": SOURCES[kind].kind, "metadata": metadata, "spec": spec}


def an_import(namespace: str, name: str, source: str) -> Object:
    reference = {"kind": str(SourceKind.OVA), "name": source}
    return {
        "apiVersion": API_VERSION,
        "kind": IMPORT.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"virtualMachineName": f"{namespace}-{name}", "sourceCluster": reference},
    }


# --- the cluster


@dataclass
class ApiNode:
    """The real API server, as the stand-in kubelet uses it."""

    cluster: Cluster

    def pods(self) -> list[Object]:
        return self.cluster.find(POD, RELEASE, {LABEL_CHECK: "true"})

    def secret(self, name: str) -> Object | None:
        return self.cluster.get(SECRET, name, RELEASE)

    def write_status(self, pod: Object, status: Object) -> None:
        self.cluster.patch_status(POD, pod["metadata"]["name"], status, RELEASE)

    def keep_log(self, pod: Object, log: str) -> None:
        """Nobody reads a log here: the API server has no kubelet to ask."""


class CpuLimits:
    """Enforces the CPU limits of the containers, as the kubelet does, by control groups (version 1)."""

    def __init__(self) -> None:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next((line.split(":")[2] for line in lines if "cpu" in line.split(":")[1].split(",")), "/")
        self._folder = Path("/sys/fs/cgroup/cpu") / own.lstrip("/")
        self._count = itertools.count()
        if not (self._folder / "cpu.cfs_quota_us").exists():
            say("CPU limits are not enforced here: there are no control groups of version 1")

    def run(self, pod: Object, files: Files) -> programs.Process:
        """Start the container of a pod in a control group of its own."""
        process = programs.run(pod, files)
        limit = str(pod["spec"]["containers"][0]["resources"]["limits"]["cpu"])
        share = float(limit.removesuffix("m")) / (1000 if limit.endswith("m") else 1)
        group = self._folder / f"crowd-{os.getpid()}-{next(self._count)}"
        with contextlib.suppress(OSError):
            group.mkdir()
            (group / "cpu.cfs_period_us").write_text("100000")
            (group / "cpu.cfs_quota_us").write_text(str(int(100_000 * share)))
            (group / "cgroup.procs").write_text(str(process.process.pid))
        return process

    def remove(self) -> None:
        """Remove the groups; their processes have ended."""
        for group in self._folder.glob(f"crowd-{os.getpid()}-*"):
            with contextlib.suppress(OSError):
                group.rmdir()


def install(server: ApiServer, *values: str) -> Path:
    """The chart without its pods; `values` are arguments of Helm.

    Returns the options of the controller as a file.
    """
    server.make_namespace(RELEASE, **{"pod-security.kubernetes.io/enforce": "restricted"})
    server.kubectl("apply", "--server-side", "-f", str(ROOT / "tests/real/cluster/argo-kinds.yaml"))
    chart = [HELM, "template", "vmferry", str(ROOT / "charts/vmferry"), "--namespace", RELEASE]
    chart += ["--kube-version", "1.34.0", "--api-versions", POLICY, *values]
    text = subprocess.run(chart, check=True, capture_output=True, text=True).stdout
    documents = [one for one in re.split(r"(?m)^---$", text) if re.search(r"(?m)^kind:", one)]
    crds = [one for one in documents if "kind: CustomResourceDefinition" in one]
    others = [
        one for one in documents if one not in crds and not re.search(r"(?m)^kind: (Deployment|Job)$", one)
    ]
    server.kubectl("apply", "--server-side", "-f", "-", given="\n---\n".join(crds))
    server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    server.kubectl("apply", "--server-side", "-f", "-", given="\n---\n".join(others))
    server.connect().create(CLASS)
    found = json.loads(server.kubectl("get", "configmap", "vmferry-controller", "-n", RELEASE, "-o", "json"))
    options = server.folder / "controller.json"
    options.write_text(found["data"]["controller.json"])
    return options


@contextlib.contextmanager
def controller(server: ApiServer, options: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The controller's process, with the rights of its service account."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "KUBECONFIG": str(server.kubeconfig_of(RELEASE, "vmferry-controller")),
        PATH_ENV: str(options),
    }
    with (server.folder / "controller.log").open("wb") as log:
        command = [sys.executable, "-m", "controller"]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def kubelet(server: ApiServer) -> Iterator[Kubelet]:
    """The stand-in, in a thread."""
    limits = CpuLimits()
    found, ended = Kubelet(ApiNode(server.connect()), limits.run), threading.Event()

    def work() -> None:
        try:
            while not ended.wait(0.1):
                found.sync()
        except Exception:
            traceback.print_exc()
            os._exit(2)  # nobody else would notice it

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
        found.close()
        limits.remove()


# --- the measurement


def honest_round(cluster: Cluster, server: ApiServer, url: str, name: str, count: int) -> list[float]:
    """Create honest sources and imports in four namespaces; the seconds from each import to its Workflow."""
    spaces = [f"honest-{name}-{number}" for number in range(4)]
    for space in spaces:
        server.make_namespace(space)
        cluster.create(ova(space, "web", f"{url}/{space}/web.ovf"))
    created: dict[str, float] = {}
    for number in range(count):
        space = spaces[number % len(spaces)]
        made = cluster.create(an_import(space, f"vm-{number}", "web"))
        created[made["metadata"]["uid"]] = time.monotonic()
    started: dict[str, float] = {}
    end = time.monotonic() + PATIENCE
    while len(started) < count:
        for workflow in cluster.find(WORKFLOW, RELEASE):
            uid = workflow["metadata"]["labels"]["migration.harvesterhci.io/import-uid"]
            if uid in created:
                started.setdefault(uid, time.monotonic() - created[uid])
        if time.monotonic() > end:
            raise TimeoutError(f"{count - len(started)} honest imports have not started")
        time.sleep(0.05)
    return sorted(started.values())


def add_crowd(cluster: Cluster, server: ApiServer, url: str, silent: int, endless: int) -> None:
    """The hostile sources: two tenants with half of each, and with two namespaces each."""
    spaces = [f"hostile-{number}" for number in range(4)]
    for space in spaces:
        server.make_namespace(space)
    for number in range(silent):
        cluster.create(ova(spaces[number % 2], f"silent-{number}", f"{url}/silent/{number}.ova"))
    for number in range(endless):
        space, name = spaces[2 + number % 2], f"endless-{number}"
        cluster.create(login(space, name))
        cluster.create(cloud(space, name, f"{url}/endless/{number}/v3"))


def peak(process: subprocess.Popen[bytes]) -> int:
    """Bytes of memory that a process has used at most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def measure(folder: Path, silent: int, endless: int, honest: int, rounds: int, cpu: float) -> dict[str, Any]:
    """One run; returns seconds, their ratio and the memory in bytes."""
    with (
        apiserver.running(folder) as server,
        served() as url,
        kubelet(server) as node,
        controller(server, install(server, *_values(cpu))) as process,
    ):
        cluster = server.connect()
        honest_round(cluster, server, url, "warm", honest)  # it also loads every module
        alone = [honest_round(cluster, server, url, f"alone-{n}", honest)[-1] for n in range(rounds)]
        add_crowd(cluster, server, url, silent, endless)
        say(f"{silent} silent and {endless} endless sources exist; waiting {SETTLE_SECONDS:g} s")
        time.sleep(SETTLE_SECONDS)
        crowd = [honest_round(cluster, server, url, f"crowd-{n}", honest)[-1] for n in range(rounds)]
        before, after = statistics.median(alone), statistics.median(crowd)
        return {
            "alone": [round(one, 2) for one in alone],
            "crowd": [round(one, 2) for one in crowd],
            "ratio": round(after / before, 2),
            "checks": len(node.started),
            "memory": peak(process),
        }


def _values(cpu: float) -> list[str]:
    """The values of this program, whose sources are at a loopback address."""
    limit = f"checks.resources.limits.cpu={int(cpu * 1000)}m"
    return ["--set", "sourceNetwork.guard=false", "--set-string", limit]


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real.controller.crowd", description=__doc__)
    parser.add_argument("--silent", type=int, default=200)
    parser.add_argument("--endless", type=int, default=200)
    parser.add_argument("--honest", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--cpu",
        type=float,
        default=min(0.5, (os.cpu_count() or 1) / 8),
        help="CPU limit of a check pod; by default eight of them fit on this machine, as on a node",
    )
    given = parser.parse_args()
    if not apiserver.PROGRAM.exists():
        say(f"NOT RUN: {apiserver.PROGRAM} is missing; tests/real/lab/build builds it")
        return 2
    apiserver.enter_network()
    with tempfile.TemporaryDirectory(prefix="vmferry-crowd-") as folder:
        found = measure(Path(folder), given.silent, given.endless, given.honest, given.rounds, given.cpu)
    say(f"alone: the last of {given.honest} imports starts after {found['alone']} s")
    say(f"in the crowd: after {found['crowd']} s; {found['checks']} checks were made")
    say(f"ratio {found['ratio']} (goal: {RATIO}); controller {found['memory'] >> 20} MiB (goal: < 160 MiB)")
    return 0 if found["ratio"] <= RATIO and found["memory"] < MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
