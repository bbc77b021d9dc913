"""Reaching a NATS server, with JetStream or without: credentials, encryption, several hosts, and what goes wrong."""

import asyncio
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from pabal import Bus, ConfigurationError, ConnectionFailed, PublishError
from tests.acceptance.seen import Seen
from tests.acceptance.transports.nats_operator import make_operator
from tests.servers.certificates import Certificates
from tests.servers.plugin import Start
from tests.servers.server import Server

PASSWORD = "p@ss:w/rd %41?#[]&=파발"
"""Every character that a URL would take for something else."""


@pytest.fixture(params=["nats", "jetstream"])
def scheme(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


async def works(url: str) -> None:
    """A message goes through."""
    bus, seen = Bus(url), Seen()

    @bus.handler("todo.new", group="save", delivery="at-most-once")
    async def save(number: int) -> None:
        seen.add(number)

    async with bus.running():
        await bus.publish("todo.new", 7)
        assert [7] == await seen.wait(1)


async def refusal(url: str) -> str:
    """The one line that says why a bus cannot be opened."""
    with pytest.raises((ConnectionFailed, ConfigurationError)) as failed:
        async with Bus(url):
            pass
    text = str(failed.value)
    assert "\n" not in text
    return text


async def test_user_and_password_may_have_any_character(start_nats: Start, scheme: str) -> None:
    """They are percent-encoded in the URL and reach the server as they were; a wrong one is told in one line."""
    server = start_nats(user="누구@shop", password=PASSWORD)
    await works(server.url(scheme))
    text = await refusal(f"{scheme}://other:wr%40ng@127.0.0.1:{server.port}")
    assert "authorization" in text.lower()
    assert "wr@ng" not in text
    assert "wr%40ng" not in text


async def test_a_token_stands_alone_before_the_host(start_nats: Start, scheme: str) -> None:
    """What stands there without a colon is a token; a wrong one, and none, are told in one line without it."""
    server = start_nats(token="s3cret/token")
    await works(server.url(scheme))
    text = await refusal(f"{scheme}://wrong@127.0.0.1:{server.port}")
    assert "authorization" in text.lower()
    assert "wrong@" not in text
    assert "authorization" in (await refusal(f"{scheme}://127.0.0.1:{server.port}")).lower()


@pytest.mark.legs("tls")
async def test_encryption_is_asked_for(start_nats: Start, certificates: Certificates, scheme: str) -> None:
    """With the authority's certificate it works; where it is not trusted, one line refuses it, asked for or not."""
    server = start_nats(certificates=certificates, user="me", password="secret")
    url = server.url(scheme)
    await works(f"{url}?tls=true&ca={certificates.authority}")
    assert "certificate" in (await refusal(f"{url}?tls=true")).lower()
    assert "certificate" in (await refusal(url)).lower()


async def test_a_server_without_encryption_gets_no_credentials(scheme: str) -> None:
    """Whoever asks for encryption sends neither user nor password to a server that offers none."""
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"headers":true}\r\n')
        while data := await reader.read(1000):
            heard.extend(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        text = await refusal(f"{scheme}://me:secret@127.0.0.1:{port}?tls=true")
        assert "secure connection" in text.lower()
    assert b"secret" not in heard


async def test_credentials_are_a_file(start_nats: Start, scheme: str, tmp_path: Path) -> None:
    """A file as ``nsc`` writes it lets its user in; another operator's, and one that is none, are told in one line."""
    operator = make_operator(tmp_path)
    server = start_nats(settings=operator.settings)
    await works(f"{server.url(scheme)}?credentials={operator.credentials}")
    (tmp_path / "other").mkdir()
    other = make_operator(tmp_path / "other")
    assert "Authorization Violation" in await refusal(f"{server.url(scheme)}?credentials={other.credentials}")
    broken = tmp_path / "broken.creds"
    for text in ("", "garbage", operator.credentials.read_text()[:-150], operator.credentials.read_text()[200:]):
        broken.write_text(text)
        told = await refusal(f"{server.url(scheme)}?credentials={broken}")
        assert "credentials" in told
        assert "SU" not in told


async def test_the_next_host_is_taken(start_nats: Start, scheme: str) -> None:
    """Of several hosts in a URL, one that cannot be reached is passed over; with none left, it is told."""
    server = start_nats()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        await works(f"{scheme}://127.0.0.1:{port},127.0.0.1:{server.port}")
        assert str(port) in await refusal(f"{scheme}://127.0.0.1:{port},localhost:{port}")


async def test_another_host_takes_over(start_nats: Start) -> None:
    """When a host goes for good, the connection comes back to another one of the URL."""
    servers = start_nats(), start_nats()
    bus, seen = Bus("nats://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)), Seen()

    @bus.handler("todo.new", group="save", delivery="at-most-once")
    async def save(number: int) -> None:
        seen.add(number)

    async with bus.running():
        await bus.publish("todo.new", 1)
        assert [1] == await seen.wait(1)
        for number, server in enumerate(servers, 2):
            await asyncio.to_thread(server.kill)
            async with asyncio.timeout(30):
                while number not in seen:
                    with suppress(PublishError):  # what was on its way may be lost
                        await bus.publish("todo.new", number, timeout=5.0)
                        await seen.wait(len(seen) + 1)
            await asyncio.to_thread(server.start)


async def test_who_is_not_there_is_told_at_once(scheme: str) -> None:
    """A closed port and an unknown host are one line each, long before the time to connect is over."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{closed.getsockname()[1]}"
        async with asyncio.timeout(4):
            assert "refused" in (await refusal(url)).lower()
    async with asyncio.timeout(4):
        text = await refusal(f"{scheme}://nowhere.invalid")
        assert "nowhere.invalid" in text
        assert "Errno" not in text


async def test_who_does_not_answer_is_given_up(scheme: str) -> None:
    """A server that accepts and says nothing is given up after connect_timeout."""
    quiet = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await quiet.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        text = await refusal(f"{scheme}://127.0.0.1:{port}?connect_timeout=0.3")
        assert "did not answer within 0.3 s" in text
        quiet.set()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("colour=red", "no option 'colour'"),
        ("prefix=a.>", "pattern"),
        ("connect_timeout=0", "connect_timeout"),
        ("tls=maybe", "true or false"),
        ("ca=/nowhere.pem", "tls=true"),
        ("tls=true&ca=/nowhere.pem", "no file '/nowhere.pem'"),
        ("tls=true&certificate=/nowhere.pem", "go together"),
        ("max_body=0", "max_body"),
    ],
)
async def test_bad_options_are_told(scheme: str, options: str, says: str) -> None:
    """Each wrong option is refused by name before anything is connected."""
    assert says in await refusal(f"{scheme}://127.0.0.1:1?{options}")


async def test_bad_hosts_are_told(scheme: str) -> None:
    """A path, an empty host and a port that is none are refused."""
    for url in (f"{scheme}://127.0.0.1/database", f"{scheme}://a,,b", f"{scheme}://a,b:port"):
        assert "bad URL" in await refusal(url) or "no URL" in await refusal(url)


async def test_a_prefix_sets_buses_apart(start_nats: Start, scheme: str) -> None:
    """Two buses with different prefixes on one server share nothing, and one without sees neither's channels."""
    server = start_nats()
    heard = {prefix: Seen() for prefix in ("?prefix=one", "?prefix=two.deep", "")}
    buses = {prefix: Bus(server.url(scheme) + prefix, unrouted="drop") for prefix in heard}
    for prefix, bus in buses.items():

        @bus.handler("todo.>", group="g", delivery="at-most-once")
        async def handle(number: int, seen: Seen = heard[prefix]) -> None:
            seen.add(number)

    async with buses["?prefix=one"].running(), buses["?prefix=two.deep"].running(), buses[""].running():
        for number, bus in enumerate(buses.values()):
            await bus.publish("todo.new", number)
        assert [[0], [1], [2]] == [await seen.wait(1) for seen in heard.values()]


async def test_the_doctor_tells_why(start_nats: Start, scheme: str, tmp_path: Path) -> None:
    """``pabal doctor`` says in one line why a server cannot be used, and what one is that can."""
    server = start_nats(user="me", password=PASSWORD)
    assert f"✓ ok: NATS {server.version}" in await doctor(server.url(scheme), tmp_path)
    wrong = await doctor(f"{scheme}://me:wrong@127.0.0.1:{server.port}", tmp_path, code=1)
    assert 1 == len(wrong.splitlines())
    assert "is not connected" in wrong
    assert "wrong" not in wrong


async def doctor(url: str, folder: Path, *, code: int = 0) -> str:
    """What ``pabal doctor`` prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pabal", "doctor", url, stdout=asyncio.subprocess.PIPE, cwd=folder
    )
    out, _ = await process.communicate()
    assert code == process.returncode
    return out.decode().strip()


async def test_a_server_without_jetstream_is_told(start_nats: Start) -> None:
    """jetstream:// on a server that has none says how to start it; nats:// works there."""
    server: Server = start_nats(jetstream=False)
    assert "-js" in await refusal(server.url("jetstream"))
    await works(server.url("nats"))
