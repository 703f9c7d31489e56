"""The running stack for the tests: an administrator, and a fresh project with its own user."""

from __future__ import annotations

import contextlib
import os
import secrets
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import openstack
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from openstack.exceptions import NotFoundException, SDKException

from tests.real.openstack.stack import operate
from tests.real.openstack.stack.config import passwords
from tests.real.openstack.stack.layout import CACHE, REGION, Layout, Settings, saved
from tests.real.openstack.stack.processes import wait

STATE: Final = "VMFERRY_OPENSTACK"
"""Environment variable: the state folder of a running stack."""

SECONDS: Final = 300.0
"""Seconds for one object to reach its state, on a host that has other work, too."""

_UNLIMITED: Final = {
    "block_storage": ("volumes", "snapshots", "gigabytes", "backups"),
    "compute": ("instances", "cores", "ram"),
    "network": ("networks", "subnets", "ports"),
}


def _state() -> Path:
    return Path(os.environ.get(STATE, CACHE / "state"))


def running(state: Path | None = None) -> Layout | None:
    """The stack of `state`, of the environment variable, or under .cache; None if it is not running."""
    layout = saved((state or _state()).absolute())
    return layout if layout is not None and not operate.lacking(layout) else None


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Credentials of a user: either the password and the names, or an application credential."""

    auth_url: str
    region: str = REGION
    cacert: Path | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    user_domain: str = ""
    project: str = ""
    project_domain: str = ""
    application_id: str = ""
    application_secret: str = field(default="", repr=False)

    def connect(self) -> Any:
        """A connection of openstacksdk that reads no file and no environment variable."""
        auth: Any
        if self.application_id:
            auth = v3.ApplicationCredential(
                self.auth_url,
                application_credential_id=self.application_id,
                application_credential_secret=self.application_secret,
            )
        else:
            auth = v3.Password(
                self.auth_url,
                username=self.username,
                password=self.password,
                user_domain_name=self.user_domain,
                project_name=self.project,
                project_domain_name=self.project_domain,
            )
        session = Session(auth, verify=str(self.cacert) if self.cacert else True)
        return openstack.connection.Connection(session=session, region_name=self.region)


@dataclass(frozen=True)
class Cloud:
    """A running stack."""

    layout: Layout

    @classmethod
    def up(cls, state: Path | None = None) -> Cloud:
        """The stack of `state` (default: that of `running`); it is started if it is not running."""
        return cls(running(state) or operate.up((state or _state()).absolute(), Settings()))

    @classmethod
    @contextmanager
    def for_pods(cls, name: str, host: str, base_port: int) -> Iterator[Self]:
        """A stack at an address that pods reach, for the duration; `name` is its folder in the cache."""
        state = CACHE / name
        layout = operate.up(state, Settings(host=host, base_port=base_port))
        try:
            yield cls(layout)
        finally:
            operate.down(state)

    @property
    def admin(self) -> Credentials:
        return Credentials(
            auth_url=self.auth_url,
            cacert=self.cacert,
            username="admin",
            password=passwords(self.layout)["admin"],
            user_domain="Default",
            project="admin",
            project_domain="Default",
        )

    @property
    def auth_url(self) -> str:
        return self.layout.public("keystone") + "/v3"

    @property
    def cacert(self) -> Path | None:
        return self.layout.authority if self.layout.settings.tls else None

    @contextmanager
    def project(self) -> Iterator[Project]:
        """A project and a user, each in its own domain, without limits; all is deleted afterwards."""
        with self.admin.connect() as admin:
            project = Project._create(self, admin)
            try:
                yield project
            finally:
                project.delete()

    def left(self) -> list[str]:
        """Names of files that any project still has in the stores of volumes, disks and images."""
        stores = (self.layout.volumes, self.layout.disks, self.layout.images)
        return sorted(file.name for store in stores for file in store.iterdir())


@dataclass
class Project:
    """A project for one test. `connection` is that of its user, who has only the role `member`."""

    cloud: Cloud
    admin: Any
    id: str
    user_id: str
    domains: list[str]
    credentials: Credentials
    connection: Any
    made: set[str] = field(default_factory=set)
    """IDs of the volumes, snapshots and images that the test itself made."""
    flavors: list[str] = field(default_factory=list)

    @classmethod
    def _create(cls, cloud: Cloud, admin: Any) -> Project:
        tag, password = secrets.token_hex(4), secrets.token_urlsafe(12)
        of_users = admin.identity.create_domain(name=f"users-{tag}")
        of_projects = admin.identity.create_domain(name=f"projects-{tag}")
        project = admin.identity.create_project(name=f"project-{tag}", domain_id=of_projects.id)
        user = admin.identity.create_user(name=f"user-{tag}", domain_id=of_users.id, password=password)
        role = admin.identity.find_role("member", ignore_missing=False)
        admin.identity.assign_project_role_to_user(project, user, role)
        for service, names in _UNLIMITED.items():
            proxy = getattr(admin, service)
            update = proxy.update_quota if service == "network" else proxy.update_quota_set
            update(project.id, **dict.fromkeys(names, -1))
        credentials = Credentials(
            auth_url=cloud.auth_url,
            cacert=cloud.cacert,
            username=user.name,
            password=password,
            user_domain=of_users.name,
            project=project.name,
            project_domain=of_projects.name,
        )
        domains = [of_users.id, of_projects.id]
        return cls(cloud, admin, project.id, user.id, domains, credentials, credentials.connect())

    def application_credential(self, *roles: str) -> Credentials:
        """A new one of the user for this project; with all of the user's roles if none is named."""
        made = self.connection.identity.create_application_credential(
            user=self.user_id,
            name=f"credential-{secrets.token_hex(4)}",
            roles=[{"name": role} for role in roles or ("member",)],
        )
        return Credentials(
            auth_url=self.cloud.auth_url,
            cacert=self.cloud.cacert,
            application_id=made.id,
            application_secret=made.secret,
        )

    def held(self) -> list[str]:
        """Snapshots, volumes and images that exist now and that the test did not make itself."""
        storage, images = self.connection.block_storage, self.connection.image
        kinds: list[tuple[str, Iterable[Any]]] = [
            ("snapshot", storage.snapshots()),
            ("volume", storage.volumes()),
            ("image", images.images(visibility="private")),
        ]
        return [
            f"{kind} {item.name} ({item.status})"
            for kind, items in kinds
            for item in items
            if item.id not in self.made
        ]

    def stops(self, server: str) -> int:
        """How many stop requests the server with that ID has received."""
        return [entry.action for entry in self.connection.compute.server_actions(server)].count("stop")

    def delete(self) -> None:
        """Delete everything in the project, then the project, its user and their domains."""
        own = self.connection
        self._gone(own.compute.servers, lambda item: own.compute.delete_server(item, force=False))
        self._gone(own.network.ports, own.network.delete_port, project_id=self.id)
        self._gone(own.network.subnets, own.network.delete_subnet, project_id=self.id)
        self._gone(own.network.networks, own.network.delete_network, project_id=self.id)
        self._gone(own.block_storage.snapshots, own.block_storage.delete_snapshot)
        self._gone(own.block_storage.volumes, own.block_storage.delete_volume)
        self._gone(own.image.images, own.image.delete_image, owner=self.id)
        for flavor in self.flavors:
            self.admin.compute.delete_flavor(flavor)
        own.close()
        self.admin.identity.delete_user(self.user_id)
        self.admin.identity.delete_project(self.id)
        for domain in self.domains:
            self.admin.identity.update_domain(domain, is_enabled=False)
            self.admin.identity.delete_domain(domain)

    def _gone(
        self, listed: Callable[..., Iterable[Any]], delete: Callable[[Any], object], **only: str
    ) -> None:
        asked: set[str] = set()

        def none() -> bool:
            """An object that is still busy cannot be deleted yet; it is tried again."""
            remaining = list(listed(**only))
            for item in remaining:
                if item.id not in asked:
                    with contextlib.suppress(NotFoundException, SDKException):
                        delete(item)
                        asked.add(item.id)
            return not remaining

        try:
            wait(none, SECONDS)
        except TimeoutError:
            names = [f"{item.name} ({item.status})" for item in listed(**only)]
            warnings.warn(f"left in OpenStack: {', '.join(names)}", stacklevel=2)
