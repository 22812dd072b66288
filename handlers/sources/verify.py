"""Pure: is a webhook from whom it says? Over the raw bytes, in constant time, with several secrets valid at once."""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence

from knowledge.errors import Refused

# Real headers are short; what is longer is not worth hashing.
_MAX_HEADER = 4096
_MAX_SIGNATURES = 10
_MAX_SECRETS = 10
_HASHES = frozenset({"sha256", "sha512"})
# Slack's own advice, and good for any signature that covers its time: what is older may be a replay.
MAX_AGE_S = 300


class BadSignature(Refused):
    """The delivery isn't signed, or not with a secret that is valid here: answer 401 and store nothing."""


def header(headers: Mapping[str, str], name: str) -> str:
    """A header's value whatever its case, "" if absent or absurdly long."""
    wanted = name.lower()
    for key, value in headers.items():
        if key.lower() == wanted:
            return value if len(value) <= _MAX_HEADER else ""
    return ""


def github(body: bytes, headers: Mapping[str, str], secrets: Sequence[str], _now: float) -> None:
    """X-Hub-Signature-256: `sha256=` and the hex HMAC of the body."""
    given = header(headers, "X-Hub-Signature-256")
    if not given.startswith("sha256="):
        raise BadSignature("The X-Hub-Signature-256 header is missing: set the webhook's secret on GitHub.")
    _check([given.removeprefix("sha256=")], body, secrets)


def pagerduty(body: bytes, headers: Mapping[str, str], secrets: Sequence[str], _now: float) -> None:
    """X-PagerDuty-Signature: comma-separated `v1=` hex HMACs of the body, several while a secret is rotated."""
    parts = [part.strip() for part in header(headers, "X-PagerDuty-Signature").split(",")]
    given = [part.removeprefix("v1=") for part in parts if part.startswith("v1=")]
    if not given:
        raise BadSignature("The X-PagerDuty-Signature header is missing: subscribe as a v3 webhook with a secret.")
    _check(given[:_MAX_SIGNATURES], body, secrets)


def slack(body: bytes, headers: Mapping[str, str], secrets: Sequence[str], now: float) -> None:
    """X-Slack-Signature: `v0=` and the hex HMAC of `v0:timestamp:body`, by a clock that is at most five minutes off."""
    sent_at = header(headers, "X-Slack-Request-Timestamp")
    given = header(headers, "X-Slack-Signature")
    if not given.startswith("v0=") or not sent_at:
        raise BadSignature("The X-Slack-Signature or X-Slack-Request-Timestamp header is missing.")
    _require_fresh(sent_at, now)
    _check([given.removeprefix("v0=")], b"v0:" + _bytes(sent_at) + b":" + body, secrets)


def grafana(body: bytes, headers: Mapping[str, str], secrets: Sequence[str], now: float) -> None:
    """X-Grafana-Alerting-Signature where the contact point signs (`timestamp:body` if it has one), else a token."""
    given = header(headers, "X-Grafana-Alerting-Signature")
    if not given:
        return token(body, headers, secrets, now)
    timestamp = header(headers, "X-Grafana-Alerting-Timestamp")
    signed = _bytes(f"{timestamp}:") + body if timestamp else body
    _check([given.removeprefix("sha256=")], signed, secrets)
    if timestamp:
        _require_fresh(timestamp, now)
    return None


def signed_or_token(body: bytes, headers: Mapping[str, str], secrets: Sequence[str], now: float) -> None:
    """X-Signature: `sha256=` (or `sha512=`) and the hex HMAC of the body, as Flux's generic-hmac sends it, else a
    token."""
    given = header(headers, "X-Signature")
    if not given:
        return token(body, headers, secrets, now)
    name, _, digest = given.partition("=")
    if name not in _HASHES:
        raise BadSignature("The X-Signature header must begin with sha256= or sha512=.")
    return _check([digest], body, secrets, name)


def token(_body: bytes, headers: Mapping[str, str], secrets: Sequence[str], _now: float = 0.0) -> None:
    """`Authorization: Bearer TOKEN`, or basic authentication with the token as password: for who cannot sign."""
    scheme, _, value = header(headers, "Authorization").strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            value = ""
    elif scheme.lower() != "bearer":
        value = ""
    if not value:
        raise BadSignature("The Authorization header is missing: send the webhook token as bearer or basic password.")
    _require([hmac.compare_digest(_bytes(value), secret) for secret in _usable(secrets)])


def _check(given: Sequence[str], signed: bytes, secrets: Sequence[str], name: str = "sha256") -> None:
    expected = [hmac.new(secret, signed, name).hexdigest().encode() for secret in _usable(secrets)]
    _require([hmac.compare_digest(_bytes(one.lower()), right) for one in given for right in expected])


def _require_fresh(timestamp: str, now: float) -> None:
    """Of a signature that covers when it was made: an old one may be somebody's recording."""
    if not timestamp.isdecimal() or len(timestamp) > 12 or abs(now - int(timestamp)) > MAX_AGE_S:
        raise BadSignature(f"The delivery was not signed within the last {MAX_AGE_S} s; it may be a replay.")


def _usable(secrets: Sequence[str]) -> list[bytes]:
    # An empty secret would let everybody sign.
    return [_bytes(secret) for secret in secrets[:_MAX_SECRETS] if secret]


def _bytes(text: str) -> bytes:
    # Header bytes that are not UTF-8 arrive as lone surrogates, which a plain encode() chokes on.
    return text.encode("utf-8", "surrogatepass")


def _require(fits: list[bool]) -> None:
    # A list, not a generator: every pair was compared, so the time says nothing about which one fits.
    if not any(fits):
        raise BadSignature("The signature or token fits none of the secrets that are set for this source.")
