"""``python -m pabal`` is the program ``pabal``."""

from pabal.cli import main

main()
