"""Runs the checks of one SDK: each is a function, each failure is shown, and one failure fails the run."""

import os
import sys
import traceback

URL = os.environ["BELLWETHER_URL"]
KEY = os.environ["BELLWETHER_KEY"]

_checks = []


def check(function):
    """Registers a check."""
    _checks.append(function)
    return function


def run():
    """Runs every check and exits."""
    failed = 0
    for function in _checks:
        try:
            function()
            print(f"ok      {function.__name__}")
        except Exception:  # noqa: BLE001: whatever an SDK raises is a finding
            failed += 1
            print(f"FAILED  {function.__name__}")
            traceback.print_exc()
    print(f"{len(_checks) - failed} of {len(_checks)} passed")
    sys.exit(1 if failed else 0)


def raises(kind, call):
    """The exception that the call must raise."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"nothing was raised; expected {kind.__name__}")
