"""The sandbox's Prometheus, Alertmanager and status pages refuse what the real ones refuse."""

from typing import Any

from tests.sandbox.world_fixtures import running_world

SILENCE = {
    "matchers": [{"name": "service", "value": "checkout", "isRegex": False}], "startsAt": "2020-01-01T00:00:00Z",
    "endsAt": "2099-01-01T00:00:00Z", "createdBy": "kim", "comment": "c",
}  # fmt: skip


async def test_queries_silences_and_pages_are_as_strict_as_the_real_ones() -> None:
    async with running_world() as running:
        base, http = running.url, running.http

        async def ask(path: str, **query: str) -> tuple[int, Any]:
            reply = await http.get(f"{base}/{path}", params=query)
            return reply.status_code, reply.json()

        query = "prometheus/api/v1/query"
        status, body = await ask(query, query='sum(kube_deployment_spec_replicas{namespace="shop"})')
        assert (status, body["data"]["result"][0]["value"][1]) == (200, "8")
        for text, wrong in (("", 400), ("up{", 400), ("up{a=1}", 400), ('up{a=~"("}', 400), ("rate(up[5m])", 422)):
            status, body = await ask(query, query=text)
            assert (status, body["status"]) == (wrong, "error"), text
        assert (await ask(query, query="up", time="yesterday"))[0] == 400
        assert (await ask("prometheus/api/v1/nothing"))[0] == 404

        assert (await ask("alertmanager/api/v2/alerts", filter="not a matcher"))[0] == 400
        assert (await ask("alertmanager/api/v2/silence/17"))[0] == 422
        posts = [SILENCE, {**SILENCE, "endsAt": "2019-01-01T00:00:00Z"}, {"comment": "c"}, {**SILENCE, "matchers": []}]
        replies = [await http.post(f"{base}/alertmanager/api/v2/silences", json=body) for body in posts]
        assert [reply.status_code for reply in replies] == [200, 400, 422, 422]
        address = f"{base}/alertmanager/api/v2/silence/{replies[0].json()['silenceID']}"
        assert (await http.get(address)).json()["status"] == {"state": "active"}

        await running.break_("release-crash-checkout")
        await running.until(running.world.alertmanager.firing, "the alert is due")
        await running.turns(10)
        assert not [hook for hook in running.webhooks if hook[0] == "alertmanager"], "it is silenced"
        alerts = (await http.get(f"{base}/alertmanager/api/v2/alerts", params={"filter": 'service="checkout"'})).json()
        assert [row["status"]["state"] for row in alerts] == ["suppressed"]
        await http.delete(address)
        assert (await http.get(address)).json()["status"] == {"state": "expired"}

        page = "status/github/api/v2"
        assert (await ask(f"{page}/status.json"))[1]["status"]["indicator"] == "none"
        running.world.status_pages.trouble("github", "Runners do not start", impact="critical")
        assert (await ask(f"{page}/status.json"))[1]["status"]["indicator"] == "critical"
        assert (await ask(f"{page}/incidents/unresolved.json"))[1]["incidents"][0]["status"] == "investigating"
        assert (await ask("status/nobody/api/v2/status.json"))[0] == 404
        await running.world.reset()
        assert (await ask(f"{page}/status.json"))[1]["status"]["indicator"] == "none"
