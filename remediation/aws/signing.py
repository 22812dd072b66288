"""Pure: AWS Signature Version 4 over one request.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials; `token` is there for temporary ones, which end at `expires_at`."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires_at: datetime | None = None


def signed_headers(
    url: str, body: bytes, headers: Mapping[str, str], keys: Keys, *, region: str, service: str, now: datetime
) -> dict[str, str]:
    """The headers of a POST of `body`, with those that carry its signature. `now` is UTC; `url` has no query."""
    address = urlsplit(url)
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    all_headers = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    all_headers |= {"host": address.netloc, "x-amz-date": moment}
    if keys.token:
        all_headers["x-amz-security-token"] = keys.token
    names = ";".join(sorted(all_headers))
    lines = "".join(f"{name}:{all_headers[name]}\n" for name in sorted(all_headers))
    path = quote(address.path or "/", safe="/-_.~")
    canonical = f"POST\n{path}\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = f"{ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{keys.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{keys.access_key}/{scope}"
    all_headers["authorization"] = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return all_headers
