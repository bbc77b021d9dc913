"""``pabal worker --processes``: the processes of one supervisor share the work, are replaced and end together."""

import asyncio
import fcntl
import os
import signal
from pathlib import Path

import pytest

from pabal import Bus
from pabal.cli import supervising
from pabal.cli.processes import WorkerCommand
from pabal.cli.supervising import in_a_row, pause_after
from tests.acceptance.cli import shapes
from tests.acceptance.cli.program import Program, Running, parse

BOX = "sqlite:///box.db"

TEAM = '''
import asyncio
import fcntl
import os
import signal
import time
from pathlib import Path

from pabal import Bus, Message

bus = Bus(f"sqlite:///box.db?lease={os.environ.get('LEASE', '30')}")
alive = os.open("alive", os.O_WRONLY | os.O_CREAT)
fcntl.flock(alive, fcntl.LOCK_SH)  # until this process is gone
print("pid", os.getpid())


@bus.handler("jobs", group="team")
async def job(message: Message) -> None:
    """Ends once the file `go` is there."""
    print("took", message.id)
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    print("did", message.id)
    Path(f"did-{message.id}").touch()


@bus.handler("crash", group="team")
async def crash(message: Message) -> None:
    """Kills its process the first time."""
    if not Path("crashed").exists():
        Path("crashed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    print("survived", message.id)


@bus.handler("stuck", group="team")
async def stuck(message: Message) -> None:
    print("took", message.id)
    await asyncio.Event().wait()


@bus.handler("hogging", group="team")
async def hog(message: Message) -> None:
    """Leaves nothing else a turn."""
    print("took", message.id)
    while True:
        time.sleep(1)
'''


LINGERING = """
import threading

from team import bus

threading.Thread(target=threading.Event().wait).start()
"""


@pytest.fixture
def team(pabal: Program) -> Program:
    """The module `team`, and its groups."""
    (pabal.folder / "team.py").write_text(TEAM)

    async def make_groups() -> None:
        async with Bus(f"sqlite:///{pabal.folder}/box.db") as bus:
            for channel in ("jobs", "crash", "stuck", "hogging"):
                async with bus.consumer(channel, group="team"):
                    pass

    asyncio.run(make_groups())
    return pabal


def started(team: Program, *options: str, count: int = 2, **environment: str) -> tuple[Running, dict[str, int]]:
    """A supervisor whose processes are all running, and their pids by the beginning of their lines."""
    supervisor = team.start("worker", "team:bus", "--processes", str(count), *options, environment=environment)
    pids: dict[str, int] = {}
    running = 0
    while running < count:
        line = supervisor.line("")
        running += "running" in line
        if "pid" in line:
            prefix, _, pid = line.rpartition("pid ")
            pids[prefix.strip() or str(len(pids))] = int(pid)
    return supervisor, pids


def publish(team: Program, channel: str, count: int = 1) -> list[str]:
    receipts = team.lines(shapes.Receipt, "publish", BOX, channel, "job", "--count", str(count))
    return [receipt.id for receipt in receipts]


def leased(team: Program) -> int:
    """How many jobs the processes have in hand."""
    (group,) = (each for each in team.lines(shapes.Group, "groups", "list", BOX) if each.channel == "jobs")
    return group.leased


def seen(supervisor: Running, *wanted: str) -> list[str]:
    """The lines on standard output up to where each of `wanted` was in one, in whatever order."""
    lines: list[str] = []
    while not all(any(each in line for line in lines) for each in wanted):
        lines.append(supervisor.line(""))
    return lines


def all_gone(folder: Path) -> None:
    """Return once no process of the team lives."""
    with (folder / "alive").open("w") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_one_signal_drains_them_all(number: signal.Signals, team: Program) -> None:
    """What runs in any of them is finished, each reports under its number, and it is no failure."""
    supervisor, pids = started(team)
    assert {"[1]", "[2]"} == set(pids)
    published = publish(team, "jobs", 20)
    seen(supervisor, "[1] took", "[2] took")
    while leased(team) < 7:  # in both something is at hand behind what runs, of which they hold 5 at most
        pass
    supervisor.process.send_signal(number)
    supervisor.note("draining all processes")
    while leased(team) > 2:  # until both have given back what has not begun
        pass
    (team.folder / "go").touch()
    out, err = supervisor.end()
    did = [line.split() for line in out.splitlines() if " did " in line]
    assert {"[1]", "[2]"} == {number for number, _, _ in did}
    assert set(published) > {id for _, _, id in did}
    assert {"[1]", "[2]"} == {line.split()[0] for line in out.splitlines() if "drained in" in line}
    assert "2 processes drained\n" == err
    all_gone(team.folder)


