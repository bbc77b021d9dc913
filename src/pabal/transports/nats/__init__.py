"""NATS: core publish and subscribe, at most once, on `nats-py`."""

from pabal.transports.nats.transport import NatsTransport

__all__ = ["NatsTransport"]
