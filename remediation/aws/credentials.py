"""Where AWS credentials come from, in the order of Amazon's own libraries: the environment, a web identity (EKS), the
shared credentials file, a container's endpoint (ECS, EKS Pod Identity), and the machine's own (EC2)."""

import asyncio
import configparser
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from knowledge.environment import value_of
from knowledge.errors import Refused, SettingsError, Unavailable
from remediation.aws.signing import Keys

DEADLINE_S = 5.0
# Where nobody answers on a machine that is not Amazon's; asked once a minute at most.
MACHINE_DEADLINE_S = 1.0
MAX_BYTES = 64 * 1024
RENEW_BEFORE = timedelta(minutes=5)
NONE_FOUND = (
    "No AWS credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile in ~/.aws/credentials, "
    "or give the pod or machine a role."
)
_CONTAINER, _MACHINE = "http://169.254.170.2", "http://169.254.169.254"
# A container's endpoint gets our token, so it is only asked on this machine or by TLS, as Amazon's libraries do.
_CONTAINER_HOSTS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost", "127.0.0.1", "::1"})


class CredentialChain:
    """The credentials in force; temporary ones are fetched again five minutes before they end.

    Args:
        environment: the process's variables (AWS_*).
    """

    def __init__(
        self, http: httpx.AsyncClient, environment: Mapping[str, str], region: str, *, sts_url: str = ""
    ) -> None:
        self._http = http
        self._environment = environment
        self._sts_url = sts_url or f"https://sts.{region}.amazonaws.com"
        self._keys: Keys | None = None
        self._lock = asyncio.Lock()

    async def keys(self) -> Keys:
        """Raises SettingsError where there are none, Unavailable where who gives them does not answer."""
        async with self._lock:
            known = self._keys
            if known and (known.expires_at is None or known.expires_at - datetime.now(UTC) > RENEW_BEFORE):
                return known
            for source in (_from_environment, _from_web_identity, _from_file, _from_container, _from_machine):
                found = await source(self)
                if found is not None:
                    self._keys = found
                    return found
        raise SettingsError(NONE_FOUND)

    def forget(self) -> None:
        """They were refused: look again, since a file or a role may have been changed."""
        self._keys = None

    def variable(self, name: str) -> str:
        return self._environment.get(name, "").strip()

    async def secret(self, name: str) -> str:
        """As `variable`; of a file too, as secrets are mounted. Raises SettingsError for one that cannot be read."""
        return await asyncio.to_thread(value_of, name, self._environment)

    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None, deadline_s: float = DEADLINE_S,
    ) -> str:  # fmt: skip
        """One small request without a redirect; its text never becomes part of an error."""
        try:
            async with asyncio.timeout(deadline_s):
                reply = await self._http.request(
                    method, url, headers=headers, data=form, timeout=deadline_s, follow_redirects=False
                )
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"AWS credentials could not be had ({type(error).__name__}).") from None
        if reply.status_code >= 500 or reply.status_code == 429:
            raise Unavailable(f"AWS credentials could not be had ({reply.status_code}).")
        if reply.status_code != 200 or len(reply.content) > MAX_BYTES:
            raise Refused(f"AWS gives no credentials ({reply.status_code}). Check the role and its trust policy.")
        return reply.text

    @property
    def sts_url(self) -> str:
        return self._sts_url


async def _from_environment(chain: CredentialChain) -> Keys | None:
    access, secret = await chain.secret("AWS_ACCESS_KEY_ID"), await chain.secret("AWS_SECRET_ACCESS_KEY")
    return Keys(access, secret, await chain.secret("AWS_SESSION_TOKEN")) if access and secret else None


async def _from_web_identity(chain: CredentialChain) -> Keys | None:
    role, file = chain.variable("AWS_ROLE_ARN"), chain.variable("AWS_WEB_IDENTITY_TOKEN_FILE")
    if not role or not file:
        return None
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": role,
        "RoleSessionName": chain.variable("AWS_ROLE_SESSION_NAME") or "codehealer",
        "WebIdentityToken": (await _file_text(file)).strip(),
    }
    said = await chain.ask("POST", chain.sts_url, form=form)
    # STS answers in XML with exactly one of each.
    found = {
        name: match[1]
        for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
        if (match := re.search(rf"<{name}>([^<]+)</{name}>", said))
    }
    if len(found) < 4:
        raise Refused("AWS STS gave no credentials for AWS_ROLE_ARN. Check the role's trust policy.")
    return Keys(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"], _time(found["Expiration"]))


async def _from_file(chain: CredentialChain) -> Keys | None:
    path = _shared_file(chain)
    profile = chain.variable("AWS_PROFILE") or "default"
    if not await asyncio.to_thread(path.is_file):
        return None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(await _file_text(str(path)))
    except configparser.Error as error:
        raise SettingsError(f"{path} cannot be read ({type(error).__name__}). Correct it.") from None
    if not parser.has_section(profile):
        return None
    row = parser[profile]
    access, secret = row.get("aws_access_key_id", ""), row.get("aws_secret_access_key", "")
    return Keys(access, secret, row.get("aws_session_token", "")) if access and secret else None


def _shared_file(chain: CredentialChain) -> Path:
    return Path(chain.variable("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()


async def _from_container(chain: CredentialChain) -> Keys | None:
    path, url = chain.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), ""
    if path.startswith("/"):
        url = f"{_CONTAINER}{path}"
    elif url := chain.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in _CONTAINER_HOSTS:
            raise SettingsError("AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor on this machine.")
    if not url:
        return None
    token = chain.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    if file := chain.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
        token = (await _file_text(file)).strip()
    return _temporary(await chain.ask("GET", url, headers={"Authorization": token} if token else None))


async def _from_machine(chain: CredentialChain) -> Keys | None:
    if chain.variable("AWS_EC2_METADATA_DISABLED").lower() == "true":
        return None
    base = chain.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").rstrip("/") or _MACHINE
    ask: Callable[..., Awaitable[str]] = chain.ask
    try:
        token = await ask(
            "PUT", f"{base}/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "300"},
            deadline_s=MACHINE_DEADLINE_S,
        )  # fmt: skip
    except (Refused, Unavailable):
        return None  # not a machine of Amazon's, or one without a role
    headers = {"X-aws-ec2-metadata-token": token}
    roles = f"{base}/latest/meta-data/iam/security-credentials/"
    named = (await ask("GET", roles, headers=headers)).split()
    return _temporary(await ask("GET", f"{roles}{named[0]}", headers=headers)) if named else None


async def _file_text(path: str) -> str:
    try:
        return await asyncio.to_thread(Path(path).read_text, "utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The file {path} cannot be read ({type(error).__name__}). Check AWS_*.") from None


def _temporary(said: str) -> Keys:
    try:
        found: Any = json.loads(said)
        return Keys(
            str(found["AccessKeyId"]), str(found["SecretAccessKey"]), str(found["Token"]), _time(found["Expiration"])
        )
    except (ValueError, KeyError, TypeError):
        raise Refused("AWS answered without credentials. Check the role of this pod or machine.") from None


def _time(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return datetime.now(UTC) + timedelta(minutes=15)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
