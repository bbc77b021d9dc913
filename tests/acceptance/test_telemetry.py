"""Spans and metrics of a bus: what OpenTelemetry's own SDK gets of it."""

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from pabal import Backoff, Bus, Context, Message, Receipt, Router
from pabal.model.address import Address
from pabal.runtime.batch import Batch
from pabal.telemetry import Telemetry
from tests.acceptance.seen import Seen, letters

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Watched:
    """A `Telemetry` and what it has sent."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.telemetry = Telemetry(
            tracer_provider=tracers, meter_provider=MeterProvider(metric_readers=[self._metrics])
        )
        self.tracer = tracers.get_tracer("test")

    def spans(self, *names: str) -> list[ReadableSpan]:
        """The ended spans of these names, in their order; there is one of each."""
        ended = self._spans.get_finished_spans()
        found = [[span for span in ended if span.name == name] for name in names]
        assert [len(spans) for spans in found] == [1] * len(names), [span.name for span in ended]
        return [spans[0] for spans in found]

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._spans.get_finished_spans() if span.name == name]

    def points(self, name: str) -> list[Any]:
        """The data points of one metric."""
        data = self._metrics.get_metrics_data()
        metrics: Iterable[Any] = (
            [
                metric
                for resource in data.resource_metrics
                for scope in resource.scope_metrics
                for metric in scope.metrics
            ]
            if data is not None
            else []
        )
        return [point for metric in metrics if metric.name == name for point in metric.data.data_points]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def ids(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def parent(span: ReadableSpan) -> tuple[int, int]:
    assert span.parent is not None
    return span.parent.trace_id, span.parent.span_id


async def test_one_trace_from_publisher_to_handler(url: str, watched: Watched) -> None:
    """A message is handled within the trace in which it was published, and what its handler publishes is in it too."""
    bus, seen = Bus(url, telemetry=watched.telemetry), Seen()

    @bus.handler("first", group="g", publishes="third")
    async def first(body: str, context: Context) -> str:
        await context.publish("second", body)
        return body

    @bus.handler("second", group="g")
    @bus.handler("third", group="g")
    async def last(body: str) -> None:
        seen.add(get_current_span().get_span_context().trace_id)

    async with bus.running():
        with watched.tracer.start_as_current_span("the user's"):
            await bus.publish("first", "x")
        await seen.wait(2)
    own, sent, handled, second, third = watched.spans(
        "the user's", "publish first", "process first", "publish second", "publish third"
    )
    assert parent(sent) == ids(own)
    assert parent(handled) == ids(sent)
    assert parent(second) == parent(third) == ids(handled)
    assert [parent(span) for span in watched.spans("process second", "process third")] == [ids(second), ids(third)]
    assert list(seen) == [ids(own)[0]] * 2


async def test_spans_say_what_the_conventions_ask_for(url: str, watched: Watched) -> None:
    """Names, kinds, links and attributes are those of OpenTelemetry's conventions for messaging."""
    bus, seen = Bus(url, telemetry=watched.telemetry), Seen()

    @bus.handler("a.b", group="savers")
    async def handle(body: str) -> None:
        seen.add(body)

    async with bus.running():
        receipt = await bus.publish("a.b", "hello")
        await seen.wait(1)
    system = url.partition(":")[0]
    sent, handled = watched.spans("publish a.b", "process a.b")
    common = {
        "messaging.system": system,
        "messaging.destination.name": "a.b",
        "messaging.message.id": receipt.id,
        "messaging.message.body.size": 5,
    }
    assert sent.kind is SpanKind.PRODUCER
    assert dict(sent.attributes or {}) == {
        **common,
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
    }
    assert handled.kind is SpanKind.CONSUMER
    assert dict(handled.attributes or {}) == {
        **common,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "savers",
        "pabal.attempt": 1,
    }
    assert [(link.context.trace_id, link.context.span_id) for link in handled.links] == [ids(sent)]
    assert sent.status.status_code is handled.status.status_code is StatusCode.UNSET


