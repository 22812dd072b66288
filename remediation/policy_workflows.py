"""A team's own workflows and builds in policy.yaml: what may be dispatched, with which values, and how it is judged."""

import hashlib
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from knowledge.model import FailureKind, Risk
from remediation.secret_sources import SecretSource

Repository = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$")]
WorkflowFile = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}\.ya?ml$")]
Ref = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,200}$")]
InputName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,99}$")]
Value = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f]*$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Z_][A-Z0-9_]{0,100}$")]
NOT_OURS = frozenset({FailureKind.HEALTHY, FailureKind.UNKNOWN})
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def _safe_address(value: str) -> str:
    parts = urlsplit(value)
    if not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL)) or parts.username:
        raise ValueError("must be an https address without a user in it")
    return value


Address = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_safe_address)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Build(_Part):
    """The workflow that builds a service's image, and the input with which it does so without a cache."""

    workflow: WorkflowFile
    input: InputName = "no-cache"
    value: Value = "true"
    ref: Ref = "main"


class RepositorySecret(_Part):
    """A secret of GitHub Actions that may be given a new value, and where that comes from.

    It is the repository's, an environment's of it, or the organisation's. `steps` are the names of the steps that use
    it: with several secrets the failed step tells which one is meant.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
    environment: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 ._-]{0,100}$")] = ""
    organization: bool = False
    steps: Annotated[tuple[str, ...], Field(max_length=20)] = ()
    source: SecretSource

    @model_validator(mode="after")
    def _in_one_place(self) -> "RepositorySecret":
        if self.environment and self.organization:
            raise ValueError(f"the secret '{self.name}' is either an environment's or the organisation's")
        return self


class WorkflowParameter(_Part):
    """One input. `from` takes it from the target; else it is `default` until a person chooses another allowed value."""

    type: Literal["choice", "integer", "boolean", "text"] = "choice"
    values: Annotated[tuple[Value, ...], Field(max_length=50)] = ()
    min: int | None = None
    max: int | None = None
    pattern: str = ""
    default: Value | int | bool | None = None
    source: Literal["", "service", "environment", "namespace", "name", "repository", "kind"] = Field("", alias="from")

    @model_validator(mode="after")
    def _whole(self) -> "WorkflowParameter":
        if self.source:
            if self.default is not None or self.values:
                raise ValueError("'from' takes the value from the target, so it has no default and no values")
            return self
        if problem := self.problem(self.default):
            raise ValueError(f"the default {problem}")
        return self

    def problem(self, value: Any) -> str:
        """What is wrong with a value, "" when it is allowed."""
        if self.type == "boolean":
            return "" if isinstance(value, bool) else "must be true or false"
        if self.type == "integer":
            if not isinstance(value, int) or isinstance(value, bool) or self.min is None or self.max is None:
                return "must be a whole number, between 'min' and 'max', which are both to be given"
            return "" if self.min <= value <= self.max else f"must be between {self.min} and {self.max}"
        if self.type == "choice":
            return "" if value in self.values else "must be one of 'values'"
        if not isinstance(value, str) or not self.pattern:
            return "must be a text that matches 'pattern', which is to be given"
        return "" if re.fullmatch(self.pattern, value) else f"must match {self.pattern}"

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"'{value}' is no regular expression ({error})") from error
        return value


class WorkflowOnGitHub(_Part):
    """A workflow with `on: workflow_dispatch`."""

    repository: Repository
    workflow: WorkflowFile
    ref: Ref = "main"


class WorkflowHook(_Part):
    """An address that is sent a POST. The token is read from the variable when it is sent, never from the policy.

    `idempotent`: the receiver honours the header Idempotency-Key, so that after a crash it may be sent again.
    """

    url: Address
    token_env: Variable | None = None
    idempotent: bool = False


class Workflow(_Part):
    """One entry of a team's own in the catalogue, named workflow_<name>. Exactly one of `github` and `webhook`."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
    title: Annotated[str, StringConstraints(min_length=3, max_length=80)]
    kinds: Annotated[tuple[FailureKind, ...], Field(min_length=1)]
    services: tuple[str, ...] = ()  # none: all
    risk: Risk = Risk.HIGH
    expected_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    parameters: Annotated[dict[InputName, WorkflowParameter], Field(max_length=20)] = {}
    github: WorkflowOnGitHub | None = None
    webhook: WorkflowHook | None = None
    verify: Literal["run", "signal"] = "signal"

    @property
    def action(self) -> str:
        return f"workflow_{self.name}"

    @property
    def digest(self) -> str:
        """Of the whole entry, so that an approval is bound to what it does and where."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @model_validator(mode="after")
    def _consistent(self) -> "Workflow":
        if (self.github is None) == (self.webhook is None):
            raise ValueError(f"the workflow '{self.name}' needs either 'github' or 'webhook'")
        if self.verify == "run" and self.github is None:
            raise ValueError(f"the workflow '{self.name}' has no run to verify: write 'verify: signal'")
        if self.risk is Risk.NONE:
            raise ValueError(f"the workflow '{self.name}' needs a risk: low, medium or high")
        if wrong := sorted(NOT_OURS.intersection(self.kinds)):
            raise ValueError(f"the workflow '{self.name}' cannot be for the kind '{wrong[0]}'")
        return self
