"""Who a Slack user is at this moment, as far as approvals ask."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from knowledge.errors import Unavailable
from remediation import approvers
from remediation.approvals import Person
from remediation.policy import Policy

log = structlog.get_logger(__name__)

# Short, since a deactivated person must lose the right to approve soon; long enough for a burst of clicks.
REMEMBERED_S = 30.0
# A channel of more people is no list of approvers.
MOST_MEMBERS = 5_000
UNKNOWN_USER = frozenset({"user_not_found", "user_not_visible"})
# The policy names what is not there, or what the app may not see: no reason to refuse those who are named themselves.
NOT_VISIBLE = frozenset({"no_such_subteam", "plan_upgrade_required", "channel_not_found", "missing_scope"})


@dataclass
class People:
    """Looks people up with users.info and the policy's groups and channels; what it cannot see may decide nothing."""

    slack: AsyncWebClient
    team_id: str
    policy: Policy
    _seen: dict[str, tuple[float, Person]] = field(default_factory=dict)

    async def look_up(self, user: str) -> Person:
        """The person as Slack describes them now.

        Raises:
            Unavailable: Slack did not answer; the click is tried again.
        """
        known = self._seen.get(user)
        if known and time.monotonic() - known[0] < REMEMBERED_S:
            return known[1]
        try:
            described = await self._described(user)
            person = self._person(described, *await self._places_of(user))
        except (SlackApiError, aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable("Slack did not say who clicked; the click is tried again.") from error
        self._seen[user] = (time.monotonic(), person)
        return person

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
        of_groups = {group: await self._seen_members(group, self._group) for group in sorted(groups)}
        of_channels = {channel: await self._seen_members(channel, self._channel) for channel in sorted(channels)}
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
            return await self._seen_members(group, self._group) or ()
        except (SlackApiError, aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable("Slack did not say who is in a user group; it is asked again.") from error

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
