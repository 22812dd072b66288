"""Amazon SNS as its receivers see it: a key, its certificate, and messages that are signed with it."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
Message = dict[str, Any]


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate_of(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def sns_message(key: rsa.RSAPrivateKey, version: str = "2", **changes: Any) -> Message:
    """Signed as Amazon says, with `changes` made before."""
    body: Message = {
        "Type": "Notification", "MessageId": "22b80b92", "TopicArn": TOPIC, "Subject": "ALARM: errors",
        "Message": json.dumps({"AlarmName": "errors", "NewStateValue": "ALARM"}),
        "Timestamp": "2026-03-02T09:15:00.000Z", "SignatureVersion": version, "SigningCertURL": CERTIFICATE, **changes,
    }  # fmt: skip
    names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if body["Type"] != "Notification":
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{body[name]}\n" for name in names if name in body)
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()  # noqa: S303  SNS's older version signs so
    return body | {"Signature": base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), algorithm)).decode()}
