"""Pure: is a message from Amazon SNS, of a topic of ours, and new? By Amazon's certificate, over its own fields.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html: the certificate is read from an address
in the message, so only Amazon's own hosts are believed; fetching it is the caller's.
"""

import base64
import binascii
import re
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from handlers.sources import fields
from handlers.sources.fields import Json
from handlers.sources.verify import BadSignature
from knowledge.fingerprint import parse_time

CONFIRMATION = "SubscriptionConfirmation"
_HOST = re.compile(r"sns\.[a-z0-9-]{1,40}\.amazonaws\.com(\.cn)?")
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
# SNS tries for an hour at most by its own default; a message's id is remembered, so that it counts once in that time.
OLDEST = timedelta(hours=1)
AHEAD = timedelta(minutes=5)


def certificate_address(message: Json, topics: Collection[str]) -> str:
    """Where the certificate of a message is; BadSignature for another host, and for a topic that is not ours."""
    if fields.text(message.get("TopicArn")) not in topics:
        raise BadSignature("The message is of no topic that CODEHEALER_SNS_TOPICS names.")
    address = fields.text(message.get("SigningCertURL") or message.get("SigningCertUrl"), 1_000)
    if not of_amazon(address) or not urlsplit(address).path.endswith(".pem"):
        raise BadSignature("The field `SigningCertURL` must name a certificate at sns.REGION.amazonaws.com.")
    return address


def of_amazon(address: str) -> bool:
    """Whether an address is one of SNS itself, over https, without a user or a port of its own."""
    try:
        parts = urlsplit(address)
        return parts.scheme == "https" and parts.port is None and _HOST.fullmatch(parts.netloc) is not None
    except ValueError:
        return False


def confirm_address(message: Json) -> str:
    """Where a subscription is confirmed; "" where the message is no such request, or asks to go elsewhere."""
    address = fields.text(message.get("SubscribeURL"), 4_000)
    return address if message.get("Type") == CONFIRMATION and of_amazon(address) else ""


def check(message: Json, certificate: bytes, now: datetime) -> None:
    """Raises BadSignature unless the message is signed with the certificate's key, and not old."""
    # At first use: the library takes a while, and few have SNS.
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256  # noqa: PLC0415
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415

    hashes: dict[Any, Any] = {"1": SHA1, "2": SHA256}
    algorithm = hashes.get(fields.text(message.get("SignatureVersion")))
    if algorithm is None:
        raise BadSignature("The field `SignatureVersion` must be 1 or 2.")
    try:
        signature = base64.b64decode(fields.text(message.get("Signature")), validate=True)
        key = load_pem_x509_certificate(certificate).public_key()
    except (binascii.Error, ValueError):
        raise BadSignature("The field `Signature` or its certificate cannot be read.") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadSignature("The certificate has no RSA key, as Amazon's have.")
    try:
        key.verify(signature, signed_text(message), padding.PKCS1v15(), algorithm())
    except InvalidSignature:
        raise BadSignature("The signature is not Amazon's.") from None
    at = parse_time(message.get("Timestamp"))
    if at is None or not now - OLDEST <= at <= now + AHEAD:
        raise BadSignature("The message is older than an hour, or its field `Timestamp` is wrong: it may be a replay.")


def signed_text(message: Json) -> bytes:
    """What Amazon signs: names and values of the fields that are there, a line each."""
    names = _SIGNED.get(fields.text(message.get("Type")))
    if names is None:
        raise BadSignature("The field `Type` must be Notification or a confirmation of SNS.")
    lines = [f"{name}\n{message[name]}\n" for name in names if isinstance(message.get(name), str)]
    return "".join(lines).encode("utf-8", "surrogatepass")
