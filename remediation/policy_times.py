"""Times of day and parts of the week in policy.yaml."""

from datetime import datetime
from typing import Annotated, Any, Literal, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"'{value}' is no time zone; write one like Europe/Paris") from error
    return value


def _minutes(value: Any) -> Any:
    """Minutes since midnight of 09:30 or 24:00. YAML 1.1 reads 18:00 as a number to the base of sixty, which is the
    same number of minutes."""
    if isinstance(value, str):
        hours, colon, minutes = value.partition(":")
        if colon and hours.isdecimal() and minutes.isdecimal() and len(minutes) == 2 and int(minutes) < 60:
            return int(hours) * 60 + int(minutes)
        raise ValueError(f"'{value}' is no time of day; write one like 09:30")
    return value


TimeZone = Annotated[str, AfterValidator(_known_zone)]
TimeOfDay = Annotated[int, BeforeValidator(_minutes), Field(ge=0, le=DAY_MINUTES)]


class PartOfWeek(Protocol):
    """From `start` to `end`, in minutes since midnight, on `days`; one that ends before it begins ends the next day."""

    @property
    def days(self) -> tuple[Day, ...]: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def timezone(self) -> str: ...


def within(window: PartOfWeek, now: datetime) -> bool:
    """Whether a moment lies in a part of the week, by the wall clock of its time zone; its end is outside."""
    local = now.astimezone(ZoneInfo(window.timezone))
    minute, today = local.hour * 60 + local.minute, DAYS[local.weekday()]
    if window.start < window.end:
        return today in window.days and window.start <= minute < window.end
    yesterday = DAYS[local.weekday() - 1]
    return (today in window.days and minute >= window.start) or (yesterday in window.days and minute < window.end)


def clock(minutes: int) -> str:
    """Minutes since midnight, e.g. 570, as 09:30."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
