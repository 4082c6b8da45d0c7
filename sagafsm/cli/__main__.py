"""``python -m sagafsm.cli``."""

from .app import main

main()
