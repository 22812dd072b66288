"""bench: the figures of docs/performance.md, measured here and now."""

import asyncio
from typing import Annotated, NamedTuple

import typer

from bot import bench as benches
from bot.bench_links import MINUTES
from bot.bench_search import INCIDENTS
from bot.cli.printing import JsonOption, Verbs, plain, put, words
from knowledge.errors import BadInput


class Sizes(NamedTuple):
    """How large the benches are that can be smaller or longer."""

    incidents: int
    minutes: float
    scale: float


def bench(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help=", ".join(benches.BENCHES))] = "",
    incidents: Annotated[
        int, typer.Option(min=1_000, help="How many the search is measured over, at most.")
    ] = INCIDENTS,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long links are troubled, and the soak lasts.")] = MINUTES,
    scale: Annotated[float, typer.Option(min=0.01, max=1.0, help="How much of the flood is sent.")] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Measure this program on this machine."""
    if name and name not in benches.BENCHES:
        raise BadInput(f"There is no bench {name!r}; known are {', '.join(benches.BENCHES)}.")
    asyncio.run(_measure([name] if name else list(benches.BENCHES), as_json, Sizes(incidents, minutes, scale)))


async def _measure(names: list[str], as_json: bool, sizes: Sizes) -> None:
    async for name, figures in benches.measure(names, **sizes._asdict()):
        if as_json:
            put({"bench": name, **figures})
            continue
        plain.print(name)
        for figure, value in figures.items():
            plain.print(f"  {figure:<44} {value}", markup=False)
        words.print("")


COMMANDS: Verbs = {"bench": bench}
