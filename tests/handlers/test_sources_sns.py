"""Messages of Amazon SNS: believed by Amazon's certificate, of our topics, and while they are new."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from handlers.sources import sns
from handlers.sources.verify import BadSignature

TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem"
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
Message = dict[str, Any]


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def pem(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def message(key: rsa.RSAPrivateKey, version: str = "2", **changes: Any) -> Message:
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


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [{}, {"Subject": "none"}])
def test_a_message_that_amazon_signed_is_believed(
    key: rsa.RSAPrivateKey, pem: bytes, version: str, subject: Message
) -> None:
    signed = message(key, version, **subject)
    assert sns.certificate_address(signed, {TOPIC}) == CERTIFICATE
    sns.check(signed, pem, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"Message": "{}"},
        {"TopicArn": TOPIC + "x"},
        {"Subject": None},
        {"MessageId": "another"},
        {"Signature": "AAAA"},
        {"Signature": "no base64!"},
        {"Signature": ["x"]},
        {"SignatureVersion": "3"},
        {"SignatureVersion": []},
        {"Type": "Other"},
        {"Type": {}},
    ],
)
def test_a_message_that_was_changed_is_refused(key: rsa.RSAPrivateKey, pem: bytes, changes: Message) -> None:
    with pytest.raises(BadSignature):
        sns.check(message(key) | changes, pem, NOW)


def test_an_old_message_is_refused_although_it_is_signed(key: rsa.RSAPrivateKey, pem: bytes) -> None:
    with pytest.raises(BadSignature, match="replay"):
        sns.check(message(key), pem, NOW + timedelta(hours=1))


def test_a_certificate_that_is_none_is_refused(key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(BadSignature):
        sns.check(message(key), b"-----BEGIN CERTIFICATE-----\nx", NOW)


@pytest.mark.parametrize(
    "address",
    [
        "http://sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com.example.org/a.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/a.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/a.pem",
        "https://bucket.s3.amazonaws.com/a.pem",
        "https://sns.eu-west-1.amazonaws.com/a.txt",
        "https://[::1/a.pem",
        "",
        7,
    ],
)
def test_a_certificate_of_another_host_is_never_fetched(address: object) -> None:
    with pytest.raises(BadSignature):
        sns.certificate_address({"TopicArn": TOPIC, "SigningCertURL": address}, {TOPIC})


def test_a_topic_that_is_not_ours_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(BadSignature, match="CODEHEALER_SNS_TOPICS"):
        sns.certificate_address({"TopicArn": "arn:aws:sns:eu-west-1:1:other", "SigningCertURL": CERTIFICATE}, {TOPIC})


def test_a_subscription_is_confirmed_at_amazon_only(key: rsa.RSAPrivateKey, pem: bytes) -> None:
    wanted = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
    asked = message(key, Type=sns.CONFIRMATION, Token="t", SubscribeURL=wanted)
    sns.check(asked, pem, NOW)
    assert sns.confirm_address(asked) == wanted
    assert sns.confirm_address(asked | {"SubscribeURL": "https://169.254.169.254/latest"}) == ""
    assert sns.confirm_address(asked | {"Type": "UnsubscribeConfirmation"}) == ""
