"""Several Argo CD servers as one: whose application it is says which one is asked."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from knowledge.errors import CodeHealerError, Refused
from remediation.argocd import ArgoCdServer
from remediation.ports import ApplicationList, Json

# The name of the settings' server among those of the policy, which are in lower case.
USUAL_ARGOCD = "ARGOCD_SERVER"


@dataclass(frozen=True)
class ArgoCdServers:
    """Implements `ports.ArgoCd`.

    `servers` are by name; `by_application` names the policy's one of an application, and `USUAL_ARGOCD` has all others.
    """

    servers: Mapping[str, ArgoCdServer]
    by_application: Mapping[str, str]

    async def application(self, name: str) -> Json:
        return await self._of(name).application(name)

    async def applications(self) -> ApplicationList:
        """Of each server those that are asked for there; one that does not answer keeps nobody from the others'."""
        found = await asyncio.gather(*(self._listed(name, server) for name, server in self.servers.items()))
        return ApplicationList(
            tuple(row for one in found for row in one.rows),
            {name: why for one in found for name, why in one.away.items()},
        )

    async def _listed(self, name: str, server: ArgoCdServer) -> ApplicationList:
        try:
            rows = (await server.applications()).rows
        except CodeHealerError as error:
            return ApplicationList((), {name: str(error)})
        return ApplicationList(
            tuple(row for row in rows if self.by_application.get(_name(row), USUAL_ARGOCD) == name), {}
        )

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

    async def aclose(self) -> None:
        for server in self.servers.values():
            await server.aclose()

    def _of(self, name: str) -> ArgoCdServer:
        server = self.servers.get(self.by_application.get(name, USUAL_ARGOCD))
        if server is None:
            raise Refused(f"No Argo CD server has the application {name}: list it under argocd_servers in policy.yaml.")
        return server


def _name(application: Json) -> str:
    return str((application.get("metadata") or {}).get("name", ""))
