"""What the GitHub remediators share."""

from knowledge.errors import Refused
from remediation.ports import Clients, CodeHost


def code_host(clients: Clients) -> CodeHost:
    if clients.code_host is None:
        raise Refused("GitHub is not connected. Set GITHUB_TOKEN.")
    return clients.code_host
