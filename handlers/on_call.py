"""Who is on call by PagerDuty's schedules: asked every minute beside the story, so that no call waits for PagerDuty.

What it said last holds for ten minutes. Without an answer the people that the route lists are called, and that is said.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from knowledge.errors import CodeHealerError
from remediation.policy import Policy
from remediation.policy_routes import OnCall
from remediation.ports import Schedules

log = structlog.get_logger(__name__)

EVERY_S, HOLDS_S, DEADLINE_S = 60.0, 600.0, 10.0


@dataclass(slots=True)
class Rota:
    """What PagerDuty said last, by schedule: its own ids of people, and when (monotonic)."""

    said: dict[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic

    async def ask(self, policy: Policy, schedules: Schedules | None) -> None:
        """Ask for each schedule that the policy's routes name; one that does not answer stops no other."""
        named = {route.on_call.pagerduty_schedule for route in policy.routes if route.on_call} - {None}
        if schedules is None or not named:
            return
        await asyncio.gather(*(self._ask_one(str(name), schedules) for name in sorted(map(str, named))))

    async def _ask_one(self, name: str, schedules: Schedules) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                people = await schedules.on_call(name)
        except (CodeHealerError, TimeoutError) as error:
            log.warning("on_call_unknown", schedule=name, error=str(error) or type(error).__name__)
            return
        self.said[name] = (self.clock(), tuple(people))

    async def run(self, policy: Callable[[], Policy], schedules: Callable[[], Schedules | None]) -> None:
        """Ask until cancelled."""
        while True:
            await self.ask(policy(), schedules())
            await asyncio.sleep(EVERY_S)

    def people(self, on_call: OnCall) -> tuple[tuple[str, ...], str]:
        """Whom to call, as Slack's ids, and a sentence where it is not whom PagerDuty would call."""
        listed = (*on_call.groups, *on_call.users)
        schedule = on_call.pagerduty_schedule
        if schedule is None:
            return listed, ""
        at, said = self.said.get(schedule, (0.0, ()))
        if schedule not in self.said or self.clock() - at > HOLDS_S:
            return listed, f"PagerDuty does not say who is on call ({schedule}){_instead(listed)}."
        found = tuple(dict.fromkeys(_in_slack(said, on_call.pagerduty_users)))
        if not found:
            nobody = "nobody is on call there" if not said else "it names nobody whom pagerduty_users lists"
            return listed, f"PagerDuty was asked who is on call ({schedule}): {nobody}{_instead(listed)}."
        return found, ""


def _in_slack(said: tuple[str, ...], known: Mapping[str, str]) -> list[str]:
    return [known[one] for one in said if one in known]


def _instead(listed: tuple[str, ...]) -> str:
    return ", so those listed are called" if listed else ", and nobody else is listed"
