"""Files with which clients find the stack: clouds.yaml, and openrc for a shell."""

from __future__ import annotations

import json
from pathlib import Path

from .config import passwords
from .layout import REGION, Layout


def file(layout: Layout) -> Path:
    return layout.state / "clouds.yaml"


def write(layout: Layout) -> None:
    auth = {
        "auth_url": layout.public("keystone") + "/v3",
        "username": "admin",
        "password": passwords(layout)["admin"],
        "project_name": "admin",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }
    cloud: dict[str, object] = {"auth": auth, "region_name": REGION}
    lines = [f"export OS_{key.upper()}='{value}'\n" for key, value in auth.items()]
    lines.append(f"export OS_REGION_NAME={REGION} OS_IDENTITY_API_VERSION=3\n")
    if layout.settings.tls:
        cloud["cacert"] = str(layout.authority)
        lines.append(f"export OS_CACERT='{layout.authority}'\n")
    for path, text in (
        (file(layout), json.dumps({"clouds": {"admin": cloud}}, indent=2) + "\n"),  # JSON is YAML
        (layout.state / "openrc", "".join(lines)),
    ):
        path.touch(mode=0o600)
        path.write_text(text)
