"""All scenarios: one table, one file a family."""

from bot.sandbox.world.scenarios import capacity, gitops, pipelines, platform, pods, releases
from bot.sandbox.world.scenarios.table import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *releases.SCENARIOS,
    *pods.SCENARIOS,
    *capacity.SCENARIOS,
    *pipelines.SCENARIOS,
    *platform.SCENARIOS,
    *gitops.SCENARIOS,
)
BY_ID = {s.id: s for s in SCENARIOS}
