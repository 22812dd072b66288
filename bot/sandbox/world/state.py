"""Everything the world consists of at one moment, and the few things that people and pipelines do to it."""

import copy
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.world.causes import Cause, SymptomOf
from bot.sandbox.world.cluster import Cluster
from bot.sandbox.world.cluster_seed import commit_sha
from bot.sandbox.world.objects import template
from bot.sandbox.world.services import BY_NAME, Service

Json = dict[str, Any]


@dataclass
class State:
    """The world between two resets."""

    cluster: Cluster
    versions: dict[str, str] = field(default_factory=dict)

    def service(self, name: str) -> Service:
        return BY_NAME[name]

    def next_version(self, name: str) -> str:
        """The next patch version of a service, never given out twice."""
        last = self.versions.get(name, BY_NAME[name].version)
        major, minor, patch = last.split(".")
        self.versions[name] = f"{major}.{minor}.{int(patch) + 1}"
        return self.versions[name]

    def release(self, name: str, version: str, *, pushed: bool = True) -> str:
        """Rolls a version out, as the delivery pipeline does; its image. `pushed`: the registry has it."""
        service = BY_NAME[name]
        image = service.image(version)
        if pushed:
            self.cluster.images.add(image)
        live = copy.deepcopy(self.cluster.deployment(name))
        live["spec"]["template"] = template(service, version, commit_sha(name, version))
        live["metadata"].setdefault("annotations", {})["kubernetes.io/change-cause"] = f"release {name} {version}"
        self.cluster.store.update("deployments", live)
        return image

    def add_cause(self, scenario: str, service: str, symptom_of: SymptomOf, **fields: str) -> None:
        """From now on this is wrong; a cause of the same scenario is replaced only in what it says."""
        self.cluster.causes.append(Cause(scenario, service, symptom_of, fields))
