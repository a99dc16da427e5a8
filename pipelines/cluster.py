"""What each step needs on a cluster, in one table; a run on one machine takes no notice of it.

Addresses come from the ConfigMap and passwords from the Secrets that the chart and `deployments/` name; nothing here
holds a value of either. Network policies go by the label of the step's servers.
"""

from __future__ import annotations

from dataclasses import dataclass

from kfp import dsl, kubernetes

from components.train_model.component import IMAGE

CONFIG = "pathcast-lifecycle"
"""The ConfigMap of addresses that the chart makes."""
WORKSPACE = "/workspace"
WORKSPACE_CLAIM = "training-workspace"

GPU = "nvidia.com/gpu"
USER = 10001
"""The images' user and group. Kubeflow Pipelines' backend sets what else Pod Security "restricted" asks for."""
STEP_LABEL = ("app.kubernetes.io/name", "pipeline-step")

DATABASE, OBJECT_STORE, TRACKING, TRITON = "database", "object-store", "tracking", "triton"
ALERTS = "alerts"
"""Whoever is told of alarms, failures and refusals: a webhook, Apprise's addresses."""

_ADDRESSES = {
    "database-url": "PATHCAST_DATABASE_URL",
    "kafka-bootstrap": "PATHCAST_KAFKA_BOOTSTRAP",
    "mlflow-tracking-uri": "PATHCAST_MLFLOW_TRACKING_URI",
    "monitor-cool-down-hours": "PATHCAST_MONITOR_COOL_DOWN_HOURS",
    "monitor-definitions": "PATHCAST_MONITOR_DEFINITIONS",
    "monitor-runs-a-day": "PATHCAST_MONITOR_RUNS_A_DAY",
    "s3-access-key": "PATHCAST_S3_ACCESS_KEY",
    "s3-endpoint": "PATHCAST_S3_ENDPOINT",
    "s3-secure": "PATHCAST_S3_SECURE",
    "triton-grpc": "PATHCAST_TRITON_GRPC",
    "home": "HOME",
    "workspace": "PATHCAST_WORKSPACE",
}
# The settings ask for a key; a step that does not talk to the store holds none.
_NO_KEY = {"not-used": "PATHCAST_S3_SECRET_KEY"}
_SECRETS = {
    DATABASE: ("timescaledb-passwords", {"lifecycle": "PGPASSWORD"}),
    OBJECT_STORE: ("minio-users", {"lifecycle": "PATHCAST_S3_SECRET_KEY"}),
    ALERTS: (
        "pathcast-alerts",
        {"webhook-url": "PATHCAST_MONITOR_WEBHOOK_URL", "apprise-urls": "PATHCAST_MONITOR_APPRISE_URLS"},
    ),
}
_OPTIONAL = (ALERTS,)
"""Without their Secret the log alone is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step's needs. `cpu` cores and `memory` are asked for; memory is also the limit.

    `uses` are the servers it talks to. A step that `acts` changes something outside the run, or reads what changes,
    and is never taken from the cache. `retries` are for steps that may be done twice.
    """

    cpu: str = "500m"
    memory: str = "2Gi"
    minutes: int = 30
    retries: int = 2
    uses: tuple[str, ...] = ()
    acts: bool = False
    workspace: bool = False
    gpu: bool = False


