"""How we sign in to GitHub: a token, or an App whose installation tokens PyGithub gets and renews.

An App's token belongs to one installation, which is one owner, and PyGithub keeps it until twenty seconds before it
expires. A requester of PyGithub's stores each request on its one connection and reads it back there to send it, so two
threads on one requester would send each other's; each thread has its own, and they share the token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock, get_ident
from typing import Any

from knowledge.errors import Refused, SettingsError
from knowledge.network import certificates

SOCKET_DEADLINE_S = 10


@dataclass(frozen=True, slots=True)
class AppKey:
    """GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY (PEM)."""

    app_id: str
    private_key: str = field(repr=False)


@dataclass
class SignIn:
    """Makes requesters of PyGithub's, at first use and once an owner and thread. Used by several threads."""

    base_url: str
    token: str = field(default="", repr=False)
    app: AppKey | None = None
    # Of the policy's further hosts, by owner in lower case.
    others: Mapping[str, "SignIn"] = field(default_factory=dict)
    _auths: dict[str, Any] = field(default_factory=dict)
    _requesters: dict[tuple[str, int], Any] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def words(self) -> str:
        """What to renew when GitHub does not know us, for error texts."""
        return "GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY" if self.app else "GITHUB_TOKEN"

    def requester(self, repository: str) -> Any:
        """For requests about a repository and its owner; "" is ourselves, which for an App is its own JWT.

        Blocks, and for an App may ask GitHub. Raises PyGithub's exceptions, and SettingsError for a key that is none.
        """
        owner = repository.partition("/")[0].lower()
        if owner in self.others:
            return self.others[owner].requester(repository)
        if not self.token and not self.app:
            raise Refused(f"No GitHub host has the owner '{owner}': set GITHUB_TOKEN, or list it under github_hosts.")
        with self._lock:
            return self._of_this_thread(owner if self.app else "", repository)

    def forget(self, repository: str) -> None:
        """GitHub does not accept the token any more: the next request gets a new one."""
        owner = repository.partition("/")[0].lower()
        if owner in self.others:
            self.others[owner].forget(repository)
            return
        with self._lock:
            key = owner if self.app else ""
            self._auths.pop(key, None)
            for place in [one for one in self._requesters if one[0] == key]:
                del self._requesters[place]

    def _of_this_thread(self, key: str, repository: str) -> Any:
        place = (key, get_ident())
        if place not in self._requesters:
            if key not in self._auths:
                self._auths[key] = self._installation(repository) if key else self._ours()
            self._requesters[place] = _requester(self.base_url, self._auths[key])
        return self._requesters[place]

    def _ours(self) -> Any:
        from github import Auth  # noqa: PLC0415  at first use, for start-up time

        return self._jwt() if self.app else Auth.Token(self.token)

    def _installation(self, repository: str) -> Any:
        ours = self._of_this_thread("", repository)
        found = ours.requestJsonAndCheck("GET", f"/repos/{repository}/installation")[1]
        return self._jwt().get_installation_auth(int(found["id"]), requester=ours)

    def _jwt(self) -> Any:
        from github import Auth  # noqa: PLC0415
        from jwt.exceptions import InvalidKeyError  # noqa: PLC0415

        assert self.app is not None  # noqa: S101  looked at by the callers
        auth = Auth.AppAuth(self.app.app_id, self.app.private_key)
        try:
            auth.create_jwt()
        except (InvalidKeyError, ValueError, TypeError):
            # `from None`: the error quotes the key.
            text = "GITHUB_APP_PRIVATE_KEY is no RSA key in PEM. Paste the whole file that GitHub gave you."
            raise SettingsError(text) from None
        return auth


def _requester(base_url: str, auth: Any) -> Any:
    from github import Github  # noqa: PLC0415

    return Github(
        auth=auth,
        base_url=base_url.rstrip("/"),
        timeout=SOCKET_DEADLINE_S,
        user_agent="codehealer",
        per_page=100,
        retry=None,  # reads are tried again by us; a write never is
        seconds_between_requests=None,
        seconds_between_writes=None,
        # The library below it has a variable of its own for this, and does not look at SSL_CERT_FILE.
        verify=certificates() or True,
    ).requester
