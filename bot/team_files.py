"""The files of the team's that the settings name: the policy and the runbooks."""

from pathlib import Path

from bot.settings import Settings
from knowledge.errors import SettingsError
from knowledge.runbooks import Shelf
from remediation.policy import Policy, default_policy, load_policy
from remediation.remediators import adopt


def read_policy(settings: Settings) -> Policy:
    """The policy in force; its workflows are in the catalogue from then on.

    Raises:
        SettingsError: the file is missing, or says something that is not understood: which line, and the remedy.
    """
    policy = load_policy(Path(settings.policy)) if settings.policy else default_policy()
    adopt(policy.workflows)
    return policy


def open_shelf(settings: Settings) -> Shelf:
    """The team's runbooks.

    Raises:
        SettingsError: the folder is not there.
    """
    if not settings.runbooks:
        return Shelf()
    folder = Path(settings.runbooks)
    if not folder.is_dir():
        raise SettingsError(f"CODEHEALER_RUNBOOKS: there is no folder {folder}. Name one, or unset it.")
    shelf = Shelf(folder, settings.runbooks_url)
    shelf.refresh()
    return shelf
