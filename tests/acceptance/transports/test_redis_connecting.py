"""Getting to a Redis: credentials, encryption, hosts, databases, and one clear line where it does not work."""

import asyncio
import json
import socket
from contextlib import closing
from typing import Any

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from pabal import Bus, ConfigurationError, ConnectionFailed, NoResponders, PabalError
from pabal.cli.program import app
from tests.acceptance.seen import Seen
from tests.servers.certificates import Certificates
from tests.servers.plugin import Start
from tests.servers.ports import Port

SCHEMES = ("redis+pubsub", "redis+streams")


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def goes_through(url: str, channel: str = "a") -> None:
    """A message reaches a handler, and a request its answer."""
    bus, seen = Bus(url, dead_letters="memory://"), Seen()

    @bus.handler(channel, group="g", delivery="at-most-once")
    async def handle(number: int) -> int:
        seen.add(number)
        return number + 1

    async with bus.running():
        await bus.publish(channel, 1)
        await seen.wait(1)
        assert 3 == await bus.request(channel, 2, reply=int)


async def refusal(url: str) -> str:
    """The one line with which a URL fails."""
    with pytest.raises(PabalError) as caught:
        async with Bus(url, dead_letters="memory://"):
            pass
    assert isinstance(caught.value, ConnectionFailed | ConfigurationError)
    text = str(caught.value)
    assert "\n" not in text
    return text


async def test_user_and_password(start_redis: Start, scheme: str) -> None:
    """Any character may be in them; a wrong or missing password is one line, in which it does not stand."""
    server = start_redis(user="som:e", password="p@ss/w:rd")
    await goes_through(server.url(scheme))
    at = f"127.0.0.1:{server.port}"
    assert f"{scheme}://som%3Ae:***@{at}: invalid username-password pair" in await refusal(
        f"{scheme}://som%3Ae:wr0ng@{at}"
    )
    assert "Authentication required" in await refusal(f"{scheme}://{at}")
    assert "write user:password@host" in await refusal(f"{scheme}://token@{at}")


async def test_password_of_the_default_user(start_redis: Start, scheme: str) -> None:
    """A password alone is the default user's, as Redis itself writes it."""
    await goes_through(start_redis(password="secret").url(scheme))


@pytest.mark.legs("tls")
async def test_encryption(start_redis: Start, certificates: Certificates, scheme: str) -> None:
    """With the authority's certificate all goes through; without it, or without TLS, one line says what is wrong."""
    server = start_redis(certificates=certificates)
    url = server.url(scheme)
    await goes_through(f"{url}?tls=true&ca={certificates.authority}")
    assert "certificate verify failed" in (await refusal(f"{url}?tls=true")).lower()
    assert "does it want tls=true?" in await refusal(url)
    assert "there is no file" in await refusal(f"{url}?tls=true&ca=/nowhere.pem")
    assert "go with tls=true" in await refusal(f"{url}?ca={certificates.authority}")


async def test_who_is_not_there(scheme: str) -> None:
    """A closed port and an unknown host are one line each."""
    with closing(Port()) as port:
        assert f"{scheme}://127.0.0.1:{port.number}: Connection refused" == await refusal(
            f"{scheme}://127.0.0.1:{port.number}"
        )
    assert (await refusal(f"{scheme}://no-such-host.invalid")).startswith(f"{scheme}://no-such-host.invalid: ")


async def test_who_does_not_answer(scheme: str) -> None:
    """A port that takes connections and says nothing is given up in the time that the URL allows."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}?connect_timeout=0.3"
        assert "no answer within 0.3 s" in await refusal(url)


async def test_several_hosts(start_redis: Start, scheme: str) -> None:
    """The first that takes writes is used: neither one that is not there nor a replica."""
    server = start_redis()
    replica = start_redis(settings={"replicaof": f"127.0.0.1 {server.port}"})
    with closing(Port()) as nobody:
        hosts = f"127.0.0.1:{nobody.number},127.0.0.1:{replica.port},127.0.0.1:{server.port}"
        await goes_through(f"{scheme}://{hosts}")
    assert "it is a replica, which takes no writes" in await refusal(replica.url(scheme))


async def test_databases_and_prefixes(start_redis: Start, scheme: str) -> None:
    """A number in the path is the database, a prefix stands before every name: nothing is anywhere else."""
    server = start_redis()
    await goes_through(f"{server.url(scheme)}/3?prefix=shop:eu:")
    first: Any = Redis.from_url(server.url("redis"))
    third: Any = Redis.from_url(f"{server.url('redis')}/3")
    async with first, third:
        assert [] == await first.keys("*")
        assert [] == [key for key in await third.keys("*") if not key.startswith(b"shop:eu:")]
        assert (scheme == "redis+streams") == bool(await third.exists("shop:eu:a"))


async def test_requests_stay_in_their_database(start_redis: Start) -> None:
    """Pub/Sub, by which requests to readers of streams go, knows no databases: theirs are apart all the same."""
    server, seen = start_redis(), Seen()
    bus = Bus(f"{server.url('redis+streams')}/1", dead_letters="memory://")

    @bus.handler("a", group="g")
    async def handle(number: int) -> int:
        seen.add(number)
        return number

    async with bus.running(), Bus(server.url("redis+streams"), dead_letters="memory://") as other:
        with pytest.raises(NoResponders):
            await other.request("a", 1, reply=int)
        assert 2 == await bus.request("a", 2, reply=int)
    assert [2] == seen


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("/x", "a database is a number"),
        ("?prefix=a*", "prefix is letters"),
        ("?max_body=0", "max_body is 1 to"),
        ("?connect_timeout=0", "connect_timeout is more than 0"),
        ("?nonsense=1", "has no option 'nonsense'"),
    ],
)
async def test_bad_urls(scheme: str, query: str, why: str) -> None:
    """What cannot be is said before anything is connected."""
    assert why in await refusal(f"{scheme}://127.0.0.1:1{query}")


async def test_bad_options_of_one() -> None:
    """Each has options of its own."""
    for url, why in (
        ("redis+pubsub://h?overflow=0", "overflow is at least 1"),
        ("redis+pubsub://h?claim=0", "claim at least 1"),
        ("redis+streams://h?lease=0", "lease is more than 0"),
        ("redis+pubsub://h?lease=3", "has no option 'lease'"),
        ("redis+streams://h:99999,i", "write redis+streams://host:6379"),
    ):
        assert why in await refusal(url)


async def test_a_cluster_is_refused(start_redis: Start, scheme: str) -> None:
    """The nodes of a cluster know nothing of each other's readers: that is said at the start."""
    with closing(Port()) as port:
        server = start_redis(settings={"cluster-enabled": "yes", "cluster-port": str(port.number)})
        assert "is a Redis Cluster" in await refusal(server.url(scheme))


