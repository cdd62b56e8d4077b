"""Shows where a job is now: the stack of its thread, for operators who ask.

Another thread of the process takes it. The job goes on meanwhile and notices nothing.
"""

import sys
import threading
import traceback
from types import FrameType

from async_reply.database import payloads

#: The calls that a stack shows, from the innermost outwards, and the characters of its text.
MAX_CALLS = 60
MAX_CHARACTERS = 20_000
#: The module and the function that call a job. The calls around them are the same for every job.
CALLER = ("async_reply.attempts.runner", "_call")


class JobThread:
    """The thread in which it is made, or the green thread of gevent or eventlet."""

    def __init__(self) -> None:
        self._ident = threading.get_ident()
        greenlet = sys.modules.get("greenlet")
        self._greenlet = None if greenlet is None else greenlet.getcurrent()

    def stack(self) -> str:
        """The calls of the job, the innermost last, without the values of variables.

        '' if the thread has ended.
        """
        # Python knows the frames of a green thread only while another one runs.
        frame = getattr(self._greenlet, "gr_frame", None)
        frame = frame or sys._current_frames().get(self._ident)  # noqa: SLF001 documented
        calls: list[tuple[FrameType, int]] = []
        for caller, line in traceback.walk_stack(frame) if frame is not None else ():
            if _is_caller(caller) or len(calls) == MAX_CALLS:
                break
            calls.append((caller, line))
        text = "".join(traceback.StackSummary.extract(iter(reversed(calls))).format())
        return payloads.clean(text)[-MAX_CHARACTERS:]


def _is_caller(frame: FrameType) -> bool:
    return (frame.f_globals.get("__name__"), frame.f_code.co_name) == CALLER
