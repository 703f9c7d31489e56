"""serve: serve one finished disk over HTTP by nginx to clients that know its path; supports HEAD and Range.

In parallel it computes the SHA-512 of the file, which Longhorn publishes of an image, so that the two
can be compared without extra waiting.

In a cluster the path has a secret part, a JSON file describes to the `image` step what is served and where,
and serving ends with that step: exit code 0 when the image exists, 20 when that step failed.
"""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import subprocess
import tempfile
import threading
import urllib.error
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from steps.model import names, scratch
from steps.model.contract import Exit, StepError, Stopped
from steps.model.document import write_atomically
from steps.runtime import internal_http
from steps.runtime.program import Arguments, Context, log, run
from steps.runtime.progress import Progress
from steps.runtime.stop import Stop

READ_BYTES: Final = 4 << 20
CHECK_SECONDS: Final = 2.0
"""Seconds between two checks whether the disk is still needed."""
EPILOG = """\
examples:
  python -m steps.serve --disk disk-0 --path /6f1c/disk-0.qcow2
  python -m steps.serve --file disk.qcow2 --listen 127.0.0.1:8080
  python -m steps.serve --disk disk-0 --token-file /run/address/token --workflow vmi-web-0a1b2c3d-g1
  python -m steps.serve --file disk.qcow2 --listen 192.0.2.7:8443 --tls certificate/
"""
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
"""The keys of a Secret of type kubernetes.io/tls."""


def arguments() -> Arguments:
    parser = Arguments("serve", __doc__ or "", epilog=EPILOG)
    inputs = parser.add_mutually_exclusive_group(required=True)
    inputs.add_argument("--disk", help="id of the disk in the plan, such as disk-0")
    inputs.add_argument("--file", type=Path, help="serve this file instead")
    parser.add_argument(
        "--listen", metavar="ADDRESS:PORT", help=f"default: every address of the host, port {names.PORT}"
    )
    parser.add_argument(
        "--tls", type=Path, metavar="DIR", help=f"serve HTTPS with {CERTIFICATE} and {KEY} of this folder"
    )
    parser.add_argument("--path", help="path of the file in the URL; default: /NAME of the file")
    cluster_options = parser.add_argument_group("in a cluster, until the image step of the same disk is done")
    cluster_options.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file with the secret part of the description's path"
    )
    cluster_options.add_argument(
        "--workflow",
        metavar="NAME",
        help="Workflow of both steps: its status shows whether that step has failed",
    )
    cluster_options.add_argument(
        "--patience",
        type=float,
        default=900,
        metavar="SECONDS",
        help="how long to wait while there is no image",
    )
    return parser


def body(context: Context) -> None:
    options = context.arguments
    if options.token_file is not None:
        serve_image_step(context)
        return
    file = options.file or context.scratch / scratch.Ready.load(scratch.ready(context.scratch)).file
    if not file.is_file():
        raise StepError(Exit.INVALID, f"{file} does not exist", remedy="give the file to serve with --file")
    path = options.path or f"/{file.name}"
    with tempfile.TemporaryDirectory(prefix="vmferry-serve-") as folder:
        config = Path(folder) / "nginx.conf"
        listen = options.listen or every_address()
        config.write_text(render(listen, path, file.resolve(), folder, tls=tls_folder(options.tls)))
        supervise(config, f"{scheme(options.tls)}://{listen}{path}", file, context)


