"""serve: one finished disk over HTTP by nginx, to whoever knows its path; HEAD and Range are answered.

Beside it the SHA-512 of the file is computed, which is what Longhorn publishes of an image, so that the two
can be compared while nothing waits for it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from steps import scratch
from steps.contract import Exit, StepError, Stopped
from steps.document import write_atomically
from steps.program import Arguments, Context, log, run
from steps.progress import Progress
from steps.stop import Stop

CHUNK: Final = 4 << 20
EPILOG = """\
examples:
  python -m steps.serve --disk disk-0 --path /6f1c/disk-0.qcow2
  python -m steps.serve --file disk.qcow2 --listen 127.0.0.1:8080
"""


def arguments() -> Arguments:
    parser = Arguments("serve", __doc__ or "", epilog=EPILOG)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--disk", help="id of the disk in the plan, such as disk-0")
    which.add_argument("--file", type=Path, help="serve this file instead")
    parser.add_argument("--listen", default="0.0.0.0:8080", metavar="ADDRESS:PORT")
    parser.add_argument("--path", help="path of the file in the URL; default: /NAME of the file")
    return parser


def body(context: Context) -> None:
    given = context.arguments
    file = given.file or context.scratch / scratch.Ready.load(scratch.ready(context.scratch)).file
    if not file.is_file():
        raise StepError(Exit.INVALID, f"{file} is not there", remedy="name the file to serve")
    path = given.path or f"/{file.name}"
    with tempfile.TemporaryDirectory(prefix="vmferry-serve-") as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(render(given.listen, path, file.resolve(), folder))
        supervise(config, f"http://{given.listen}{path}", file, context)


def render(listen: str, path: str, file: Path, folder: str) -> str:
    """The configuration of nginx.

    Raises:
        StepError: INVALID, for a path or file name that nginx would read as something else.
    """
    if any(character in f"{path}{file}" for character in '"$\\\n') or not path.startswith("/"):
        raise StepError(
            Exit.INVALID, f"cannot serve {file} at {path!r}", "it has a quote, '$', '\\' or no '/'"
        )
    environment = Environment(  # noqa: S701 - nginx's syntax, not HTML
        loader=PackageLoader("steps", "."), undefined=StrictUndefined, keep_trailing_newline=True
    )
    template = environment.get_template("nginx.conf.j2")
    return template.render(listen=listen, path=path, file=file, folder=folder, root=os.getuid() == 0)


def supervise(config: Path, url: str, file: Path, context: Context) -> None:
    """Run nginx until someone asks to stop, which is how serving ends well."""
    try:
        nginx = subprocess.Popen(
            ["nginx", "-c", str(config), "-p", str(config.parent), "-e", "stderr"],
        )
    except FileNotFoundError:
        raise StepError(Exit.INVALID, "nginx is missing", remedy="install the package nginx-light") from None
    digest = threading.Thread(target=_digest, args=(file, context.outputs, context.stop), daemon=True)
    try:
        wait_until_up(nginx, config.parent / "nginx.pid", url, context.stop)
        log.info("serving", url=url, file=str(file), size=file.stat().st_size)
        digest.start()
        while nginx.poll() is None:
            context.stop.sleep(0.5)
    except Stopped:
        log.info("no longer serving", url=url)
        return
    finally:
        nginx.terminate()
        nginx.wait()
    raise StepError(Exit.UNREACHABLE, f"nginx ended with {nginx.returncode}", remedy="its log is above")


def wait_until_up(nginx: subprocess.Popen[bytes], pid_file: Path, url: str, stop: Stop) -> None:
    """Return when our own nginx has its address (it writes its pid then) and answers for the file.

    Raises:
        StepError: CONFLICT, when it ends instead, as it does when its address is taken; DENIED, when it
            cannot read the file.
    """
    while not pid_file.exists() or not pid_file.read_text():
        if nginx.poll() is not None:
            raise StepError(
                Exit.CONFLICT,
                f"nginx did not start for {url}",
                f"it ended with {nginx.returncode}, its reason is in the log above",
                "if the address is in use, choose another --listen",
            )
        stop.sleep(0.05)
    request = urllib.request.Request(url.replace("//0.0.0.0:", "//127.0.0.1:"), method="HEAD")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - our own address
            return
    except urllib.error.HTTPError as error:
        raise StepError(Exit.DENIED, f"nginx cannot serve {url}", f"it answers {error.code}") from None


def _digest(file: Path, outputs: Path, stop: Stop) -> None:
    """SHA-512 of the file, logged and left among the outputs."""
    digest, done, size = hashlib.sha512(), 0, file.stat().st_size
    progress = Progress.from_environment(size)
    buffer = memoryview(bytearray(CHUNK))
    with file.open("rb", buffering=0) as source:
        while count := source.readinto(buffer):
            if stop.is_set():
                return
            digest.update(buffer[:count])
            done += count
            progress.update(done, size)
    log.info("digest", file=str(file), sha512=digest.hexdigest())
    if outputs.is_dir():
        write_atomically(outputs / "sha512", digest.hexdigest())


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
