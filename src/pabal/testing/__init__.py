"""For tests: the crash-point explorer for your handlers, time that tests can turn, and the conformance kit.

`Explorer` runs a scenario with something else going wrong each time. The kit checks whoever writes a transport:

    from pabal.testing import UrlSubject, declared, promises

    def subject():
        return UrlSubject("mine://localhost/test", virtual=False)

    for promise in promises(await declared(subject())):
        await promise.check(subject())

Nothing in here needs pytest; under pytest, `pabal.testing.plugin` makes a test of each promise.
"""

from pabal.model.clock import Clock, SystemClock, VirtualClock
from pabal.testing import topics as topics  # importing them registers their promises
from pabal.testing.broken import PromiseBroken
from pabal.testing.exploring import Event, Explorer, Fault, Plan, Point, Run, ScenarioBroken, Trace
from pabal.testing.promise import PROMISES, Need, Promise, not_asked, promise, promises
from pabal.testing.stage import Reader, Stage
from pabal.testing.subject import Subject, UrlSubject, declared

__all__ = [
    "PROMISES",
    "Clock",
    "Event",
    "Explorer",
    "Fault",
    "Need",
    "Plan",
    "Point",
    "Promise",
    "PromiseBroken",
    "Reader",
    "Run",
    "ScenarioBroken",
    "Stage",
    "Subject",
    "SystemClock",
    "Trace",
    "UrlSubject",
    "VirtualClock",
    "declared",
    "not_asked",
    "promise",
    "promises",
]
