import inspect
import pickle
import re

import msgspec
import pytest

from pabal.model import errors
from pabal.model.capabilities import Capabilities, Order, Settles
from pabal.model.errors import PabalError, PublishError, RequestFailed
from pabal.model.transport import Receipt


def drawn() -> dict[str, str]:
    """The tree at the top of the file: each class's parent."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"(?P<lead>(?:│   |    )*)(?P<branch>├── |└── )?(?P<name>[A-Z]\w+)(?:\s{2,}|$)", line):
            depth = len(match["lead"]) // 4 + bool(match["branch"])
            path[depth:] = [match["name"]]
            parents[match["name"]] = path[depth - 1] if depth else "Exception"
    return parents


def test_the_drawn_tree_is_the_tree() -> None:
    """Every error is in the docstring, under the class it derives from, and nothing else is."""
    classes = {name: cls for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, Exception)}
    assert drawn() == {name: cls.__base__.__name__ for name, cls in classes.items() if cls.__base__}
    assert len(classes) >= 12


def test_every_error_is_explained() -> None:
    """In the tree by a line, in the class by a docstring of its own."""
    for name in drawn():
        assert vars(getattr(errors, name)).get("__doc__"), name


def test_every_error_is_pabals() -> None:
    """One except clause catches them all."""
    assert all(issubclass(getattr(errors, name), PabalError) for name in drawn())


def test_a_publish_error_tells_which_failed() -> None:
    """Its receipts are kept in their order."""
    receipts = [Receipt("1"), Receipt("2", error=PabalError("full"))]
    error = PublishError("one of 2 was not taken", receipts=receipts)
    assert error.receipts == tuple(receipts)
    assert str(error) == "one of 2 was not taken"
    assert PublishError("x").receipts == ()


def test_a_failed_request_tells_how() -> None:
    """The type and the text of the handler's exception, apart and together."""
    error = RequestFailed("ValueError", "no such user")
    assert (error.type, error.message, str(error)) == ("ValueError", "no such user", "ValueError: no such user")


@pytest.mark.parametrize(
    "error",
    [RequestFailed("ValueError", "no"), PublishError("x", receipts=[Receipt("1")])],
    ids=lambda e: type(e).__name__,
)
def test_errors_cross_processes(error: PabalError) -> None:
    """A process pool hands an error on with all that it has."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_capabilities_are_frozen() -> None:
    """What a transport declared at its opening holds until it is closed."""
    declared = Capabilities(groups=True, settles=Settles.EACH)
    with pytest.raises(AttributeError):
        declared.groups = False  # type: ignore[misc]
    assert hash(declared) == hash(Capabilities(groups=True, settles=Settles.EACH))


def test_capabilities_are_declared_one_by_one() -> None:
    """By name, and whatever a transport does not declare it does not do."""
    with pytest.raises(TypeError):
        Capabilities(True)  # type: ignore[call-arg]
    nothing = msgspec.structs.asdict(Capabilities())
    assert {False, Settles.NONE, Order.NONE, None} == set(nothing.values())


def test_every_capability_is_explained() -> None:
    """Each flag is a promise, so the docstring says which."""
    explained = set(re.findall(r"^\s+(\w+): ", inspect.getdoc(Capabilities) or "", re.MULTILINE))
    assert explained == set(Capabilities.__struct_fields__)
