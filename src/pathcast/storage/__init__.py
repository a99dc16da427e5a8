"""TimescaleDB or PostgreSQL for rows, S3 for frames."""

from pathcast.storage.connection import connect
from pathcast.storage.migrate import migrate

__all__ = ["connect", "migrate"]
