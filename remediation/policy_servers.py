"""Further Argo CD servers and GitHub hosts in policy.yaml, beside those that the settings name."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from remediation.policy_workflows import Address, Variable

ServerName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]


class _Server(BaseModel):
    """`token_env` names the variable that has its token: never the policy itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[Address, AfterValidator(lambda value: value.rstrip("/"))]
    token_env: Variable


class ArgoCdAddress(_Server):
    """An Argo CD server and the applications that are asked for there."""

    applications: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][-a-z0-9.]{0,251}$")], ...],
        Field(min_length=1, max_length=500),
    ]


class GitHubAddress(_Server):
    """A GitHub host (`https://HOST/api/v3`) and the owners whose repositories are there."""

    owners: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,99}$")], ...],
        Field(min_length=1, max_length=500),
    ]


def twice(servers: Mapping[str, ArgoCdAddress] | Mapping[str, GitHubAddress]) -> str:
    """What two of them claim, "" where nothing is: it would not be known which one to ask."""
    seen: set[str] = set()
    for server in servers.values():
        names = server.applications if isinstance(server, ArgoCdAddress) else server.owners
        for name in (one.lower() for one in names):
            if name in seen:
                return name
            seen.add(name)
    return ""
