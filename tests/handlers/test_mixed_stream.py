"""An hour of outages that several systems tell of at once becomes one incident, and one card, for each."""

import random
from datetime import timedelta

import pytest

from bot.sandbox.server import Sandbox
from handlers import flow, inbox
from handlers.outbox import Sender
from handlers.services import Services
from handlers.sources import SOURCES
from handlers.view import render, render_settled
from knowledge.model import Alert, AlertStatus
from knowledge.streams import assign
from tests import mixed_stream
from tests.handlers.office import posts, rows
from tests.knowledge.test_correlation import scores
from tests.mixed_stream import BEGAN, Post


def occurrences(posts: list[Post]) -> list[tuple[Post, Alert]]:
    read = [(post, alert) for post in posts for alert in SOURCES[post.source].parse(post.body, post.headers)]
    return [(post, alert) for post, alert in read if alert.status is not AlertStatus.INFO]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("copies", [1, 2])
def test_mixed_stream_becomes_its_incidents_in_any_order(seed: int, copies: int) -> None:
    posts = [post for post in mixed_stream.stream(seed) for _ in range(copies)]
    random.Random(seed).shuffle(posts)
    found = occurrences(posts)
    numbers = assign([(BEGAN + timedelta(seconds=post.at), alert) for post, alert in found])
    precision, f1 = scores([post.incident for post, _ in found], numbers)
    assert precision >= 0.99
    assert f1 >= 0.95


async def test_alerts_on_their_way_through_the_database_become_one_card_for_each_incident(
    services: Services, sandbox: Sandbox
) -> None:
    found = occurrences(mixed_stream.stream(3, rounds=1))
    for number, (post, alert) in enumerate(found):
        await flow.accept_alerts(services, [alert], source=post.source, delivery_id=f"{number}")
        if number % 40 == 0:
            await inbox.drain(services)
    while await inbox.drain(services):
        pass
    joined = await rows(services.engine, "SELECT source, identity, fingerprint, incident_id FROM alerts")
    by_alert = {(row.source, row.identity, row.fingerprint): row.incident_id for row in joined}
    numbers = [by_alert[alert.source, alert.identity, alert.fingerprint] for _, alert in found]
    known = [(post.incident, number) for (post, _), number in zip(found, numbers, strict=True) if number]
    precision, f1 = scores([one[0] for one in known], [one[1] for one in known])
    assert precision >= 0.99
    assert f1 >= 0.95
    truth = {post.incident for post, _ in found}
    sender = Sender(
        services.engine,
        services.slack,
        lambda db, number: render(db, services, number),
        lambda db, number: render_settled(db, services, number),
    )
    said = await rows(services.engine, "SELECT kind FROM outbox WHERE kind IN ('card', 'post')")
    assert len(said) <= 3 * len(truth)
    await sender.send_due()  # what Slack's limits let through at once
    shown = posts(sandbox)
    assert 0 < len(shown) <= len(truth)
