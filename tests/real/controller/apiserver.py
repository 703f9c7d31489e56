"""A real API server without nodes, in namespaces of its own, from the program of the lab.

`tests/real/lab/build` builds the program. It needs root, and it disturbs nothing on the host: its network
namespace has only a loopback device.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from steps.model.contract import StepError
from steps.runtime import kubeapi
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop

ROOT: Final = Path(__file__).parents[3]
PROGRAM: Final = Path(os.environ.get("LAB_KUBE", ROOT / ".cache" / "lab" / "bin" / "kube"))
READY_SECONDS: Final = 180.0
INSIDE: Final = "VMFERRY_TESTS_INSIDE"
CLONE_NEWNET: Final = 0x40000000
"""Linux include/uapi/linux/sched.h."""
CONTROLLERS: Final = (
    "clusterrole-aggregation-controller",
    "garbage-collector-controller",
    "namespace-controller",
)
"""Of Kubernetes' controller manager: they aggregate roles, collect garbage and delete namespaces."""


def enter_network() -> None:
    """Start this program again in new namespaces, unless it runs in them already.

    When it is killed, all its processes are killed with it.
    """
    if not os.environ.get(INSIDE):
        spaces = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        os.execvpe(  # noqa: S606 - the same program
            "unshare", ["unshare", *spaces, sys.executable, *sys.orig_argv[1:]], {**os.environ, INSIDE: "1"}
        )
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """A network namespace of its own for this thread, and for the threads and programs that it starts.

    Raises:
        OSError: without the right to make one.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "cannot make a network namespace")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


@dataclass(frozen=True)
class ApiServer:
    """A running API server."""

    folder: Path
    token: str

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    def kubectl(self, *arguments: str, given: str = "") -> str:
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.folder)}
        done = subprocess.run(
            [PROGRAM, "kubectl", *arguments],
            input=given,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def connect(self, kubeconfig: Path | None = None) -> Cluster:
        return kubeapi.connect(Stop(), kubeconfig=str(kubeconfig or self.kubeconfig))

    def kubeconfig_of(self, namespace: str, account: str) -> Path:
        """A kubeconfig with the rights of a service account."""
        token = self.kubectl("create", "token", account, "-n", namespace, "--duration=24h").strip()
        return _write_kubeconfig(self.folder / f"{namespace}-{account}.kubeconfig", token)

    def make_namespace(self, name: str, **labels: str) -> None:
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.kubectl("create", "-f", "-", given=json.dumps(manifest))


@contextlib.contextmanager
def running(folder: Path) -> Iterator[ApiServer]:
    """The API server with its store in `folder`, while the body runs."""
    folder.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    key = folder / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    _write_kubeconfig(folder / "admin.kubeconfig", token)
    server = ApiServer(folder, token)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_program(folder, "etcd", str(folder / "etcd")))
        stack.enter_context(
            _program(
                folder,
                "kube-apiserver",
                "--etcd-servers=http://127.0.0.1:2379",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--secure-port=6443",
                f"--cert-dir={folder}/certificates",
                f"--token-auth-file={folder}/tokens.csv",
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={key}",
                f"--service-account-signing-key-file={key}",
                "--profiling=false",
            )
        )
        _wait(server)
        yield server


@contextlib.contextmanager
def managers(server: ApiServer, controllers: Sequence[str] = CONTROLLERS) -> Iterator[None]:
    """Kubernetes' own controllers, while the body runs."""
    arguments = [
        f"--kubeconfig={server.kubeconfig}",
        f"--controllers={','.join(controllers)}",
        f"--cert-dir={server.folder}/certificates",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    ]
    with _program(server.folder, "kube-controller-manager", *arguments):
        yield


@contextlib.contextmanager
def _program(folder: Path, *arguments: str) -> Iterator[None]:
    with (folder / f"{arguments[0]}.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, *arguments], stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: ApiServer) -> None:
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            if server.kubectl("get", "--raw", "/readyz") == "ok":
                return
        except (RuntimeError, StepError):
            if time.monotonic() > end:
                raise
        time.sleep(0.5)


def _write_kubeconfig(path: Path, token: str) -> Path:
    authority = path.parent / "certificates" / "apiserver.crt"  # the server creates it, signed by itself
    path.write_text(
        f"""\
apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:6443", certificate-authority: {authority}}}}}]
users: [{{name: test, user: {{token: "{token}"}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test, namespace: default}}}}]
"""
    )
    return path
