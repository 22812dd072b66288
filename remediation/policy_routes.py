"""The routing table in policy.yaml: where the card of a failure goes, whom it mentions, and when nobody is."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from remediation.policy_times import DAY_MINUTES, DAYS, Day, TimeOfDay, TimeZone

ChannelId = Annotated[str, StringConstraints(pattern=r"^$|^[CG][A-Z0-9]{2,20}$")]
UserId = Annotated[str, StringConstraints(pattern=r"^[UW][A-Z0-9]{2,20}$")]
GroupId = Annotated[str, StringConstraints(pattern=r"^S[A-Z0-9]{2,20}$")]
PagerId = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{4,30}$")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^\S+$")]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class RouteMatch(_Part):
    """What a route is for: all that is given must fit. Names may have * and ? in them, as file names."""

    services: Patterns = ()
    namespaces: Patterns = ()
    repositories: Patterns = ()
    environments: Patterns = ()
    severities: Annotated[tuple[Word, ...], Field(max_length=50)] = ()

    @property
    def anything(self) -> bool:
        return not (self.services or self.namespaces or self.repositories or self.environments or self.severities)


class OnCall(_Part):
    """Whom a call mentions. A schedule is asked of PagerDuty; the people listed are called where it does not answer."""

    users: Annotated[tuple[UserId, ...], Field(max_length=20)] = ()
    groups: Annotated[tuple[GroupId, ...], Field(max_length=20)] = ()
    pagerduty_schedule: PagerId | None = None
    pagerduty_users: dict[PagerId, UserId] = {}  # who PagerDuty's users are in Slack

    @model_validator(mode="after")
    def _somebody(self) -> "OnCall":
        if self.pagerduty_schedule and not self.pagerduty_users:
            raise ValueError("pagerduty_schedule needs pagerduty_users, which says who they are in Slack")
        if not (self.users or self.groups or self.pagerduty_schedule):
            raise ValueError("name users, groups or a pagerduty_schedule")
        return self


class QuietHours(_Part):
    """When nobody is mentioned for what is less severe than `below`."""

    days: Annotated[tuple[Day, ...], Field(min_length=1)] = DAYS
    start: TimeOfDay = Field(0, alias="from")
    end: TimeOfDay = Field(DAY_MINUTES, alias="to")
    timezone: TimeZone = "UTC"
    below: Word = "critical"

    @model_validator(mode="after")
    def _has_length(self) -> "QuietHours":
        if self.start == self.end:
            raise ValueError("'from' and 'to' are the same; leave both out for the whole day")
        return self


class Route(_Part):
    """One row of the table. The first that fits counts; "" and None leave it to what holds without a route."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=60)]
    match: RouteMatch = RouteMatch()
    channel: ChannelId = ""
    approvals: ChannelId = ""  # where requests for an approval are told of as well
    on_call: OnCall | None = None
    quiet_hours: QuietHours | None = None
