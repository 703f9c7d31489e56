"""The least that an inventory takes: one read of the same properties of all VMs, with pyVmomi alone.

It makes nothing of what it reads, and reads neither folders nor networks nor tags.
"""

from __future__ import annotations

import argparse
import ssl
from typing import Any
from urllib.parse import urlsplit

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

from steps.providers.vmware.collector import PAGE
from steps.providers.vmware.describe import LISTED_PROPERTIES
from steps.providers.vmware.find import VM_PROPERTIES


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rawread", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--expect", type=int, required=True, help="the number of VMs")
    return parser.parse_args()


def read(content: Any) -> int:
    """Read the properties of all VMs; returns how many VMs there are."""
    query: Any = vmodl.query.PropertyCollector
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    traversal = query.TraversalSpec(name="view", path="view", skip=False, type=vim.view.ContainerView)
    start = query.ObjectSpec(obj=view, skip=True, selectSet=[traversal])
    paths = sorted({*VM_PROPERTIES, *LISTED_PROPERTIES})
    wanted = query.PropertySpec(type=vim.VirtualMachine, pathSet=paths, all=False)
    filter_spec = query.FilterSpec(objectSet=[start], propSet=[wanted])
    collector = content.propertyCollector
    page = collector.RetrievePropertiesEx([filter_spec], query.RetrieveOptions(maxObjects=PAGE))
    count = 0
    while page is not None:
        count += len(page.objects)
        page = collector.ContinueRetrievePropertiesEx(page.token) if page.token else None
    return count


def main() -> None:
    given = arguments()
    url, tls = urlsplit(given.url), ssl.create_default_context(cafile=given.ca)
    connect: Any = SmartConnect
    end: Any = Disconnect
    session = connect(
        host=url.hostname, port=url.port or 443, user=given.user, pwd=given.password, sslContext=tls
    )
    try:
        count = read(session.content)
    finally:
        end(session)
    if count != given.expect:
        raise SystemExit(f"{count} VMs were read, not {given.expect}")


if __name__ == "__main__":
    main()
