"""How busy the machine is."""

import asyncio
import time


class Lag:
    """By how much a busy machine delays what is due: ``worst_s``."""

    def __init__(self):
        self.worst_s = 0.0

    async def measured(self, stop):
        while not stop.is_set():
            began = time.monotonic()
            await asyncio.sleep(0.01)
            self.worst_s = max(self.worst_s, time.monotonic() - began - 0.01)
