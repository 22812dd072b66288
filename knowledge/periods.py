"""Pure: what happens daily or weekly at an hour of somebody's own clock."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PERIOD = re.compile(
    rf"(?:(daily)|weekly\s+({'|'.join(DAYS)})[a-z]*)\s+(\d{{1,2}}):(\d{{2}})(?:\s+(\S+))?", re.IGNORECASE
)
_WANTED = "must be like 'daily 09:00 Europe/Paris' or 'weekly mon 09:00 Europe/Paris'"


@dataclass(frozen=True, slots=True)
class Period:
    """Every day, or every `weekday` (0 is Monday), at `at` in the time zone `zone`."""

    at: time
    zone: str = "UTC"
    weekday: int | None = None

    @property
    def length(self) -> timedelta:
        return timedelta(days=1 if self.weekday is None else 7)


def parse_period(value: str) -> Period | None:
    """None for "". Raises ValueError: it is no period, with what one looks like."""
    if not value.strip():
        return None
    found = _PERIOD.fullmatch(value.strip())
    if found is None:
        raise ValueError(_WANTED)
    _daily, day, hour, minute, zone = found.groups()
    try:
        ZoneInfo(zone or "UTC")
        at = time(int(hour), int(minute))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(_WANTED) from None
    return Period(at, zone or "UTC", DAYS.index(day.lower()) if day else None)


def last_due(period: Period, now: datetime) -> datetime:
    """The newest moment, not after `now`, at which it was due; in UTC.

    An hour that a change to summer time leaves out comes an hour later; of one that comes twice the first counts.
    """
    local = now.astimezone(ZoneInfo(period.zone))
    days = 0 if period.weekday is None else (local.weekday() - period.weekday) % 7
    step = period.length.days
    day = local.date() - timedelta(days=days)
    while True:
        due = datetime.combine(day, period.at, ZoneInfo(period.zone)).astimezone(UTC)
        if due <= now:
            return due
        day -= timedelta(days=step)


def whole_days(now: datetime, days: int) -> datetime:
    """When so many whole days (UTC) began that end now: today is one of them."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days - 1)


def rest_of_hours(begin: str, end: str, zone: str, now: datetime) -> timedelta:
    """How long it is until `end` where `now` is in [begin, end) by the clock of `zone`, else nothing.

    Hours are such as "22:00"; an end before its begin is the next day's. A zone that is not known counts as UTC.
    """
    try:
        local = now.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        local = now.astimezone(UTC)
    clock = f"{local:%H:%M}"
    within = begin <= clock < end if begin <= end else clock >= begin or clock < end
    if not within:
        return timedelta(0)
    day = local.date() + timedelta(days=clock >= end)
    # An hour that comes twice is quiet both times. In UTC: two times of one zone differ by what their clocks show.
    last = datetime.combine(day, time.fromisoformat(end), local.tzinfo).replace(fold=local.fold)
    return last.astimezone(UTC) - now
