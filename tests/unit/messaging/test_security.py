import pytest
from pydantic import SecretStr

from pathcast.core.errors import InvalidInputError
from pathcast.messaging.security import KafkaSecurity

USER = {
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_plain_username": "recorder",
    "sasl_plain_password": "hidden",
}


@pytest.mark.parametrize(
    ("username", "ca_file", "expected"),
    [
        ("", "", {"security_protocol": "PLAINTEXT"}),
        ("", "/ca.crt", {"security_protocol": "SSL", "ssl_cafile": "/ca.crt"}),
        ("recorder", "", {"security_protocol": "SASL_PLAINTEXT", **USER}),
        ("recorder", "/ca.crt", {"security_protocol": "SASL_SSL", "ssl_cafile": "/ca.crt", **USER}),
    ],
)
def test_options_of_the_client(username: str, ca_file: str, expected: dict[str, str]) -> None:
    assert KafkaSecurity(username, SecretStr("hidden" if username else ""), ca_file).options() == expected


def test_the_password_does_not_show() -> None:
    assert "hidden" not in repr(KafkaSecurity("recorder", SecretStr("hidden")))


def test_a_user_needs_a_password() -> None:
    with pytest.raises(InvalidInputError, match="user recorder"):
        KafkaSecurity("recorder")


def test_the_client_takes_the_options() -> None:
    from kafka import KafkaConsumer, KafkaProducer

    options = KafkaSecurity("recorder", SecretStr("hidden"), "/ca.crt").options()
    assert options.keys() <= KafkaProducer.DEFAULT_CONFIG.keys()
    assert options.keys() <= KafkaConsumer.DEFAULT_CONFIG.keys()
