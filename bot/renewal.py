"""Making clients anew while the program runs, for other secrets and for another policy."""

from dataclasses import dataclass, replace

import httpx

from bot.clients import clients_with_tokens
from bot.models import Models
from bot.settings import Settings
from handlers.heartbeat import Heartbeat
from handlers.services import Services
from remediation.policy import Policy


@dataclass
class Renewal:
    """What it makes anew is put into `services`, whose holders find it there at their next use."""

    services: Services
    settings: Settings
    http: httpx.AsyncClient
    models: Models
    heartbeat: Heartbeat

    def renew(self, again: Settings) -> None:
        """Obey other secrets. Raises SettingsError, and then all of it is as it was."""
        services = self.services
        clients = replace(services.clients, **clients_with_tokens(again, self.http, services.policy))
        models = self.models.renewed(again, self.http)
        services.clients, services.answerers, services.reranker = clients, models.answerers, models.reranker
        services.hosted_embedder = models.hosted_embedder
        self.heartbeat.url = again.heartbeat_url.get_secret_value()
        self.settings = again

    def connect(self, policy: Policy) -> None:
        """Obey another policy. Raises SettingsError for a token of the policy's that is not set."""
        made = clients_with_tokens(self.settings, self.http, policy)
        self.services.clients = replace(self.services.clients, **made)
