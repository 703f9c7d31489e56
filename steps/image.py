"""image: publish one finished disk at the target and wait until the target has it.

A folder takes the disk from scratch. A cluster gets a URL and downloads from the disk's `serve` step.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.document import write_atomically
from steps.runtime.program import Arguments, Context, log, run
from steps.runtime.progress import Progress
from steps.targets import connect
from steps.targets.target import Published

ADDRESS_ENV: Final = "SVC_ADDRESS"
"""HOST:PORT at which the cluster reaches our nginx outside it; the name is that of vm-import-controller."""
EPILOG = """\
examples:
  python -m steps.image --disk disk-0
  python -m steps.image --disk disk-0 --origin http://web-disk-0.vmferry.svc:8080 --token-file address/token

results, one file each in the outputs folder: image (its name at the target), digest, integrity, volume (name
of the claim that build attaches)
"""


def arguments() -> Arguments:
    parser = Arguments("image", __doc__ or "", epilog=EPILOG)
    parser.add_argument("--disk", required=True, help="id of the disk in the plan, such as disk-0")
    serving_options = parser.add_argument_group("where the target fetches the disk")
    serving_options.add_argument(
        "--origin", metavar="URL", help=f"scheme, host and port; default: from ${ADDRESS_ENV}"
    )
    serving_options.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="file with the secret part of the description's path",
    )
    serving_options.add_argument(
        "--ca", type=Path, metavar="FILE", help="CA of an https origin; default: those of the system"
    )
    serving_options.add_argument(
        "--workflow",
        metavar="NAME",
        default="",
        help="Workflow of both steps: its status shows whether serve failed",
    )
    return parser


def body(context: Context) -> None:
    progress = Progress.from_environment()
    if context.arguments.token_file is None:
        target = connect(context.plan(), context.into, context.stop)
        published = target.publish(context.arguments.disk, context.scratch, progress.update)
    else:
        published = publish_served(context, progress)
    progress.finish()
    log.info(
        "disk published", disk=published.id, name=published.name, size=published.size, **digests(published)
    )


def digests(published: Published) -> dict[str, str]:
    """The digests that the target knows: SHA-256 for a folder, or SHA-512, which Longhorn also has."""
    published_digests: dict[str, str] = published.model_dump(include={"sha256", "sha512"})
    return {name: value for name, value in published_digests.items() if value}


def publish_served(context: Context, progress: Progress) -> Published:
    """Let the target fetch the disk, and write the results to the outputs."""
    from steps.runtime import kubeapi  # noqa: PLC0415 - as the image of `disk` lacks it
    from steps.targets.cluster.completion import WorkflowRef  # noqa: PLC0415
    from steps.targets.cluster.published import PublishedImage  # noqa: PLC0415
    from steps.targets.cluster.serving import HttpServing, ServedUrl, read_token  # noqa: PLC0415

    options, plan = context.arguments, context.plan()
    served_url = ServedUrl(read_token(options.token_file), options.origin or origin())
    serving = HttpServing(served_url, options.ca)
    target = connect(
        plan,
        context.into,
        context.stop,
        serving=serving,
        machine=context.machine(),
        volumes=context.volumes(),
        workflow=WorkflowRef(options.workflow, kubeapi.own_namespace()) if options.workflow else None,
    )
    published = target.publish(options.disk, context.scratch, progress.update)
    if isinstance(published, PublishedImage):
        results = {
            "image": published.name,
            "digest": published.sha512,
            "integrity": published.integrity,
            "volume": published.volume,
        }
        for name, value in results.items():
            write_atomically(context.outputs / name, value)
    return published


def origin() -> str:
    """The URL of a disk that this computer serves.

    Raises:
        StepError: INVALID, when the address is not given.
    """
    address = os.environ.get(ADDRESS_ENV)
    if not address:
        raise StepError(
            Exit.INVALID,
            "the URL from which the target can fetch the disk is not known",
            remedy=f"give --origin, or set {ADDRESS_ENV}",
        )
    return f"http://{address}"


def main(argv: Sequence[str] | None = None) -> None:
    run(arguments(), body, argv)


if __name__ == "__main__":
    main()
