"""Runs inside a container: start a service, wait until it is healthy, stop it; prints what happened as JSON."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request

service, check = sys.argv[1], json.loads(sys.argv[2])
page = f"http://127.0.0.1:{os.environ['PATHCAST_METRICS_PORT']}/metrics"
started = time.monotonic()
process = subprocess.Popen([sys.executable, "-m", service], stderr=subprocess.PIPE, text=True)
answered_s = waited_s = None
while answered_s is None and process.poll() is None and time.monotonic() - started < 30:
    with contextlib.suppress(OSError), urllib.request.urlopen(page, timeout=1):
        answered_s = time.monotonic() - started
        with open(f"/proc/{process.pid}/schedstat") as file:
            # Nanoseconds that the process stood ready while others had the cores.
            waited_s = int(file.read().split()[1]) / 1e9
    time.sleep(0.02)
healthy = subprocess.run(check, capture_output=True, text=True)
try:
    with open("/written", "w"):
        written = "yes"
except OSError as error:
    written = str(error)
process.terminate()
try:
    _, log = process.communicate(timeout=10)
except subprocess.TimeoutExpired:
    process.kill()
    _, log = process.communicate()
result = {
    "answered_s": answered_s,
    "waited_s": waited_s,
    "health_check": healthy.returncode,
    "exit_code": process.returncode,
    "user": [os.getuid(), os.getgid()],
    "written": written,
    "log": log,
}
print(json.dumps(result))
