"""Who a Slack user is at this moment, as far as approvals ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from knowledge.errors import Unavailable
from remediation import approvers
from remediation.approvals import Person
from remediation.policy import Policy

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Short, since a deactivated person must lose the right to approve soon; long enough for a burst of clicks.
REMEMBERED_S = 30.0
# A channel of more people is no list of approvers.
MOST_MEMBERS = 5_000
UNKNOWN_USER = frozenset({"user_not_found", "user_not_visible"})
# The policy names what is not there, or what the app may not see: no reason to refuse those who are named themselves.
NOT_VISIBLE = frozenset({"no_such_subteam", "plan_upgrade_required", "channel_not_found", "missing_scope"})


class Remembered(Generic[T]):
    """What Slack says, by the id that it is about: each kept for a while, and asked for by one at a time.

    Open Homes look all their people up again and again; of each a group's members would be asked for anew, and Slack
    gives these a few times a minute.
    """

    def __init__(self, ask: Callable[[str], Awaitable[T]], clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._answers: dict[str, tuple[float, T]] = {}
        self._refused: dict[str, tuple[float, float | None]] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def get(self, about: str) -> T:
        """The answer, as old as it may be.

        Raises:
            Unavailable: Slack did not answer, with its wait where it names one; so do all who waited for that answer.
        """
        came = self._clock()
        async with self._asking.setdefault(about, asyncio.Lock()):
            known, refused, now = self._answers.get(about), self._refused.get(about), self._clock()
            if known and now - known[0] < REMEMBERED_S:
                return known[1]
            if refused and refused[0] > came:
                raise Unavailable("Slack did not answer.", retry_after_s=refused[1])
            try:
                answer = await self._ask(about)
            except (SlackApiError, aiohttp.ClientError, TimeoutError) as error:
                wait_s = _asked_to_wait(error)
                self._refused[about] = (self._clock(), wait_s)
                raise Unavailable("Slack did not answer.", retry_after_s=wait_s) from error
            self._answers[about] = (now, answer)
            return answer


def _asked_to_wait(error: Exception) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    asked = str(headers.get("Retry-After", ""))
    return float(asked) if asked.isdecimal() else None


class People:
    """Looks people up with users.info and the policy's groups and channels; what it cannot see may decide nothing."""

    def __init__(
        self, slack: AsyncWebClient, team_id: str, policy: Policy, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.slack = slack
        self.team_id = team_id
        self.policy = policy
        # Kept apart, so that nobody is in a group for longer than its members are remembered.
        self._people = Remembered(self._described, clock)
        self._groups = Remembered(lambda place: self._seen_members(place, self._group), clock)
        self._channels = Remembered(lambda place: self._seen_members(place, self._channel), clock)

    async def look_up(self, user: str) -> Person:
        """The person as Slack describes them now.

        Raises:
            Unavailable: Slack did not answer; the click is tried again.
        """
        try:
            return self._person(await self._people.get(user), *await self._places_of(user))
        except Unavailable as error:
            words = "Slack did not say who clicked; the click is tried again."
            raise Unavailable(words, retry_after_s=error.retry_after_s) from error

    async def _described(self, user: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = (await self.slack.users_info(user=user))["user"]
        except SlackApiError as error:
            if error.response.get("error") not in UNKNOWN_USER:
                raise
            return {"id": user, "team_id": ""}
        return found

    def _person(
        self, described: dict[str, Any], groups: frozenset[str], channels: frozenset[str], unseen: frozenset[str]
    ) -> Person:
        return Person(
            id=described["id"],
            is_bot=bool(described.get("is_bot")),
            deleted=bool(described.get("deleted")),
            restricted=bool(described.get("is_restricted") or described.get("is_ultra_restricted")),
            foreign=described.get("team_id", "") != self.team_id or bool(described.get("is_stranger")),
            groups=groups,
            channels=channels,
            unseen=unseen,
            timezone=str(described.get("tz") or "UTC"),
        )

    async def _places_of(self, user: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """The policy's groups and channels that the person is in, and those that Slack does not show."""
        groups, channels = approvers.places(self.policy)
        of_groups = {group: await self._groups.get(group) for group in sorted(groups)}
        of_channels = {channel: await self._channels.get(channel) for channel in sorted(channels)}
        unseen = [place for place, members in (of_groups | of_channels).items() if members is None]
        return (
            frozenset(group for group, members in of_groups.items() if user in (members or ())),
            frozenset(channel for channel, members in of_channels.items() if user in (members or ())),
            frozenset(unseen),
        )

    async def members(self, group: str) -> Sequence[str]:
        """The people of a user group; nobody where Slack does not know it.

        Raises:
            Unavailable: Slack did not answer.
        """
        try:
            return await self._groups.get(group) or ()
        except Unavailable as error:
            words = "Slack did not say who is in a user group; it is asked again."
            raise Unavailable(words, retry_after_s=error.retry_after_s) from error

    async def _seen_members(
        self, place: str, members: Callable[[str], Awaitable[Sequence[str]]]
    ) -> Sequence[str] | None:
        try:
            return await members(place)
        except SlackApiError as error:
            if error.response.get("error") not in NOT_VISIBLE:
                raise
            log.warning("approvers_not_visible", place=place, error=error.response.get("error"))
            return None

    async def _group(self, group: str) -> Sequence[str]:
        answer = await self.slack.usergroups_users_list(usergroup=group)
        members: list[str] = answer["users"]
        return members

    async def _channel(self, channel: str) -> Sequence[str]:
        members: list[str] = []
        cursor = ""
        while True:
            page = await self.slack.conversations_members(channel=channel, cursor=cursor or None, limit=1000)
            members += page["members"]
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor or len(members) >= MOST_MEMBERS:
                return members
