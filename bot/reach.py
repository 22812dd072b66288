"""Whether Slack is there, told to all replicas by the leader: what nobody could stop does not run by itself."""

import time
from collections.abc import Callable

import structlog

from handlers.services import Services
from knowledge.store import audit, switches

log = structlog.get_logger(__name__)

# Links are replaced in less, and one failed message says nothing.
AWAY_AFTER_S = 15.0
# Who has just begun to lead knows of no trouble yet; the outbox waits up to 30 s between two tries.
SURE_AFTER_S = 40.0
EVERY_S = 2.0


class Reach:
    """`problems` say what is wrong with the ways to Slack, None where nothing is."""

    def __init__(self, *problems: Callable[[], str | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._problems = problems
        self._clock = clock
        self._since: float | None = None
        self._told: str | None = None
        self._began: float | None = None

    async def tick(self, services: Services) -> None:
        """Write the switch when it changes."""
        why = next((why for problem in self._problems if (why := problem())), "")
        if not why:
            self._since = None
        elif self._since is None:
            self._since = self._clock()
        away = why if self._since is not None and self._clock() - self._since >= AWAY_AFTER_S else ""
        if away == self._told or (away and self._told):
            return
        if self._began is None:
            self._began = self._clock()
        async with services.engine.begin() as db:
            known = await switches.read(db, switches.SLACK_AWAY)
            if known and known.value and not away and self._told is None and self._clock() - self._began < SURE_AFTER_S:
                return  # so said the one that led before
            if bool(known and known.value) != bool(away):
                await switches.write(db, switches.SLACK_AWAY, away, by="codehealer")
                await audit.record(db, "switch.slack_away", value=away)
                log.warning("slack_away" if away else "slack_back", why=away)
        self._told = away
