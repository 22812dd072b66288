"""Pure: Grafana's webhook contact point: Alertmanager's layout with links to dashboards. It sends no delivery id."""

from collections.abc import Mapping

from handlers.sources import labelled
from handlers.sources.fields import Json
from knowledge.model import Alert


def parse(body: Json, _headers: Mapping[str, str]) -> tuple[Alert, ...]:
    return labelled.parse("grafana", body)
