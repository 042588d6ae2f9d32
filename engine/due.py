"""What is done now and then, and not at every turn of a loop."""

import time


class Due:
    """Tells when it is time again; the first time at once."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._last_s = -every_s

    def now(self) -> bool:
        """Tell whether it is time, and if so, begin to wait anew."""
        now_s = time.monotonic()
        if now_s - self._last_s < self._every_s:
            return False
        self._last_s = now_s
        return True
