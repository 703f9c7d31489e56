"""The login at the source's API server, from the kubeconfig in the source's secret."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

from steps.model.contract import Exit, StepError
from steps.model.kubeconfig import KEY, Kubeconfig
from steps.model.plan import SourcePlan
from steps.runtime import certificates, secret


def read(folder: Path, plan: SourcePlan) -> Kubeconfig:
    """The kubeconfig, which must be one for the endpoint of the source.

    Raises:
        StepError: INVALID.
    """
    kubeconfig = Kubeconfig.parse(secret.read_required(folder, KEY))
    if _comparable(kubeconfig.server) != _comparable(plan.endpoint):
        raise StepError(
            Exit.INVALID,
            f"the key {KEY} of the source's secret cannot be used",
            f"its server is {kubeconfig.server}, but the endpoint of the source is {plan.endpoint}",
            "write the same URL into spec.endpoint of the source",
        )
    if kubeconfig.skips_verification and not plan.insecure_skip_tls_verify:
        raise StepError(
            Exit.INVALID,
            f"the key {KEY} of the source's secret cannot be used",
            "it has insecure-skip-tls-verify: true",
            "write certificate-authority-data instead, or set insecureSkipTLSVerify: true in the source",
        )
    return kubeconfig


def _comparable(url: str) -> str:
    scheme, _, rest = url.strip().rstrip("/").partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.removesuffix(':443').rstrip('.')}".lower() + slash + path


def tls_context(kubeconfig: Kubeconfig, *, insecure: bool) -> ssl.SSLContext:
    """The context that trusts the CA of the kubeconfig and presents its client certificate.

    Raises:
        StepError: INVALID.
    """
    context = certificates.tls_context(ca=kubeconfig.ca, insecure=insecure, key=KEY)
    if kubeconfig.certificate:
        _load_client(context, kubeconfig)
    return context


def _load_client(context: ssl.SSLContext, kubeconfig: Kubeconfig) -> None:
    # The ssl module reads a chain from files only.
    with tempfile.TemporaryDirectory(prefix="vmferry-") as folder:
        chain = Path(folder) / "client.pem"
        chain.touch(mode=0o600)
        chain.write_text(f"{kubeconfig.certificate.strip()}\n{kubeconfig.key.strip()}\n", encoding="ascii")
        try:
            context.load_cert_chain(chain, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise StepError(
                Exit.INVALID,
                f"the key {KEY} of the source's secret cannot be used",
                f"its client certificate and key are not usable: {getattr(error, 'reason', None) or error}",
                "write a certificate and its key, without a password",
            ) from None


def _no_password() -> bytes:
    raise ValueError("the key needs a password")
