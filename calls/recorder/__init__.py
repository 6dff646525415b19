"""Takes rows in memory and gets them into the database, whatever happens to it. `recorder` is this process's one."""

from calls.recorder.queue import recorder as recorder