def serve_image_step(context: Context) -> None:
    """Serve a disk of the plan until the target has it."""
    from steps.runtime import kubeapi  # noqa: PLC0415 - without a cluster there is no client for one
    from steps.targets import disk_objects  # noqa: PLC0415
    from steps.targets.cluster.completion import NO_WORKFLOW, WorkflowRef  # noqa: PLC0415
    from steps.targets.cluster.serving import ServedDisk, ServedUrl, read_token  # noqa: PLC0415
    from steps.targets.cluster.sibling import ImageStepWatcher  # noqa: PLC0415

    options, plan = context.arguments, context.plan()
    if options.disk is None:
        raise StepError(Exit.INVALID, "--token-file needs --disk")
    ready = scratch.Ready.load(scratch.ready(context.scratch))
    file = (context.scratch / ready.file).resolve()
    served_url, served_disk = ServedUrl(read_token(options.token_file)), ServedDisk.of(file, ready)
    cluster = kubeapi.connect(context.stop, patience=0)  # serving continues while the API server is away
    workflow = WorkflowRef(options.workflow, kubeapi.own_namespace()) if options.workflow else NO_WORKFLOW
    image_step = ImageStepWatcher(
        plan, options.disk, cluster, disk_objects(plan), workflow=workflow, patience=options.patience
    )
    listen = options.listen or every_address()
    path, server = served_disk.path(options.disk), f"{scheme(options.tls)}://{listen}"
    # The digest may be written there while the folder is being removed.
    with tempfile.TemporaryDirectory(prefix="vmferry-serve-", ignore_cleanup_errors=True) as folder:
        config, description_file = Path(folder) / "nginx.conf", Path(folder) / "description.json"
        served_disk.save(description_file)
        config.write_text(
            render(
                listen,
                path,
                file,
                folder,
                description_path=served_url.description_path(options.disk),
                description=description_file,
                tls=tls_folder(options.tls),
            )
        )
        supervise(
            config,
            server + path,
            file,
            context,
            display_url=server + served_disk.display_path(options.disk),
            is_done=image_step.is_done,
            on_digest=lambda digest: served_disk.model_copy(update={"sha512": digest}).save(description_file),
        )


def every_address() -> str:
    """All addresses of the host, of both families: a pod of an IPv6-only cluster has no IPv4 address.

    Without IPv6 in the kernel a socket for `[::]` cannot be made.
    """
    return f"[::]:{names.PORT}" if socket.has_dualstack_ipv6() else f"0.0.0.0:{names.PORT}"


def render(
    listen: str,
    path: str,
    file: Path,
    folder: str,
    *,
    description_path: str = "",
    description: Path | None = None,
    tls: Path | None = None,
) -> str:
    """The configuration of nginx. `tls` is the folder of the certificate; without one it serves HTTP.

    Raises:
        StepError: INVALID, for a path or file name that nginx would misread.
    """
    if any(character in f"{path}{file}{tls}" for character in '"$\\\n') or not path.startswith("/"):
        raise StepError(
            Exit.INVALID,
            f"cannot serve {file} at {path!r}",
            "it has a quote, '$' or '\\', or does not begin with '/'",
        )
    environment = Environment(  # noqa: S701 - nginx's syntax, not HTML
        loader=PackageLoader("steps", "."), undefined=StrictUndefined, keep_trailing_newline=True
    )
    template = environment.get_template("nginx.conf.j2")
    variables = {
        # nginx's default for an IPv6 address is to leave out IPv4.
        "listen": f"{listen} ipv6only=off" if listen.startswith("[::]:") else listen,
        "path": path,
        "file": file,
        "description_path": description_path,
        "description": description,
        "certificate": tls / CERTIFICATE if tls else None,
        "key": tls / KEY if tls else None,
    }
    return template.render(**variables, folder=folder, root=os.getuid() == 0)


def scheme(tls: Path | None) -> str:
    return "https" if tls else "http"


def tls_folder(folder: Path | None) -> Path | None:
    """The folder of the certificate, with both files.

    Raises:
        StepError: INVALID, if one is missing or they do not belong together.
    """
    if folder is None:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / CERTIFICATE, folder / KEY)
    except (OSError, ssl.SSLError) as error:
        raise StepError(
            Exit.INVALID,
            f"cannot serve HTTPS with the certificate in {folder}",
            str(error),
            f"it needs {CERTIFICATE} and {KEY} as PEM, the key without a password",
        ) from None
    return folder.resolve()


