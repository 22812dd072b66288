"""Where failures are told of: per source, how a delivery is verified, read and told from its repeat. All pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from handlers.sources import (
    alertmanager,
    argocd,
    cloudwatch,
    flux,
    generic,
    github,
    grafana,
    kubernetes,
    pagerduty,
    slack,
    verify,
)
from handlers.sources.fields import Json
from knowledge.model import Alert

Headers = Mapping[str, str]


def _no_id(_headers: Headers, _body: Json) -> str | None:
    return None


def _as_sent(_headers: Headers, body: bytes) -> bytes:
    return body


def _no_event(_headers: Headers, _body: Json) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Source:
    """One sender's rules.

    `verify(body, headers, secrets, now)` raises BadSignature unless one of the secrets fits, and for what its sender
    dates and is old (`now` in seconds since 1970); `parse(json, headers)` gives the alerts or raises BadInput;
    `delivery_id(headers, json)` is the sender's own id for the delivery, None where it has none; `event_name(headers,
    json)` what kind of message it is, "" where there is but one; `document(headers, body)` is the JSON of a verified
    body, where it may come in something else. `resolves_after_s` is how long after a failure is over its sender may
    take to say so, with the sender's own defaults.
    """

    name: str
    verify: Callable[[bytes, Headers, Sequence[str], float], None]
    parse: Callable[[Json, Headers], tuple[Alert, ...]]
    delivery_id: Callable[[Headers, Json], str | None] = _no_id
    event_name: Callable[[Headers, Json], str] = _no_event
    resolves_after_s: int = 0
    document: Callable[[Headers, bytes], bytes] = _as_sent


# One evaluation of the rule (1 min), and the time that a group waits before it is sent again (group_interval: 5 min).
PROMETHEUS_S = 360
# A period of an alarm; most are a minute, some five.
CLOUDWATCH_S = 300

SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source("alertmanager", verify.token, alertmanager.parse, resolves_after_s=PROMETHEUS_S),
        Source("grafana", verify.grafana, grafana.parse, resolves_after_s=PROMETHEUS_S),
        Source("github", verify.github, github.parse, github.delivery_id, github.event_of, document=github.document),
        Source("argocd", verify.token, argocd.parse),
        Source("flux", verify.signed_or_token, flux.parse, event_name=flux.event_of),
        # PagerDuty passes on what others tell it, so it is as late as the slowest of them.
        Source("pagerduty", verify.pagerduty, pagerduty.parse, pagerduty.delivery_id, pagerduty.event_of, PROMETHEUS_S),
        Source("kubernetes", verify.token, kubernetes.parse, kubernetes.delivery_id, kubernetes.event_of),
        Source("cloudwatch", verify.token, cloudwatch.parse, cloudwatch.delivery_id, resolves_after_s=CLOUDWATCH_S),
        # Slack's own requests are verified by the Slack app; this entry reads one message.
        Source("slack", verify.token, slack.parse, slack.delivery_id, resolves_after_s=PROMETHEUS_S),
        Source("generic", verify.signed_or_token, generic.parse, resolves_after_s=PROMETHEUS_S),
    )
}
