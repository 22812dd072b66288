"""Several Argo CD servers as one: whose application it is says which one is asked."""

from collections.abc import Mapping
from dataclasses import dataclass

from knowledge.errors import Refused
from remediation.argocd import ArgoCdServer
from remediation.ports import Json


@dataclass(frozen=True)
class ArgoCdServers:
    """Implements `ports.ArgoCd`. `by_application` are those of the policy; `usual`, ARGOCD_SERVER, has all others."""

    usual: ArgoCdServer | None
    by_application: Mapping[str, ArgoCdServer]

    async def application(self, name: str) -> Json:
        return await self._of(name).application(name)

    async def applications(self) -> list[Json]:
        """Of each server those that are asked for there; the usual one has all others."""
        found = []
        for server in self._servers():
            rows = await server.applications()
            found += [row for row in rows if self.by_application.get(_name(row), self.usual) is server]
        return found

    async def managed_resources(self, name: str) -> list[Json]:
        return await self._of(name).managed_resources(name)

    async def resource_tree(self, name: str) -> list[Json]:
        return await self._of(name).resource_tree(name)

    async def revision(self, name: str, revision: str) -> Json:
        return await self._of(name).revision(name, revision)

    async def sync(
        self, name: str, *, revision: str = "", prune: bool = False, dry_run: bool = False,
        infos: Mapping[str, str] | None = None,
    ) -> Json:  # fmt: skip
        return await self._of(name).sync(name, revision=revision, prune=prune, dry_run=dry_run, infos=infos)

    async def rollback(self, name: str, deployed_id: int, *, dry_run: bool = False) -> Json:
        return await self._of(name).rollback(name, deployed_id, dry_run=dry_run)

    async def may(self, action: str, application: Json) -> bool:
        return await self._of(_name(application)).may(action, application)

    async def version(self) -> str:
        """Of each of them, so that one that does not answer is noticed."""
        return ", ".join([await server.version() for server in self._servers()])

    async def aclose(self) -> None:
        for server in self._servers():
            await server.aclose()

    def _servers(self) -> list[ArgoCdServer]:
        return list(dict.fromkeys([*([self.usual] if self.usual else []), *self.by_application.values()]))

    def _of(self, name: str) -> ArgoCdServer:
        server = self.by_application.get(name, self.usual)
        if server is None:
            raise Refused(f"No Argo CD server has the application {name}: list it under argocd_servers in policy.yaml.")
        return server


def _name(application: Json) -> str:
    return str((application.get("metadata") or {}).get("name", ""))