STEPS = {
    "select-data": Step(cpu="1", memory="4Gi", uses=(DATABASE, OBJECT_STORE, TRACKING), acts=True),
    "prepare-dataset": Step(cpu="1", memory="8Gi", minutes=120, uses=(TRACKING,)),
    # It keeps in the registry why there is too little.
    "validate-data": Step(uses=(TRACKING,), acts=True),
    "train-model": Step(
        cpu="4", memory="16Gi", minutes=24 * 60, uses=(OBJECT_STORE, TRACKING), acts=True, workspace=True, gpu=True
    ),
    "export-onnx": Step(cpu="1", memory="4Gi", uses=(TRACKING,)),
    "check-parity": Step(cpu="1", memory="4Gi", uses=(TRACKING,)),
    "evaluate-model": Step(cpu="2", memory="8Gi", minutes=120, uses=(OBJECT_STORE, TRACKING), acts=True),
    # A second try would make a second version.
    "register-model": Step(retries=0, uses=(DATABASE, OBJECT_STORE, TRACKING), acts=True),
    "publish-model": Step(uses=(DATABASE, OBJECT_STORE, TRACKING, TRITON), acts=True),
    "deploy-model": Step(uses=(DATABASE, OBJECT_STORE, TRACKING, TRITON), acts=True),
    "smoke-test": Step(uses=(DATABASE, OBJECT_STORE, TRACKING, TRITON), acts=True),
    "replay-interval": Step(
        cpu="2", memory="4Gi", minutes=120, uses=(DATABASE, OBJECT_STORE, TRACKING, TRITON), acts=True
    ),
    "promote-model": Step(uses=(DATABASE, OBJECT_STORE, TRACKING, TRITON), acts=True),
    "roll-back": Step(uses=(DATABASE, OBJECT_STORE, TRACKING, TRITON, ALERTS), acts=True),
    "open-search": Step(cpu="4", memory="16Gi", acts=True, workspace=True, gpu=True),
    "run-trials": Step(cpu="4", memory="16Gi", minutes=24 * 60, acts=True, workspace=True, gpu=True),
    "report-search": Step(cpu="1", memory="4Gi", uses=(TRACKING,), acts=True, workspace=True),
    "find-videos": Step(uses=(OBJECT_STORE,), acts=True),
    "analyse-video": Step(
        cpu="2", memory="4Gi", minutes=24 * 60, uses=(OBJECT_STORE, TRITON), acts=True, workspace=True
    ),
    "report-batch": Step(),
    "detect-drift": Step(cpu="1", memory="4Gi", uses=(DATABASE, OBJECT_STORE, TRACKING, TRITON, ALERTS), acts=True),
    "label-frames": Step(cpu="2", memory="8Gi", minutes=12 * 60, uses=(DATABASE, OBJECT_STORE, TRACKING), acts=True),
}
"""By the component's name."""


def on_cluster(task: dsl.PipelineTask, *, gpus: object = None, nodes: object = None) -> dsl.PipelineTask:
    """The task with its needs; `gpus` (text) and `nodes` (labels) are the pipeline's parameters for steps with GPUs."""
    step = STEPS[task.component_spec.name]
    task.set_cpu_request(step.cpu).set_memory_request(step.memory).set_memory_limit(step.memory)
    task.set_caching_options(not step.acts)
    if step.retries:
        task.set_retry(step.retries, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="600s")
    kubernetes.set_timeout(task, step.minutes * 60)
    # By it a step that is tried again knows what its try before has noted.
    kubernetes.use_field_path_as_env(task, "PATHCAST_RUN", "metadata.labels['pipeline/runid']")
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.use_config_map_as_env(task, CONFIG, _ADDRESSES | ({} if OBJECT_STORE in step.uses else _NO_KEY))
    for server in step.uses:
        kubernetes.add_pod_label(task, f"pathcast.io/{server}-client", "true")
        if server in _SECRETS:
            kubernetes.use_secret_as_env(task, *_SECRETS[server], optional=server in _OPTIONAL)
    kubernetes.add_pod_label(task, *STEP_LABEL)
    if step.workspace:
        kubernetes.mount_pvc(task, WORKSPACE_CLAIM, WORKSPACE)
        # The image of the jobs that the step starts. A run on one machine has this variable too, and no other of these.
        task.set_env_variable("PATHCAST_TRAIN_IMAGE", IMAGE)
    if step.gpu:
        kubernetes.add_toleration(task, key=GPU, operator="Exists", effect="NoSchedule")
        kubernetes.add_node_selector_json(task, nodes)
        task.set_accelerator_type(GPU).set_accelerator_limit(gpus)
        # Else the compiler does not hand the number into loops and conditions.
        task.register_pipeline_channels([gpus])
    return task
