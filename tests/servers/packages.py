"""The programs that the tests need and no lock file can bring; run as a script it gets the missing ones.

Standard library only. As root on Debian it installs them by apt-get, elsewhere it says how to get them and
fails. The environment variable WITHOUT names those to leave out, PABAL_TEST_<NAME> gives the path of one.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True)
class Program:
    """One program: its name in WITHOUT, where it may be, and how to get it."""

    name: str
    commands: tuple[str, ...]  # names in the PATH; the first found serves
    debian: str
    elsewhere: str
    places: tuple[str, ...] = ()  # patterns of paths outside the PATH, from /

    @property
    def variable(self) -> str:
        return f"PABAL_TEST_{self.name.upper()}"

    @property
    def advice(self) -> str:
        return (
            f"{self.name} is missing. Debian: apt-get install --no-install-recommends {self.debian}. "
            f"Elsewhere: {self.elsewhere}. Or give its path as {self.variable}, "
            f"or leave it out: WITHOUT={self.name}."
        )

    def find(self) -> str | None:
        """The program's path, or None when it is not on this machine."""
        if given := os.environ.get(self.variable):
            return shutil.which(given)
        outside = [str(path) for place in self.places for path in sorted(Path("/").glob(place))]
        candidates = [*self.commands, *outside]
        return next((found for found in map(shutil.which, candidates) if found), None)


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
    )
}


def left_out() -> frozenset[str]:
    """The names in WITHOUT. Raises ValueError for one that is not known."""
    names = frozenset(os.environ.get("WITHOUT", "").replace(",", " ").split())
    if unknown := names - PROGRAMS.keys():
        raise ValueError(f"WITHOUT names {', '.join(sorted(unknown))}; known are {', '.join(sorted(PROGRAMS))}")
    return names


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
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if without:
        print(f"left out, as WITHOUT says: {', '.join(sorted(without))}")
    missing = [program for program in PROGRAMS.values() if program.name not in without and not program.find()]
    if missing and may_install():
        packages = sorted(program.debian for program in missing)
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
