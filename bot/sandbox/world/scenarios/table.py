"""What a scenario is, and what a proof of it consists of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bot.sandbox.world.services import BY_NAME
from bot.sandbox.world.state import State

Source = Literal["kubernetes", "alertmanager", "slack", "github", "argocd"]
Step = tuple[str, ...]
"""An API call by name with its arguments as text, e.g. ("scale", "4"); tests carry it out through the real clients."""


@dataclass(frozen=True, slots=True)
class Proofs:
    """What heals, what leaves it broken, what makes it worse, and the scenario with the same words and another fix."""

    heals: tuple[Step, ...]
    wrong: tuple[Step, ...]
    worse: tuple[Step, ...] | None = None
    look_alike: str | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that a person can break. `group` joins scenarios with the same underlying cause.

    `misleads` is the action that everything visible speaks for and that makes it worse; "" where nothing does.

    `begin` does to the world what in life a pipeline, a person or bad luck did; `alert…` are labels and annotations of
    the alert for those sources that send one.
    """

    id: str
    title: str
    summary: str
    service: str
    kind: str
    right_action: str
    group: str
    source: Source
    begin: Callable[[State, "Scenario"], None]
    proofs: Proofs
    alertname: str = ""
    severity: str = "critical"
    alert_text: str = ""
    misleads: str = ""

    @property
    def environment(self) -> str:
        return BY_NAME[self.service].environment
