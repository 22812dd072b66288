"""What axe-core says of a page."""

from functools import cache
from importlib.resources import files

from playwright.async_api import Page


@cache
def _source() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text()


async def violations(page: Page) -> list[str]:
    """The serious and critical ones, each with where it is; empty when there are none."""
    await page.evaluate(_source())
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['impact']}: {one['help']} at {', '.join(str(node['target'][0]) for node in one['nodes'][:5])}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
