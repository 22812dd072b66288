"""The page in a real browser, against a real sandbox and slack_sdk's own clients."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, async_playwright, expect
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.server import Options, running
from bot.sandbox.slack import full_manifest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs the program chromium, which is not installed"),
]

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "artifacts"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Only how long a failure takes to be called one; a busy machine needs more than five seconds.
expect.set_options(timeout=20_000)
DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}

Json = dict[str, Any]


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox() -> AsyncIterator[Json]:
    """The greeting of a fresh sandbox: url, slack_base_url, env."""
    async with running(Options(manifest=full_manifest())) as started:
        yield started.greeting


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests, which have a profile each: it takes longer to start than most of them take."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(sandbox: Json, browser: Browser) -> AsyncIterator[Any]:
    """Open the page in a fresh browser profile; whatever it throws or reports as an error fails the test."""
    complaints: list[str] = []
    async with contextlib.AsyncExitStack() as profiles:

        async def opened(size: Json = DESK, user: str = "U0ONCALL") -> Page:
            context = await browser.new_context(viewport=size, color_scheme="light", locale="en-GB")
            profiles.push_async_callback(context.close)
            page = await context.new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
            await page.goto(f"{sandbox['url']}?user={user}")
            await page.wait_for_selector("body[data-ready]")
            return page

        yield opened
    assert complaints == []


@pytest.fixture
def slack(sandbox: Json) -> AsyncWebClient:
    return AsyncWebClient(token=sandbox["env"]["SLACK_BOT_TOKEN"], base_url=sandbox["slack_base_url"])


@contextlib.asynccontextmanager
async def app_connected(sandbox: Json, slack: AsyncWebClient, answer: Any) -> AsyncIterator[list[Json]]:
    """Connect an app over Socket Mode; ``answer(payload)`` may act and returns what goes along with the ack."""
    seen: list[Json] = []
    web = AsyncWebClient(base_url=sandbox["slack_base_url"])
    client = SocketModeClient(
        app_token=sandbox["env"]["SLACK_APP_TOKEN"], web_client=web, auto_reconnect_enabled=False, trace_enabled=False
    )

    async def listener(connection: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        seen.append(dict(request.payload))
        reply = await answer(request.payload)
        await connection.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id, payload=reply))

    client.socket_mode_request_listeners.append(listener)
    await client.connect()
    try:
        yield seen
    finally:
        await client.close()


def row(page: Page, ts: str) -> Locator:
    return page.get_by_test_id("messages").locator(f"[data-ts='{ts}']")


def text(kind: str, words: str) -> Json:
    return {"type": kind, "text": words}


def button(action_id: str, words: str, **more: Any) -> Json:
    return {"type": "button", "action_id": action_id, "text": text("plain_text", words), **more}


def option(words: str, value: str) -> Json:
    return {"text": text("plain_text", words), "value": value}


async def post(page: Page, words: str, box: str = "composer") -> None:
    await page.get_by_test_id(box).fill(words)
    await page.get_by_test_id(box).press("Enter")


async def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    await page.screenshot(path=PICTURES / f"page-{name}.png")


async def assert_nothing_sticks_out(page: Page) -> None:
    wide = await page.evaluate(
        "[...document.querySelectorAll('body, .scroller')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    )
    assert wide == 0, "something is wider than its pane"


async def test_a_person_posts_replies_in_a_thread_and_reacts(open_page: Any) -> None:
    page = await open_page()
    await post(page, "checkout is *down* :fire: `5 < 7` <b>really</b> @sam")
    message = page.get_by_test_id("messages").locator("[data-ts]").last
    await expect(message.locator("strong", has_text="down")).to_be_visible()
    await expect(message.locator("code")).to_have_text("5 < 7")
    await expect(message.locator(".message-body")).to_contain_text("<b>really</b>")
    await expect(message.locator(".mention")).to_have_text("@sam")
    await expect(message.locator(".author")).to_have_text("riley")
    await expect(page.get_by_test_id("composer")).to_have_value("")

    await message.hover()
    await message.get_by_test_id("reply-in-thread").click()
    thread = page.get_by_test_id("thread")
    await expect(thread).to_be_visible()
    await expect(page.get_by_test_id("thread-composer")).to_be_focused()
    await post(page, "looking", "thread-composer")
    await expect(thread.locator("[data-ts]")).to_have_count(2)
    await expect(message.get_by_test_id("thread-summary")).to_contain_text("1 reply")

    await message.hover()
    await message.locator("[data-react=eyes]").click()
    pill = message.locator("[data-reaction=eyes]")
    await expect(pill).to_have_attribute("aria-pressed", "true")
    await pill.click()
    await expect(pill).to_have_count(0)

    await page.get_by_test_id("thread-composer").press("Escape")
    await expect(thread).to_be_hidden()
    await expect(page.get_by_test_id("world")).to_be_visible()


async def test_shift_enter_makes_a_line_and_enter_sends(open_page: Any) -> None:
    page = await open_page()
    composer = page.get_by_test_id("composer")
    await composer.type("one")
    await composer.press("Shift+Enter")
    await composer.type("two")
    await expect(page.get_by_test_id("messages").locator("[data-ts]")).to_have_count(0)
    await composer.press("Enter")
    body = page.get_by_test_id("messages").locator("[data-ts] .message-body")
    await expect(body).to_have_text(re.compile(r"one\s*two"))


def many_blocks() -> list[Json]:
    """One message with most kinds of block."""
    leaves = [
        {"type": "text", "text": "plain "},
        {"type": "text", "text": "loud", "style": {"bold": True}},
        {"type": "user", "user_id": "U0DEV"},
        {"type": "emoji", "name": "wrench"},
        {"type": "link", "url": "https://example.com/run/1", "text": "the run"},
    ]
    section = {"type": "rich_text_section", "elements": leaves}
    cells = [[{"type": "raw_text", "text": "pod"}, {"type": "raw_text", "text": "restarts"}]]
    cells += [[{"type": "raw_text", "text": f"checkout-{n}"}, {"type": "raw_text", "text": str(n)}] for n in range(3)]
    points = [{"label": f"10:0{n}", "value": n * 3} for n in range(5)]
    return [
        {"type": "header", "text": text("plain_text", "checkout is crash-looping")},
        {
            "type": "section",
            "text": text(
                "mrkdwn", "*Cause:* `PAYMENTS_URL` is missing\n> panic: no url\n<https://example.com/a|the log>"
            ),
            "accessory": button("more", "More"),
        },
        {"type": "section", "fields": [text("mrkdwn", "*Risk*\nlow"), text("mrkdwn", "*Blast radius*\n3 pods")]},
        {"type": "context", "elements": [text("mrkdwn", "since <!date^1790000000^{date_num}|once> :zzz:")]},
        {"type": "divider"},
        {"type": "rich_text", "elements": [section, {"type": "rich_text_preformatted", "elements": [leaves[0]]}]},
        {"type": "markdown", "text": "## Steps\n\n1. **look**\n2. ~~guess~~\n\n| a | b |\n|---|---|\n| 1 | 2 |"},
        {"type": "table", "rows": cells},
        {
            "type": "data_visualization",
            "title": "Errors per minute",
            "chart": {
                "type": "bar",
                "series": [{"name": "5xx", "data": points}],
                "axis_config": {"categories": [p["label"] for p in points], "x_label": "Time", "y_label": "Errors"},
            },
        },
        {
            "type": "actions",
            "elements": [
                button("approve", "Approve", style="primary", value="1"),
                button("reject", "Reject", style="danger", value="1"),
                button("log", "Log", url="https://example.com/log"),
                {
                    "type": "static_select",
                    "action_id": "snooze",
                    "placeholder": text("plain_text", "Snooze"),
                    "options": [option("15 minutes", "15"), option("1 hour", "60")],
                },
                {"type": "overflow", "action_id": "menu", "options": [option("Show it", "a"), option("Hide it", "b")]},
            ],
        },
        {
            "type": "context_actions",
            "elements": [
                {
                    "type": "feedback_buttons",
                    "action_id": "feedback",
                    "positive_button": {"text": text("plain_text", "Right"), "value": "up"},
                    "negative_button": {"text": text("plain_text", "Wrong"), "value": "down"},
                }
            ],
        },
    ]


async def test_an_apps_blocks_are_drawn(open_page: Any, slack: AsyncWebClient) -> None:
    page = await open_page()
    posted = await slack.chat_postMessage(channel="C0DEPLOY", text="checkout is crash-looping", blocks=many_blocks())
    message = row(page, posted["ts"])
    await expect(message.get_by_role("heading", name="checkout is crash-looping")).to_be_visible()
    await expect(message.locator(".app-badge")).to_have_text("APP")
    for action_id in ("more", "approve", "reject", "log", "snooze", "menu"):
        await expect(message.locator(f"[data-action-id={action_id}]")).to_be_visible()
    await expect(message.locator("[data-feedback=positive]")).to_be_visible()
    await expect(message.locator("blockquote").first).to_have_text("panic: no url")
    await expect(message.get_by_role("link", name="the log")).to_have_attribute("href", "https://example.com/a")
    await expect(message.locator("time").last).to_have_text("2026-09-21")
    await expect(message.get_by_role("img", name="bar chart: Errors per minute")).to_be_visible()
    await expect(message.locator(".table-wrap").last.locator("tbody tr")).to_have_count(3)
    await expect(message.locator(".unsupported")).to_have_count(0)
    await expect(page.get_by_test_id("announcer")).to_contain_text("codehealer: checkout is crash-looping")
    await assert_nothing_sticks_out(page)
    await picture(page, "light")

    await message.locator("[data-action-id=menu]").click()
    more = [*many_blocks(), {"type": "section", "text": text("mrkdwn", "It went on.")}]
    await slack.chat_update(channel="C0DEPLOY", ts=posted["ts"], text="checkout goes on", blocks=more)
    await expect(message).to_contain_text("It went on.")
    await expect(message.get_by_text("Hide it")).to_be_visible()

    await slack.chat_update(channel="C0DEPLOY", ts=posted["ts"], text="fixed", blocks=[])
    await expect(message.locator(".message-body")).to_have_text(re.compile(r"^fixed\s*\(edited\)$"))


async def test_message_text_never_becomes_markup_or_a_harmful_link(open_page: Any, slack: AsyncWebClient) -> None:
    page = await open_page()
    nasty = "<img src=x onerror=alert(1)> &lt;script&gt; <javascript:alert(1)|click> &amp;lt; *a*<http://ok.example|ok>"
    posted = await slack.chat_postMessage(channel="C0DEPLOY", text=nasty)
    message = row(page, posted["ts"])
    body = message.locator(".message-body")
    await expect(body).to_contain_text("<script>")
    await expect(body).to_contain_text("&lt;")
    await expect(body.locator("a")).to_have_count(1)
    await expect(body.locator("a")).to_have_attribute("href", "http://ok.example/")
    await expect(body.locator("img, script")).to_have_count(0)


WRITTEN = {
    "*bold* _it_ ~gone~ `a*b*c`": "<strong>bold</strong> <em>it</em> <s>gone</s> <code>a*b*c</code>",
    "snake_case_name 2*3*4 a_b": "snake_case_name 2*3*4 a_b",
    "*_both_*": "<strong><em>both</em></strong>",
    "*open": "*open",
    "&amp;lt;b&amp;gt; &lt;i&gt;": "&amp;lt;b&amp;gt; &lt;i&gt;",
    "<@U0DEV> <#C0ALERTS|alerts> <!here>": '<span class="mention">@kim</span> <span class="mention">#alerts</span> '
    '<span class="mention me">@here</span>',
    "<javascript:alert(1)|x>": '<span class="not-a-link">x</span>',
    "<!date^1^{nothing}|then>": '<time datetime="1970-01-01T00:00:01.000Z" title="then">{nothing}</time>',
    "<!date^soon^{date}|then>": '<time title="then">then</time>',
    ":not_an_emoji: 10:30:45": ":not_an_emoji: 10:30:45",
    "`open and <https://a.example/?b=1&amp;c=2>": "`open and "
    '<a href="https://a.example/?b=1&amp;c=2" target="_blank" rel="noopener noreferrer nofollow" '
    'title="https://a.example/?b=1&amp;c=2">https://a.example/?b=1&amp;c=2</a>',
}


async def test_mrkdwn_reads_as_slack_writes_it(open_page: Any) -> None:
    page = await open_page()
    drawn = await page.evaluate(
        """async (texts) => {
            const { mrkdwn } = await import("/static/mrkdwn.js");
            const names = { user: () => "kim", channel: () => "alerts", me: "U0ONCALL" };
            return texts.map((text) => {
                const box = document.createElement("div");
                box.append(mrkdwn(text, names));
                return box.querySelector(".para").innerHTML;
            });
        }""",
        list(WRITTEN),
    )
    assert dict(zip(WRITTEN, drawn, strict=True)) == WRITTEN


async def test_another_apps_attachment_and_an_unknown_block_are_shown(open_page: Any, sandbox: Json) -> None:
    page = await open_page()
    alert = {
        "color": "danger",
        "title": "[FIRING:1] KubePodCrashLooping",
        "title_link": "https://example.com/graph",
        "text": "Pod *checkout-1* restarts",
        "fields": [{"title": "Severity", "value": "critical", "short": True}],
        "footer": "Alertmanager",
    }
    about = {"app": "Alertmanager", "channel": "C0ALERTS", "text": "", "attachments": [alert]}
    await page.request.post(f"{sandbox['url']}sandbox/api/alertpost", data=about)
    unread = page.locator("[data-room=C0ALERTS] .unread")
    await expect(unread).to_have_text("1")
    await page.locator("[data-room=C0ALERTS]").click()
    message = page.get_by_test_id("messages").locator("[data-ts]")
    await expect(message.locator(".author")).to_have_text("Alertmanager")
    await expect(message.get_by_role("link", name=alert["title"])).to_have_attribute(
        "href", "https://example.com/graph"
    )
    await expect(message.locator(".fields")).to_contain_text("critical")
    assert await message.locator(".bar").evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(200, 68, 58)"
    await expect(unread).to_have_count(0)

    shown = await page.evaluate(
        """async () => {
            const { renderBlocks } = await import("/static/blocks.js");
            const box = document.createElement("div");
            const names = { user: String, channel: String, me: "" };
            box.append(renderBlocks([{ type: "hologram" }], { names, users: [], channels: [] }));
            return box.textContent;
        }"""
    )
    assert shown == "unsupported block: hologram"


async def test_the_keyboard_reaches_messages_and_threads(open_page: Any) -> None:
    page = await open_page()
    await post(page, "first")
    await post(page, "second")
    rows = page.get_by_test_id("messages").locator("[data-ts]")
    await expect(rows).to_have_count(2)
    await rows.last.focus()
    await page.keyboard.press("ArrowUp")
    await expect(rows.first).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(rows.first.locator("[data-react='+1']")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(rows.first.locator("[data-reaction='+1']")).to_be_visible()
    await rows.first.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("thread").locator("[data-ts]")).to_have_count(1)
    await page.keyboard.press("Escape")
    await expect(rows.first).to_be_focused()


async def test_a_click_without_an_app_is_marked_as_not_acknowledged(open_page: Any, slack: AsyncWebClient) -> None:
    page = await open_page()
    await expect(page.get_by_test_id("bot-status")).to_have_text("codehealer is not connected")
    blocks = [{"type": "actions", "elements": [button("approve", "Approve", value="1")]}]
    posted = await slack.chat_postMessage(channel="C0DEPLOY", text="x", blocks=blocks)
    approve = row(page, posted["ts"]).locator("[data-action-id=approve]")
    await approve.click()
    await expect(approve).to_have_class(re.compile("unacknowledged"))
    await expect(page.get_by_test_id("toasts")).to_contain_text("The app is not connected")


def edit_view() -> Json:
    kinds = [option("prod", "prod"), option("staging", "staging")]
    return {
        "type": "modal",
        "callback_id": "edit",
        "title": text("plain_text", "Edit the fix"),
        "submit": text("plain_text", "Save"),
        "close": text("plain_text", "Cancel"),
        "blocks": [
            {
                "type": "input",
                "block_id": "tag",
                "label": text("plain_text", "Image tag"),
                "element": {"type": "plain_text_input", "action_id": "value"},
            },
            {
                "type": "input",
                "block_id": "where",
                "label": text("plain_text", "Environment"),
                "element": {"type": "static_select", "action_id": "value", "options": kinds},
            },
            {
                "type": "input",
                "block_id": "how",
                "optional": True,
                "label": text("plain_text", "How"),
                "element": {"type": "checkboxes", "action_id": "value", "options": [option("Slowly", "slow")]},
            },
        ],
    }


async def test_a_modal_is_opened_refused_and_submitted(open_page: Any, sandbox: Json, slack: AsyncWebClient) -> None:
    async def answer(payload: Json) -> Json | None:
        if payload["type"] == "block_actions":
            await slack.views_open(trigger_id=payload["trigger_id"], view=edit_view())
        elif payload["type"] == "view_submission":
            tag = payload["view"]["state"]["values"]["tag"]["value"]["value"]
            if tag == "latest":
                return {"response_action": "errors", "errors": {"tag": "Name a fixed tag."}}
        return None

    page = await open_page()
    async with app_connected(sandbox, slack, answer) as seen:
        confirm = {
            "title": text("plain_text", "Edit it?"),
            "text": text("plain_text", "This opens a form."),
            "confirm": text("plain_text", "Yes"),
            "deny": text("plain_text", "No"),
        }
        blocks = [{"type": "actions", "elements": [button("edit", "Edit", value="7", confirm=confirm)]}]
        posted = await slack.chat_postMessage(channel="C0DEPLOY", text="x", blocks=blocks)
        edit = row(page, posted["ts"]).locator("[data-action-id=edit]")
        await edit.click()
        await page.get_by_test_id("confirm-deny").click()
        await edit.click()
        await page.get_by_test_id("confirm-yes").click()

        modal = page.get_by_test_id("modal")
        await expect(modal.get_by_role("heading", name="Edit the fix")).to_be_visible()
        await modal.get_by_test_id("modal-submit").click()
        await expect(modal.locator("[data-input-block=tag] .field-error")).to_contain_text("required")
        await modal.get_by_label("Image tag").fill("latest")
        await modal.get_by_label("Environment").select_option("staging")
        await modal.get_by_label("Slowly").check()
        await modal.get_by_test_id("modal-submit").click()
        await expect(modal.locator("[data-input-block=tag] .field-error")).to_have_text("Name a fixed tag.")
        await picture(page, "modal")
        await modal.get_by_label("Image tag").fill("2.4.0")
        await modal.get_by_test_id("modal-submit").click()
        await expect(modal).to_be_hidden()

        clicks = [p for p in seen if p["type"] == "block_actions"]
        assert [(c["actions"][0]["action_id"], c["actions"][0]["value"]) for c in clicks] == [("edit", "7")]
        values = [p for p in seen if p["type"] == "view_submission"][-1]["view"]["state"]["values"]
        assert values["tag"]["value"]["value"] == "2.4.0"
        assert values["where"]["value"]["selected_option"]["value"] == "staging"
        assert [o["value"] for o in values["how"]["value"]["selected_options"]] == ["slow"]

        await edit.click()
        await page.get_by_test_id("confirm-yes").click()
        await expect(modal).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(modal).to_be_hidden()


async def test_a_slash_command_shows_its_answer_to_its_person_only(
    open_page: Any, sandbox: Json, slack: AsyncWebClient
) -> None:
    async def answer(payload: Json) -> Json:
        return {"response_type": "ephemeral", "text": f"`{payload['text']}` is well :white_check_mark:"}

    page = await open_page()
    other = await open_page(user="U0DEV")
    async with app_connected(sandbox, slack, answer):
        await post(page, "/codehealer status")
        only_mine = page.get_by_test_id("messages").locator(".ephemeral")
        await expect(only_mine).to_have_count(1)
        await expect(only_mine).to_contain_text("Only visible to you")
        await expect(only_mine.locator("code")).to_have_text("status")
    await post(other, "hello from kim")
    await expect(other.get_by_test_id("messages").locator(".message-body")).to_have_text(["hello from kim"])
    await expect(page.get_by_test_id("messages").locator(".message-body").last).to_have_text("hello from kim")


async def test_switching_the_person_changes_whose_messages_and_reactions_they_are(open_page: Any) -> None:
    page = await open_page()
    await post(page, "from riley")
    first = page.get_by_test_id("messages").locator("[data-ts]").first
    await first.hover()
    await first.locator("[data-react='+1']").click()
    await expect(first.locator("[data-reaction='+1']")).to_have_attribute("aria-pressed", "true")
    await page.get_by_test_id("user-switch").select_option("U0DEV")
    await expect(first.locator("[data-reaction='+1']")).to_have_attribute("aria-pressed", "false")
    await post(page, "from kim")
    await expect(page.get_by_test_id("messages").locator(".author").last).to_have_text("kim")
    await page.reload()
    await expect(page.get_by_test_id("user-switch")).to_have_value("U0DEV")


async def test_dark_colours_are_kept(open_page: Any, slack: AsyncWebClient) -> None:
    page = await open_page()
    await slack.chat_postMessage(channel="C0DEPLOY", text="checkout is crash-looping", blocks=many_blocks())
    await page.get_by_test_id("theme").click()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await page.reload()
    await page.wait_for_selector("body[data-ready]")
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await picture(page, "dark")


async def test_breaking_a_service_is_seen_and_reset_heals_it(open_page: Any) -> None:
    page = await open_page()
    status = page.get_by_test_id("world-status")
    await expect(status).to_contain_text("are healthy")
    button_of = page.get_by_test_id("scenarios").locator("[data-testid^=break-]").first
    await button_of.click()
    await expect(status).to_contain_text("help")
    await expect(page.locator("[data-service]:not([data-status=healthy])").first).to_be_visible()
    await expect(page.get_by_test_id("hint").locator("li").first).to_have_class("done")
    await picture(page, "broken")
    await page.get_by_test_id("reset").click()
    await expect(status).to_contain_text("are healthy")


async def test_home_is_drawn_and_follows_what_the_app_publishes(open_page: Any, slack: AsyncWebClient) -> None:
    page = await open_page()
    view = {"type": "home", "blocks": [{"type": "section", "text": text("mrkdwn", "*2* open incidents")}]}
    await page.locator("[data-room=home]").click()
    await expect(page.get_by_test_id("home")).to_contain_text("not published a home yet")
    await slack.views_publish(user_id="U0ONCALL", view=view)
    await expect(page.get_by_test_id("home")).to_contain_text("2 open incidents")


async def test_a_phone_shows_one_pane_and_nothing_sticks_out(open_page: Any, slack: AsyncWebClient) -> None:
    page = await open_page(PHONE)
    log = "\n".join(f"{n:04} checkout {'x' * 90}" for n in range(300))
    await slack.chat_postMessage(channel="C0DEPLOY", text="a" * 255 + " مرحبا بالعالم " + "w" * 400 + f"\n```{log}```")
    posted = await slack.chat_postMessage(channel="C0DEPLOY", text="card", blocks=many_blocks())
    await expect(row(page, posted["ts"])).to_be_visible()
    await assert_nothing_sticks_out(page)
    code = page.get_by_test_id("messages").locator("pre").first
    assert await code.evaluate("e => e.clientHeight <= 360 && e.scrollHeight > e.clientHeight && e.tabIndex === 0")
    await picture(page, "phone")
    await page.get_by_test_id("pane-side").click()
    await expect(page.get_by_test_id("world")).to_be_visible()
    await expect(page.get_by_test_id("composer")).to_be_hidden()
    await picture(page, "phone-world")
    await page.get_by_test_id("scenarios").locator("[data-testid^=break-]").first.click()
    await expect(page.get_by_test_id("composer")).to_be_visible()
