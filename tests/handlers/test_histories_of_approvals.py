"""Two processes decide about the same requests at once; `make histories HISTORIES=1000` plays more of them."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.forked import CONTEXT
from tests.handlers import histories
from tests.handlers.histories import Operation, linearisable

COUNT = int(os.environ.get("HISTORIES", "10"))


@pytest.mark.timeout(120 + COUNT)
def test_every_history_of_two_processes_could_have_happened_one_by_one(database_url: str, tmp_path: Path) -> None:
    requests = asyncio.run(histories.prepared(database_url, COUNT, seed=1))
    start = CONTEXT.Barrier(2)
    outs = [tmp_path / f"{number}" for number in range(2)]
    players = [
        CONTEXT.Process(target=histories.play, args=(database_url, requests, seed, start, str(out)))
        for seed, out in enumerate(outs, start=1)
    ]
    for player in players:
        player.start()
    for player in players:
        player.join(60 + COUNT)
        assert player.exitcode == 0
    lines = [line for out in outs for line in out.read_text().split("\n")]
    found = asyncio.run(histories.collected(database_url, lines))
    ran = asyncio.run(histories.executions_by_approval(database_url))
    needed = {approval: need for _, approval, need in requests}
    wrong = [(number, *found[number]) for number in needed if not linearisable(*_of(found[number], needed[number]))]
    assert wrong == []
    assert {number: ran.get(number, 0) for number in needed} == {
        number: int(found[number][1] == "approved") for number in needed
    }
    assert len({state for _, state in found.values()}) > 1, "not all ended alike"
    assert any(one.answer for history, _ in found.values() for one in history), "some came too late"


def _of(found: tuple[list[Operation], str], needed: int) -> tuple[list[Operation], int, str]:
    return found[0], needed, found[1]


def test_the_check_finds_what_cannot_have_happened() -> None:
    first = Operation("approve", "U001", 0, 10, "")
    second = Operation("approve", "U002", 20, 30, "approved")
    assert linearisable([first, second], 1, "approved")
    assert not linearisable([first, replace(second, answer="")], 1, "approved"), "approved twice"
    assert not linearisable([first, second], 1, "open"), "lost"
    assert not linearisable([replace(first, answer="approved"), replace(second, answer="")], 1, "approved"), "too early"
    assert linearisable([replace(first, answer="approved"), replace(second, began=5, answer="")], 1, "approved")
    assert not linearisable([first, replace(second, user="U001", answer="")], 2, "approved"), "one person counted twice"
    rejected = Operation("reject", "U003", 12, 15, "")
    assert not linearisable([first, rejected], 1, "rejected"), "decided twice"
