"""What the parts of GitHub's API share: a call, a refusal, a page of rows."""

from dataclasses import dataclass
from typing import Any

from bot.sandbox.world.github_store import Repository

Json = dict[str, Any]
Reply = tuple[int, Any, dict[str, str]]


class GithubError(Exception):
    """`errors` are a 422's, as GitHub lists them."""

    def __init__(self, status: int, message: str, errors: list[Json] | None = None) -> None:
        super().__init__(message)
        self.status, self.errors = status, errors


@dataclass(frozen=True, slots=True)
class Call:
    repository: Repository
    parts: dict[str, str]
    query: dict[str, str]
    body: Json


def paged(rows: list[Any], query: dict[str, str]) -> list[Any]:
    """One page of the rows; numbers that are none count as absent, as GitHub has it."""
    size, page = (query.get("per_page", ""), query.get("page", ""))
    per_page = min(max(int(size), 1), 100) if size.isdigit() else 30
    number = max(int(page), 1) if page.isdigit() else 1
    return rows[(number - 1) * per_page : number * per_page]
