"""GitHub's secrets of Actions: what is sealed with the public key is opened here; no reply ever has a value."""

import base64
from dataclasses import dataclass, field
from typing import Any

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from bot.sandbox.world.clockwork import rfc3339
from bot.sandbox.world.github_shared import Call, GithubError, Json, Reply
from bot.sandbox.world.github_store import StoredSecret

KEY_ID = "568250167242549743"


@dataclass
class Sealing:
    """The key pair; made when it is first asked for."""

    _key: PrivateKey | None = field(default=None, repr=False)

    @property
    def key(self) -> PrivateKey:
        if self._key is None:
            self._key = PrivateKey.generate()
        return self._key

    def public(self) -> Json:
        return {"key_id": KEY_ID, "key": base64.b64encode(bytes(self.key.public_key)).decode()}

    def opened(self, body: Json) -> str:
        """The value of a request's body. GithubError for what was not sealed with our key."""
        if body.get("key_id") != KEY_ID:
            raise GithubError(422, "The key_id is not the current one")
        try:
            return SealedBox(self.key).decrypt(base64.b64decode(str(body.get("encrypted_value", "")))).decode()
        except (CryptoError, ValueError, TypeError):
            raise GithubError(422, "Invalid encrypted_value") from None


def public_key(api: Any, _: Call) -> Reply:
    return 200, api.sealing.public(), {}


def shown(name: str, secret: StoredSecret) -> Json:
    return {"name": name, "created_at": rfc3339(secret.created_at), "updated_at": rfc3339(secret.updated_at)}


def get_secret(_: Any, call: Call) -> Reply:
    name = call.parts["name"]
    found = call.repository.secrets.get((call.parts.get("environment") or "", name))
    if found is None:
        raise GithubError(404, "Not Found")
    return 200, shown(name, found), {}


def put_secret(api: Any, call: Call) -> Reply:
    key, now = (call.parts.get("environment") or "", call.parts["name"]), api.clock()
    known, value = call.repository.secrets.get(key), api.sealing.opened(call.body)
    created = known.created_at if known else now
    call.repository.secrets[key] = StoredSecret(value, created, now)
    return (204, None, {}) if known else (201, {}, {})


def of_organization(api: Any, method: str, path: str, body: Json) -> Reply:
    """`path` is what follows orgs/acme/actions/secrets/."""
    if path == "public-key":
        return 200, api.sealing.public(), {}
    found = api.store.org_secrets.get(path)
    if found is None:
        raise GithubError(404, "Not Found")
    if method == "GET":
        return 200, {**shown(path, found), "visibility": "private"}, {}
    if method != "PUT" or body.get("visibility") not in {"all", "private", "selected"}:
        raise GithubError(422, 'Invalid request. "visibility" wasn\'t supplied.')
    api.store.org_secrets[path] = StoredSecret(api.sealing.opened(body), found.created_at, api.clock())
    return 204, None, {}


IN_ENVIRONMENT = r"environments/(?P<environment>[^/]+)/secrets"
SECRET_ROUTES = (
    ("GET", r"actions/secrets/public-key", public_key),
    ("GET", IN_ENVIRONMENT + r"/public-key", public_key),
    ("GET", r"actions/secrets/(?P<name>[^/]+)", get_secret),
    ("PUT", r"actions/secrets/(?P<name>[^/]+)", put_secret),
    ("GET", IN_ENVIRONMENT + r"/(?P<name>[^/]+)", get_secret),
    ("PUT", IN_ENVIRONMENT + r"/(?P<name>[^/]+)", put_secret),
)
