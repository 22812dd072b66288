"""How far a channel's past has been read: windows of time, read from their end a page at a time. Pure."""

from dataclasses import dataclass, replace
from datetime import timedelta

from knowledge.slack_threads import as_ts, moment

# What was read less long ago than this is read again: events get lost, and old threads are still answered.
AGAIN = timedelta(hours=48)


@dataclass(frozen=True, slots=True)
class Backfill:
    """All of `read_from` to `read_to` has been read (a ts each, "" for nothing yet).

    `oldest` to `latest` is the window under way, read from its end: `cursor` is Slack's own place in what was asked for
    up to `asked`; `reached` is the oldest message seen, from where is asked anew when Slack no longer takes the cursor.
    """

    read_from: str = ""
    read_to: str = ""
    oldest: str = ""
    latest: str = ""
    asked: str = ""
    cursor: str = ""
    reached: str = ""

    @property
    def under_way(self) -> bool:
        return bool(self.latest)


def with_window(state: Backfill, since: str, now: str) -> Backfill | None:
    """The state with a window to read: the one under way, else what is new, else what is older; None: all is read."""
    if state.under_way:
        return state
    if not state.read_to:
        return _window(state, since, now)
    if state.read_to < now:
        again = as_ts(moment(state.read_to) - AGAIN)
        return _window(state, min(max(since, again), state.read_to), now)
    return _window(state, since, state.read_from) if since < state.read_from else None


def _window(state: Backfill, oldest: str, latest: str) -> Backfill:
    return replace(state, oldest=oldest, latest=latest, asked=latest)


def after_page(state: Backfill, *, cursor: str, reached: str, more: bool = False) -> Backfill:
    """The state after a page whose oldest message is `reached` ("" for none).

    The window is read when there is no further cursor, unless Slack says that there is `more` all the same.
    """
    if cursor:
        return replace(state, cursor=cursor, reached=reached or state.reached)
    if more and reached and reached < state.asked:
        return replace(state, asked=reached, cursor="", reached=reached)
    if not state.read_to:
        return Backfill(read_from=state.oldest, read_to=state.latest)
    return Backfill(read_from=min(state.oldest, state.read_from), read_to=max(state.latest, state.read_to))


def without_cursor(state: Backfill) -> Backfill:
    """Slack no longer takes the cursor: go on from the oldest message seen."""
    return replace(state, asked=state.reached or state.asked, cursor="")


def share_read(state: Backfill) -> float:
    """How much of the window under way is read, 0 to 1, by time."""
    if not state.under_way or not state.reached:
        return 0.0
    length = float(state.latest) - float(state.oldest)
    return max(0.0, min(1.0, (float(state.latest) - float(state.reached)) / length)) if length > 0 else 1.0
