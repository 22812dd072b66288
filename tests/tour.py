"""Every remediator seen healing its scenario on the sandbox page: `make tour`, with pictures in artifacts/tour/.

The program is started as `make run` starts it; a browser breaks each scenario by a click, approves as the card asks,
and waits until the card says how it ended. A table says row by row what was seen.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from playwright.async_api import Error, Locator, Page, expect

from bot.sandbox.world.scenarios import BY_ID
from tests.browser.window import CHROMIUM, DARK, DESK, LIGHT, PHONE, Windows, break_, started, windows

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "artifacts" / "tour"
START_S = 120
# Two services of one round never meet, so a round is broken at once and healed side by side.
PATIENCE_MS = 100_000
MAX_APPROVALS = 3
REDRAWN = 20
LOOKS = 100


@dataclass(frozen=True, slots=True)
class Stop:
    """One scenario of the tour, what must be proposed for it and how its card must end."""

    scenario: str
    action: str
    ends: str = "Healed"
    colours: str = LIGHT
    size: tuple[int, int] = (DESK["width"], DESK["height"])

    @property
    def service(self) -> str:
        return BY_ID[self.scenario].service

    @property
    def name(self) -> str:
        return f"{self.action}-{self.service}"


SMALL = (PHONE["width"], PHONE["height"])
ROUNDS = (
    (
        Stop("argocd-registry-checkout", "argocd_sync"),
        Stop("stuck-pod-payments", "k8s_restart_pod", colours=DARK),
        Stop("overload-storefront", "k8s_scale", size=SMALL),
        Stop("oom-orders", "k8s_raise_memory"),
        Stop("image-typo-search", "k8s_update_image"),
        Stop("password-rotated-notifications", "k8s_update_secret", colours=DARK),
        Stop("argocd-degraded-loyalty", "argocd_rollback"),
        Stop("moved-pricing-catalog", "k8s_restart_rollout", size=SMALL, colours=DARK),
    ),
    (
        Stop("release-crash-checkout", "k8s_rollback"),
        Stop("ci-network-catalog", "github_rerun"),
        Stop("ci-cache-storefront", "docker_clear_cache", colours=DARK),
        Stop("ci-token-search", "github_secret_rotate"),
        Stop("gitops-crash-pricing", "github_revert_pr"),
        Stop("ci-test-orders", "github_revert_pr"),
        Stop("ci-hung-payments", "github_cancel_run"),
    ),
    (
        Stop("upstream-catalog", "workflow_pricing_standby", colours=DARK),
        Stop("ci-docker-notifications", "github_revert_pr", size=SMALL, colours=DARK),
    ),
)


# With these services only pretended for: what would be done is tried, and nothing is changed.
PRETENDED = (Stop("release-crash-orders", "k8s_rollback", ends="Needs a person"),)


@dataclass(frozen=True, slots=True)
class Seen:
    stop: Stop
    said: str
    approvals: int
    ended: str
    lines: int


@contextlib.asynccontextmanager
async def program(folder: Path, *, dry_run: Sequence[str] = ()) -> AsyncIterator[str]:
    """`codehealer run` without tokens, as `make run` starts it; yields the page's address."""
    environment = {**os.environ, "CODEHEALER_DATA_DIR": str(folder), "CODEHEALER_HTTP_PORT": "0"}
    if dry_run:
        policy = yaml.safe_load((ROOT / "bot" / "sandbox" / "policy.yaml").read_text())
        policy["dry_run"] = {"services": list(dry_run)}
        (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
        environment["CODEHEALER_POLICY"] = str(folder / "policy.yaml")
    with (folder / "bot.log").open("wb") as log:
        bot = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot", "run", "--json", cwd=ROOT, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        assert bot.stdout is not None
        async with asyncio.timeout(START_S):
            line = await bot.stdout.readline()
        if not line:
            raise SystemExit(f"The program did not start:\n{(folder / 'bot.log').read_text()[-2000:]}")
        yield json.loads(line)["url"]
    finally:
        if bot.returncode is None:
            bot.terminate()
        await bot.wait()


async def visit(seats: Windows, stop: Stop) -> Seen:
    """Break it, read the card, say yes as often as it asks, and see how it ends."""
    page = await seats.open(size={"width": stop.size[0], "height": stop.size[1]}, colours=stop.colours)
    page.set_default_timeout(PATIENCE_MS)
    if stop.size == SMALL:
        await page.get_by_test_id("pane-side").click()
    known = {await one.get_attribute("data-ts") for one in await _cards(page, stop.service).all()}
    await break_(page, stop.scenario)
    card = await _new_card(page, stop, known)
    try:
        await expect(card).to_contain_text("Waiting for approval", timeout=PATIENCE_MS)
        said = await _words(card)
        await _keep(card, f"{stop.name}-1-waiting")
        asked = await _say_yes(card, stop)
        if stop.action == "github_revert_pr":
            await _merge(card)
        await expect(card).to_contain_text(stop.ends, timeout=PATIENCE_MS)
    except (AssertionError, Error):
        said, asked = await _words(card), -1
    await _keep(card, f"{stop.name}-2-ended")
    await _thread(card, stop)
    ended = (await _words(card)).splitlines()
    shown = next((line for line in ended if stop.ends in line), " ".join(ended[:3]))
    await page.context.close()
    return Seen(stop, said, asked, shown, len(ended))


def _cards(page: Page, service: str) -> Locator:
    rows = page.get_by_test_id("messages").locator("[data-message-user=U0CODEHEALER]:not(.ephemeral)")
    return rows.filter(has_text=service)


async def _new_card(page: Page, stop: Stop, known: set[str | None]) -> Locator:
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while True:
            for one in await _cards(page, stop.service).all():
                ts = await one.get_attribute("data-ts")
                if ts not in known:
                    return page.get_by_test_id("messages").locator(f"[data-ts='{ts}']")
            await page.wait_for_timeout(200)


async def _say_yes(card: Locator, stop: Stop) -> int:
    """How often Approve was pressed: fixes that leave something behind ask twice."""
    for number in range(1, MAX_APPROVALS + 1):
        try:
            await card.locator("[data-action-id=approve]").click(timeout=5_000)
        except Error:
            return number - 1  # there is nothing to press any more
        await _confirm(card, f"{stop.name}-1-confirm-{number}")
        try:
            await expect(card).not_to_contain_text("Waiting for approval", timeout=30_000)
        except AssertionError:
            continue
        return number
    return MAX_APPROVALS


async def _thread(card: Locator, stop: Stop) -> None:
    await _open_thread(card)
    thread = card.page.get_by_test_id("thread")
    await expect(thread).to_be_visible()
    rows = await thread.locator(".message-row").all()
    (FOLDER / f"{stop.name}-thread.txt").write_text("\n\n".join([await one.inner_text() for one in rows]))
    await card.page.set_viewport_size({"width": stop.size[0], "height": 2400})
    await thread.screenshot(path=FOLDER / f"{stop.name}-3-thread.png", animations="disabled")


async def _confirm(card: Locator, name: str) -> None:
    """Say that one is sure, where that is asked: a fix of low risk starts at once."""
    confirm = card.page.get_by_test_id("confirm")
    for _ in range(LOOKS):
        if await confirm.is_visible():
            await confirm.screenshot(path=FOLDER / f"{name}.png")
            await card.page.get_by_test_id("confirm-yes").click()
            return
        if "Waiting for approval" not in await card.inner_text():
            return
        await card.page.wait_for_timeout(200)


async def _open_thread(card: Locator) -> None:
    if not await card.page.get_by_test_id("thread").is_visible():
        await card.get_by_test_id("thread-summary").click()


async def _words(card: Locator) -> str:
    return await card.locator(".message-body").first.inner_text()


async def _keep(card: Locator, name: str) -> None:
    """The page draws a row anew whenever it changes, so what was just found may be gone."""
    await card.page.mouse.move(0, 0)
    for _ in range(REDRAWN):
        try:
            await card.scroll_into_view_if_needed()
            await card.screenshot(path=FOLDER / f"{name}.png", animations="disabled", timeout=5_000)
        except Error:
            continue
        return


async def _merge(card: Locator) -> None:
    """A person merges the pull request on its own page, which the card links to."""
    link = card.locator("a[href*='/pull/']").first
    pull = await card.page.context.new_page()
    await pull.goto(str(await link.get_attribute("href")))
    await pull.screenshot(path=FOLDER / "pull-request.png")
    await pull.get_by_role("button", name="Merge pull request").click()
    await pull.close()


async def tour(folder: Path, wanted: Sequence[str]) -> list[Seen]:
    chromium = next((found for name in CHROMIUM if (found := shutil.which(name))), "")
    if not chromium:
        raise SystemExit(f"The tour needs the program {CHROMIUM[0]}, which is not installed (make tools).")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    seen = await _through(folder / "real", ROUNDS, chromium, wanted)
    services = [one.service for one in PRETENDED]
    return seen + await _through(folder / "pretended", (PRETENDED,), chromium, wanted, dry_run=services)


async def _through(
    folder: Path, rounds: Sequence[Sequence[Stop]], chromium: str, wanted: Sequence[str], *, dry_run: Sequence[str] = ()
) -> list[Seen]:
    seen: list[Seen] = []
    chosen = [[one for one in stops if not wanted or {one.action, one.scenario} & set(wanted)] for stops in rounds]
    if not any(chosen):
        return seen
    async with (
        program(folder, dry_run=dry_run) as url,
        started(chromium) as browser,
        windows(browser, url) as seats,
    ):
        for stops in chosen:
            page = await seats.open()
            await page.get_by_test_id("reset").click()
            await page.context.close()
            seen += await asyncio.gather(*(visit(seats, one) for one in stops))
            sys.stderr.write(f"{len(seen)} seen\n")
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("wanted", nargs="*", help="names of actions or scenarios; none: all")
    folder = Path(tempfile.mkdtemp(prefix="codehealer-tour-"))
    for one in (folder, folder / "real", folder / "pretended"):
        one.mkdir(exist_ok=True)
        one.chmod(0o711)  # the embedded server may run as another user
    try:
        seen = asyncio.run(tour(folder, parser.parse_args().wanted))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for one in seen:
        title = BY_ID[one.stop.scenario].title
        right = one.stop.ends in one.ended and one.approvals > 0
        sys.stdout.write(
            f"{'ok ' if right else 'NOT'} {one.stop.action:22} {title}\n    approvals {one.approvals}, "
            f"{one.lines} lines, ended: {one.ended}\n    " + one.said.replace("\n", "\n    ") + "\n"
        )
    raise SystemExit(0 if all(one.stop.ends in one.ended for one in seen) else 1)


if __name__ == "__main__":
    main()
