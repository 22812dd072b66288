"""A postmortem's draft in the thread of its card: who may ask, once, and whatever happens on the way."""

from collections.abc import Mapping
from typing import Any

import pytest

from bot.sandbox.server import Sandbox
from handlers import postmortems, uploads
from handlers.clicks import read_action
from handlers.inbox import EVENTS
from handlers.reading import Reader
from handlers.services import Services
from knowledge.errors import Unavailable
from knowledge.store import incidents, outbox, threads
from tests.handlers.office import jobs, rows, told
from tests.rows import S, a_plan, an_incident

TOKEN = "xoxb-" + "1234567890-" * 2 + "a1B2c3D4e5F6g7H8i9J0"


async def healed(services: Services, *, log: str = "") -> int:
    """An incident that has ended, with its card in the channel; its id."""
    posted = await services.slack.chat_postMessage(channel="C0DEPLOY", text="the card")
    async with services.engine.begin() as db:
        await threads.put_channel(db, "C0DEPLOY", name="deployments", audience="all", now=services.now())
        incident = await an_incident(db, state=S.DIAGNOSING, log=log)
        await a_plan(db, incident)
        assert await incidents.move(db, incident, S.RESOLVED)
        await outbox.new_card(db, incident.id, "C0DEPLOY")
        await outbox.card_shown(db, incident.id, channel="C0DEPLOY", ts=str(posted["ts"]), shown="x")
    return incident.id


def drafts(sandbox: Sandbox) -> list[Mapping[str, Any]]:
    messages = sandbox.slack.workspace.channels["C0DEPLOY"].messages.values()
    return [{**message, "file": one} for message in messages for one in message.get("files", ())]


def content(sandbox: Sandbox, file: Mapping[str, Any]) -> str:
    held = sandbox.slack.workspace.files[file["id"]].content
    assert held is not None
    return held.decode()


def click(incident_id: int, user: str = "U0DEV") -> dict[str, Any]:
    return {"user": user, "channel": "C0DEPLOY", "incident_id": incident_id, "key": f"{user}:{incident_id}"}


async def test_a_draft_is_asked_for_by_command_or_menu_and_stands_once_in_the_thread(
    services: Services, sandbox: Sandbox
) -> None:
    number = await healed(services, log=f"could not log in with {TOKEN}")
    member = Reader("C0ALERTS")
    assert "is being written" in (await postmortems.ask(services, [f"#{number}"], member, user="U0DEV")).text
    ((stage, asked),) = await jobs(services.engine)
    assert stage == postmortems.STAGE
    await postmortems.write(services, **asked)
    (draft,) = drafts(sandbox)
    assert draft["thread_ts"] != draft["ts"]
    assert postmortems.COMMENT in draft["text"]
    assert draft["file"]["name"] == f"postmortem-{number}-3.md"
    text = content(sandbox, draft["file"])
    assert text.startswith(f"# Postmortem of incident {number}: ")
    assert "## Timeline (UTC)" in text
    assert TOKEN not in text

    chosen = {"selected_option": {"value": f'{{"i":{number},"x":"postmortem"}}'}, "action_id": "more"}
    body = {"user": {"id": "U0DEV"}, "channel": {"id": "C0DEPLOY"}, "trigger_id": "t", "actions": [chosen]}
    stored = read_action(body)
    assert stored is not None
    assert stored[0] in EVENTS
    await postmortems.write(services, **stored[1])
    assert len(drafts(sandbox)) == 1, "nothing has changed since"
    assert await told(services.engine) == []


@pytest.mark.parametrize("fault", ["error_before_write_next", "error_after_write_next"])
async def test_an_upload_whose_answer_is_lost_is_looked_for_before_it_is_repeated(
    services: Services, sandbox: Sandbox, fault: str
) -> None:
    number = await healed(services)
    sandbox.slack.faults.update({fault: 1, "methods": ["files.completeUploadExternal"]})
    with pytest.raises(Unavailable):
        await postmortems.write(services, click(number))
    await postmortems.write(services, click(number))
    assert len(drafts(sandbox)) == 1


async def test_whoever_may_not_ask_or_asks_for_what_is_not_there_is_told_so(
    services: Services, sandbox: Sandbox
) -> None:
    number = await healed(services)
    elsewhere = Reader("C0ALERTS", member=False)
    for words, reader in (([], Reader("C0ALERTS")), (["99"], Reader("C0ALERTS")), ([str(number)], elsewhere)):
        assert (await postmortems.ask(services, words, reader, user="U0DEV")).text == postmortems.WHICH
    guest = Reader("C0DEPLOY", member=False)
    assert (await postmortems.ask(services, [str(number)], guest, user="U0GUEST")).text == postmortems.ONLY_MEMBERS
    assert await jobs(services.engine) == []
    await postmortems.write(services, click(number, "U0GUEST"))
    sandbox.slack.faults.without_scopes = ["files:write"]
    await postmortems.write(services, click(number))
    await postmortems.write(services, click(999))
    said = await told(services.engine)
    assert [user for user, _ in said] == ["U0GUEST", "U0DEV", "U0DEV"]
    assert said[0][1] == postmortems.ONLY_MEMBERS
    assert "files:write" in said[1][1], "what to do about it"
    assert "no card" in said[2][1]
    assert drafts(sandbox) == []
    assert not await rows(services.engine, "SELECT 1 FROM audit WHERE what = 'incident.postmortem'")


async def test_an_address_for_uploads_that_does_not_answer_is_not_named(services: Services) -> None:
    with pytest.raises(Unavailable) as refused:
        await uploads._send(services, "http://127.0.0.1:9/upload/a-secret", b"x")
    assert "a-secret" not in str(refused.value)
