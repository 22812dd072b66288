"""The services that run in the sandbox: one table, from which the cluster, the repositories and the apps are made."""

from dataclasses import dataclass

REGISTRY = "registry.acme.example"


@dataclass(frozen=True, slots=True)
class Service:
    """One workload. `language` names the log style; memory in MiB; `uses` are demand and limit."""

    name: str
    namespace: str
    environment: str
    replicas: int
    version: str
    previous: str
    language: str
    memory_limit: int
    memory_use: int
    pool: str = "general"
    auto_sync: bool = False
    database: bool = False
    self_heal: bool = False

    @property
    def secret(self) -> str:
        """The Secret that holds its database's password."""
        return f"{self.name}-db"

    @property
    def repository(self) -> str:
        return f"acme/{self.name}"

    def image(self, version: str) -> str:
        """The full image reference of a version."""
        return f"{REGISTRY}/acme/{self.name}:{version}"


SERVICES: tuple[Service, ...] = (
    Service("checkout", "shop", "prod", 3, "2.14.1", "2.14.0", "go", 512, 180),
    Service("catalog", "shop", "prod", 2, "5.3.0", "5.2.4", "python", 768, 410),
    Service("orders", "shop", "prod", 3, "3.8.1", "3.8.0", "node", 512, 260, database=True),
    Service("payments-api", "payments", "prod", 3, "7.0.4", "7.0.3", "java", 1024, 640),
    Service("search", "search", "prod", 2, "1.22.0", "1.21.3", "go", 1024, 520, pool="search"),
    Service(
        "notifications", "staging", "staging", 2, "0.41.0", "0.40.2", "python", 384, 150, auto_sync=True, database=True
    ),
    Service("storefront", "staging", "staging", 2, "9.1.0", "9.0.6", "node", 512, 240),
    Service("loyalty", "loyalty", "staging", 1, "1.6.2", "1.6.1", "node", 256, 110),
    Service("pricing", "pricing", "prod", 2, "4.4.0", "4.3.2", "node", 256, 120, auto_sync=True, self_heal=True),
    Service("reports", "dev", "dev", 2, "0.8.3", "0.8.2", "python", 512, 300),
)
BY_NAME = {s.name: s for s in SERVICES}
BY_REPOSITORY = {s.repository: s for s in SERVICES}