async def test_metrics(url: str, watched: Watched) -> None:
    """Messages sent and consumed are counted, sending and handling are timed, failures by their error."""
    bus = Bus(url, telemetry=watched.telemetry, retry=Backoff(attempts=1))

    @bus.handler("a", group="g")
    async def handle(number: int) -> None:
        if number:
            raise LookupError("no")

    async with bus.running():
        await bus.publish("a", 0)
        await bus.publish("a", 1)
        await letters(bus)
    system = {"messaging.system": url.partition(":")[0], "messaging.destination.name": "a"}
    send = {**system, "messaging.operation.name": "publish", "messaging.operation.type": "send"}
    process = {
        **system,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "g",
    }
    failed = {**process, "error.type": "LookupError"}
    assert [(dict(p.attributes), p.value) for p in watched.points("messaging.client.sent.messages")] == [(send, 2)]
    consumed = [(dict(p.attributes), p.value) for p in watched.points("messaging.client.consumed.messages")]
    assert consumed == [(process, 1), (failed, 1)]
    (sending,) = watched.points("messaging.client.operation.duration")
    assert (dict(sending.attributes), sending.count) == (send, 2)
    assert 0 < sending.sum < 20
    processing = watched.points("messaging.process.duration")
    assert [(dict(point.attributes), point.count) for point in processing] == [(process, 1), (failed, 1)]
    assert all(point.explicit_bounds[0] == 0.005 for point in [sending, *processing])


async def test_a_failure_is_in_its_span(url: str, watched: Watched) -> None:
    """The span of a failed attempt has the exception and its type; each attempt is a span with its number."""
    bus = Bus(url, telemetry=watched.telemetry, retry=Backoff(attempts=2, first=0.0), unrouted="raise")

    @bus.handler("a", group="g")
    async def handle(body: str, context: Context) -> None:
        await context.publish("nobody", body)

    async with bus.running():
        await bus.publish("a", "x")
        await letters(bus)
    spans = [*watched.named("process a"), *watched.named("publish nobody")]
    assert [span.status.status_code for span in spans] == [StatusCode.ERROR] * 4
    assert [dict(span.attributes or {})["error.type"] for span in spans] == ["Unrouted"] * 4
    assert [dict(span.attributes or {})["pabal.attempt"] for span in spans[:2]] == [1, 2]
    assert [event.name for span in spans for event in span.events] == ["exception"] * 4


async def test_the_trace_travels_as_cloudevents_do(url: str, watched: Watched) -> None:
    """A message carries ``traceparent`` as its extension, so that programs in other languages go on with the trace."""
    bus = Bus(url, telemetry=watched.telemetry)
    async with bus, bus.consumer("a", group="g") as consumer:
        await bus.publish_many("a", range(2))
        pulled = await consumer.pull(max=2, wait=1.0)
    spans = watched.named("publish a")
    expected = {f"00-{trace:032x}-{span:016x}" for trace, span in map(ids, spans)}
    assert {one.message.attributes["traceparent"].rpartition("-")[0] for one in pulled} == expected
    assert len(expected) == 2


async def test_a_trace_that_the_user_gave_is_kept(url: str, watched: Watched) -> None:
    """A message that has a trace already goes on in that; its sending is a span beside, linked to it."""
    bus, seen = Bus(url, telemetry=watched.telemetry), Seen()

    @bus.around_publishing
    async def own_trace(message: Message, call_next: Callable[[Message], Awaitable[Receipt]]) -> Receipt:
        return await call_next(msgspec.structs.replace(message, attributes={"traceparent": TRACEPARENT}))

    @bus.handler("a", group="g")
    async def handle(body: str, message: Message) -> None:
        seen.add(message.attributes["traceparent"])

    async with bus.running():
        await bus.publish("a", "x")
        await seen.wait(1)
    sent, handled = watched.spans("publish a", "process a")
    assert list(seen) == [TRACEPARENT]
    assert sent.kind is SpanKind.CLIENT
    assert [f"{link.context.span_id:016x}" for link in sent.links] == ["b7ad6b7169203331"]
    assert f"{parent(handled)[1]:016x}" == "b7ad6b7169203331"


