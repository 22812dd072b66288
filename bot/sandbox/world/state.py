"""Everything the world consists of at one moment, and the few things that people and pipelines do to it.

`vault` is a folder with a file for each secret: the store that the bot's policy names as the source of new values.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.sandbox.world.argocd_store import ArgoStore
from bot.sandbox.world.causes import Cause, SymptomOf
from bot.sandbox.world.cluster import Cluster
from bot.sandbox.world.cluster_seed import commit_sha
from bot.sandbox.world.github_store import MANIFEST, GithubStore, Repository, manifest
from bot.sandbox.world.objects import image_of, template
from bot.sandbox.world.services import BY_NAME, Service

Json = dict[str, Any]


@dataclass
class State:
    """The world between two resets."""

    cluster: Cluster
    vault: Path | None = None
    hub: GithubStore = field(init=False)
    argo: ArgoStore = field(init=False)
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hub = GithubStore(self.cluster.clock, self.cluster.timings)
        self.argo = ArgoStore(self.cluster.clock, self.cluster.timings, self.hub, self.apply, self.live, self.prune)
        self.keep_passwords()

    def service(self, name: str) -> Service:
        return BY_NAME[name]

    def next_version(self, name: str) -> str:
        """The next patch version of a service, never given out twice."""
        last = self.versions.get(name, BY_NAME[name].version)
        major, minor, patch = last.split(".")
        self.versions[name] = f"{major}.{minor}.{int(patch) + 1}"
        return self.versions[name]

    def release(self, name: str, version: str, *, pushed: bool = True, files: dict[str, str] | None = None) -> str:
        """Rolls a version out, as the delivery pipeline does; its image.

        `pushed`: the registry has it; `files` are what its commit changes besides the manifest.
        """
        service = BY_NAME[name]
        image = service.image(version)
        if pushed:
            self.cluster.images.add(image)
        sha = commit_sha(name, version)
        repository = self.repository(name)
        self.hub.commit(
            repository, f"Release {name} {version}", {MANIFEST: manifest(service, version), **(files or {})}, sha=sha
        )
        self.hub.start(repository, sha, f"Release {name} {version}")
        self.argo.deployed(service, sha)
        self.apply(service, version, sha)
        return image

    def apply(self, service: Service, version: str, sha: str) -> None:
        """Writes the manifests of a version into the cluster; the number of replicas stays as it is."""
        live = self.cluster.store.get("deployments", service.namespace, service.name)
        if live is None:
            return
        live = copy.deepcopy(live)
        live["spec"]["template"] = template(service, version, sha)
        live["metadata"].setdefault("annotations", {})["kubernetes.io/change-cause"] = (
            f"release {service.name} {version}"
        )
        self.cluster.store.update("deployments", live)

    def live(self, service: Service) -> str:
        """The version that the cluster is to run, empty without a Deployment."""
        found = self.cluster.store.get("deployments", service.namespace, service.name)
        return image_of(found).rpartition(":")[2] if found else ""

    def prune(self, service: Service) -> None:
        """Deletes what the application's folder in Git does not have: its ConfigMap was made by hand."""
        self.cluster.store.delete("configmaps", service.namespace, f"{service.name}-settings")

    def repository(self, service: str) -> Repository:
        return self.hub.repositories[BY_NAME[service].repository]

    def rotate_password(self, name: str) -> None:
        """The database takes another password from now on, and the store of secrets has it; the cluster does not."""
        self.cluster.passwords[name] = f"{self.cluster.rng.getrandbits(96):024x}"
        self.keep_passwords()

    def keep_passwords(self) -> None:
        """What a store of secrets does: it gives the present value to whoever may read it."""
        for name, value in self.cluster.passwords.items():
            self._keep(BY_NAME[name].secret, value)

    def renew_registry_token(self, name: str) -> None:
        """The registry takes another token of this service's pipeline from now on, and the store of secrets has it."""
        value = f"{self.cluster.rng.getrandbits(96):024x}"
        self.hub.registry_tokens[BY_NAME[name].repository] = value
        self._keep(f"{name}-registry", value)

    def _keep(self, name: str, value: str) -> None:
        if self.vault is not None:
            self.vault.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self.vault / name
            path.write_text(value + "\n", encoding="utf-8")
            path.chmod(0o600)

    def add_cause(self, scenario: str, service: str, symptom_of: SymptomOf, **fields: str) -> None:
        """From now on this is wrong, besides everything that was wrong before."""
        self.cluster.causes.append(Cause(scenario, service, symptom_of, fields))
