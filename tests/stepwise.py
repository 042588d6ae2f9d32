"""Death between any two steps of Python code, as a SIGKILL would bring it: nothing runs after."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

HOME = "engine"


class DiedError(BaseException):
    """The process of this role was killed at the step that was asked for."""


def run_until(step: int | None, action: Callable[[], Any]) -> tuple[Any, bool]:
    """Run an action of ours; die before its ``step``-th bytecode. Return (result, died).

    Counted are the bytecodes of every function in the package ``engine`` that the action calls:
    each store to shared memory and each system call is one of its own.
    """
    if step is None:
        return action(), False
    left = step

    def trace(frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal left
        if not frame.f_globals.get("__name__", "").startswith(HOME + "."):
            return None
        if event == "call":
            frame.f_trace_opcodes = True
        elif event == "opcode":
            if left == 0:
                left = -1
                raise DiedError
            left -= 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return action(), False
    except DiedError:
        return None, True
    finally:
        sys.settrace(before)