async def test_a_broken_trace_costs_nothing(url: str, watched: Watched) -> None:
    """A trace that is none begins anew, and its message is handled."""
    plain, bus, seen = Bus(url), Bus(url, telemetry=watched.telemetry), Seen()

    @plain.around_publishing
    async def broken(message: Message, call_next: Callable[[Message], Awaitable[Receipt]]) -> Receipt:
        return await call_next(msgspec.structs.replace(message, attributes={"traceparent": "00-nonsense"}))

    @bus.handler("a", group="g")
    async def handle(body: str) -> None:
        seen.add(body)

    async with bus.running(), plain:
        await plain.publish("a", "x")
        await seen.wait(1)
    (handled,) = watched.spans("process a")
    assert handled.parent is None
    assert list(handled.links) == []


async def test_patterns_and_listeners(url: str, watched: Watched) -> None:
    """A pattern names its span and its metrics, so that these stay few; a listener has no group."""
    bus, seen = Bus(url, telemetry=watched.telemetry), Seen()
    router = Router()

    @router.listen("a.*")
    async def hear(body: str) -> None:
        seen.add(body)

    bus.include(router)
    async with bus.running():
        await bus.publish("a.b", "x")
        await bus.publish("a.c", "x")
        await seen.wait(2)
    spans = [dict(span.attributes or {}) for span in watched.named("process a.*")]
    assert [span["messaging.destination.name"] for span in spans] == ["a.b", "a.c"]
    assert {span["messaging.destination.template"] for span in spans} == {"a.*"}
    assert all("messaging.consumer.group.name" not in span for span in spans)
    (consumed,) = watched.points("messaging.client.consumed.messages")
    assert "messaging.destination.name" not in consumed.attributes
    assert consumed.attributes["messaging.destination.template"] == "a.*"
    assert consumed.value == 2


async def test_a_batch_is_one_span(url: str, watched: Watched) -> None:
    """A call for many messages is one span that is linked to each of them, and counts them all."""
    bus, seen = Bus(url, telemetry=watched.telemetry), Seen()

    @bus.handler("a", group="g", batch=Batch(3, wait=5.0))
    async def handle(numbers: list[int]) -> None:
        seen.add(numbers)

    async with bus.running():
        receipts = await bus.publish_many("a", range(3))
        await seen.wait(1)
    (handled,) = watched.spans("process a")
    sent = {ids(span) for span in watched.named("publish a")}
    assert {(link.context.trace_id, link.context.span_id) for link in handled.links} == sent
    linked = {dict(link.attributes or {})["messaging.message.id"] for link in handled.links}
    assert linked == {receipt.id for receipt in receipts}
    assert dict(handled.attributes or {})["messaging.batch.message_count"] == 3
    assert [point.value for point in watched.points("messaging.client.consumed.messages")] == [3]


async def test_a_worker_is_no_part_of_the_trace_in_which_it_started(url: str, watched: Watched) -> None:
    """What was current where the bus began to run has nothing to do with the messages that it handles."""
    plain, bus, seen = Bus(url), Bus(url, telemetry=watched.telemetry), Seen()

    @bus.handler("a", group="single")
    async def handle(number: int) -> None:
        seen.add(number)

    @bus.handler("a", group="batches", batch=Batch(1))
    async def handle_batch(numbers: list[int]) -> None:
        seen.add(numbers)

    with watched.tracer.start_as_current_span("the program"):
        async with bus.running(), plain:
            await plain.publish("a", 1)
            await seen.wait(2)
    assert [span.parent for span in watched.named("process a")] == [None, None]


