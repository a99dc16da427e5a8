"""Whether an installed release works: every service answers, and Triton serves the detector.

Addresses come as arguments: `triton=HOST:PORT`, `model=NAME`, and the metrics page of each service, `NAME=HOST:PORT`.
"""

import sys
import time
import urllib.request

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

LIMIT_S = 120
WAIT_S = 3


def fault_of_page(address: str) -> str | None:
    """What is wrong with a service's metrics page, or None."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as response:  # noqa: S310
            page = response.read().decode()
    except OSError as error:
        return str(error)
    return None if "pathcast_lag_seconds" in page else "its metrics page lacks pathcast_lag_seconds"


def fault_of_triton(address: str, model: str) -> str | None:
    """What is wrong with Triton or the model, or None."""
    try:
        with InferenceServerClient(address) as client:
            if not client.is_server_ready(client_timeout=5):
                return "not ready"
            return None if client.is_model_ready(model, client_timeout=5) else f"model {model} is not loaded"
    except InferenceServerException as error:
        return str(error)


def main(arguments: list[str], limit_s: float = LIMIT_S) -> int:
    """Try until all is well or the time is over; 0 all well, 1 not."""
    addresses = dict(argument.split("=", 1) for argument in arguments)
    triton, model = addresses.pop("triton"), addresses.pop("model")
    end = time.monotonic() + limit_s
    while True:
        faults = {name: fault_of_page(address) for name, address in addresses.items()}
        faults["triton"] = fault_of_triton(triton, model)
        if not any(faults.values()) or time.monotonic() > end:
            break
        time.sleep(WAIT_S)
    for name, fault in faults.items():
        print(f"{name}: {fault or 'ok'}")
    return 1 if any(faults.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
