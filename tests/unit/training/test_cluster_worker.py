import json
import os
import subprocess
import sys

import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.training.cluster_worker import tf_config
from pathcast.training.place import read_place

SHOW = [sys.executable, "-c", "import os; print(os.environ.get('TF_CONFIG', ''))"]


def by_trainer(name: str, count: int) -> list[dict[str, str]]:
    """What Kubeflow Trainer sets on each node of a TrainJob whose runtime has the jax policy."""
    return [
        {
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(index),
            "JAX_COORDINATOR_ADDRESS": f"{name}-node-0-0.{name}:6666",
        }
        for index in range(count)
    ]


def by_operator(name: str, count: int) -> list[dict[str, str]]:
    """What the Training Operator sets on each worker of a TFJob."""
    workers = [f"{name}-worker-{index}.pathcast.svc:2222" for index in range(count)]
    return [
        {
            "TF_CONFIG": json.dumps(
                {
                    "cluster": {"worker": workers},
                    "task": {"type": "worker", "index": index},
                    "environment": "cloud",
                }
            )
        }
        for index in range(count)
    ]


def launched(variables: dict[str, str]) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"} | variables
    done = subprocess.run(
        [sys.executable, "-m", "pathcast.training.cluster_worker", *SHOW],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("contract", [by_trainer, by_operator])
def test_every_worker_process_gets_its_place(contract) -> None:
    places = [read_place(launched(variables)) for variables in contract("run-7", 2)]
    assert [place.share.index for place in places] == [0, 1]
    assert all(place.share.count == 2 for place in places)
    assert places[0].addresses == places[1].addresses
    assert len(set(places[0].addresses["worker"])) == 2


def test_addresses_are_those_of_the_headless_service() -> None:
    config = json.loads(tf_config(by_trainer("a-0", 3)[1]))
    assert config["cluster"]["worker"] == [f"a-0-node-0-{index}.a-0:2222" for index in range(3)]
    assert config["task"] == {"type": "worker", "index": 1}


@pytest.mark.parametrize("variables", [{}, by_trainer("alone", 1)[0]])
def test_a_worker_alone_needs_no_place(variables: dict[str, str]) -> None:
    assert tf_config(variables) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"JAX_PROCESS_ID": "2"},
        {"JAX_PROCESS_ID": "-1"},
        {"JAX_NUM_PROCESSES": "two"},
        {"JAX_COORDINATOR_ADDRESS": ""},
        {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:6666"},
    ],
)
def test_variables_that_do_not_fit_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError, match="JAX_"):
        tf_config(by_trainer("run", 2)[0] | wrong)


@pytest.mark.parametrize(("command", "code"), [([], 2), (["no-such-command"], 1)])
def test_exit_codes(command: list[str], code: int) -> None:
    done = subprocess.run([sys.executable, "-m", "pathcast.training.cluster_worker", *command], capture_output=True)
    assert done.returncode == code
