"""Split and merge as people do it: from the card's menu, through its form."""

from tests.stories.stage import ONCALL, Stage, text_of
from tests.stories.test_deciding import choose


async def test_two_cards_become_one_and_link_each_other(stage: Stage) -> None:
    await stage.break_("release-crash-checkout")
    await stage.card("Waiting for approval", about="checkout")
    await stage.break_("stuck-pod-payments")
    card = await stage.card("Waiting for approval", about="payments-api")
    view = await choose(stage, card, "Split or merge…")
    element = next(one["element"] for one in view["blocks"] if one.get("block_id") == "into")
    option = next(one for one in element["options"] if "checkout" in one["text"]["text"])
    values = {"into": {"into": {"type": "static_select", "selected_option": option}}}
    await stage.do("submit", user=ONCALL, view_id=view["id"], values=values)
    merged = await stage.card("Merged into incident 1", about="payments-api")
    assert merged["ts"] == card["ts"]
    assert "approve" not in text_of(merged)

    async def linked() -> bool:
        shown = [text_of(one) for one in await stage.cards()]
        return all(
            any(f"|{words}" in one for one in shown) for words in ("Merged into incident 1", "Took in incident 2")
        )

    await stage.until(linked, "both cards link each other")
    assert len([one for one in await stage.cards() if not one.get("thread_ts")]) <= 4
