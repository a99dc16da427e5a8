"""Jobs that a pipeline's training makes: what they are, and their life against an API server that checks them."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from kubernetes import config
from support.kubernetes_api import KubernetesApi, Moment, pod, serving
from support.sequences import make_sequence
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.training import cluster_jobs, job_run
from pathcast.training.cluster_jobs import _OPERATORS, job_name, launch_job
from pathcast.training.family import find_family
from pathcast.training.job_objects import DAY_S, JobRequest, tf_job, train_job
from pathcast.training.job_run import JobRun
from pathcast.training.jobs import Crew, Training
from pathcast.training.katib import Trial, Trials, experiment
from pathcast.training.search_space import TRACKER, Choice, Range, Real, Whole
from pathcast.training.tracker_tuning import SPACE as TRACKER_SPACE
from tests.manifests.checker import check
from tests.manifests.objects import Json, at, pods
from tests.manifests.schemas import schema_faults
from tests.manifests.worlds import WORLDS, built

pytestmark = pytest.mark.usefixtures("crds")

ROOT = Path(__file__).parents[2]
GPU_NODES = {"nvidia.com/gpu.present": "true"}
ARGUMENTS = ["forecaster", "--data=/workspace/data/eth_ucy", "--output=/workspace/runs/forecaster", "--resume"]


def request(**changes: object) -> JobRequest:
    values: dict[str, object] = {
        "name": "forecaster",
        "namespace": "pathcast",
        "image": "pathcast-train:0.1.0",
        "arguments": ARGUMENTS,
        "workers": 2,
        "gpus": 1,
        "nodes": GPU_NODES,
        "deadline_s": DAY_S,
    }
    return JobRequest(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("build", [tf_job, train_job])
@pytest.mark.parametrize(
    "changes",
    [{}, {"gpus": 0, "nodes": {}}, {"owner": {"apiVersion": "v1", "kind": "Pod", "name": "step", "uid": "u"}}],
)
def test_a_server_would_take_the_jobs(build: Callable[[JobRequest], Json], changes: dict[str, object]) -> None:
    around = [item for folder in WORLDS["gpu"][0] if "jobs" not in folder for item in built(folder)]
    assert [str(fault) for fault in check([build(request(**changes))], around)] == []


def test_the_pods_of_either_job_go_to_the_nodes_that_are_asked_for() -> None:
    nodes = {"pool": "a100"}
    (worker,) = pods(tf_job(request(nodes=nodes)))
    assert worker.spec["nodeSelector"] == nodes
    (patch,) = at(train_job(request(nodes=nodes)), "spec", "runtimePatches")
    (job,) = at(patch, "trainingRuntimeSpec", "template", "spec", "replicatedJobs")
    assert at(job, "template", "spec", "template", "spec") == {"nodeSelector": nodes}
    (runtime,) = (item for item in built("training") if item["kind"] == "ClusterTrainingRuntime")
    assert [each["name"] for each in at(runtime, "spec", "template", "spec", "replicatedJobs")] == [job["name"]]
    assert "runtimePatches" not in train_job(request(nodes={}))["spec"]


def test_the_jobs_are_those_that_deployments_shows() -> None:
    shown = copy.deepcopy(built("training/jobs/tfjob")[0])
    made = tf_job(request())
    assert made["spec"]["runPolicy"] == shown["spec"]["runPolicy"] | {"activeDeadlineSeconds": DAY_S}
    worker, shown_worker = (job["spec"]["tfReplicaSpecs"]["Worker"] for job in (made, shown))
    (made_pod,), (shown_pod,) = pods(made), pods(shown)
    by_name = [{entry["name"]: entry for entry in each.containers[0].pop("env")} for each in (made_pod, shown_pod)]
    assert by_name[0] == by_name[1]
    assert worker == shown_worker
    (shown,) = built("training/jobs/trainjob")
    made = train_job(request())
    assert at(made, "spec", "runtimeRef") == at(shown, "spec", "runtimeRef")
    assert {key: at(made, "spec", "trainer", key) for key in ("numNodes", "args")} == at(shown, "spec", "trainer")


def written_experiment(folder: Path, *arguments: str) -> str:
    target = folder / "experiment.yaml"
    result = CliRunner().invoke(app, ["tune", *arguments, "--katib", str(target)])
    assert result.exit_code == 0, result.output
    return target.read_text()


def test_the_experiment_that_deployments_shows_is_the_one_that_tune_writes(tmp_path: Path) -> None:
    shown = ROOT / "deployments" / "training" / "katib" / "forecaster" / "experiment.yaml"
    command = ("forecaster", "--trials", "30", "--parallel", "2", "--threads", "2", "--image", "pathcast-train")
    made = f"# pathcast tune {' '.join(command)} --katib experiment.yaml\n{written_experiment(tmp_path, *command)}"
    if os.environ.get("PATHCAST_GOLDEN") == "write":
        shown.write_text(made)
    assert shown.read_text() == made, "make golden rewrites it after an intended change"


SEARCHES = {name: (find_family(name).search, "ema=0.99") for name in ("forecaster", "detector", "signs", "actions")}
SEARCHES["tracker"] = (TRACKER_SPACE, "confirm_hits=3")


@pytest.mark.parametrize("family", SEARCHES)
def test_katib_searches_where_the_family_says(family: str, tmp_path: Path) -> None:
    space, fixed = SEARCHES[family]
    text = written_experiment(tmp_path, family, "--set", fixed)
    experiment = yaml.safe_load(text)
    around = built("training/katib")
    assert [str(fault) for fault in check([experiment], around)] == []
    found: dict[str, Range] = {}
    for parameter in experiment["spec"]["parameters"]:
        feasible = parameter["feasibleSpace"]
        if parameter["parameterType"] == "double":
            log = feasible.get("distribution") == "logUniform"
            found[parameter["name"]] = Real(float(feasible["min"]), float(feasible["max"]), log=log)
        elif parameter["parameterType"] == "int":
            found[parameter["name"]] = Whole(int(feasible["min"]), int(feasible["max"]))
        else:
            found[parameter["name"]] = Choice(tuple(json.loads(value) for value in feasible["list"]))
    assert found == {name: place for name, place in space.items() if name != fixed.partition("=")[0]}
    (trial,) = pods(experiment)
    command = trial.containers[0]["command"]
    assert command[:3] == ["pathcast", *(("evaluate", family) if family == TRACKER else ("train", family))]
    settings = {part.removeprefix("--set=") for part in command if part.startswith("--set=")}
    assert settings == {fixed, *(f"{name}=${{trialParameters.{name}}}" for name in found)}


def test_what_is_fixed_reaches_a_trial_as_it_was_given(tmp_path: Path) -> None:
    given = ("--set", "appearance=null", "--set", "confirm_hits=3", "--detections", "det_frcnn", "--detections", "det")
    (trial,) = pods(yaml.safe_load(written_experiment(tmp_path, TRACKER, *given)))
    command = trial.containers[0]["command"]
    assert {"--set=appearance=null", "--set=confirm_hits=3", "--detections=det_frcnn", "--detections=det"} <= set(
        command
    )
    (trial,) = pods(yaml.safe_load(written_experiment(tmp_path, "detector", "--set", "depthwise=false")))
    assert "--set=depthwise=false" in trial.containers[0]["command"]


@pytest.mark.parametrize(
    ("family", "setting"), [("detector", "size=nano"), (TRACKER, "speed=9"), ("signs", "ema=fast")]
)
def test_what_is_no_setting_is_told_before_an_experiment_is_written(family: str, setting: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(setting.partition("=")[0])):
        CliRunner().invoke(
            app, ["tune", family, "--set", setting, "--katib", str(tmp_path / "e.yaml")], catch_exceptions=False
        )
    assert list(tmp_path.iterdir()) == []


def test_katib_tries_no_more_at_a_time_than_in_all(tmp_path: Path) -> None:
    spec = yaml.safe_load(written_experiment(tmp_path, "tracker", "--trials", "2", "--parallel", "4"))["spec"]
    assert (spec["parallelTrialCount"], spec["maxTrialCount"]) == (2, 2)


def test_katib_is_given_choices_as_a_command_takes_them() -> None:
    space = {"flag": Choice((True, False)), "kind": Choice(("a", "b")), "rate": Choice((0.5, 2))}
    trial = Trial("toy", ("pathcast",), space, "score", maximize=False)
    document = experiment(trial, {}, Trials(total=4, parallel=1, threads=1, image="i"))
    choices = [each["feasibleSpace"]["list"] for each in document["spec"]["parameters"]]
    assert choices == [["true", "false"], ["a", "b"], ["0.5", "2"]]


def test_katib_reads_the_lines_that_a_training_prints() -> None:
    (experiment,) = built("training/katib/forecaster")
    (pattern,) = at(experiment, "spec", "metricsCollectorSpec", "source", "filter", "metricsFormat")
    for line in ("epoch 3/40: loss 0.51, score 0.8213", "epoch 3/40: 1.2 s, loss 0.5, score 1.2e-05, ade_m 0.4"):
        (found,) = re.findall(pattern, line)
        assert found[0] == experiment["spec"]["objective"]["objectiveMetricName"]
        assert float(found[1]) in (0.8213, 1.2e-05)


def test_katib_reads_the_line_that_the_tracker_s_trial_prints_and_its_command_is_one(tmp_path: Path) -> None:
    experiment = yaml.safe_load(written_experiment(tmp_path, "tracker"))
    assert experiment["spec"]["objective"] == {"type": "maximize", "objectiveMetricName": "hota"}
    (trial,) = pods(experiment)
    command = trial.containers[0]["command"]
    lows = {parameter["name"]: parameter["feasibleSpace"]["min"] for parameter in experiment["spec"]["parameters"]}
    filled = [re.sub(r"\$\{trialParameters\.(.+)\}", lambda found: lows[found[1]], part) for part in command[1:]]
    make_sequence(tmp_path, "walkers", seed=1)
    result = CliRunner().invoke(app, [part.replace("/data/prepared", str(tmp_path)) for part in filled])
    assert result.exit_code == 0, result.output
    (pattern,) = at(experiment, "spec", "metricsCollectorSpec", "source", "filter", "metricsFormat")
    ((name, value, *_),) = re.findall(pattern, result.output)
    assert "ByteTrack" not in result.output
    assert (name, result.output.splitlines()[-1]) == ("hota", f"hota {value}")


LABELS = {"tfjob": "training.kubeflow.org/replica-index", "trainjob": "batch.kubernetes.io/job-completion-index"}


class Cluster:
    """A job of one operator on a fake API server; time passes when the run sleeps."""

    def __init__(self, launcher: str, folder: Path) -> None:
        self.kind = _OPERATORS[launcher].kind
        self.build = _OPERATORS[launcher].build
        self.launcher, self.folder = launcher, folder
        self.said: list[str] = []
        self.now = 0.0
        self.api = KubernetesApi(lambda body: [str(fault) for fault in schema_faults(body)], [])

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def pod(self, index: int, phase: str = "Running", **state: object) -> Json:
        labels = {self.kind.job_label: "run-1", LABELS[self.launcher]: str(index)}
        return pod(f"run-1-worker-{index}", labels, phase, **state)  # type: ignore[arg-type]

    def run(self, *moments: Moment, limit_s: float = 600.0, **changes: object) -> None:
        self.api._moments = list(moments)
        with serving(self.api, self.folder) as kubeconfig:
            config.load_kube_config(str(kubeconfig))
            run = JobRun(
                self.kind,
                "pathcast",
                "run-1",
                workers=2,
                say=self.said.append,
                sleep=self.sleep,
                clock=lambda: self.now,
            )
            run.until_done(self.build(request(name="run-1", **changes)), limit_s=limit_s)


@pytest.fixture(params=["tfjob", "trainjob"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Cluster:
    return Cluster(request.param, tmp_path)


def test_a_job_is_followed_shown_and_removed(cluster: Cluster) -> None:
    api, running = cluster.api, [cluster.pod(0), cluster.pod(1)]
    api.logs["run-1-worker-0"] = ["forecaster: 2 workers", "epoch 1/2: 1.0 s", "epoch 2/2: 1.0 s"]
    waiting = [
        cluster.pod(0, "Pending", unplaced="0/3 nodes have a GPU"),
        cluster.pod(1, "Pending", waiting=("ErrImagePull", "none")),
    ]
    ended = [cluster.pod(0, "Succeeded", exit_code=0), cluster.pod(1, "Succeeded", exit_code=0)]
    cluster.run(
        Moment(),
        Moment("Created", pods=waiting),
        Moment("Running", pods=running),
        Moment(cluster.kind.succeeded, pods=ended),
    )
    assert [line for line in cluster.said if line.startswith("worker 0 |")] == [
        "worker 0 | forecaster: 2 workers",
        "worker 0 | epoch 1/2: 1.0 s",
        "worker 0 | epoch 2/2: 1.0 s",
    ]
    assert "worker 0 of 2: not placed: 0/3 nodes have a GPU" in cluster.said
    assert "worker 1 of 2: waiting: ErrImagePull: none" in cluster.said
    assert api.objects == {}
    assert [method for method, _ in api.requests].count("POST") == 1
    assert api.requests[-1][0] == "DELETE"


def test_the_worker_that_failed_is_named_with_its_last_lines(cluster: Cluster) -> None:
    lost = cluster.pod(0, "Failed", exit_code=138)
    failed = cluster.pod(1, "Failed", exit_code=1)
    cluster.api.logs = {"run-1-worker-0": ["lost worker 1"], "run-1-worker-1": ["error: the loss of epoch 1 is nan"]}
    with pytest.raises(PathcastError, match="worker 1 of 2 ended with exit code 1") as raised:
        cluster.run(
            Moment("Running", pods=[cluster.pod(0), cluster.pod(1)]), Moment("Failed", "backoff", [lost, failed])
        )
    assert "| error: the loss of epoch 1 is nan" in str(raised.value)
    assert cluster.api.objects == {}


def test_a_failure_is_kept_although_the_operator_removes_the_pod(cluster: Cluster) -> None:
    cluster.api.logs["run-1-worker-1/previous"] = ["Killed"]
    again = cluster.pod(1, restarts=1, last_exit_code=137, reason="OOMKilled")
    with pytest.raises(PathcastError, match=r"exit code 137 \(OOMKilled\)") as raised:
        cluster.run(Moment("Running", pods=[cluster.pod(0), again]), Moment("Failed", "backoff limit", []))
    assert "| Killed" in str(raised.value)
    assert "more memory" in str(raised.value)


def test_a_job_that_fails_without_a_pod_says_what_the_operator_says(cluster: Cluster) -> None:
    with pytest.raises(PathcastError, match="failed: Test: quota exceeded"):
        cluster.run(Moment("Failed", "quota exceeded"))


def test_a_job_that_takes_too_long_is_removed(cluster: Cluster) -> None:
    with pytest.raises(PathcastError, match="did not end in time; worker 0: not placed: no node"):
        cluster.run(Moment("Created", pods=[cluster.pod(0, "Pending", unplaced="no node")]), limit_s=60)
    assert cluster.now >= 60
    assert cluster.api.objects == {}


def test_a_job_that_somebody_removes_is_told(cluster: Cluster) -> None:
    cluster.api.errors = [("GET", "/run-1", 404)]
    with pytest.raises(PathcastError, match="somebody removed it"):
        cluster.run(Moment("Running"))


def test_a_busy_server_is_asked_again(cluster: Cluster) -> None:
    cluster.api.errors = [
        ("POST", "run-1", 500),
        ("GET", "/run-1", 503),
        ("GET", "/pods", 429),
        ("DELETE", "/run-1", 500),
    ]
    cluster.api.errors[0] = ("POST", f"/{cluster.kind.plural}", 500)
    cluster.run(Moment("Running", pods=[cluster.pod(0)]), Moment(cluster.kind.succeeded))
    assert cluster.api.errors == []
    assert cluster.api.objects == {}


def test_a_server_that_stays_away_ends_it(cluster: Cluster) -> None:
    cluster.api.errors = [("GET", "/run-1", 503)] * 20
    with pytest.raises(ServiceUnavailableError, match="cannot read it: 503"):
        cluster.run(Moment("Running"))
    assert cluster.api.objects == {}


@pytest.mark.parametrize("ended", [False, True])
def test_a_job_that_is_there_already_is_followed_or_replaced(cluster: Cluster, ended: bool) -> None:
    place = f"/apis/{cluster.kind.group}/{cluster.kind.version}/namespaces/pathcast/{cluster.kind.plural}/run-1"
    cluster.api.objects[place] = {"metadata": {"name": "run-1"}}
    first = Moment("Failed", "an earlier try") if ended else Moment("Running")
    cluster.run(first, Moment("Running", pods=[cluster.pod(0)]), Moment(cluster.kind.succeeded))
    assert len(cluster.api.created) == (1 if ended else 0)
    assert ("run-1: there already, followed" in " ".join(cluster.said)) is not ended
    assert cluster.api.objects == {}


def test_a_broken_log_goes_on_where_it_broke(cluster: Cluster) -> None:
    cluster.api.logs["run-1-worker-0"] = [f"epoch {number}/9" for number in range(1, 10)]
    cluster.api.cut_logs = 1
    looks = [Moment("Running", pods=[cluster.pod(0)]) for _ in range(400)]

    def sleep(seconds: float) -> None:
        cluster.now += seconds
        shown = sum(line.startswith("worker 0 |") for line in cluster.said)
        if shown >= 9 and len(cluster.api._moments) > 1:
            del cluster.api._moments[:-1]

    cluster.sleep = sleep  # type: ignore[method-assign]
    cluster.run(*looks, Moment(cluster.kind.succeeded), limit_s=1e9)
    assert [line for line in cluster.said if "epoch" in line] == [f"worker 0 | epoch {n}/9" for n in range(1, 10)]


def test_what_the_operator_would_not_take_is_told(cluster: Cluster) -> None:
    built_before = cluster.build
    cluster.build = lambda wanted: built_before(wanted) | {"spec": {"nothing": 1}}
    with pytest.raises(InvalidInputError, match="strict decoding error"):
        cluster.run()


def test_a_token_without_rights_is_told(cluster: Cluster) -> None:
    cluster.api.errors = [("POST", f"/{cluster.kind.plural}", 403)]
    with pytest.raises(PathcastError, match="needs the chart's Role pathcast-lifecycle"):
        cluster.run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_does_not_outlive_its_step(cluster: Cluster, number: signal.Signals) -> None:
    def sleep(_: float) -> None:
        os.kill(os.getpid(), number)

    cluster.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(SystemExit if number == signal.SIGTERM else KeyboardInterrupt):
        cluster.run(Moment("Running", pods=[cluster.pod(0)]))
    assert cluster.api.objects == {}
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.fixture
def training(tmp_path: Path) -> Training:
    for name in ("data", "initial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return Training("forecaster", tmp_path / "data", tmp_path / "trained", {"epochs": 2}, tmp_path / "initial")


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """The environment of a step's pod, and the cluster that it reaches; its jobs write where their pods would."""
    api = KubernetesApi(lambda body: [str(fault) for fault in schema_faults(body)], [Moment("Succeeded")])

    def work(job: Json) -> None:
        (given,) = [pod.containers[0]["args"] for pod in pods(job)]
        values = dict(argument.partition("=")[::2] for argument in given if argument.startswith("--"))
        seen = {
            key: Path(values[key].replace("/workspace", str(tmp_path / "workspace")))
            for key in ("--data", "--init", "--output")
        }
        assert (seen["--data"] / "file").read_text() == "data"
        assert (seen["--init"] / "file").read_text() == "initial"
        seen["--output"].mkdir(exist_ok=True)
        (seen["--output"] / "model.json").write_text("{}")

    api.on_create = work
    monkeypatch.setattr(job_run, "_POLL_S", 0.001)
    for name, value in {
        "PATHCAST_TRAIN_IMAGE": "registry.example/pathcast-train@sha256:0",
        "PATHCAST_JOB_NAMESPACE": "pathcast",
        "KFP_POD_NAME": "step-1",
        "KFP_POD_UID": "uid-1",
    }.items():
        monkeypatch.setenv(name, value)
    with serving(api, tmp_path) as kubeconfig:
        # The client reads the variable when it is imported.
        monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        monkeypatch.setattr(config, "KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
        yield api


def test_data_goes_to_the_job_and_the_model_comes_back(
    step: KubernetesApi, training: Training, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launch_job(training, Crew("tfjob", 2), tmp_path / "workspace")
    assert (training.output / "model.json").read_text() == "{}"
    assert list((tmp_path / "workspace" / "runs").iterdir()) == []
    (job,) = step.created
    assert job["metadata"]["name"] == job_name(training)
    assert job["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": "step-1", "uid": "uid-1"}]
    (worker,) = pods(job)
    assert worker.containers[0]["image"] == "registry.example/pathcast-train@sha256:0"
    assert worker.containers[0]["args"][-1] == "--resume"
    assert "created, 2 workers" in capsys.readouterr().out


def test_a_failed_job_leaves_its_checkpoint_for_another_try(
    step: KubernetesApi, training: Training, tmp_path: Path
) -> None:
    step._moments = [Moment("Failed", "a node went away")]
    runs = tmp_path / "workspace" / "runs"
    with pytest.raises(PathcastError, match="a node went away"):
        launch_job(training, Crew("tfjob", 2), tmp_path / "workspace")
    assert (runs / job_name(training) / "output" / "model.json").is_file()
    step._moments = [Moment("Succeeded")]
    launch_job(training, Crew("tfjob", 2), tmp_path / "workspace")
    assert (training.output / "model.json").is_file()
    old = runs / "pathcast-old-00000000"
    old.mkdir()
    os.utime(old, (0, 0))
    cluster_jobs._sweep(runs, before=1.0)
    assert not old.exists()


def test_a_pod_that_knows_no_namespace_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATHCAST_TRAIN_IMAGE", "i")
    monkeypatch.delenv("PATHCAST_JOB_NAMESPACE", raising=False)
    own = cluster_jobs.JobSettings()
    assert own.owner() is None
    with pytest.raises(PathcastError, match="no namespace"):
        own.namespace(tmp_path / "none")
    (tmp_path / "there").write_text("team-a\n")
    assert own.namespace(tmp_path / "there") == "team-a"


def test_names_are_short_enough_for_what_the_operators_make_of_them(tmp_path: Path) -> None:
    name = job_name(Training("a.very.long.package.of.families:FAMILY_OF_SOME_KIND", tmp_path, tmp_path, {}))
    assert len(f"{name}-worker-99") < 63
    assert name == name.strip("-").lower()


def test_a_crew_is_checked() -> None:
    for wrong in ({"launcher": "mpi"}, {"workers": 0}, {"gpus": -1}):
        with pytest.raises(InvalidInputError):
            Crew(**wrong)  # type: ignore[arg-type]
