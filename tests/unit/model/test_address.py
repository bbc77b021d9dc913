from dataclasses import dataclass
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pabal.model.address import Address
from pabal.model.errors import ConfigurationError
from tests.unit.model.messages import raised

SECRET = "Zq7Xw9"


@dataclass(frozen=True)
class Options:
    lease: float = 30.0
    window: int = 100
    wal: bool = True
    table: str | None = None
    share: bool | None = None


@dataclass(frozen=True)
class Bare:
    pass


@dataclass(frozen=True)
class Odd:
    hosts: list[str]


def test_parts() -> None:
    """A URL is taken apart, with its name, password and path percent-decoded."""
    address = Address("postgresql://us%40er:p%3Aw%2F@db.example:5433/my%20db?lease=5")
    assert (address.scheme, address.username, address.password) == ("postgresql", "us@er", "p:w/")
    assert (address.netloc, address.port, address.path) == ("db.example:5433", 5433, "/my db")
    assert dict(address.query) == {"lease": "5"}


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///todo.db", "/todo.db"),
        ("sqlite:////tmp/todo.db", "//tmp/todo.db"),
        ("memory://", ""),
        ("memory://name", ""),
    ],
)
def test_urls_without_a_server(url: str, path: str) -> None:
    """Files and names of memory are addresses too."""
    assert (Address(url).path, Address(url).port, Address(url).password) == (path, None, None)


def test_several_hosts() -> None:
    """A cluster's hosts stay together, without the password, and no port stands for all."""
    address = Address(f"kafka://user:{SECRET}@a:9092,b:9093/x")
    assert (address.netloc, address.port, address.password) == ("a:9092,b:9093", None, SECRET)
    assert str(address) == "kafka://user:***@a:9092,b:9093/x"


def test_options() -> None:
    """Parameters become the fields of a frozen dataclass, each of its type, the rest by default."""
    assert Address("x://h?lease=0.5&window=7&wal=no&table=t&share=TRUE").options(Options) == Options(
        lease=0.5, window=7, wal=False, table="t", share=True
    )
    assert Address("x://h").options(Options) == Options()
    assert Address("x://h?table=").options(Options) == Options(table="")


def test_an_unknown_option_lists_the_known() -> None:
    """A typo is answered with what there is."""
    with pytest.raises(ConfigurationError, match=r"'leese'.*lease, share, table, wal, window"):
        Address("x://h?leese=1").options(Options)
    with pytest.raises(ConfigurationError, match="its options are: none"):
        Address("x://h?a=1").options(Bare)


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ("lease=soon", "number"),
        ("lease=-1", "number"),
        ("lease=inf", "number"),
        ("lease=nan", "number"),
        ("lease=", "number"),
        ("window=1.5", "whole number"),
        ("window=" + "9" * 5000, "whole number"),
        ("wal=maybe", "true or false"),
        ("share=", "true or false"),
    ],
    ids=lambda value: value[:12],
)
def test_a_value_of_another_type(option: str, kind: str) -> None:
    """The error names the option, its value and what it should be."""
    with pytest.raises(ConfigurationError, match=rf"option {option.partition('=')[0]}=.* is no {kind}"):
        Address(f"x://h?{option}").options(Options)


def test_an_option_of_no_known_type_is_the_transports_mistake() -> None:
    """Options are plain values; anything else is a mistake of whoever wrote the transport."""
    with pytest.raises(TypeError, match="options are bool"):
        Address("x://h?hosts=a").options(Odd)


@pytest.mark.parametrize(
    "url", ["x://h?a=1&a=2", "x://h?a", "x://h:port/", "x://h:99999/", "x://[h/", "", "todo.db", ":", "x:/h"]
)
def test_bad_urls(url: str) -> None:
    """What is no URL is refused in pabal's own words."""
    with pytest.raises(ConfigurationError):
        Address(url)


@pytest.mark.parametrize("url", [None, 5, b"memory://"])
def test_a_url_is_text(url: object) -> None:
    """Another type is refused in the same words."""
    with pytest.raises(ConfigurationError, match="no URL"):
        Address(url)  # type: ignore[arg-type]


PASSWORDS = st.builds(
    lambda before, after: f"{before}{SECRET}{after}",
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.text(st.characters(codec="utf-8") | st.sampled_from("@:/?#[]%,&= \\"), max_size=8),
)


@given(PASSWORDS)
def test_an_encoded_password_is_known_and_never_shown(password: str) -> None:
    """However odd its characters, the transport gets the password, and no log line does."""
    address = Address(f"x://user:{quote(password, safe='')}@h1:1,h2:2/path?lease=soon")
    assert address.password == password
    assert SECRET not in f"{address} {address!r} {address.netloc} {vars(address)['query']}"
    with pytest.raises(ConfigurationError) as caught:
        address.options(Options)
    assert SECRET not in str(caught.value)


@given(
    PASSWORDS,
    st.sampled_from(["", "user"]),
    st.sampled_from(["h", "h:port", "[h", "h:99999", "a:1,b:2", ""]),
    st.sampled_from(["", "/p", "/p?a=1&a=2", "?b", "#f"]),
)
def test_a_raw_password_is_never_shown(password: str, user: str, hosts: str, rest: str) -> None:
    """Whoever forgets to encode a password gets an error or an address, and neither shows it."""
    url = f"x://{user}:{password}@{hosts}{rest}"
    error = raised(lambda: Address(url))
    if error is None:
        assert SECRET not in f"{Address(url)} {Address(url)!r}"
    else:
        assert SECRET not in str(error)
        assert error.__suppress_context__ or error.__context__ is None


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """No other error than ConfigurationError comes out."""
    for url in (text, f"x://{text}", f"x://u:p@{text}"):
        error = raised(lambda url=url: Address(url).options(Options))  # type: ignore[misc]
        assert error is None or (isinstance(error, ConfigurationError) and str(error))


def test_a_password_among_the_parameters_is_not_shown() -> None:
    """Some clients take it as a parameter; an unknown option's value is not repeated either."""
    address = Address(f"x://h?password={SECRET}&lease=1")
    assert SECRET not in f"{address} {address!r}"
    with pytest.raises(ConfigurationError) as caught:
        address.options(Options)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", [f"u:{SECRET}@h", f"nats://{SECRET}@h:4222", f"u:a://{SECRET}@h", f"x://h:{SECRET}/@"])
def test_odd_places_of_a_secret_are_not_shown(url: str) -> None:
    """A URL without its scheme, a token in the user's place, a password that looks like a URL."""
    try:
        shown = f"{Address(url)} {Address(url)!r}"
    except ConfigurationError as error:
        shown = str(error)
    assert SECRET not in shown
