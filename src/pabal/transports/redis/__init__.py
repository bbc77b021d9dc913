"""Redis and Valkey, on `redis-py`: Pub/Sub, at most once, and streams, at least once."""

from pabal.transports.redis.pubsub import PubSubTransport
from pabal.transports.redis.streams import StreamsTransport

__all__ = ["PubSubTransport", "StreamsTransport"]
