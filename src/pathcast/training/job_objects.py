"""TFJob and TrainJob for one training, built with the operators' own types; `deployments/training` shows the same.

Both start the same container with the same command, so that TF_CONFIG is all that differs: a TFJob's operator writes
it, for a TrainJob `pathcast.training.cluster_worker` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOUNT = "/workspace"
CLAIM = "training-workspace"
RUNTIME = "pathcast-tensorflow"
_RUNTIME_JOB = "node"
"""The one job of the runtime."""
_MANAGER = "pathcast.io/launcher"
"""Who owns a TrainJob's patches of its runtime."""
GPU = "nvidia.com/gpu"
PORT = 2222
DAY_S = 86_400
BACKOFF = 3
"""How often workers that were lost or killed are started again."""

LABELS = {
    "app.kubernetes.io/name": "training",
    "app.kubernetes.io/part-of": "pathcast",
    "pathcast.io/database-client": "true",
    "pathcast.io/tracking-client": "true",
}
_USER = 10001


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job by its name, unique in the namespace; `owner` is the object with which it goes, if any.

    `arguments` follow `pathcast train`. After `deadline_s` the operator ends it.
    """

    name: str
    namespace: str
    image: str
    arguments: Sequence[str]
    workers: int
    gpus: int
    nodes: Mapping[str, str]
    deadline_s: int
    owner: Mapping[str, str] | None = field(default=None)

    @property
    def command(self) -> list[str]:
        """What the container is given: a whole command."""
        return ["pathcast", "train", *self.arguments]

    def metadata(self) -> dict[str, Any]:
        owners = {} if self.owner is None else {"ownerReferences": [dict(self.owner)]}
        labels = {"app.kubernetes.io/name": "training", "app.kubernetes.io/part-of": "pathcast"}
        return {"name": self.name, "namespace": self.namespace, "labels": labels, **owners}


def resources(gpus: int) -> dict[str, dict[str, str]]:
    """What one worker asks for."""
    if not gpus:
        return {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "4Gi"}}
    return {
        "requests": {"cpu": "4", "memory": "16Gi", GPU: str(gpus)},
        "limits": {"memory": "32Gi", GPU: str(gpus)},
    }


def tf_job(request: JobRequest) -> dict[str, Any]:
    """The TFJob; a worker that ends with exit code 128 or above is started again, another ends the job."""
    from kubeflow.training import (
        ApiClient,
        KubeflowOrgV1ReplicaSpec,
        KubeflowOrgV1RunPolicy,
        KubeflowOrgV1TFJob,
        KubeflowOrgV1TFJobSpec,
    )
    from kubernetes import client as kubernetes

    worker = KubeflowOrgV1ReplicaSpec(
        replicas=request.workers,
        restart_policy="ExitCode",
        template=kubernetes.V1PodTemplateSpec(metadata=kubernetes.V1ObjectMeta(labels=LABELS), spec=_pod(request)),
    )
    job = KubeflowOrgV1TFJob(
        api_version="kubeflow.org/v1",
        kind="TFJob",
        metadata=request.metadata(),
        spec=KubeflowOrgV1TFJobSpec(
            run_policy=KubeflowOrgV1RunPolicy(
                active_deadline_seconds=request.deadline_s,
                backoff_limit=BACKOFF,
                clean_pod_policy="Running",
                ttl_seconds_after_finished=DAY_S,
            ),
            tf_replica_specs={"Worker": worker},
        ),
    )
    built: dict[str, Any] = ApiClient().sanitize_for_serialization(job)
    return built


def train_job(request: JobRequest) -> dict[str, Any]:
    """The TrainJob on the project's runtime, which holds the pod."""
    from kubeflow_trainer_api import models

    trainer = models.TrainerV1alpha1Trainer(
        args=request.command,
        image=request.image,
        num_nodes=request.workers,
        resources_per_node=models.IoK8sApiCoreV1ResourceRequirements.from_dict(resources(request.gpus)),
    )
    job = models.TrainerV1alpha1TrainJob(
        api_version="trainer.kubeflow.org/v1alpha1",
        kind="TrainJob",
        metadata=models.IoK8sApimachineryPkgApisMetaV1ObjectMeta.from_dict(request.metadata()),
        spec=models.TrainerV1alpha1TrainJobSpec(
            runtime_ref=models.TrainerV1alpha1RuntimeRef(
                api_group="trainer.kubeflow.org", kind="ClusterTrainingRuntime", name=RUNTIME
            ),
            active_deadline_seconds=request.deadline_s,
            trainer=trainer,
            runtime_patches=_placed(request.nodes),
        ),
    )
    built: dict[str, Any] = job.to_dict()
    return built


