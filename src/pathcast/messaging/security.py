"""How this process shows the broker who it is, and knows the broker by its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import PlatformSettings

_MECHANISM = "SCRAM-SHA-512"


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """A user with a password (empty: none is asked for) and the authority that signed the broker's certificate.

    `ca_file` is a PEM file; empty means that the connection is not encrypted.
    """

    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: str = ""

    def __post_init__(self) -> None:
        if self.username and not self.password.get_secret_value():
            raise InvalidInputError(
                f"Kafka: expected a password for user {self.username}, got none", hint="set PATHCAST_KAFKA_PASSWORD"
            )

    @classmethod
    def of(cls, settings: PlatformSettings) -> KafkaSecurity:
        """What the platform's settings say."""
        return cls(settings.kafka_username, settings.kafka_password, settings.kafka_ca_file)

    def options(self) -> dict[str, Any]:
        """The keyword arguments of kafka-python's clients.

        >>> KafkaSecurity().options()
        {'security_protocol': 'PLAINTEXT'}
        """
        channel = "SSL" if self.ca_file else "PLAINTEXT"
        options: dict[str, Any] = {"security_protocol": f"SASL_{channel}" if self.username else channel}
        if self.ca_file:
            options["ssl_cafile"] = self.ca_file
        if self.username:
            options |= {
                "sasl_mechanism": _MECHANISM,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password.get_secret_value(),
            }
        return options
