"""All scenarios: one table, one file a family."""

from bot.sandbox.world.scenarios import (
    capacity,
    credentials,
    gitops,
    images,
    memory,
    pipelines,
    platform,
    pods,
    releases,
    stale,
)
from bot.sandbox.world.scenarios.table import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *releases.SCENARIOS,
    *pods.SCENARIOS,
    *stale.SCENARIOS,
    *capacity.SCENARIOS,
    *memory.SCENARIOS,
    *images.SCENARIOS,
    *credentials.SCENARIOS,
    *pipelines.SCENARIOS,
    *platform.SCENARIOS,
    *gitops.SCENARIOS,
)
BY_ID = {s.id: s for s in SCENARIOS}
