"""Files in the thread of a card: who may ask for them, once, and whatever happens on the way."""

from collections.abc import Mapping
from typing import Any

import pytest

from bot.sandbox.server import Sandbox
from handlers import thread_files, uploads
from handlers.blocks.actions import EVIDENCE, POSTMORTEM
from handlers.clicks import read_action
from handlers.inbox import EVENTS
from handlers.looking import Query
from handlers.operating import Asked
from handlers.reading import Reader
from handlers.services import Services
from knowledge.errors import Unavailable
from knowledge.model import Evidence, EvidenceKind
from knowledge.store import incidents, outbox, threads
from tests.handlers.office import jobs, rows, told
from tests.rows import S, a_plan, an_incident

write, write_evidence = thread_files.writer(POSTMORTEM), thread_files.writer(EVIDENCE)
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


async def asked_for(services: Services, words: str, reader: Reader, *, user: str = "U0DEV") -> str:
    """What `/codehealer postmortem WORDS` answers."""
    person = await services.people.look_up(user)
    async with services.engine.begin() as db:
        ask = thread_files.asked_for(POSTMORTEM)
        return (await ask(db, services, Asked(person, Query(reader, tuple(words.split()))))).text


async def test_a_draft_is_asked_for_by_command_or_menu_and_stands_once_in_the_thread(
    services: Services, sandbox: Sandbox
) -> None:
    number = await healed(services, log=f"could not log in with {TOKEN}")
    member = Reader("C0ALERTS")
    assert "is being written" in await asked_for(services, f"#{number}", member)
    ((stage, asked),) = await jobs(services.engine)
    assert stage == POSTMORTEM
    await write(services, **asked)
    (draft,) = drafts(sandbox)
    assert draft["thread_ts"] != draft["ts"]
    assert thread_files.KINDS[POSTMORTEM].comment in draft["text"]
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
    await write(services, **stored[1])
    assert len(drafts(sandbox)) == 1, "nothing has changed since"
    assert await told(services.engine) == []


async def test_all_evidence_is_a_file_with_the_numbers_that_quotes_have(services: Services, sandbox: Sandbox) -> None:
    number = await healed(services)
    log = f"starting\ncould not log in with {TOKEN}\npanic: no config"
    async with services.engine.begin() as db:
        await incidents.keep_evidence(db, number, [Evidence(EvidenceKind.LOGS, "checkout-7d", log)])
    await write_evidence(services, click(number))
    (shared,) = drafts(sandbox)
    assert shared["file"]["name"] == f"evidence-{number}-3.txt"
    lines = content(sandbox, shared["file"]).splitlines()
    assert "3  panic: no config" in lines
    assert not any(TOKEN in line for line in lines)
    assert "numbered lines" in shared["file"]["alt_txt"]
    await write_evidence(services, click(number))
    assert len(drafts(sandbox)) == 1


@pytest.mark.parametrize("fault", ["error_before_write_next", "error_after_write_next"])
async def test_an_upload_whose_answer_is_lost_is_looked_for_before_it_is_repeated(
    services: Services, sandbox: Sandbox, fault: str
) -> None:
    number = await healed(services)
    sandbox.slack.faults.update({fault: 1, "methods": ["files.completeUploadExternal"]})
    with pytest.raises(Unavailable):
        await write(services, click(number))
    await write(services, click(number))
    assert len(drafts(sandbox)) == 1


async def test_whoever_may_not_ask_or_asks_for_what_is_not_there_is_told_so(
    services: Services, sandbox: Sandbox
) -> None:
    number = await healed(services)
    elsewhere = Reader("C0ALERTS", member=False)
    for words, reader in (("", Reader("C0ALERTS")), ("99", Reader("C0ALERTS")), (str(number), elsewhere)):
        assert await asked_for(services, words, reader) == thread_files.WHICH.format(name=POSTMORTEM)
    guest = Reader("C0DEPLOY", member=False)
    assert await asked_for(services, str(number), guest, user="U0GUEST") == thread_files.ONLY_MEMBERS
    assert await jobs(services.engine) == []
    await write(services, click(number, "U0GUEST"))
    sandbox.slack.faults.without_scopes = ["files:write"]
    await write(services, click(number))
    await write(services, click(999))
    said = await told(services.engine)
    assert [user for user, _ in said] == ["U0GUEST", "U0DEV", "U0DEV"]
    assert said[0][1] == thread_files.ONLY_MEMBERS
    assert "files:write" in said[1][1], "what to do about it"
    assert "no card" in said[2][1]
    assert drafts(sandbox) == []
    assert not await rows(services.engine, "SELECT 1 FROM audit WHERE what = 'incident.postmortem'")


async def test_an_address_for_uploads_that_does_not_answer_is_not_named(services: Services) -> None:
    with pytest.raises(Unavailable) as refused:
        await uploads._send(services, "http://127.0.0.1:9/upload/a-secret", b"x")
    assert "a-secret" not in str(refused.value)