async def test_a_pull_is_one_span(url: str, watched: Watched) -> None:
    """A pull that took messages is a span linked to each, and counts them; one that took none is not told."""
    bus = Bus(url, telemetry=watched.telemetry)
    async with bus, bus.consumer("a", group="g") as consumer:
        assert await consumer.pull(wait=0.0) == []
        receipts = await bus.publish_many("a", range(2))
        pulled = await consumer.pull(max=2, wait=1.0)
        assert len(pulled) == 2
    (taken,) = watched.spans("receive a")
    assert taken.kind is SpanKind.CLIENT
    assert dict(taken.attributes or {}) == {
        "messaging.system": url.partition(":")[0],
        "messaging.destination.name": "a",
        "messaging.operation.name": "receive",
        "messaging.operation.type": "receive",
        "messaging.consumer.group.name": "g",
        "messaging.batch.message_count": 2,
    }
    linked = {dict(link.attributes or {})["messaging.message.id"] for link in taken.links}
    assert linked == {receipt.id for receipt in receipts}
    assert [point.value for point in watched.points("messaging.client.consumed.messages")] == [2]
    operations = {
        point.attributes["messaging.operation.name"] for point in watched.points("messaging.client.operation.duration")
    }
    assert operations == {"publish", "receive"}


async def test_requests_are_in_the_trace(url: str, watched: Watched) -> None:
    """Who answers a request does it in the trace of who asks."""
    bus = Bus(url, telemetry=watched.telemetry)

    @bus.handler("double", group="g")
    def double(number: int) -> int:
        return number * 2

    async with bus.running():
        assert await bus.request("double", 2, reply=int) == 4
    asked, answered = watched.spans("publish double", "process double")
    assert parent(answered) == ids(asked)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory://name", {"messaging.system": "memory"}),
        ("sqlite:///todo.db", {"messaging.system": "sqlite"}),
        (
            "amqp://user:secret@rabbit.example:5671/vhost",
            {"messaging.system": "rabbitmq", "server.address": "rabbit.example", "server.port": 5671},
        ),
        ("redis+streams://cache", {"messaging.system": "redis", "server.address": "cache"}),
        ("kafka://a:1,b:2", {"messaging.system": "kafka", "server.address": "a:1,b:2"}),
    ],
    ids=["memory", "sqlite", "amqp", "redis", "kafka"],
)
async def test_the_server_is_named_without_its_password(url: str, expected: dict[str, object]) -> None:
    """System and server are told by the conventions' names, and nothing secret of the URL."""
    watched = Watched()
    publish = watched.telemetry.publishing(Address(url))
    message = Message(id="1", channel="a", time=datetime(2026, 1, 1, tzinfo=UTC))

    async def send(message: Message) -> Receipt:
        return Receipt(message.id)

    await publish(message, send)
    (sent,) = watched.spans("publish a")
    told = {
        name: value for name, value in (sent.attributes or {}).items() if name.startswith(("server", "messaging.sys"))
    }
    assert told == expected


def test_without_opentelemetry() -> None:
    """Where it is not installed, asking for it says how to install it; and nothing else of pabal needs it."""
    program = """
import sys
sys.modules["opentelemetry"] = None
from pabal import Bus, ConfigurationError
Bus("memory://")
try:
    Bus("memory://", telemetry=True)
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "telemetry needs the module 'opentelemetry', which is not installed: pip install 'pabal[telemetry]'\n"
    )


def test_nothing_is_imported_unasked() -> None:
    """A bus without telemetry does not import OpenTelemetry, which takes longer to import than pabal itself."""
    program = "import sys, pabal; pabal.Bus('memory://'); print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


async def test_the_global_providers_are_the_default(url: str) -> None:
    """``telemetry=True`` is a `Telemetry` of the global providers, and works where none is set."""
    bus = Bus(url, telemetry=True)

    @bus.handler("a", group="g")
    async def handle(body: str) -> str:
        return body

    async with bus.running():
        assert await bus.request("a", "x") == "x"
