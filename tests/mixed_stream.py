"""A made-up hour of many outages, each told of by several systems, with noise close by, and the truth about it.

The bodies have the layouts that the senders document. What resolves does so early, late or never.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]
SAFE = "bcdfghjklmnpqrstvwxz2456789"
BEGAN = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
CLUSTER = "eu-1"
EXPORTER = {"job": "kube-state-metrics", "service": "kube-state-metrics", "instance": "10.8.1.4:8080"}
SPACES, NODES = ("shop", "pay", "search"), ("worker-a", "worker-b", "worker-c", "worker-d")


@dataclass(frozen=True)
class Post:
    at: float  # seconds since the stream began
    source: str
    body: Json
    incident: str
    headers: Json = field(default_factory=dict)
    page: tuple[str, str] = ("", "")  # of a page and its post: the deduplication key, and the page's id


class World:
    """Makes posts about outages; all chance comes from one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.number = 0

    def word(self, length: int, letters: str = SAFE) -> str:
        return "".join(self.rng.choices(letters, k=length))

    def next(self) -> int:
        self.number += 1
        return self.number

    def pod(self, owner: str) -> str:
        return f"{owner}-{self.word(10)}-{self.word(5)}"

    # --- what the senders say

    def alertmanager(
        self, name: str, many: list[Json], at: float, *, resolved: bool = False, own: bool = False
    ) -> Json:
        entries = []
        for labels in many:
            every = {
                "alertname": name,
                "cluster": CLUSTER,
                "severity": "warning",
                **({} if own else EXPORTER),
                **labels,
            }
            print_of = hashlib.sha256(repr(sorted(every.items())).encode()).hexdigest()[:16]
            entries.append(
                {"status": "resolved" if resolved else "firing", "labels": every, "fingerprint": print_of,
                 "annotations": {"summary": name}, "startsAt": moment(at), "endsAt": "0001-01-01T00:00:00Z"}
            )  # fmt: skip
        return {
            "version": "4",
            "status": entries[0]["status"],
            "groupKey": self.group_key(name, many),
            "alerts": entries,
        }

    def group_key(self, name: str, many: list[Json]) -> str:
        return f'{{}}:{{alertname="{name}", namespace="{many[0].get("namespace", "")}"}}'

    def page(self, number: str, key: str, title: str, service: str, at: float, *, event: str = "triggered") -> Json:
        data = {
            "id": number, "type": "incident", "html_url": f"https://acme.pagerduty.com/incidents/{number}",
            "incident_key": key, "created_at": moment(at), "title": title, "service": {"summary": service},
            "urgency": "high", "status": event,
        }  # fmt: skip
        return {"event": {"id": f"E{self.next()}", "event_type": f"incident.{event}", "occurred_at": moment(at),
                          "data": data}}  # fmt: skip

    def event(self, space: str, pod: str, reason: str, message: str, at: float) -> Json:
        return {
            "kind": "Event", "metadata": {"name": f"{pod}.{self.word(6)}", "namespace": space},
            "involvedObject": {"kind": "Pod", "namespace": space, "name": pod}, "reason": reason, "message": message,
            "source": {"component": "kubelet"}, "firstTimestamp": moment(at), "type": "Warning",
            "count": 5, "clusterName": CLUSTER,
        }  # fmt: skip

    def crashing(self, space: str, pod: str, owner: str, at: float, *, image: str = "", node: str = "") -> Json:
        return {
            "kind": "Pod",
            "metadata": {"name": pod, "namespace": space, "labels": {"app": owner}, "clusterName": CLUSTER},
            "spec": {"nodeName": node or self.rng.choice(NODES)},
            "status": {"startTime": moment(at), "phase": "Running", "containerStatuses": [
                {"name": owner, "image": image or f"registry.example.org/{owner}:1.{self.number}", "restartCount": 4,
                 "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                 "lastState": {"terminated": {"reason": "Error", "exitCode": 1}}}]},
        }  # fmt: skip

    def run(self, repository: str, commit: str, run: int, at: float, name: str = "Deploy") -> tuple[Json, Json]:
        url = f"https://github.com/{repository}/actions/runs/{run}"
        body = {
            "action": "completed", "repository": {"full_name": repository},
            "workflow_run": {"id": run, "name": name, "head_branch": "main", "head_sha": commit,
                             "conclusion": "failure",
                             "run_started_at": moment(at), "html_url": url, "check_suite_id": run + 7},
        }  # fmt: skip
        return body, {"X-GitHub-Event": "workflow_run"}

    def job(self, repository: str, commit: str, run: int, at: float) -> tuple[Json, Json]:
        body = {
            "action": "completed", "repository": {"full_name": repository},
            "workflow_job": {"id": run * 10, "run_id": run, "name": "test", "head_branch": "main", "head_sha": commit,
                             "conclusion": "failure", "started_at": moment(at), "steps": []},
        }  # fmt: skip
        return body, {"X-GitHub-Event": "workflow_job"}

    def application(self, app: str, space: str, owner: str, *, commit: str, image: str, at: float) -> Json:
        return {
            "trigger": "on-health-degraded", "context": {"argocdUrl": "https://argocd.example.org"},
            "app": {"kind": "Application", "metadata": {"name": app},
                    "spec": {"destination": {"namespace": space}, "source": {
                        "repoURL": f"https://github.com/acme/{owner}.git", "targetRevision": "main"}},
                    "status": {"sync": {"status": "Synced", "revision": commit}, "health": {"status": "Degraded"},
                               "resources": [{"kind": "Deployment", "namespace": space, "name": owner,
                                              "health": {"status": "Degraded"}}],
                               "operationState": {"phase": "Succeeded", "startedAt": moment(at),
                                                  "syncResult": {"revision": commit}},
                               "summary": {"images": [image]}}},
        }  # fmt: skip

    def slack(
        self, text: str, title: str, at: float, *, link: str = "", app: str = "B0ALERTMGR", good: bool = False
    ) -> Json:
        attachment = {"color": "good" if good else "danger", "title": title, "text": text}
        if link:
            attachment["title_link"] = link
        ts = f"{(BEGAN + timedelta(seconds=at)).timestamp():.0f}.{self.next():06}"
        return {
            "type": "message",
            "bot_id": app,
            "channel": "C0ALERTS",
            "ts": ts,
            "text": "",
            "attachments": [attachment],
        }

    def paged(self, at: float, number: str, key: str, title: str, it: str) -> Iterator[Post]:
        """A page and its post in Slack."""
        yield Post(at, "pagerduty", self.page(number, key, title, "Platform", at), it, page=(key, number))
        link = f"https://acme.pagerduty.com/incidents/{number}"
        post = self.slack("Triggered", title.rsplit(" ", maxsplit=1)[-1], at + 2, link=link, app="B0PAGER")
        yield Post(at + 2, "slack", post, it, page=(key, number))

    # --- outages

    def crash(self, name: str, space: str, at: float) -> Iterator[Post]:
        """A crash loop, seen by the watch, Alertmanager, its post in Slack and the page that Alertmanager sends."""
        it = f"crash {space}/{name}"
        pods = [self.pod(name) for _ in range(3)]
        many = [{"namespace": space, "pod": pod, "reason": "CrashLoopBackOff"} for pod in pods]
        alert = self.alertmanager("KubePodCrashLooping", many, at)
        yield Post(at, "kubernetes", self.crashing(space, pods[0], name, at), it)
        yield Post(at + 5, "kubernetes", self.event(space, pods[0], "BackOff", "Back-off restarting", at), it)
        yield Post(at + 30, "alertmanager", alert, it)
        words = f'Pod {space}/{pods[1]} ({name}) is in waiting state (reason: "CrashLoopBackOff").'
        yield Post(at + 31, "slack", self.slack(words, "[FIRING:3] KubePodCrashLooping", at + 31), it)
        key = hashlib.sha256(alert["groupKey"].encode()).hexdigest()
        number = f"Q{self.word(12).upper()}"
        yield from self.paged(at + 33, number, key, f"[FIRING:3] KubePodCrashLooping {space}", it)
        mismatch = {"namespace": space, "deployment": name}
        yield Post(at + 300, "alertmanager", self.alertmanager("KubeDeploymentReplicasMismatch", [mismatch], at), it)
        if self.rng.random() < 0.5:
            late = at + self.rng.choice([200, 900])
            yield Post(late, "alertmanager", self.alertmanager("KubePodCrashLooping", many, at, resolved=True), it)

    def release(self, name: str, space: str, at: float) -> Iterator[Post]:
        """One commit: its deployment is red, its sync degraded, its pods crash; each is posted in Slack as well."""
        it, commit, run = f"release {space}/{name}", self.word(40, "0123456789abcdef"), 9_000_000 + self.next()
        image, repository, app = f"registry.example.org/{name}:{commit[:7]}", f"acme/{name}", f"{name}-prod"
        body, headers = self.run(repository, commit, run, at)
        yield Post(at, "github", body, it, headers)
        body, headers = self.job(repository, commit, run, at)
        yield Post(at + 1, "github", body, it, headers)
        link = f"https://github.com/{repository}/actions/runs/{run}"
        yield Post(
            at + 3,
            "slack",
            self.slack("Workflow Deploy failed", "Deploy failed", at + 3, link=link, app="B0GITHUB"),
            it,
        )
        yield Post(at + 60, "argocd", self.application(app, space, name, commit=commit, image=image, at=at + 60), it)
        link = f"https://argocd.example.org/applications/{app}"
        yield Post(
            at + 62,
            "slack",
            self.slack(f"Application {app} has degraded.", app, at + 62, link=link, app="B0ARGOCD"),
            it,
        )
        pod = self.pod(name)
        yield Post(at + 70, "kubernetes", self.crashing(space, pod, name, at + 70, image=image), it)
        labels = {"namespace": space, "pod": pod, "reason": "CrashLoopBackOff"}
        yield Post(at + 90, "alertmanager", self.alertmanager("KubePodCrashLooping", [labels], at + 70), it)

    def build(self, name: str, at: float) -> Iterator[Post]:
        """A red build that never reached a cluster."""
        it, commit, run = f"build {name} {self.next()}", self.word(40, "0123456789abcdef"), 9_000_000 + self.next()
        for body, headers in (
            self.job(f"acme/{name}", commit, run, at),
            self.run(f"acme/{name}", commit, run, at, "CI"),
        ):
            yield Post(at, "github", body, it, headers)
        link = f"https://github.com/acme/{name}/actions/runs/{run}"
        yield Post(
            at + 4, "slack", self.slack("Workflow CI failed", "CI failed", at + 4, link=link, app="B0GITHUB"), it
        )

    def node(self, node: str, at: float) -> Iterator[Post]:
        it = f"node {node}"
        down = {"node": node, "condition": "Ready", "status": "true"}
        pods = [(self.rng.choice(SPACES), f"n{self.word(4)}") for _ in range(4)]
        unready = [{"namespace": space, "pod": self.pod(name), "node": node} for space, name in pods]
        about = self.alertmanager("KubeNodeNotReady", [down], at)
        posts = [Post(at + 40, "alertmanager", about, it)]
        posts += [Post(at + 60, "alertmanager", self.alertmanager("KubePodNotReady", [one], at), it) for one in unready]
        key = hashlib.sha256(about["groupKey"].encode()).hexdigest()
        posts += self.paged(at + 45, f"Q{self.word(12).upper()}", key, "KubeNodeNotReady", it)
        yield from posts

    def database(self, space: str, at: float) -> Iterator[Post]:
        name = f"db{self.word(3)}"
        it = f"database {space}/{name}"
        down = {"namespace": space, "service": name, "instance": f"{name}:9187", "job": "postgres"}
        yield Post(at, "alertmanager", self.alertmanager("PostgresDown", [down], at, own=True), it)
        for user in (f"u{self.word(4)}", f"v{self.word(4)}"):
            labels = {"namespace": space, "service": user, "depends_on": name}
            yield Post(at + 60, "alertmanager", self.alertmanager("HighErrorRate", [labels], at, own=True), it)
        yield Post(at + 20, "pagerduty", self.page(f"Q{self.word(12).upper()}", name, "No connections", name, at), it)

    def noise(self, space: str, at: float) -> Iterator[Post]:
        """What is close by in time and place and has nothing to do with it."""
        name = f"x{self.word(5)}"
        hpa = {"namespace": space, "horizontalpodautoscaler": name}
        yield Post(at, "alertmanager", self.alertmanager("KubeHpaMaxedOut", [hpa], at), f"hpa {name}")
        claim = {"namespace": space, "persistentvolumeclaim": f"data-{name}db-0"}
        yield Post(
            at + 9, "alertmanager", self.alertmanager("KubePersistentVolumeFillingUp", [claim], at), f"claim {name}"
        )


def moment(at: float) -> str:
    return (BEGAN + timedelta(seconds=at)).isoformat()


def stream(seed: int, rounds: int = 2) -> list[Post]:
    """Posts in the order of their time. Names are alike on purpose: cart, cart-worker, cart-db."""
    world = World(seed)
    posts: list[Post] = []
    services = [f"{name}{ending}" for name in ("cart", "mail", "quote") for ending in ("", "-worker", "-db", "-api")]
    world.rng.shuffle(services)
    for number in range(rounds):
        at = number * 1_200.0

        def soon(begin: float = at) -> float:
            return begin + world.rng.uniform(0, 240)

        for _ in range(2):
            space = world.rng.choice(SPACES)
            posts += world.crash(services.pop(), space, soon())
            posts += world.release(services.pop(), space, soon())
        posts += world.build(f"lib{number}", soon())
        posts += world.build(f"lib{number}", soon())
        posts += world.node(NODES[number % 4], soon())
        posts += world.database(world.rng.choice(SPACES), soon())
        for space in SPACES:
            posts += world.noise(space, soon())
    return list(_folded(sorted(posts, key=lambda post: post.at)))


def _folded(posts: list[Post]) -> Iterator[Post]:
    """PagerDuty folds what has the key of an open page into that page, and tells nobody."""
    open_pages: dict[str, str] = {}
    for post in posts:
        key, number = post.page
        if not key or open_pages.setdefault(key, number) == number:
            yield post
