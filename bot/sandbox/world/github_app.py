"""GitHub Apps: the JWT that an App signs, its installation, and the tokens that are given out for it."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt

from bot.sandbox.world.clockwork import rfc3339

Json = dict[str, Any]
HOUR = 3600.0
INSTALLATION = 52_110_043
PERMISSIONS = {
    "actions": "write",
    "checks": "read",
    "contents": "write",
    "metadata": "read",
    "pull_requests": "write",
    "secrets": "write",
}


@dataclass
class Apps:
    """`keys` are public keys (PEM) by App id; `given` the installation tokens with their end, in Unix seconds."""

    clock: Callable[[], float]
    keys: dict[str, str] = field(default_factory=dict)
    given: dict[str, float] = field(default_factory=dict)
    lifetime: float = HOUR
    permissions: dict[str, str] = field(default_factory=lambda: dict(PERMISSIONS))

    def app_of(self, bearer: str) -> str:
        """The App that signed this JWT, empty when none did or it is not valid now."""
        try:
            claimed = str(jwt.decode(bearer, options={"verify_signature": False}).get("iss", ""))
            jwt.decode(bearer, self.keys[claimed], algorithms=["RS256"], options={"require": ["exp", "iat", "iss"]})
        except (jwt.InvalidTokenError, KeyError):
            return ""
        return claimed

    def is_installation(self, bearer: str) -> bool:
        return self.given.get(bearer, 0.0) > self.clock()

    def app(self, app_id: str, html: str, owner: Json) -> Json:
        now = rfc3339(self.clock())
        return {
            "id": int(app_id),
            "slug": "codehealer",
            "node_id": "A_codehealer",
            "owner": owner,
            "name": "CodeHealer",
            "description": "",
            "external_url": html,
            "html_url": f"{html}/apps/codehealer",
            "created_at": now,
            "updated_at": now,
            "permissions": self.permissions,
            "events": [],
        }

    def installation(self, app_id: str, api: str, html: str, owner: Json) -> Json:
        now, number = rfc3339(self.clock()), INSTALLATION
        return {
            "id": number,
            "account": owner,
            "repository_selection": "all",
            "access_tokens_url": f"{api}/app/installations/{number}/access_tokens",
            "repositories_url": f"{api}/installation/repositories",
            "html_url": f"{html}/organizations/acme/settings/installations/{number}",
            "app_id": int(app_id),
            "target_id": owner["id"],
            "target_type": "Organization",
            "permissions": self.permissions,
            "events": [],
            "created_at": now,
            "updated_at": now,
            "single_file_name": None,
            "app_slug": "codehealer",
            "suspended_by": None,
            "suspended_at": None,
        }

    def token(self) -> Json:
        """A new installation token."""
        made, ends = f"ghs_{secrets.token_hex(18)}", self.clock() + self.lifetime
        self.given[made] = ends
        return {
            "token": made,
            "expires_at": rfc3339(ends),
            "permissions": self.permissions,
            "repository_selection": "all",
        }
