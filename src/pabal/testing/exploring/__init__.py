"""The crash-point explorer: see `Explorer`."""

from pabal.testing.exploring.explorer import Explorer, ScenarioBroken
from pabal.testing.exploring.plan import Fault, Plan
from pabal.testing.exploring.run import Run
from pabal.testing.exploring.trace import Event, Point, Trace

__all__ = ["Event", "Explorer", "Fault", "Plan", "Point", "Run", "ScenarioBroken", "Trace"]