def test_a_process_that_dies_is_replaced(team: Program) -> None:
    """It is said which one and why; its message comes to another after the lease."""
    supervisor, pids = started(team, LEASE="1")
    (published,) = publish(team, "crash")
    died = supervisor.note("pabal: process")
    assert "was killed by SIGKILL after" in died
    assert died.endswith("another one starts in 0.5 s")
    number = died.split()[2]
    lines = seen(supervisor, f"[{number}] pid", f"survived {published}")
    assert int(next(line for line in lines if "pid" in line).split()[-1]) not in pids.values()
    supervisor.process.terminate()
    supervisor.end()


def test_one_process_can_be_drained_by_itself(team: Program) -> None:
    """A signal to one of them drains it, however often it comes, and it is replaced."""
    supervisor, pids = started(team)
    (published,) = publish(team, "jobs")
    took = supervisor.line("took").split()[0]
    for _ in range(3):
        os.kill(pids[took], signal.SIGTERM)
    (team.folder / "go").touch()
    assert f"{took} did {published}" == supervisor.line("did")
    assert "ended with exit code 0" in supervisor.note("pabal: process")
    assert took == supervisor.line("is running").split()[0]
    supervisor.process.terminate()
    supervisor.end()


def test_a_signal_to_all_of_them_drains(team: Program) -> None:
    """Service managers signal every process of a service: that counts as one signal."""
    supervisor, pids = started(team)
    (published,) = publish(team, "jobs")
    supervisor.line("took")
    for pid in (supervisor.process.pid, *pids.values()):
        os.kill(pid, signal.SIGTERM)
    supervisor.note("draining all processes")
    (team.folder / "go").touch()
    assert f"did {published}" in supervisor.end()[0]


@pytest.mark.parametrize("channel", ["stuck", "hogging"])
def test_a_second_signal_ends_them_at_once(channel: str, team: Program) -> None:
    """Even one that leaves its event loop no turn; it is a failure, and it is said whose."""
    supervisor, _ = started(team)
    publish(team, channel)
    took = supervisor.line("took").split()[0]
    supervisor.process.terminate()
    supervisor.note("draining all processes")
    supervisor.process.terminate()
    _, err = supervisor.end(1)
    assert f"process {took.strip('[]')} ended with exit code 1, not all of its work done" in err
    all_gone(team.folder)


def test_a_second_signal_ends_what_lingers_after_its_drain(team: Program) -> None:
    """A thread that somebody's code has left behind keeps no process from ending."""
    (team.folder / "lingering.py").write_text(LINGERING)
    supervisor = team.start("worker", "lingering:bus", "--processes", "1")
    supervisor.line("is running")
    supervisor.process.terminate()
    supervisor.line("drained in")
    supervisor.process.terminate()
    assert "process 1 ended with exit code 1" in supervisor.end(1)[1]
    all_gone(team.folder)


@pytest.mark.parametrize("channel", ["jobs", "stuck", "hogging"])
def test_no_process_outlives_its_supervisor(channel: str, team: Program) -> None:
    """A supervisor that is killed takes its processes with it, whatever they do."""
    supervisor, _ = started(team)
    publish(team, channel)
    supervisor.line("took")
    supervisor.process.kill()
    supervisor.process.wait()
    all_gone(team.folder)


def test_wrong_usage_stops_all_with_its_exit_code(team: Program) -> None:
    """What cannot start is not started for ever."""
    out, err = team.outcome("worker", "team:nothing", "--processes", "2", code=2)
    assert "[1] pabal: module team has no 'nothing'; its buses are bus" in err.splitlines()
    assert "[1] pid" in out
    assert "pabal: 3 times in a row a process could not start: all end" in err.splitlines()


