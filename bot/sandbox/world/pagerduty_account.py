"""PagerDuty's REST API, as far as doctor asks it: whose key it is, its users, its incidents, its schedules."""

from typing import Any, Protocol

from aiohttp import web

from bot.sandbox.world.pagerduty_incidents import error, refused_to

Json = dict[str, Any]
USERS = ("codehealer@acme.example",)


class Account(Protocol):
    token: str
    users: tuple[str, ...]
    incidents: dict[str, Json]
    schedules: dict[str, list[str]]


def answer(request: web.Request, path: str, account: Account) -> web.Response | None:
    """The reply to a GET; None for a path that is not here."""
    if path not in {"users/me", "users", "incidents"} and not path.startswith("schedules/"):
        return None
    if refused := refused_to(request, account.token):
        return refused
    if path == "users/me":
        # The sandbox's key is the account's, and PagerDuty has no user to show for one.
        return error(400, "Bad Request", "The request must be made by a user")
    if path == "users":
        wanted = request.query.get("query", "")
        people = [{"id": f"P{n}SANDBOX", "type": "user", "email": one} for n, one in enumerate(account.users)]
        return web.json_response({"users": [one for one in people if wanted in one["email"]], "more": False})
    if path == "incidents":
        return web.json_response({"incidents": list(account.incidents.values()), "more": False})
    schedule = path.removeprefix("schedules/")
    if schedule not in account.schedules:
        return error(404, "Not Found")
    return web.json_response({"schedule": {"id": schedule, "type": "schedule", "summary": schedule}})
