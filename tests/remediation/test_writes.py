"""What is told of a write: how it ended, without secrets, and to nobody who did not ask."""

import asyncio

import pytest

from knowledge.errors import BadInput, CodeHealerError, Refused
from remediation.writes import DONE, NO_ANSWER, UNKNOWN, heard, noted


@pytest.mark.parametrize("error", [Refused, BadInput])
def test_a_failed_write_says_why_without_secrets(error: type[CodeHealerError]) -> None:
    secret = "gh" + "p_" + "a1B2c3D4e5" * 3 + "F6g7H8"
    with heard() as writes, pytest.raises(error), noted("GitHub", "POST /x"):
        raise error(f"It said {secret}.")
    (write,) = writes
    assert "It said" in write.result
    assert secret not in write.result


async def test_a_write_that_is_given_up_is_told_and_the_next_one_too() -> None:
    async def hangs() -> None:
        with noted("GitHub", "POST /x"):
            await asyncio.Event().wait()

    with heard() as writes:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hangs(), 0.01)
        with noted("GitHub", "POST /y"):
            pass
    assert [(write.request, write.result) for write in writes] == [("POST /x", NO_ANSWER), ("POST /y", DONE)]
    with noted("GitHub", "POST /z"):
        pass
    assert len(writes) == 2


def test_a_write_that_broke_off_is_not_told_as_done() -> None:
    with heard() as writes, pytest.raises(ZeroDivisionError), noted("GitHub", "POST /x"):
        raise ZeroDivisionError
    assert [write.result for write in writes] == [UNKNOWN]
