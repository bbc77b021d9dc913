"""Against the official SDK: what it writes we read, what we write it reads, in every binding we share."""

import json
from datetime import UTC, datetime
from typing import Any

from cloudevents.core.bindings import http, kafka, rabbitmq
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from pabal.model.cloudevents import STRUCTURED, from_binary, from_structured, to_binary, to_structured
from pabal.model.event import UNNAMED
from pabal.model.message import Message
from tests.unit.model.messages import CHANNEL, json_values, texts

TEXT = texts(min_size=1).filter(lambda text: text != UNNAMED)
TIMES = st.datetimes(datetime(1, 1, 2), timezones=st.just(UTC))  # noqa: DTZ001 - zones follow
PLAIN = st.from_regex(r"[!#-~]{1,20}", fullmatch=True)
BODIES = st.one_of(
    st.tuples(
        st.dictionaries(TEXT, json_values()).map(lambda value: json.dumps(value).encode()), st.just("application/json")
    ),
    st.tuples(TEXT.map(str.encode), st.just("text/plain")),
    st.tuples(st.binary(min_size=1), st.just("application/octet-stream")),
    st.tuples(st.just(b""), st.none()),
)
SENT = st.builds(
    lambda body, **fields: Message(channel=CHANNEL, body=body[0], content_type=body[1], **fields),
    BODIES,
    id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=200).filter(str.isprintable),
    type=TEXT,
    source=TEXT,
    time=TIMES,
    key=st.none() | TEXT,
    correlation_id=st.none() | TEXT,
    causation_id=st.none() | TEXT,
    attributes=st.dictionaries(st.sampled_from(["subject", "dataschema", "traceparent", "other1"]), TEXT),
    headers=st.dictionaries(st.from_regex(r"X-[a-z]{1,9}", fullmatch=True), PLAIN, max_size=2),
)
WRITTEN = st.builds(
    lambda required, optional, data: CloudEvent(
        {**required, **{name: value for name, value in optional.items() if value is not None}, **data[0]}, data[1]
    ),
    st.fixed_dictionaries(
        {
            "id": st.text(st.characters(codec="utf-8"), min_size=1, max_size=200).filter(str.isprintable),
            "source": TEXT,
            "type": TEXT,
            "time": TIMES,
        }
    ),
    st.fixed_dictionaries({name: st.none() | TEXT for name in ("subject", "partitionkey", "correlationid", "other1")}),
    st.one_of(
        st.tuples(st.just({"datacontenttype": "application/json"}), st.dictionaries(TEXT, json_values(), min_size=1)),
        st.tuples(st.just({"datacontenttype": "text/plain"}), TEXT),
        st.tuples(st.just({"datacontenttype": "application/octet-stream"}), st.binary(min_size=1)),
        st.tuples(st.just({}), st.none()),
    ),
)
json_format = JSONFormat()


def attributes(message: Message) -> dict[str, Any]:
    """A message's attributes as the SDK names them."""
    named = {
        "specversion": "1.0",
        "id": message.id,
        "source": message.source,
        "type": message.type,
        "time": message.time,
        "datacontenttype": message.content_type,
        "partitionkey": message.key,
        "correlationid": message.correlation_id,
        "causationid": message.causation_id,
        **message.attributes,
    }
    return {name: value for name, value in named.items() if value is not None}


def value(message: Message) -> object:
    """The body as the SDK has it in structured mode."""
    match message.content_type:
        case None:
            return None
        case "application/json":
            return json.loads(message.body)
        case "text/plain":
            return message.body.decode()
    return message.body


def check(read: Message, written: CloudEvent) -> None:
    """The SDK's event is the message read from it."""
    assert attributes(read) == written.get_attributes()
    data = written.get_data()
    if isinstance(data, dict):
        assert json.loads(read.body) == data
    else:
        assert read.body == (data.encode() if isinstance(data, str) else data or b"")


@given(SENT)
def test_http_reads_what_we_write(sent: Message) -> None:
    """Binary mode over HTTP, and NATS, which has the same encoding."""
    event = http.from_binary(http.HTTPMessage(to_binary(sent, percent=True), sent.body), json_format)
    assert event.get_attributes() == attributes(sent)
    assert event.get_data() == json_format.read_data(sent.body, sent.content_type)


@given(SENT)
def test_kafka_reads_what_we_write(sent: Message) -> None:
    """Binary mode over Kafka: headers of UTF-8 bytes."""
    headers = {name: value.encode() for name, value in to_binary(sent, prefix="ce_").items()}
    event = kafka.from_binary(kafka.KafkaMessage(headers, None, sent.body), json_format)
    assert event.get_attributes() == attributes(sent)


@given(SENT)
def test_rabbitmq_reads_what_we_write(sent: Message) -> None:
    """Binary mode over RabbitMQ: the content type is a property."""
    headers = to_binary(sent, content_type=None)
    event = rabbitmq.from_binary(rabbitmq.RabbitMQMessage(headers, sent.content_type, sent.body), json_format)
    assert event.get_attributes() == attributes(sent)


@given(SENT)
def test_structured_mode_reads_what_we_write(sent: Message) -> None:
    """The JSON format, with data of every kind; the user's headers are one extension to others."""
    event = json_format.read(None, to_structured(sent))
    read = dict(event.get_attributes())
    headers = json.loads(read.pop("pabalheaders", "{}"))
    assert (read, headers) == (attributes(sent), sent.headers)
    assert event.get_data() == value(sent)


@given(WRITTEN)
def test_we_read_http(written: CloudEvent) -> None:
    """Binary mode over HTTP, and structured mode, which the content type tells."""
    binary = http.to_binary(written, json_format)
    check(from_binary(CHANNEL, binary.headers, binary.body, percent=True), written)
    structured = http.to_structured(written, json_format)
    assert structured.headers == {"content-type": STRUCTURED}
    check(from_binary(CHANNEL, structured.headers, structured.body, percent=True), written)


@given(WRITTEN)
def test_we_read_kafka(written: CloudEvent) -> None:
    """Both modes over Kafka."""
    for message in (kafka.to_binary(written, json_format), kafka.to_structured(written, json_format)):
        check(from_binary(CHANNEL, message.headers, message.value, prefix="ce_"), written)


@given(WRITTEN)
def test_we_read_rabbitmq(written: CloudEvent) -> None:
    """Both modes over RabbitMQ."""
    for message in (rabbitmq.to_binary(written, json_format), rabbitmq.to_structured(written, json_format)):
        check(from_binary(CHANNEL, message.headers, message.body, content_type=message.content_type), written)


@given(WRITTEN)
def test_we_read_structured_mode(written: CloudEvent) -> None:
    """The JSON format where a transport has no headers."""
    check(from_structured(CHANNEL, json_format.write(written)), written)
