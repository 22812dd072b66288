"""GitHub's webhooks of a repository or of the App: what was delivered, and asking for one again."""

import re
from typing import TYPE_CHECKING, Any

from bot.sandbox.world.clockwork import rfc3339
from bot.sandbox.world.github_shared import Call, GithubError, Json, Reply, paged

if TYPE_CHECKING:
    from bot.sandbox.world.github_api import GithubApi

HOOK = 512_087_342
_ATTEMPTS = re.compile(r"app/hook/deliveries/(\d+)/attempts\Z")


def hooks(api: "GithubApi", call: Call) -> Reply:
    url = f"{api.shapes.api}/repos/{call.repository.service.repository}/hooks/{HOOK}"
    made = rfc3339(api.clock() - 40 * 86400)
    row: Json = {
        "type": "Repository",
        "id": HOOK,
        "name": "web",
        "active": True,
        "events": ["workflow_run"],
        "config": {"content_type": "json", "insecure_ssl": "0", "url": f"{api.sender.bot_url}/webhooks/github"},
        "updated_at": made,
        "created_at": made,
        "url": url,
        "test_url": f"{url}/test",
        "ping_url": f"{url}/pings",
        "deliveries_url": f"{url}/deliveries",
        "last_response": {"code": 202, "status": "active", "message": "OK"},
    }
    return 200, paged([row], call.query), {}


def deliveries(api: "GithubApi", call: Call) -> Reply:
    _known(call)
    return 200, paged(_items(api, call.repository.service.repository), call.query), {}


def attempt(api: "GithubApi", call: Call) -> Reply:
    _known(call)
    return _again(api, int(call.parts["delivery"]))


def of_app(api: "GithubApi", method: str, path: str, query: dict[str, str]) -> Reply:
    """The App's own hook hears of every repository."""
    if method == "GET" and path == "app/hook/deliveries":
        return 200, paged(_items(api, ""), query), {}
    found = _ATTEMPTS.match(path)
    if method != "POST" or found is None:
        raise GithubError(404, "Not Found")
    return _again(api, int(found[1]))


def _again(api: "GithubApi", number: int) -> Reply:
    if not api.sender.redeliver(number):
        raise GithubError(404, "Not Found")
    return 202, {}, {}


def _known(call: Call) -> None:
    if int(call.parts["hook"]) != HOOK:
        raise GithubError(404, "Not Found")


def _items(api: "GithubApi", repository: str) -> list[Json]:
    """`hook-delivery-item`s, newest first."""
    return [_item(one) for one in reversed(api.sender.deliveries) if not repository or one["repository"] == repository]


def _item(delivery: Json) -> Json:
    status = delivery["status_code"]
    kept: dict[str, Any] = {
        name: delivery[name] for name in ("id", "guid", "delivered_at", "redelivery", "event", "action", "status_code")
    }
    word = "OK" if status < 300 else "Bad Gateway"
    return {**kept, "duration": 0.27, "status": word, "installation_id": None, "repository_id": None}


HOOK_ROUTES = (
    ("GET", r"hooks", hooks),
    ("GET", r"hooks/(?P<hook>\d+)/deliveries", deliveries),
    ("POST", r"hooks/(?P<hook>\d+)/deliveries/(?P<delivery>\d+)/attempts", attempt),
)
