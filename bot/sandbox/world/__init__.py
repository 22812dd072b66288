"""The world behind the sandbox: a cluster, repositories with pipelines, Argo CD and a pager, with state and causes."""

from bot.sandbox.world.clockwork import Timings
from bot.sandbox.world.world import World

__all__ = ["Timings", "World"]
