"""The credentials of one sandbox, made in memory each time it starts."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field


def _random() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Tokens:
    """One secret for each thing a bot signs in to; the prefixes are those that the real services use."""

    slack_bot: str = field(default_factory=lambda: "xoxb-" + _random())
    slack_user: str = field(default_factory=lambda: "xoxp-" + _random())
    slack_app: str = field(default_factory=lambda: "xapp-" + _random())
    slack_signing_secret: str = field(default_factory=lambda: secrets.token_hex(16))
    github: str = field(default_factory=lambda: "ghp" + "_" + secrets.token_hex(18))
    github_webhook_secret: str = field(default_factory=lambda: secrets.token_hex(20))
    argocd: str = field(default_factory=_random)
    kubernetes: str = field(default_factory=_random)
    pagerduty_routing_key: str = field(default_factory=lambda: secrets.token_hex(16))
    pagerduty_token: str = field(default_factory=lambda: secrets.token_hex(10))
    pagerduty_webhook_secret: str = field(default_factory=lambda: secrets.token_hex(20))
    webhook: str = field(default_factory=_random)
