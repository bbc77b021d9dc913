"""Redis and Valkey, on `redis-py`: Pub/Sub, at most once, and streams, at least once."""

from pabal.transports.redis.pubsub import PubSubTransport

__all__ = ["PubSubTransport"]
