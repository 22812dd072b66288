"""bench: the figures of docs/performance.md, measured here and now."""

import asyncio
import signal
from typing import Annotated, Any

import typer

from bot import bench as benches
from bot import bench_bars
from bot.cli.printing import JsonOption, Verbs, plain, put, words
from knowledge.errors import BadInput

USUAL = benches.Sizes()


def bench(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help=", ".join(benches.BENCHES))] = "",
    incidents: Annotated[
        int, typer.Option(min=1_000, help="How many the search is measured over, at most.")
    ] = USUAL.incidents,
    minutes: Annotated[
        float, typer.Option(min=0.1, help="How long links are troubled, and the soak lasts.")
    ] = USUAL.minutes,
    scale: Annotated[float, typer.Option(min=0.01, max=1.0, help="How much of the flood is sent.")] = USUAL.scale,
    as_json: JsonOption = False,
) -> None:
    """Measure this program on this machine."""
    if name and name not in benches.BENCHES:
        raise BadInput(f"There is no bench {name!r}; known are {', '.join(benches.BENCHES)}.")
    names, sizes = [name] if name else list(benches.BENCHES), benches.Sizes(incidents, minutes, scale)
    # Said beforehand, since nothing is printed for minutes at a time.
    words.print(f"{', '.join(names)}: about {_long(benches.takes_s(names, sizes))} on two cores.")
    _until_told(_end)
    asyncio.run(_measure(names, as_json, sizes))


def _until_told(handler: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _end(*_: object) -> None:
    """Ended by another program as by Ctrl-C, what was started here ends with it; asking again must not leave it."""
    _until_told(signal.SIG_IGN)
    raise KeyboardInterrupt


def _long(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"


async def _measure(names: list[str], as_json: bool, sizes: benches.Sizes) -> None:
    async for name, figures in benches.measure(names, sizes):
        missed = bench_bars.missed(name, figures)
        if as_json:
            put({"bench": name, **figures, "missed": missed})
            continue
        plain.print(name)
        for figure, value in figures.items():
            bar = bench_bars.of(name, figure)
            held = f"  ({'missed: ' if figure in missed else ''}{bar})" if bar else ""
            plain.print(f"  {figure:<44} {value}{held}", markup=False)
        words.print("")


COMMANDS: Verbs = {"bench": bench}
