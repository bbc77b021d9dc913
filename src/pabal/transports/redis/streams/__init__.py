"""Redis streams: each channel a stream, each group a consumer group."""

from pabal.transports.redis.streams.transport import StreamsTransport

__all__ = ["StreamsTransport"]
