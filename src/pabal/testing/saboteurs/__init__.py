"""Saboteurs: each breaks one thing in a transport, and names the promises that have to notice.

They prove that the conformance kit sees. Each is put before a transport by `Sabotaged`.
"""

from pabal.testing.saboteurs import (  # importing them registers them
    asking,
    burying,
    claiming,
    closing,
    delivering,
    ending,
    mending,
    restarting,
    routing,
    sharing,
    timing,
)
from pabal.testing.saboteurs.modest import LESS, Modest, modest
from pabal.testing.saboteurs.one_line import OneLine
from pabal.testing.saboteurs.prefetching import Prefetching
from pabal.testing.saboteurs.saboteur import SABOTEURS, Sabotaged, Saboteur
from pabal.testing.saboteurs.tampering import TamperedSubscription, TamperedTransport

__all__ = [
    "LESS",
    "SABOTEURS",
    "Modest",
    "OneLine",
    "Prefetching",
    "Sabotaged",
    "Saboteur",
    "TamperedSubscription",
    "TamperedTransport",
    "asking",
    "burying",
    "claiming",
    "closing",
    "delivering",
    "ending",
    "mending",
    "modest",
    "restarting",
    "routing",
    "sharing",
    "timing",
]
