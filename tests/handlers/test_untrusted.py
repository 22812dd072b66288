"""What an app posts that is not on the allow-list is read, and ends, merges and places nothing that others told of."""

from dataclasses import replace
from typing import Any

import pytest

from handlers import baseline
from handlers.services import Services
from knowledge.model import Alert, AlertStatus
from tests.handlers.office import rows
from tests.handlers.test_regrouping import NODE, UNREADY, came, chosen, incident
from tests.rows import alert, ended


def stranger(one: Alert, **changes: Any) -> Alert:
    """The same as a post of an app that nobody knows."""
    post = {"source": "slack", "fingerprint": "", "channel": "C0OTHER", "message_ts": "9.9", "trusted": False}
    return replace(one, **{**post, **changes})


PAGE = Alert("pagerduty", AlertStatus.FIRING, "Disk full", "page", fingerprint="P1", labels={"incident_id": "PABC"})
ELSEWHERE = stranger(
    alert("Elsewhere", namespace="pay", owner="pay", workload="pay", service="pay", labels=PAGE.labels)
)


@pytest.mark.parametrize("source", ["slack", "kubernetes"])
async def test_a_stranger_ends_nothing_that_others_told_of(services: Services, source: str) -> None:
    first = alert("Crash", source=source, fingerprint="", channel="C1" if source == "slack" else "", message_ts="1.5")
    await came(services, first, ended(stranger(first)))
    assert (await incident(services, 1)).open
    alone = stranger(alert("Alone", namespace="x", owner="x", service="x"))
    await came(services, alone, ended(replace(alone, message_ts="9.99")))
    assert not (await incident(services, 2)).open, "and ends its own"


async def test_a_stranger_merges_no_incidents(services: Services) -> None:
    await came(services, *UNREADY, stranger(NODE))
    assert [(await incident(services, number)).merged_into for number in (1, 2)] == [None, None]


@pytest.mark.parametrize("stranger_first", [True, False])
async def test_a_stranger_says_nothing_of_where_a_trusted_failure_is(services: Services, stranger_first: bool) -> None:
    await came(services, *([ELSEWHERE, PAGE] if stranger_first else [PAGE, ELSEWHERE]))
    one = await incident(services, 1)
    assert (one.trusted, one.namespace, one.workload, one.service) == (True, "", "", "")


async def test_of_two_merged_incidents_the_trusted_one_says_where(services: Services) -> None:
    await came(services, replace(ELSEWHERE, labels={}), PAGE)
    await chosen(services, 2, into=1)
    one = await incident(services, 1)
    assert (one.trusted, one.namespace, one.workload, one.service) == (True, "", "", "")


async def test_a_stranger_ends_no_summary_of_day_one(services: Services) -> None:
    await baseline.arrive(services)
    old = alert("Old")
    await came(services, old, ended(stranger(old)))
    assert await rows(services.engine, "SELECT key FROM key_choices WHERE verdict = 'baseline'")
