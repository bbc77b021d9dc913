"""Transports on a message box: ``sqlite:///file``."""

from pabal.transports.sql.transport import SqliteOptions, SqliteTransport

__all__ = ["SqliteOptions", "SqliteTransport"]
