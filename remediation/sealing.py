"""Secrets of GitHub Actions: when one was last changed, and giving it a new value, sealed with the public key.

The value is opened here alone, for the moment of sealing; no error quotes it.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from knowledge.errors import Refused, Unavailable
from knowledge.model import Target
from remediation.policy import Policy, service_of
from remediation.ports import CodeHost, Json
from remediation.secret_sources import SecretSource

MAX_BYTES = 48 * 1024  # GitHub's limit


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret is: the repository's, an environment's of it, or its organisation's."""

    repository: str
    name: str
    environment: str = ""
    organization: bool = False

    @property
    def words(self) -> str:
        if self.organization:
            return f"secret {self.name} of the organisation {self.repository.partition('/')[0]}"
        where = f"environment {self.environment} of {self.repository}" if self.environment else self.repository
        return f"secret {self.name} of {where}"

    @property
    def needs(self) -> str:
        """The permission for a write."""
        if self.organization:
            return "organization secrets: write"
        return "environments: write" if self.environment else "secrets: write"

    @property
    def path(self) -> str:
        """Below the repository, or below the organisation."""
        if self.environment:
            return f"/environments/{quote(self.environment, safe='')}/secrets"
        return "/actions/secrets"


@dataclass(frozen=True, slots=True)
class PolicyRepositorySecrets:
    """Implements `ports.RepositorySecrets`. A source is looked up when it is used, so no plan ever names one."""

    policy: Policy

    def source_of(
        self, target: Target, name: str, *, environment: str, organization: bool
    ) -> SecretSource | None:  # fmt: skip
        row = service_of(self.policy, target)
        wanted = (name, environment, organization)
        rows = row.github_secrets if row else ()
        return next((one.source for one in rows if (one.name, one.environment, one.organization) == wanted), None)


async def state(host: CodeHost, place: Place) -> Json:
    """Its name and the moments of its making and last change. NotFound where there is no such secret."""
    found: Json = await _read(host, place, f"/{place.name}")
    return found


async def put(host: CodeHost, place: Place, value: SecretStr) -> None:
    """Gives the secret this value. What else an organisation's secret says, it goes on saying."""
    key = await _read(host, place, "/public-key")
    body: dict[str, Any] = {"encrypted_value": sealed(str(key.get("key") or ""), value), "key_id": key.get("key_id")}
    if place.organization:
        now = await state(host, place)
        body["visibility"] = now.get("visibility") or "private"
        if body["visibility"] == "selected":
            rows = (await _read(host, place, f"/{place.name}/repositories")).get("repositories") or []
            body["selected_repository_ids"] = [row["id"] for row in rows]
        await host.write_organization(place.repository, f"{place.path}/{place.name}", body, needs=place.needs)
        return
    await host.write("PUT", place.repository, f"{place.path}/{place.name}", body, needs=place.needs)


def sealed(public_key: str, value: SecretStr) -> str:
    """libsodium's sealed box in base64: only GitHub can open it. Refused: too long; Unavailable: no key."""
    from nacl.exceptions import CryptoError  # noqa: PLC0415  at first use: it comes with PyGithub
    from nacl.public import PublicKey, SealedBox  # noqa: PLC0415

    raw = value.get_secret_value().encode()
    if len(raw) > MAX_BYTES:
        raise Refused(f"The new value has more than {MAX_BYTES // 1024} KiB, which GitHub refuses.")
    try:
        box = SealedBox(PublicKey(base64.b64decode(public_key, validate=True)))
    except (CryptoError, ValueError, TypeError, binascii.Error):
        raise Unavailable("GitHub gave no usable public key. Try again.") from None
    return base64.b64encode(box.encrypt(raw)).decode()


async def _read(host: CodeHost, place: Place, path: str) -> Json:
    whole = f"{place.path}{path}"
    found: Json = (
        await host.read_organization(place.repository, whole)
        if place.organization
        else await host.read(place.repository, whole)
    )
    return found