def _placed(nodes: Mapping[str, str]) -> list[Any] | None:
    """The runtime's pods, on `nodes` of these labels besides those that the runtime asks for."""
    from kubeflow_trainer_api import models

    if not nodes:
        return None
    pod = {"spec": {"nodeSelector": dict(nodes)}}
    job = {"name": _RUNTIME_JOB, "template": {"spec": {"template": pod}}}
    spec = {"template": {"spec": {"replicatedJobs": [job]}}}
    return [models.TrainerV1alpha1RuntimePatch.from_dict({"manager": _MANAGER, "trainingRuntimeSpec": spec})]


def _pod(request: JobRequest) -> Any:
    from kubernetes import client as kubernetes

    claim = kubernetes.V1PersistentVolumeClaimVolumeSource(claim_name=CLAIM)
    return kubernetes.V1PodSpec(
        automount_service_account_token=False,
        security_context=kubernetes.V1PodSecurityContext(
            run_as_non_root=True,
            run_as_user=_USER,
            run_as_group=_USER,
            fs_group=_USER,
            fs_group_change_policy="OnRootMismatch",
            seccomp_profile=kubernetes.V1SeccompProfile(type="RuntimeDefault"),
        ),
        node_selector=dict(request.nodes) or None,
        tolerations=[kubernetes.V1Toleration(key=GPU, operator="Exists", effect="NoSchedule")]
        if request.gpus
        else None,
        containers=[_container(request)],
        volumes=[
            kubernetes.V1Volume(name="workspace", persistent_volume_claim=claim),
            kubernetes.V1Volume(name="tmp", empty_dir=kubernetes.V1EmptyDirVolumeSource(size_limit="8Gi")),
            kubernetes.V1Volume(
                name="shm", empty_dir=kubernetes.V1EmptyDirVolumeSource(medium="Memory", size_limit="2Gi")
            ),
        ],
    )


def _container(request: JobRequest) -> Any:
    from kubernetes import client as kubernetes

    return kubernetes.V1Container(
        name="tensorflow",
        image=request.image,
        command=["python", "-m", "pathcast.training.cluster_worker"],
        args=request.command,
        env=_environment(),
        ports=[kubernetes.V1ContainerPort(name="tfjob-port", container_port=PORT)],
        resources=kubernetes.V1ResourceRequirements(**resources(request.gpus)),
        security_context=kubernetes.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=kubernetes.V1Capabilities(drop=["ALL"]),
        ),
        volume_mounts=[
            kubernetes.V1VolumeMount(name="workspace", mount_path=MOUNT),
            kubernetes.V1VolumeMount(name="tmp", mount_path="/tmp"),  # noqa: S108
            kubernetes.V1VolumeMount(name="shm", mount_path="/dev/shm"),  # noqa: S108
        ],
    )


def _environment() -> list[Any]:
    """A training talks to the database, for raw data, and to the tracking server; to no other."""
    from kubernetes import client as kubernetes

    plain = {
        "HOME": "/tmp",  # noqa: S108
        "PATHCAST_DATA": f"{MOUNT}/data",
        "PATHCAST_MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "PATHCAST_DATABASE_URL": "postgresql://pathcast_lifecycle@timescaledb:5432/pathcast",
        "PATHCAST_KAFKA_BOOTSTRAP": "not-used",
        "PATHCAST_S3_ENDPOINT": "not-used",
        "PATHCAST_S3_ACCESS_KEY": "not-used",
        "PATHCAST_S3_SECRET_KEY": "not-used",
        "PATHCAST_TRITON_GRPC": "not-used",
    }
    password = kubernetes.V1SecretKeySelector(name="timescaledb-passwords", key="lifecycle")
    secret = kubernetes.V1EnvVar(name="PGPASSWORD", value_from=kubernetes.V1EnvVarSource(secret_key_ref=password))
    return [*(kubernetes.V1EnvVar(name=name, value=value) for name, value in plain.items()), secret]
