"""All scenarios; each is played on any subject, unless it is for one alone."""

from __future__ import annotations

from tests.faults.scenario import Scenario
from tests.faults.scenarios.freezes import freeze
from tests.faults.scenarios.full_disks import full_disk, limitable, refused_writes, small_disk
from tests.faults.scenarios.kills import kill_all_at_once, kill_in_hand, kill_one_by_one
from tests.faults.scenarios.outages import freeze_server, kill_server, stall_proxy, take_server_away
from tests.faults.scenarios.terms import terminate

# What has to have been seen each time.
KILLS = {"workers killed": 2, "publishers killed": 1, "acknowledged": 10}
FENCED = {"frozen": 1, "fenced": 1, "duplicates": 1}
FAILED = {"troubles": 1, "failed": 6}
REFUSED = {"troubles": 1, "refused": 20}

SCENARIOS = (
    Scenario("kill", "kill -9 of two workers and a publisher", kill_one_by_one, full=10, least=KILLS),
    Scenario("kill-ordered", "the same, in an ordered group", kill_one_by_one, full=10, least=KILLS, ordered=True),
    Scenario("kill-all", "kill -9 of all at once", kill_all_at_once, full=5, least={"all killed": 1}),
    Scenario(
        "kill-all-ordered",
        "the same, in an ordered group",
        kill_all_at_once,
        full=5,
        least={"all killed": 1},
        ordered=True,
    ),
    Scenario("kill-in-hand", "kill -9 in the middle of a message", kill_in_hand, full=5, least={"taken over": 1}),
    Scenario("freeze", "SIGSTOP of a worker beyond its lease, then SIGCONT", freeze, full=5, least=FENCED),
    Scenario("freeze-ordered", "the same, in an ordered group", freeze, full=5, least=FENCED, ordered=True),
    Scenario(
        "term",
        "SIGTERM under load, also twice, and with a handler that outlasts the grace",
        terminate,
        full=3,
        least={"drained": 1, "ended at once": 1, "ended with the grace": 1},
    ),
    Scenario(
        "full-disk",
        "the disk is full",
        full_disk,
        full=3,
        least=REFUSED,
        subject="sqlite",
        setting=small_disk,
        needs="tmpfs",
    ),
    Scenario(
        "refused-writes",
        "the system refuses to write",
        refused_writes,
        full=3,
        least=REFUSED,
        subject="sqlite",
        setting=limitable,
        needs="prlimit",
    ),
    Scenario(
        "kill-server",
        "kill -9 of the server under load, and another start",
        kill_server,
        full=5,
        least={"server killed": 1, "acknowledged": 40},
        wants="server",
    ),
    Scenario(
        "server-away",
        "kill -9 of the server, and another start after 30 s",
        take_server_away,
        full=1,
        lasting=30.0,
        least=FAILED,
        wants="server",
    ),
    Scenario(
        "freeze-server",
        "SIGSTOP of the server for 20 s, then SIGCONT",
        freeze_server,
        full=1,
        lasting=20.0,
        least=FAILED,
        wants="server",
    ),
    Scenario(
        "stall",
        "the server's port is a black hole for 20 s",
        stall_proxy,
        full=1,
        lasting=20.0,
        least=FAILED,
        wants="proxy",
    ),
)
