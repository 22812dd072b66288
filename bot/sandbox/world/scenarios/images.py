"""An image set by hand that cannot be pulled: nothing but the image changed, so the image alone goes back."""

import copy
from collections.abc import Callable

from bot.sandbox.world.scenarios.table import Proofs, Scenario
from bot.sandbox.world.services import Service
from bot.sandbox.world.state import State


def set_by_hand(wrong: Callable[[Service], str]) -> Callable[[State, Scenario], None]:
    """As `kubectl set image` does, past every pipeline."""

    def begin(state: State, scenario: Scenario) -> None:
        live = copy.deepcopy(state.cluster.deployment(scenario.service))
        live["spec"]["template"]["spec"]["containers"][0]["image"] = wrong(state.service(scenario.service))
        state.cluster.store.update("deployments", live)

    return begin


def letter_for_number(service: Service) -> str:
    return service.image(service.version.replace("0", "O"))


def other_repository(service: Service) -> str:
    return service.image(service.version).replace(service.name, service.name[:-1])


RESTART = (("restart_broken_pod",),)

SCENARIOS = (
    Scenario(
        id="image-typo-search",
        title="Search was given a tag with a typing mistake",
        summary="Somebody set the image by hand and wrote a letter for a number; nothing else changed.",
        service="search",
        kind="imagepullbackoff",
        right_action="k8s_update_image",
        group="image-typo",
        source="kubernetes",
        begin=set_by_hand(letter_for_number),
        proofs=Proofs((("set_image", "1.22.0"),), RESTART, (("scale", "4"),), "image-missing-payments"),
    ),
    Scenario(
        id="image-typo-storefront",
        title="The storefront points at a repository that does not exist",
        summary="The same slip in staging: the name of the image lost its last letter.",
        service="storefront",
        kind="imagepullbackoff",
        right_action="k8s_update_image",
        group="image-typo",
        source="alertmanager",
        begin=set_by_hand(other_repository),
        proofs=Proofs((("set_image", "9.1.0"),), RESTART, (("scale", "4"),), "image-missing-payments"),
        alertname="KubeContainerWaiting",
        severity="warning",
        alert_text="A container of {namespace}/{service} has been waiting: the image cannot be pulled.",
    ),
)
