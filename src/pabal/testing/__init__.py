"""Checks for whoever writes a transport: the conformance kit.

    from pabal.testing import UrlSubject, promises

    for promise in promises(capabilities):
        await promise.check(UrlSubject(lambda: "mine://localhost/test", virtual=False))

Nothing in here needs pytest.
"""

from pabal.testing import topics as topics  # importing them registers their promises
from pabal.testing.broken import PromiseBroken
from pabal.testing.promise import PROMISES, Need, Promise, not_asked, promise, promises
from pabal.testing.stage import Reader, Stage
from pabal.testing.subject import Subject, UrlSubject

__all__ = [
    "PROMISES",
    "Need",
    "Promise",
    "PromiseBroken",
    "Reader",
    "Stage",
    "Subject",
    "UrlSubject",
    "not_asked",
    "promise",
    "promises",
]
