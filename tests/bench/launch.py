"""Run a command; print when it began and ended, its exit code, CPU seconds and peak memory as JSON.

A small parent of its own, because Linux counts the parent's memory as the child's until the child has begun.
"""

import json
import os
import sys
import time

log, *command = sys.argv[1:]
to_log = (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
began_s = time.monotonic()
child = os.posix_spawnp(command[0], command, os.environ, file_actions=[to_log, (os.POSIX_SPAWN_DUP2, 1, 2)])
_, status, usage = os.wait4(child, 0)
ended_s = time.monotonic()
print(
    json.dumps(
        {
            "began_s": began_s,
            "ended_s": ended_s,
            "code": os.waitstatus_to_exitcode(status),
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_mb": usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024),
        }
    )
)