def test_a_slow_start_is_no_good_run(team: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot start is given up although each try takes as long as a process that ran well."""
    monkeypatch.setattr(supervising, "WELL", 0.0)
    monkeypatch.chdir(team.folder)
    assert 2 == asyncio.run(supervising.supervise(WorkerCommand(["team:nothing"]), 2))


def test_a_process_that_fails_at_once_is_started_ever_later(pabal: Program) -> None:
    """A server that is away is not run against; a signal between two starts is heard."""
    (pabal.folder / "fails.py").write_text("raise OSError('away')\n")
    supervisor = pabal.start("worker", "fails:bus", "--processes", "1")
    for pause in ("0.5 s", "1 s"):
        assert "[1] pabal: fails cannot be imported: OSError: away (fails.py:1 <module>)" == supervisor.note("away")
        assert supervisor.note("pabal: process 1 ended with exit code 1 after").endswith(f"starts in {pause}")
    supervisor.process.terminate()
    out, err = supervisor.end()
    assert "" == out
    assert "draining all processes; another signal ends them at once\n" in err
    assert err.endswith("1 process drained\n")


def test_the_wait_before_a_new_start_grows_and_is_forgotten() -> None:
    """It doubles up to half a minute; a process that ran well begins anew."""
    assert [0.5, 1.0, 2.0, 16.0, 30.0, 30.0] == [pause_after(failures) for failures in (1, 2, 3, 6, 7, 5000)]
    assert [4, 1] == [in_a_row(3, 9.9), in_a_row(3, 10.0)]


def test_json_says_the_number_inside(team: Program) -> None:
    """Standard output stays one JSON object a line; the handlers' own prints are theirs."""
    supervisor, _ = started(team, "--json")
    supervisor.process.terminate()
    drained = [parse(line, shapes.Drained) for line in supervisor.end()[0].splitlines()]
    assert [1, 2] == sorted(line.process for line in drained if isinstance(line.process, int))


def test_a_reader_that_leaves_stops_no_work(team: Program) -> None:
    """Output that nobody takes is let go; messages are handled all the same."""
    supervisor, _ = started(team)
    (team.folder / "go").touch()
    supervisor.out.close()
    published = publish(team, "jobs", 20)
    while any(group.ready or group.leased for group in team.lines(shapes.Group, "groups", "list", BOX)):
        pass
    assert all((team.folder / f"did-{id}").exists() for id in published)
    supervisor.process.terminate()
    assert 0 == supervisor.process.wait(60)


def test_a_line_is_never_torn(pabal: Program) -> None:
    """However the processes print, each line comes whole, with its number before it."""
    (pabal.folder / "chatty.py").write_text(
        "import sys\n"
        "for number in range(300):\n"
        "    for part in ('many ', 'words ', 'of one ', 'line', '\\n'):\n"
        "        sys.stdout.write(part); sys.stdout.flush()\n"
        "sys.stdout.write('x' * 300_000 + '\\n')\n"
        "from pabal import Bus\n"
        "bus = Bus('memory://')\n"
        "@bus.handler('jobs', group='g')\n"
        "async def job(body: str) -> None: pass\n"
    )
    supervisor = pabal.start("worker", "chatty:bus", "--processes", "3")
    numbered = [f"[{number}] " for number in (1, 2, 3)]
    lines = seen(supervisor, *(f"{number}chatty:bus is running" for number in numbered))
    supervisor.process.terminate()
    supervisor.end()
    chat = [line for line in lines if " is running " not in line]
    assert {line for line in chat if len(line) < 1000} == {f"{number}many words of one line" for number in numbered}
    assert [300_004] * 3 == [len(line) for line in chat if len(line) >= 1000]


def test_the_supervisor_itself_loads_no_module_of_the_users(team: Program) -> None:
    """What a module opens at its import belongs to the processes that use it."""
    supervisor, pids = started(team, count=1)
    assert [supervisor.process.pid] != list(pids.values())
    files = Path(f"/proc/{supervisor.process.pid}/fd")
    if not files.exists():
        pytest.skip("this system has no /proc")
    assert "alive" not in {file.resolve().name for file in files.iterdir()}
    supervisor.process.terminate()
    supervisor.end()