def examined(url: str) -> dict[str, Any]:
    """What ``pabal doctor`` says."""
    result = CliRunner().invoke(app, ["doctor", url, "--json"])
    found: dict[str, Any] = json.loads(result.output)
    return found


@pytest.mark.parametrize(
    ("options", "durable", "said"),
    [
        ({}, True, "before it answers (appendfsync always)"),
        ({"settings": {"appendfsync": "everysec"}}, True, "may take the last second (appendfsync everysec)"),
        ({"appendonly": False}, False, "switch on its log, appendonly yes"),
        ({"settings": {"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}}, False, "maxmemory-policy noeviction"),
        ({"settings": {"rename-command": 'CONFIG ""'}}, True, "does not tell how often it writes"),
    ],
)
def test_the_doctor_tells_what_weakens_it(
    start_redis: Start, options: dict[str, Any], durable: bool, said: str
) -> None:
    """Version, what it can do here, and what a restart or a loss of power would take; forbidden commands included."""
    server = start_redis(**options)
    found = examined(server.url("redis+streams"))
    assert found["connected"] is True
    assert found["capabilities"]["durable"] is durable
    texts = [finding["text"] for finding in found["findings"]]
    assert server.version in texts[0]
    assert any(said in text for text in texts), texts


async def test_the_doctor_tells_of_replicas(start_redis: Start) -> None:
    """What they have not got yet is gone when one of them takes over."""
    server = start_redis()
    start_redis(settings={"replicaof": f"127.0.0.1 {server.port}"})
    async with Redis.from_url(server.url("redis")) as plain, asyncio.timeout(20):
        while 1 != (await plain.info("replication"))["connected_slaves"]:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
    found = await asyncio.to_thread(examined, server.url("redis+streams"))
    assert "replicas: 1" in [finding["text"] for finding in found["findings"]]
    assert any("a failover may take" in each["text"] for each in found["findings"] if each["level"] == "weak")


def test_the_doctor_tells_why_it_is_not_connected(start_redis: Start) -> None:
    """The one line of the error, without the password."""
    server = start_redis(password="secret")
    found = examined(f"redis+pubsub://:wr0ng@127.0.0.1:{server.port}")
    assert found["connected"] is False
    assert "wr0ng" not in str(found)
    assert "invalid username-password pair" in str(found["error"])


def test_the_doctor_tells_that_pubsub_keeps_nothing(start_redis: Start) -> None:
    """And how far a slow reader may lie behind before the server disconnects it."""
    server = start_redis()
    texts = [finding["text"] for finding in examined(server.url("redis+pubsub"))["findings"]]
    assert any("Pub/Sub keeps nothing" in text for text in texts)
    assert any("33,554,432 bytes" in text for text in texts)


async def test_few_rights_are_enough(start_redis: Start, scheme: str) -> None:
    """A user without CONFIG, INFO, ROLE and CLIENT works on its own names; one without scripts is told so."""
    server = start_redis()
    plain: Any = Redis.from_url(server.url("redis"))
    async with plain:
        rights = ("allchannels", "~shop:*", "+@all", "-@admin", "-@dangerous", "-client", "-role")
        await plain.execute_command("ACL", "SETUSER", "few", "on", ">secret", *rights)
        await plain.execute_command("ACL", "SETUSER", "none", "on", ">secret", *rights, "-@scripting")
    at = f"secret@127.0.0.1:{server.port}?prefix=shop:"
    await goes_through(f"{scheme}://few:{at}")
    bus = Bus(f"{scheme}://none:{at}", dead_letters="memory://")
    bus.handler("a", group="g", delivery="at-most-once")(_ignore)
    with pytest.raises(PabalError, match="NOPERM"):
        async with bus.running():
            await bus.publish("a", 1)


async def _ignore(body: bytes) -> None: ...