def supervise(
    config: Path,
    url: str,
    file: Path,
    context: Context,
    *,
    display_url: str = "",
    is_done: Callable[[], bool] | None = None,
    on_digest: Callable[[str], None] | None = None,
) -> None:
    """Run nginx until a stop is requested; that counts as success.

    With `is_done` only that counts as success: a stop before it raises Stopped. `display_url` is the URL
    for logs; `on_digest` is called with the digest.
    """
    display_url = display_url or url
    try:
        nginx = subprocess.Popen(
            ["nginx", "-c", str(config), "-p", str(config.parent), "-e", "stderr"],
        )
    except FileNotFoundError:
        raise StepError(Exit.INVALID, "nginx is missing", remedy="install the package nginx-light") from None
    digest_thread = DigestThread(file, context, on_digest)
    try:
        wait_until_up(nginx, config.parent / "nginx.pid", url, context.stop, display_url)
        log.info("serving", url=display_url, file=str(file), size=file.stat().st_size)
        digest_thread.start()
        while nginx.poll() is None:
            if is_done is not None and digest_thread.is_healthy() and is_done():
                log.info("the target has the disk", url=display_url)
                return
            context.stop.sleep(0.5 if is_done is None else CHECK_SECONDS)
    except Stopped:
        log.info("no longer serving", url=display_url)
        if is_done is not None:
            raise
        return
    finally:
        nginx.terminate()
        nginx.wait()
    raise StepError(Exit.UNREACHABLE, f"nginx ended with {nginx.returncode}", remedy="see its log above")


def wait_until_up(
    nginx: subprocess.Popen[bytes], pid_file: Path, url: str, stop: Stop, display_url: str = ""
) -> None:
    """Return when our own nginx listens on its address (it then writes its pid) and serves the file.

    Raises:
        StepError: CONFLICT, when it exits instead, for example because its address is in use; DENIED, when it
            cannot read the file.
    """
    while not pid_file.exists() or not pid_file.read_text():
        if nginx.poll() is not None:
            raise StepError(
                Exit.CONFLICT,
                f"nginx did not start for {display_url or url}",
                f"it ended with {nginx.returncode}; the log above shows the reason",
                "if the address is in use, choose another --listen",
            )
        stop.sleep(0.05)
    try:
        with internal_http.request(_own_url(url), method="HEAD", tls=unverified_tls()):
            return
    except urllib.error.HTTPError as error:
        raise StepError(
            Exit.DENIED, f"nginx cannot serve {display_url or url}", f"it answers {error.code}"
        ) from None


def _own_url(url: str) -> str:
    """The URL for this host itself, if it listens on every address: loopback has an IPv4 one in any pod."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//127.0.0.1:")


def unverified_tls() -> ssl.SSLContext:
    """For a request to our own nginx, whose pid proves it: its certificate is for another name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class DigestThread(threading.Thread):
    """Computes the SHA-512 of the file, logs it, writes it to the outputs, and calls `on_digest`."""

    def __init__(self, file: Path, context: Context, on_digest: Callable[[str], None] | None) -> None:
        super().__init__(daemon=True)
        self._file = file
        self._context = context
        self._on_digest = on_digest
        self._error: OSError | None = None

    def run(self) -> None:
        try:
            self._compute()
        except OSError as error:
            log.warning(f"cannot compute the digest of {self._file}: {error}")
            self._error = error

    def is_healthy(self) -> bool:
        """Always True; raises StepError (UNREACHABLE) if the digest that others wait for fails."""
        if self._error is not None:
            raise StepError(Exit.UNREACHABLE, f"cannot read {self._file.name}", str(self._error))
        return True

    def _compute(self) -> None:
        sha512, done, size = hashlib.sha512(), 0, self._file.stat().st_size
        progress = Progress.from_environment(size)
        buffer = memoryview(bytearray(READ_BYTES))
        with self._file.open("rb", buffering=0) as source:
            while count := source.readinto(buffer):
                if self._context.stop.is_set():
                    return
                sha512.update(buffer[:count])
                done += count
                progress.update(done, size)
        self._publish(sha512.hexdigest())

    def _publish(self, digest: str) -> None:
        log.info("digest", file=str(self._file), sha512=digest)
        if self._context.outputs.is_dir():
            write_atomically(self._context.outputs / "sha512", digest)
        if self._on_digest is not None:
            self._on_digest(digest)


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
