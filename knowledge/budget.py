"""What asking a model may cost, per incident, hour and month, in tokens and money: pure.

Amounts are counted before a call by an estimate and after it by what the model reports. Money is US dollars; prices
are dollars per million tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from knowledge.errors import Refused

WARN_AT = 0.8
# Prices of November 2026, by the longest beginning of the model's name. NVIDIA's hosted models are paid by credits,
# not by token: their price is assumed, so that limits in money hold for them too.
PRICES: Mapping[str, tuple[float, float]] = {
    "nvidia/": (0.5, 2.0),
    "gpt-5.6-luna": (1.0, 6.0),
    "gpt-5.4-mini": (0.75, 4.5),
    "gpt-5.4-nano": (0.2, 1.25),
    "claude-haiku-4-5": (1.0, 5.0),
    "claude-sonnet-5": (2.0, 10.0),
}
# A model that nobody has priced counts as a dear one: too high stops early, too low would not stop at all.
UNKNOWN_PRICE = (10.0, 50.0)
# Text of logs has about 3 characters a token, less than prose: it is better to reserve too much.
CHARS_PER_TOKEN = 3


class OverBudget(Refused):
    """A limit is reached; the message says which. Other models would be refused as well."""


@dataclass(frozen=True, slots=True)
class Amount:
    tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.tokens + other.tokens, self.usd + other.usd)


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that may be spent on one incident, within an hour, and in a calendar month (UTC); 0 means nothing."""

    incident: Amount = Amount(60_000, 0.25)
    hour: Amount = Amount(600_000, 2.0)
    month: Amount = Amount(20_000_000, 50.0)

    def items(self) -> tuple[tuple[str, Amount], ...]:
        return (("incident", self.incident), ("hour", self.hour), ("month", self.month))


class Meter(Protocol):
    """Counts the calls made for one incident, each before and after it is made."""

    async def reserve(self, hop: str, model: str, amount: Amount) -> tuple[int, str]:
        """A place for one call, and a warning ("" where there is none). Raises OverBudget."""

    async def settle(
        self, call: int, *, input_tokens: int, output_tokens: int, usd: float, ms: int, outcome: str
    ) -> None:
        """What the call really took. A call that is never settled counts as it was reserved."""


def price_of(model: str, prices: Mapping[str, tuple[float, float]] = PRICES) -> tuple[float, float]:
    """Dollars per million tokens in and out, of the longest known beginning of the model's name."""
    known = max((name for name in prices if model.startswith(name)), key=len, default="")
    return prices[known] if known else UNKNOWN_PRICE


def cost(
    model: str, input_tokens: int, output_tokens: int, prices: Mapping[str, tuple[float, float]] = PRICES
) -> float:
    """Dollars."""
    price_in, price_out = price_of(model, prices)
    return (input_tokens * price_in + output_tokens * price_out) / 1_000_000


def estimate(
    model: str, prompt_chars: int, max_tokens: int, prices: Mapping[str, tuple[float, float]] = PRICES
) -> Amount:
    """What a call takes at most, about."""
    tokens_in = prompt_chars // CHARS_PER_TOKEN + 1
    return Amount(tokens_in + max_tokens, cost(model, tokens_in, max_tokens, prices))


def refused(limits: Limits, spent: Mapping[str, Amount], wanted: Amount) -> str:
    """Why `wanted` may not be spent: the first limit that it would pass, in words; "" where it may."""
    for period, limit in limits.items():
        after = spent.get(period, Amount()) + wanted
        if after.tokens > limit.tokens:
            return f"the {period}'s limit of {limit.tokens:,} tokens is reached"
        if after.usd > limit.usd:
            return f"the {period}'s limit of ${limit.usd:,.2f} is reached"
    return ""


def warnings(limits: Limits, spent: Mapping[str, Amount]) -> Sequence[tuple[str, str]]:
    """(period, words) for hour and month once 80 % of a limit are spent; an incident's is nobody's concern."""
    found = []
    for period, limit in limits.items():
        used = spent.get(period, Amount())
        share = max(used.tokens / limit.tokens if limit.tokens else 0, used.usd / limit.usd if limit.usd else 0)
        if period != "incident" and share >= WARN_AT:
            found.append((period, f"{min(share, 1):.0%} of the {period}'s model limit is used"))
    return found
