"""How this machine reaches the outside: the proxy and the certificates that its environment names.

Most clients look at HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE by themselves; what is here is for those that do not, or
not at all of them.
"""

import os
import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from knowledge.errors import SettingsError

CERTIFICATES = "SSL_CERT_FILE"


def proxy_for(url: str) -> str | None:
    """The proxy for an address, None where it is reached directly."""
    parts, proxies = urlsplit(url), getproxies_environment()
    # Not proxy_bypass: on macOS it takes one argument, and asks the system.
    if not parts.hostname or proxy_bypass_environment(parts.netloc.rpartition("@")[2], proxies):
        return None
    return proxies.get({"wss": "https", "ws": "http"}.get(parts.scheme, parts.scheme)) or None


def certificates() -> str | None:
    """The file of authorities that is trusted in place of the public ones; None for those.

    Raises:
        SettingsError: it cannot be read, or has no certificate in it.
    """
    path = os.environ.get(CERTIFICATES, "")
    if not path:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        why = f"{CERTIFICATES} names {path}, which is no file of PEM certificates ({type(error).__name__})."
        raise SettingsError(f"{why} Name one, or unset it.") from None
    return path
