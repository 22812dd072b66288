"""Who a Slack user is at this moment, as far as approvals ask."""

import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from knowledge.errors import Unavailable
from remediation.approvals import Person
from remediation.policy import Policy

# Short, since a deactivated person must lose the right to approve soon; long enough for a burst of clicks.
REMEMBERED_S = 30.0
UNKNOWN_USER = frozenset({"user_not_found", "user_not_visible"})


@dataclass
class People:
    """Looks people up with users.info and the policy's user groups; what it cannot see may decide nothing."""

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
            person = self._person(await self._described(user), await self._groups_of(user))
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

    def _person(self, described: dict[str, Any], groups: frozenset[str]) -> Person:
        return Person(
            id=described["id"],
            is_bot=bool(described.get("is_bot")),
            deleted=bool(described.get("deleted")),
            restricted=bool(described.get("is_restricted") or described.get("is_ultra_restricted")),
            foreign=described.get("team_id", "") != self.team_id or bool(described.get("is_stranger")),
            groups=groups,
        )

    async def _groups_of(self, user: str) -> frozenset[str]:
        member_of = set()
        for group in self.policy.approvers.groups:
            answer = await self.slack.usergroups_users_list(usergroup=group)
            if user in answer["users"]:
                member_of.add(group)
        return frozenset(member_of)
