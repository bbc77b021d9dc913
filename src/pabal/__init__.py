"""Asynchronous messaging in which no message is lost in silence."""

from pabal.bus import Bus
from pabal.model.channel import Channel
from pabal.model.dead import DeadLetter
from pabal.model.errors import (
    CapabilityError,
    CodecError,
    ConfigurationError,
    ConnectionFailed,
    MessageTooLarge,
    NoResponders,
    PabalError,
    PublishError,
    PublishTimeout,
    RequestError,
    RequestFailed,
    RequestTimeout,
    Unrouted,
)
from pabal.model.message import Message
from pabal.model.outcome import Failure, Reject, Retry, Settlement
from pabal.model.transport import Receipt
from pabal.router import Router
from pabal.runtime.batch import Batch, BatchContext, BlockingBatchContext
from pabal.runtime.context import BlockingContext, Context
from pabal.runtime.publisher import Outgoing
from pabal.runtime.reports import DrainReport
from pabal.runtime.retry import Backoff

__all__ = [
    "Backoff",
    "Batch",
    "BatchContext",
    "BlockingBatchContext",
    "BlockingContext",
    "Bus",
    "CapabilityError",
    "Channel",
    "CodecError",
    "ConfigurationError",
    "ConnectionFailed",
    "Context",
    "DeadLetter",
    "DrainReport",
    "Failure",
    "Message",
    "MessageTooLarge",
    "NoResponders",
    "Outgoing",
    "PabalError",
    "PublishError",
    "PublishTimeout",
    "Receipt",
    "Reject",
    "RequestError",
    "RequestFailed",
    "RequestTimeout",
    "Retry",
    "Router",
    "Settlement",
    "Unrouted",
]
