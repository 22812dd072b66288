"""What was spent on hosted models: counted call by call, so that limits hold over all processes and restarts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from knowledge.budget import PRICES, Amount, Limits, OverBudget, refused, warnings
from knowledge.store import analytics
from knowledge.store.tables import model_calls

log = structlog.get_logger(__name__)

# Any constant: reservations are made one after the other, else two could both pass below a limit.
_BUDGET_LOCK = 7_305_021


@dataclass(frozen=True, slots=True)
class Ledger:
    """The limits in force, and where they are counted. `warned` are the periods that the log has been told of."""

    engine: AsyncEngine
    limits: Limits = field(default_factory=Limits)
    prices: Mapping[str, tuple[float, float]] = field(default_factory=lambda: PRICES)
    warned: dict[str, str] = field(default_factory=dict)

    def meter(self, incident_id: int) -> "StoredMeter":
        return StoredMeter(self, incident_id)


@dataclass(frozen=True, slots=True)
class StoredMeter:
    """The meter of one incident (knowledge.budget.Meter)."""

    ledger: Ledger
    incident_id: int

    async def reserve(self, hop: str, model: str, amount: Amount) -> tuple[int, str]:
        async with self.ledger.engine.begin() as db:
            await db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _BUDGET_LOCK})
            spent = await spent_by(db, self.incident_id)
            why = refused(self.ledger.limits, spent, amount)
            if why:
                raise OverBudget(f"{why}, so no outside model was asked")
            made = insert(model_calls).values(
                incident_id=self.incident_id, hop=hop, model=model, input_tokens=amount.tokens, usd=amount.usd
            )
            call = int((await db.execute(made.returning(model_calls.c.id))).scalar_one())
            await analytics.unsettle_spending(db, self.incident_id)
            near = warnings(self.ledger.limits, {period: used + amount for period, used in spent.items()})
            month = (await db.execute(text("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')"))).scalar_one()
        self._tell(near, str(month))
        return call, "; ".join(words for _, words in near)

    async def settle(
        self, call: int, *, input_tokens: int, output_tokens: int, usd: float, ms: int, outcome: str
    ) -> None:
        async with self.ledger.engine.begin() as db:
            await db.execute(
                update(model_calls)
                .where(model_calls.c.id == call)
                .values(input_tokens=input_tokens, output_tokens=output_tokens, usd=usd, ms=ms, outcome=outcome)
            )
            await analytics.unsettle_spending(db, self.incident_id)

    def _tell(self, near: Sequence[tuple[str, str]], month: str) -> None:
        """Log a warning when a period comes near its limit, not with every call from then on."""
        now = {period for period, _ in near}
        for period, words in near:
            if self.ledger.warned.get(period) != month:
                log.warning("model_limit_near", period=period, detail=words)
                self.ledger.warned[period] = month
        if "hour" not in now:
            self.ledger.warned.pop("hour", None)


async def spent_by(db: AsyncConnection, incident_id: int | None) -> dict[str, Amount]:
    """Tokens and dollars of the incident, of the last hour and of this calendar month (UTC)."""
    tokens = model_calls.c.input_tokens + model_calls.c.output_tokens
    month = func.timezone("UTC", func.date_trunc("month", func.timezone("UTC", func.now())))
    periods = {
        "incident": model_calls.c.incident_id == incident_id,
        "hour": model_calls.c.called_at > func.now() - text("interval '1 hour'"),
        "month": model_calls.c.called_at >= month,
    }
    found = {}
    for period, condition in periods.items():
        query = select(func.coalesce(func.sum(tokens), 0), func.coalesce(func.sum(model_calls.c.usd), 0.0))
        row = (await db.execute(query.where(condition))).one()
        found[period] = Amount(int(row[0]), float(row[1]))
    return found
