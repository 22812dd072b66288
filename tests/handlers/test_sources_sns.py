"""Messages of Amazon SNS: believed by Amazon's certificate, of our topics, and while they are new."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from handlers.sources import sns
from handlers.sources.verify import BadSignature
from tests.amazon import CERTIFICATE, NOW, TOPIC, Message, certificate_of, new_key
from tests.amazon import sns_message as message


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return new_key()


@pytest.fixture(scope="module")
def pem(key: rsa.RSAPrivateKey) -> bytes:
    return certificate_of(key)


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
