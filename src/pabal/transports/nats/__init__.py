"""NATS on `nats-py`: core publish and subscribe, at most once, and JetStream, which keeps messages."""

from pabal.transports.nats.jetstream.transport import JetStreamTransport
from pabal.transports.nats.transport import NatsTransport

__all__ = ["JetStreamTransport", "NatsTransport"]
