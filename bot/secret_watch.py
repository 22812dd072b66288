"""Reading the secrets again while the bot runs: every few minutes, and at once on SIGHUP.

What is rotated in a file, in .env or in AWS Secrets Manager is in force without a restart: the secrets of webhooks and
of Slack's HTTP mode, the heartbeat's address, and the tokens of GitHub, Argo CD, PagerDuty, Prometheus, Alertmanager
and the services of models. Slack's tokens need one.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog
from pydantic import SecretStr

from bot.settings import SOURCE_TOKEN, Settings, load_settings, split_secrets
from handlers.sources import SOURCES
from knowledge.errors import SettingsError

log = structlog.get_logger(__name__)

# Longer than it takes to write a file: one that is just being written is read half, or empty.
SETTLES_S = 1.0
MOST_LOOKS = 5
NEED_A_RESTART = ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_USER_TOKEN")


@dataclass
class SecretWatch:
    """`secrets` are the webhooks', which change in place; `renew` makes the clients anew that have a token.

    `more` reads the secrets that the settings do not name, by their variables; it raises SettingsError.
    """

    settings: Settings
    secrets: dict[str, tuple[str, ...]]
    renew: Callable[[Settings], None]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    problem: str = ""
    more: Callable[[], Mapping[str, str]] = dict
    _others: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self._others = self.more()

    async def run(self) -> None:
        """Look until cancelled."""
        every_s = self.settings.secrets_every_seconds
        while True:
            try:
                async with asyncio.timeout(every_s or None):
                    await self.wake.wait()
            except TimeoutError:
                pass
            self.wake.clear()
            await self.look()

    async def look(self) -> None:
        """Obey the secrets as they are now; where they cannot be read, those in force stay."""
        try:
            found = await self._read()
            others = await asyncio.to_thread(self.more)
            changed = _changed({**self._others, **_secrets(self.settings)}, {**others, **_secrets(found)})
            if changed:
                self.renew(found)
        except SettingsError as error:
            self.problem = str(error)
            log.warning("secrets_kept", problem=self.problem)
            return
        self.problem = ""
        valid = webhook_secrets(found, found.source_tokens)
        # In one step of the loop: no request sees half of it.
        self.secrets.clear()
        self.secrets.update(valid)
        self.settings, self._others = found, others
        if changed:
            log.info("secrets_read", changed=changed)
        if waiting := [name for name in changed if name in NEED_A_RESTART]:
            log.warning("restart_needed", changed=waiting)

    async def _read(self) -> Settings:
        """What has changed, or is wrong, is believed when it is read a second time. Raises SettingsError."""
        before, wrong = self.settings, False
        for _ in range(MOST_LOOKS):
            try:
                found = await asyncio.to_thread(load_settings)
            except SettingsError:
                if wrong:
                    raise
                wrong = True
            else:
                if _secrets(found) in (_secrets(before), _secrets(self.settings)):
                    return found
                before, wrong = found, False
            await asyncio.sleep(SETTLES_S)
        raise SettingsError("They were different at each look. Write the file beside it, and move it there.")

    def lines(self) -> list[str]:
        """For people who ask for the status; nothing while all is well."""
        return [f"secrets: those read before are in force; {self.problem}"] if self.problem else []


def _secrets(settings: Settings) -> dict[str, str]:
    own = {
        field.alias or name: value.get_secret_value()
        for name, field in type(settings).model_fields.items()
        if isinstance(value := getattr(settings, name), SecretStr)
    }
    return {**settings.source_tokens, **own}


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Names only."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def webhook_secrets(settings: Settings, environment: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Secrets by source. A source without one is off."""
    own = {"github": settings.github_webhook_secret, "pagerduty": settings.pagerduty_webhook_secret}
    secrets = {}
    for source in SOURCES:
        if source == "slack":
            continue  # Slack's own requests come over Socket Mode
        named = SecretStr(environment.get(f"{SOURCE_TOKEN}{source.upper()}", ""))
        valid = (
            split_secrets(own[source])
            if source in own
            else split_secrets(named) or split_secrets(settings.webhook_token)
        )
        if valid or (source == "cloudwatch" and settings.sns_topics):
            secrets[source] = valid
    return secrets
