"""A bot under load: a storm of alerts, how fast incidents may open, and whether memory grows."""

import asyncio
import statistics
import sys
import time
from collections.abc import Mapping, Sequence

import httpx

from bot.bench_rig import Figures, children, p, pss_mb, running

STORM_S, ALERTS_PER_S, INCIDENTS = 60, 50, 30
RAMP_PER_S, RAMP_STEP_S = (0.5, 1.0, 2.0, 4.0), 12
CARD_BAR_S = 1.0
# Growth counts from the fifth minute; caches still fill until the tenth, which is a figure beside.
# Of the open incidents the newest twenty go on firing.
SOAK_PER_S, SOAK_OPENS_EVERY_S, SOAK_OPEN, SOAK_WARM_S, SOAK_FULL_S = 100, 10.0, 20, 300.0, 600.0
SOAK_MARK, SOAK_TELLS_EVERY_S, SOAK_SEEN_S = 100_000, 300.0, 60.0


async def storm() -> Figures:
    """50 alerts a second for a minute, of 30 incidents that open one every two seconds."""
    async with running() as rig:
        await asyncio.sleep(2)
        idle_mb = pss_mb(rig.bot.pid)
        errors = 0
        began = time.monotonic()

        async def post(number: int) -> None:
            nonlocal errors
            second = number / ALERTS_PER_S
            newest = min(INCIDENTS - 1, int(second // 2))
            # The first alert at a two-second mark opens the next incident; the others repeat the open ones.
            opens = number % (2 * ALERTS_PER_S) == 0
            incident = newest if opens else number % (newest + 1)
            try:
                await rig.alert(f"{incident:02d}", number)
            except httpx.HTTPError:
                errors += 1

        async with asyncio.TaskGroup() as group:
            for number in range(STORM_S * ALERTS_PER_S):
                await asyncio.sleep(max(0.0, began + number / ALERTS_PER_S - time.monotonic()))
                group.create_task(post(number))
                if number % (ALERTS_PER_S // 2) == 0:
                    group.create_task(rig.command())
                if number % (3 * ALERTS_PER_S) == 0:
                    group.create_task(rig.mention())
        opened = [f"service-{number:02d}" for number in range(INCIDENTS)]
        cards = await rig.seconds_to("cards", "posted_at", opened, 30)
        answers = await rig.seconds_to("diagnoses", "created_at", opened, 30)
        return {
            "alerts": STORM_S * ALERTS_PER_S,
            "not accepted": errors,
            "first card p95 s": p(cards, 95),
            "first card p50 s": p(cards, 50),
            "diagnosis p95 s": p(answers, 95),
            **_acknowledgements(await rig.acknowledged_ms()),
            "idle PSS MB": idle_mb,
            "PSS after the storm MB": pss_mb(rig.bot.pid),
            "embedder PSS MB": max(map(pss_mb, children(rig.bot.pid)), default=0),
        }


def _acknowledgements(taken: Mapping[str, Sequence[float]]) -> Figures:
    every = [one for kind in taken.values() for one in kind]
    by_kind = {f"{kind} acknowledged p99 ms": p(found, 99) for kind, found in taken.items() if found}
    return {"envelopes": len(every), "acknowledged p50 ms": p(every, 50), "acknowledged p99 ms": p(every, 99)} | by_kind


async def soak(minutes: float) -> Figures:
    """100 alerts a second, a new incident every ten seconds: what the bot's memory grows by once it is warm."""
    async with running() as rig:
        began = time.monotonic()
        lasts_s, errors, sent = 60 * minutes, 0, 0
        told, marked_mb = 0, None
        seen_mb: list[tuple[float, int]] = []
        own_mb: list[tuple[float, int]] = []
        while (passed_s := time.monotonic() - began) < lasts_s:
            newest = int(passed_s // SOAK_OPENS_EVERY_S)
            some = [f"s{max(0, newest - number % SOAK_OPEN)}" for number in range(SOAK_PER_S)]
            posted = (rig.alert(one, sent + number) for number, one in enumerate(some))
            answers = await asyncio.gather(*posted, return_exceptions=True)
            errors += sum(isinstance(one, httpx.HTTPError) for one in answers)
            sent += SOAK_PER_S
            now_mb = pss_mb(rig.bot.pid)
            seen_mb.append((passed_s, now_mb))
            own_mb.append((passed_s, pss_mb(rig.bot.pid, "Pss_Anon")))
            if marked_mb is None and sent >= SOAK_MARK:
                marked_mb = now_mb
            if passed_s >= told * SOAK_TELLS_EVERY_S:
                sys.stderr.write(
                    f"  soak: {passed_s / 60:.0f} min, {sent:,} alerts, {errors} refused, PSS {now_mb} MB\n"
                )
                sys.stderr.flush()
                told += 1
            await asyncio.sleep(max(0.0, began + sent / SOAK_PER_S - time.monotonic()))
        warm_s, full_s = min(SOAK_WARM_S, lasts_s / 4), min(SOAK_FULL_S, lasts_s / 2)
        end_s = seen_mb[-1][0] - SOAK_SEEN_S  # a last round that hangs is no part of the last minute
        warm_mb, end_mb = _from(seen_mb, warm_s), _from(seen_mb, end_s)
        return {
            "minutes": minutes,
            "alerts": sent,
            "alerts a second": round(sent / (time.monotonic() - began), 1),
            "not accepted": errors,
            "PSS when warm MB": warm_mb,
            f"PSS after {SOAK_MARK:,} alerts MB": marked_mb,
            "PSS at the end MB": end_mb,
            "PSS at most MB": max(mb for _, mb in seen_mb),
            "growth since it was warm %": _growth(seen_mb, warm_s, end_s),
            "growth since caches are full %": _growth(seen_mb, full_s, end_s),
            "growth without files since it was warm %": _growth(own_mb, warm_s, end_s),
        }


def _growth(seen_mb: Sequence[tuple[float, int]], start_s: float, end_s: float) -> float:
    before, after = _from(seen_mb, start_s), _from(seen_mb, end_s)
    return round(100 * (after - before) / max(before, 1), 1)


def _from(seen_mb: Sequence[tuple[float, int]], start_s: float) -> float:
    """What it took in the minute from then on: the median, since single seconds may take more."""
    later = [one for one in seen_mb if one[0] >= start_s] or seen_mb[-1:]
    return statistics.median(mb for at_s, mb in later if at_s <= later[0][0] + SOAK_SEEN_S)


async def ramp() -> Figures:
    """Incidents a second at which the first card takes longer than a second at p95; all go to one channel."""
    figures: Figures = {}
    async with running() as rig:
        for rate in RAMP_PER_S:
            names = [f"r{rate:g}-{number}".replace(".", "x") for number in range(max(3, int(rate * RAMP_STEP_S)))]
            for number, name in enumerate(names):
                await rig.alert(name, number)
                await asyncio.sleep(1 / rate)
            cards = await rig.seconds_to("cards", "posted_at", [f"service-{name}" for name in names], 30)
            figures[f"first card p95 s at {rate:g} incidents/s"] = p(cards, 95)
            if p(cards, 95) > CARD_BAR_S:
                figures["breaks at incidents/s"] = rate
                break
    return figures
