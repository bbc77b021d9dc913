"""Spans and metrics by OpenTelemetry, after its semantic conventions for messaging.

Names and meanings are those of the conventions' version 1.43: https://opentelemetry.io/docs/specs/semconv/messaging/.
A trace travels with its message as CloudEvents extensions, ``traceparent`` and ``tracestate`` (W3C Trace Context).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pabal.model.address import Address
from pabal.model.message import Message
from pabal.model.names import is_pattern
from pabal.model.transport import Receipt, Source
from pabal.runtime.batch import BatchContext
from pabal.runtime.consumer import OnPull
from pabal.runtime.context import Context
from pabal.runtime.decide import text_of
from pabal.runtime.handler import Handler
from pabal.runtime.middleware import AroundHandling, AroundPublishing, Send

Attributes = dict[str, str | int]

_SYSTEMS = {"amqp": "rabbitmq", "jetstream": "nats", "sqs": "aws_sqs", "zmq": "zeromq"}
"""What the conventions call a scheme's system, where that is not the scheme's own first word."""

_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]
"""The bucket boundaries that the conventions ask for."""

_w3c = TraceContextTextMapPropagator()


class Telemetry:
    """Where the spans and metrics of a bus go: ``Bus(url, telemetry=Telemetry())``, or ``telemetry=True`` for short.

    Args:
        tracer_provider: makes the spans; None: OpenTelemetry's global one, whenever that is set.
        meter_provider: takes the metrics; None: the global one.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._tracer = trace.get_tracer("pabal", tracer_provider=tracer_provider)
        meter = metrics.get_meter("pabal", meter_provider=meter_provider)
        self._sent = meter.create_counter(
            "messaging.client.sent.messages",
            "{message}",
            "Number of messages producer attempted to send to the broker.",
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages",
            "{message}",
            "Number of messages that were delivered to the application.",
        )
        self._operation = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            "Duration of messaging operation initiated by a producer or consumer client.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._processing = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "Duration of processing operation.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    def publishing(self, address: Address) -> AroundPublishing:
        """Middleware that makes a span of each message that is sent, and lets it carry that span's trace."""
        server = _server(address)

        async def publish(message: Message, call_next: Send) -> Receipt:
            kind, links = SpanKind.PRODUCER, _links_of([message])
            if links:  # the message has a trace already, and keeps it
                kind = SpanKind.CLIENT
            of = {**server, "messaging.operation.name": "publish", "messaging.operation.type": "send"}
            of["messaging.destination.name"] = message.channel
            span = self._tracer.start_span(
                f"publish {message.channel}", kind=kind, links=links, attributes={**of, **_of_message(message)}
            )
            started = time.perf_counter()
            try:
                with _current(span, of):
                    return await call_next(message if links else _carrying_trace(message))
            finally:
                self._operation.record(time.perf_counter() - started, of)
                self._sent.add(1, of)

        return publish

    def handling(self, address: Address, handler: Handler) -> AroundHandling:
        """Middleware that makes a span of each call of `handler`, within the trace of its message."""
        common: Attributes = {
            **_server(address),
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
        }
        if handler.group is not None:
            common["messaging.consumer.group.name"] = handler.group
        pattern = is_pattern(handler.source)
        # A pattern stands for any number of channels, so that metrics tell no more than the pattern.
        common["messaging.destination.template" if pattern else "messaging.destination.name"] = handler.source

        async def process(context: Context, call_next: Callable[[], Awaitable[Any]]) -> Any:
            of = dict(common)
            span = self._start(f"process {handler.source}", context, of, pattern=pattern)
            count = len(context.messages) if isinstance(context, BatchContext) else 1
            started = time.perf_counter()
            try:
                with _current(span, of):
                    return await call_next()
            finally:
                self._processing.record(time.perf_counter() - started, of)
                self._consumed.add(count, of)

        return process

    def pulling(self, address: Address) -> OnPull:
        """Is told of each pull that has taken messages, and makes a span of it, linked to those of the messages."""
        server = _server(address)

        def pulled(source: Source, messages: Sequence[Message], seconds: float) -> None:
            of = {**server, "messaging.operation.name": "receive", "messaging.operation.type": "receive"}
            of["messaging.consumer.group.name"] = source.group or ""
            of["messaging.destination.template" if is_pattern(source.channel) else "messaging.destination.name"] = (
                source.channel
            )
            now = time.time_ns()
            span = self._tracer.start_span(
                f"receive {source.channel}",
                kind=SpanKind.CLIENT,
                links=_links_of(messages),
                attributes={**of, "messaging.batch.message_count": len(messages)},
                start_time=now - int(seconds * 1e9),
            )
            span.end(now)
            self._operation.record(seconds, of)
            self._consumed.add(len(messages), of)

        return pulled

    def _start(self, name: str, context: Context, of: Attributes, *, pattern: bool) -> Span:
        """The span of one call: a child of its message's, or linked to all those of a batch."""
        message = context.message
        # Of what was current where the worker was started, no delivery is a part.
        parent, links = OtelContext(), _links_of([message])
        if isinstance(context, BatchContext):
            links = _links_of(context.messages)
            of = {**of, "messaging.batch.message_count": len(context.messages)}
        else:
            of = {**of, **_of_message(message), "pabal.attempt": context.attempt}
            if pattern:
                of["messaging.destination.name"] = message.channel
            if links:
                parent = trace.set_span_in_context(NonRecordingSpan(links[0].context), parent)
        return self._tracer.start_span(name, parent, kind=SpanKind.CONSUMER, links=links, attributes=of)


@contextmanager
def _current(span: Span, of: Attributes) -> Iterator[None]:
    """Make `span` the current one and end it; an error is recorded in it, and its type in `of`."""
    token = otel_context.attach(trace.set_span_in_context(span))
    try:
        yield
    except BaseException as error:
        of["error.type"] = type(error).__qualname__
        span.set_attribute("error.type", type(error).__qualname__)
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, text_of(error)))
        raise
    finally:
        otel_context.detach(token)
        span.end()


def _server(address: Address) -> Attributes:
    """The system and, where there is one, the server."""
    scheme = address.scheme.partition("+")[0]
    found: Attributes = {"messaging.system": _SYSTEMS.get(scheme, scheme)}
    host = address.netloc if address.port is None else address.netloc.rpartition(":")[0]
    if host and scheme != "memory":
        found["server.address"] = host
        if address.port is not None:
            found["server.port"] = address.port
    return found


def _of_message(message: Message) -> Attributes:
    found: Attributes = {"messaging.message.id": message.id, "messaging.message.body.size": len(message.body)}
    if message.correlation_id is not None:
        found["messaging.message.conversation_id"] = message.correlation_id
    return found


def _links_of(messages: Sequence[Message]) -> list[Link]:
    """A link to the span that each message carries, where it carries one."""
    links = []
    for message in messages:
        if "traceparent" in message.attributes:
            span = trace.get_current_span(_w3c.extract(message.attributes)).get_span_context()
            if span.is_valid:
                links.append(Link(span, {"messaging.message.id": message.id}))
    return links


def _carrying_trace(message: Message) -> Message:
    """`message` with the current trace; where none is recorded, as it is."""
    carried = dict(message.attributes)
    _w3c.inject(carried)
    return message if carried == message.attributes else msgspec.structs.replace(message, attributes=carried)
