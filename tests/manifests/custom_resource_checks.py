"""What objects of other projects must be: of Strimzi, KServe, KEDA, Kubeflow's trainers and search, Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tests.manifests.landscape import Check, Finding, Landscape, takes
from tests.manifests.objects import Json, at
from tests.manifests.pod_checks import quantity
from tests.manifests.schemas import schema_faults


def _monitor(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    endpoints = "endpoints" if resource["kind"] == "ServiceMonitor" else "podMetricsEndpoints"
    selector = at(resource, "spec", "selector")
    if resource["kind"] == "ServiceMonitor":
        services = [
            item for item in landscape.of_kind("Service") if takes(selector, at(item, "metadata", "labels") or {})
        ]
        ports = [{at(port, "name") for port in at(item, "spec", "ports") or ()} for item in services]
    else:
        pods = landscape.selected(selector)
        ports = [{at(port, "name") for box in pod.containers for port in box.get("ports") or ()} for pod in pods]
    if not ports:
        yield "spec.selector", f"takes nothing: {selector}"
    for endpoint in at(resource, "spec", endpoints) or ():
        for names in ports:
            if at(endpoint, "port") not in names:
                yield f"spec.{endpoints}", f"no port {at(endpoint, 'port')} among {sorted(map(str, names))}"
        for key in ("interval", "scrapeTimeout"):
            if at(endpoint, key) is not None and not re.fullmatch(r"\d+(ms|s|m|h)", str(at(endpoint, key))):
                yield f"spec.{endpoints}.{key}", f"not a duration: {at(endpoint, key)}"


def _scaled_object(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    target = at(resource, "spec", "scaleTargetRef") or {}
    if (target.get("kind", "Deployment"), target.get("name")) not in landscape.names:
        yield "spec.scaleTargetRef", f"{target.get('kind', 'Deployment')} {target.get('name')} does not exist"
    if target.get("apiVersion") not in (None, "apps/v1"):
        yield "spec.scaleTargetRef.apiVersion", f"expected apps/v1, got {target.get('apiVersion')}"
    least, most = at(resource, "spec", "minReplicaCount") or 0, at(resource, "spec", "maxReplicaCount")
    if not isinstance(most, int) or not isinstance(least, int) or not 0 <= least <= most:
        yield "spec", f"expected minReplicaCount <= maxReplicaCount, got {least} and {most}"
    behavior = at(resource, "spec", "advanced", "horizontalPodAutoscalerConfig", "behavior") or {}
    for direction, rules in behavior.items():
        for policy in at(rules, "policies") or ():
            numbers = (at(policy, "value"), at(policy, "periodSeconds"))
            if at(policy, "type") not in ("Pods", "Percent") or min(numbers) < 1 or numbers[1] > 1800:
                yield f"spec.advanced.behavior.{direction}", f"no such policy: {policy}"
    for trigger in at(resource, "spec", "triggers") or ():
        if at(trigger, "type") not in ("prometheus", "kafka", "cpu", "memory", "postgresql"):
            yield "spec.triggers", f"unknown type {at(trigger, 'type')}"
        if at(trigger, "metricType") not in (None, "AverageValue", "Value", "Utilization"):
            yield "spec.triggers", f"unknown metricType {at(trigger, 'metricType')}"
        if at(trigger, "type") == "prometheus":
            missing = {"serverAddress", "query", "threshold"} - (at(trigger, "metadata") or {}).keys()
            unknown = (at(trigger, "metadata") or {}).keys() - {
                "serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues", "namespace",
            }  # fmt: skip
            if missing or unknown:
                yield "spec.triggers.metadata", f"missing {sorted(missing)}, unknown {sorted(unknown)}"
            if quantity(at(trigger, "metadata", "threshold")) is None:
                yield "spec.triggers.metadata.threshold", "not a number"
        reference = at(trigger, "authenticationRef")
        kind = at(reference, "kind") or "TriggerAuthentication"
        if reference is not None and (kind, at(reference, "name")) not in landscape.names:
            yield "spec.triggers.authenticationRef", f"{kind} {at(reference, 'name')} does not exist"


def _inference_service(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    predictors = [("spec.predictor", at(resource, "spec", "predictor"))]
    predictors += [
        (f"spec.canary.{i}", at(item, "predictor")) for i, item in enumerate(at(resource, "spec", "canary") or ())
    ]
    runtimes = {at(item, "metadata", "name"): item for item in landscape.of_kind("ServingRuntime")}
    for path, predictor in predictors:
        runtime, model_format = at(predictor, "model", "runtime"), at(predictor, "model", "modelFormat", "name")
        if runtime not in runtimes:
            yield f"{path}.model.runtime", f"ServingRuntime {runtime} does not exist"
        else:
            formats = [at(item, "name") for item in at(runtimes[runtime], "spec", "supportedModelFormats") or ()]
            if model_format not in formats:
                yield f"{path}.model.modelFormat", f"{runtime} serves {formats}, not {model_format}"
            protocols = at(runtimes[runtime], "spec", "protocolVersions") or []
            if at(predictor, "model", "protocolVersion") not in (None, *protocols):
                yield f"{path}.model.protocolVersion", f"{runtime} speaks {protocols}"
        least, most = at(predictor, "minReplicas"), at(predictor, "maxReplicas")
        if isinstance(least, int) and isinstance(most, int) and least > most:
            yield path, f"expected minReplicas <= maxReplicas, got {least} and {most}"
        percent = at(predictor, "canaryTrafficPercent")
        if percent is not None and (not isinstance(percent, int) or not 0 <= percent <= 100):
            yield f"{path}.canaryTrafficPercent", f"expected 0 to 100, got {percent}"
        kind = at(predictor, "deploymentStrategy", "type")
        if kind not in (None, "RollingUpdate", "Recreate"):
            yield f"{path}.deploymentStrategy", f"unknown type {kind}"
        storage_key = at(predictor, "model", "storage", "key")
        if storage_key is not None and storage_key not in landscape.keys.get(("Secret", "storage-config"), ()):
            yield f"{path}.model.storage.key", f"Secret storage-config has no key {storage_key}"
    mode = at(resource, "metadata", "annotations", "serving.kserve.io/deploymentMode")
    if mode not in ("Standard", "Knative", "ModelMesh"):
        yield "metadata.annotations", f"expected a deploymentMode of Standard, Knative or ModelMesh, got {mode}"
    canaries = at(resource, "spec", "canary") or []
    shares = [at(item, "trafficPercent") for item in canaries]
    if canaries and mode != "Standard":
        yield "spec.canary", "is for Standard mode only"
    if not all(isinstance(share, int) and 0 <= share <= 100 for share in shares) or sum(filter(_is_int, shares)) > 100:
        yield "spec.canary", f"expected shares of 0 to 100, 100 together at most, got {shares}"
    names = [at(item, "predictor", "name") for item in canaries]
    if None in names or len(set(names)) < len(names):
        yield "spec.canary", f"expected a name for each, got {names}"


def _is_int(value: object) -> bool:
    return isinstance(value, int)


def _serving_runtime(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    replicas = at(resource, "spec", "replicas")
    if replicas is not None and (not isinstance(replicas, int) or replicas < 0):
        yield "spec.replicas", f"expected 0 or more, got {replicas}"
    known = {"v1", "v2", "grpc-v1", "grpc-v2"}
    for protocol in at(resource, "spec", "protocolVersions") or ():
        if protocol not in known:
            yield "spec.protocolVersions", f"expected some of {sorted(known)}, got {protocol}"
    adapter = at(resource, "spec", "builtInAdapter", "serverType")
    if adapter not in (None, "triton", "mlserver", "ovms", "torchserve"):
        yield "spec.builtInAdapter.serverType", f"unknown server {adapter}"


def _kafka_part(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    clusters = {at(item, "metadata", "name") for item in landscape.of_kind("Kafka")}
    cluster = at(resource, "metadata", "labels", "strimzi.io/cluster")
    if cluster not in clusters:
        yield "metadata.labels", f"Kafka cluster {cluster} does not exist"


def _strimzi_template(path: str, template: object) -> Iterator[Finding]:
    """What Strimzi is told about its pods must keep to the Pod Security Standard "restricted"."""
    for name, part in (template or {}).items() if isinstance(template, dict) else ():
        context = at(part, "securityContext") or {}
        if name == "pod" and (
            context.get("runAsNonRoot") is not True or at(context, "seccompProfile", "type") != "RuntimeDefault"
        ):
            yield f"{path}.pod", "expected runAsNonRoot and seccompProfile RuntimeDefault"
        if name.endswith("Container") and (
            context.get("allowPrivilegeEscalation") is not False
            or context.get("readOnlyRootFilesystem") is not True
            or at(context, "capabilities", "drop") != ["ALL"]
        ):
            yield f"{path}.{name}", "expected no privilege, no capability and a root that is only read"


def _kafka(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    for part in ("kafka", "entityOperator"):
        yield from _strimzi_template(f"spec.{part}.template", at(resource, "spec", part, "template"))
        if not {"pod"} <= (at(resource, "spec", part, "template") or {}).keys():
            yield f"spec.{part}.template", "says nothing of its pods"
    for operator in ("topicOperator", "userOperator"):
        yield from _amounts(f"spec.entityOperator.{operator}", at(resource, "spec", "entityOperator", operator))
    config = at(resource, "spec", "kafka", "config") or {}
    yield from _scalars("spec.kafka.config", config)
    brokers = _brokers(landscape)
    for key in ("default.replication.factor", "offsets.topic.replication.factor"):
        if isinstance(config.get(key), int) and config[key] > brokers:
            yield "spec.kafka.config", f"{key} is {config[key]}, brokers are {brokers}"
    listeners = at(resource, "spec", "kafka", "listeners") or []
    ports, names = [[at(item, key) for item in listeners] for key in ("port", "name")]
    if len(set(ports)) < len(ports) or len(set(names)) < len(names):
        yield "spec.kafka.listeners", "a port or a name stands twice"
    for peer in (peer for item in listeners for peer in at(item, "networkPolicyPeers") or ()):
        if not landscape.selected(at(peer, "podSelector")):
            yield "spec.kafka.listeners", f"networkPolicyPeers takes no pod: {at(peer, 'podSelector')}"
    for port in ports:
        if not isinstance(port, int) or not 9092 <= port < 65_536:
            yield "spec.kafka.listeners", f"expected a port from 9092 on, got {port}"


def _node_pool(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    for storage in (at(resource, "spec", "storage"), *(at(resource, "spec", "storage", "volumes") or ())):
        size = at(storage, "size")
        if size is not None and quantity(size) is None:
            yield "spec.storage", f"not a quantity: {size}"
    yield from _amounts("spec", resource.get("spec"))
    yield from _strimzi_template("spec.template", at(resource, "spec", "template"))
    for spread in at(resource, "spec", "template", "pod", "topologySpreadConstraints") or ():
        own = {**(at(resource, "metadata", "labels") or {}), "strimzi.io/pool-name": at(resource, "metadata", "name")}
        if not takes(at(spread, "labelSelector"), own):
            yield "spec.template.pod.topologySpreadConstraints", "its selector does not take the pool's pods"
        if at(spread, "whenUnsatisfiable") not in ("DoNotSchedule", "ScheduleAnyway"):
            yield "spec.template.pod.topologySpreadConstraints", "unknown whenUnsatisfiable"
    for key in ("-Xms", "-Xmx"):
        value = at(resource, "spec", "jvmOptions", key)
        if value is not None and not re.fullmatch(r"\d+[mMgG]", str(value)):
            yield "spec.jvmOptions", f"{key}: not a size: {value}"


def _amounts(path: str, holder: object) -> Iterator[Finding]:
    requests, limits = (at(holder, "resources", side) or {} for side in ("requests", "limits"))
    for amounts in (requests, limits):
        for name, amount in amounts.items():
            if quantity(amount) is None or name not in ("cpu", "memory"):
                yield f"{path}.resources", f"not a quantity of cpu or memory: {name}: {amount}"
    for name in requests.keys() & limits.keys():
        if (quantity(requests[name]) or 0) > (quantity(limits[name]) or 0):
            yield f"{path}.resources", f"{name}: request is above limit"


def _brokers(landscape: Landscape) -> int:
    pools = [item for item in landscape.of_kind("KafkaNodePool") if "broker" in (at(item, "spec", "roles") or ())]
    counts = [at(item, "spec", "replicas") for item in pools]
    return sum(count for count in counts if isinstance(count, int))


def _topic(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    replicas, config = at(resource, "spec", "replicas"), at(resource, "spec", "config") or {}
    yield from _scalars("spec.config", config)
    if isinstance(replicas, int) and replicas > _brokers(landscape):
        yield "spec.replicas", f"{replicas} replicas, but {_brokers(landscape)} brokers"
    least = config.get("min.insync.replicas")
    if isinstance(replicas, int) and isinstance(least, int) and least > replicas:
        yield "spec.config", f"min.insync.replicas {least} is above replicas {replicas}"
    for key, value in config.items():
        if key not in _TOPIC_KEYS:
            yield "spec.config", f"unknown setting {key}"
        elif isinstance(value, str) != (key in ("cleanup.policy", "compression.type", "message.timestamp.type")):
            yield "spec.config", f"{key}: unexpected {value!r}"


_TOPIC_KEYS = {
    "cleanup.policy", "compression.type", "max.message.bytes", "message.timestamp.type", "min.insync.replicas",
    "retention.bytes", "retention.ms", "segment.bytes", "segment.ms",
}  # fmt: skip


def _scalars(path: str, config: Json) -> Iterator[Finding]:
    for key, value in config.items():
        if not isinstance(value, str | int | float):
            yield path, f"{key}: expected a plain value, got {type(value).__name__}"


def _user(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    topics = {at(item, "spec", "topicName") or at(item, "metadata", "name") for item in landscape.of_kind("KafkaTopic")}
    for rule in at(resource, "spec", "authorization", "acls") or ():
        target = at(rule, "resource") or {}
        if target.get("type") == "topic" and target.get("name") not in topics:
            yield "spec.authorization.acls", f"topic {target.get('name')} does not exist"
        if target.get("type") not in ("topic", "group") or target.get("patternType", "literal") != "literal":
            yield "spec.authorization.acls", f"expected one topic or group, got {target}"
        if {"All", "Alter", "Delete", "Create"} & set(at(rule, "operations") or ()):
            yield "spec.authorization.acls", f"more than reading and writing: {at(rule, 'operations')}"


def _train_job(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    reference = at(resource, "spec", "runtimeRef") or {}
    if (reference.get("kind", "ClusterTrainingRuntime"), reference.get("name")) not in landscape.names:
        yield "spec.runtimeRef", f"{reference.get('kind')} {reference.get('name')} does not exist"
    if reference.get("apiGroup") not in (None, "trainer.kubeflow.org"):
        yield "spec.runtimeRef.apiGroup", f"unknown group {reference.get('apiGroup')}"
    runtimes = {at(item, "metadata", "name"): item for item in landscape.of_kind("ClusterTrainingRuntime")}
    runtime = runtimes.get(reference.get("name"))
    for entry in at(resource, "spec", "trainer", "env") or ():
        if (at(entry, "value") is None) == (at(entry, "valueFrom") is None):
            yield "spec.trainer.env", f"{at(entry, 'name')}: expected a value or where it is from"
        reference = at(entry, "valueFrom", "secretKeyRef")
        if reference is not None and at(reference, "key") not in landscape.keys.get(
            ("Secret", at(reference, "name")), ()
        ):
            yield "spec.trainer.env", f"Secret {at(reference, 'name')} with key {at(reference, 'key')} does not exist"
    if runtime is not None and at(runtime, "metadata", "labels", "trainer.kubeflow.org/framework") is None:
        yield "spec.runtimeRef", "the runtime has no label trainer.kubeflow.org/framework"


def _training_runtime(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    jobs = at(resource, "spec", "template", "spec", "replicatedJobs") or []
    names = [at(job, "name") for job in jobs]
    if "node" not in names:
        yield "spec.template.spec.replicatedJobs", f"expected one named node, got {names}"
    for job in jobs:
        step = at(job, "template", "metadata", "labels", "trainer.kubeflow.org/trainjob-ancestor-step")
        if at(job, "name") == "node" and step != "trainer":
            yield "spec.template.spec.replicatedJobs", f"node: expected the ancestor step trainer, got {step}"
        containers = at(job, "template", "spec", "template", "spec", "containers") or []
        if at(job, "name") == "node" and "node" not in [at(item, "name") for item in containers]:
            yield "spec.template.spec.replicatedJobs", "node: expected a container named node"
        if at(job, "template", "spec", "completionMode") not in (None, "Indexed", "NonIndexed"):
            yield "spec.template.spec.replicatedJobs", "unknown completionMode"


def _tf_job(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    for role, replica in (at(resource, "spec", "tfReplicaSpecs") or {}).items():
        if role not in ("Chief", "Master", "Worker", "PS", "Evaluator"):
            yield "spec.tfReplicaSpecs", f"unknown role {role}"
        if not isinstance(at(replica, "replicas"), int) or at(replica, "replicas") < 1:
            yield f"spec.tfReplicaSpecs.{role}", f"expected 1 replica or more, got {at(replica, 'replicas')}"
        if at(replica, "restartPolicy") not in (None, "Always", "OnFailure", "Never", "ExitCode"):
            yield f"spec.tfReplicaSpecs.{role}", f"unknown restartPolicy {at(replica, 'restartPolicy')}"
        names = [at(item, "name") for item in at(replica, "template", "spec", "containers") or ()]
        if "tensorflow" not in names:
            yield f"spec.tfReplicaSpecs.{role}", f"expected a container named tensorflow, got {names}"
        ports = {at(port, "name") for item in at(replica, "template", "spec", "containers") or ()
                 for port in item.get("ports") or ()}  # fmt: skip
        if ports and "tfjob-port" not in ports:
            yield f"spec.tfReplicaSpecs.{role}", f"expected a port named tfjob-port, got {sorted(map(str, ports))}"
    if at(resource, "spec", "runPolicy", "cleanPodPolicy") not in (None, "All", "Running", "None"):
        yield "spec.runPolicy.cleanPodPolicy", "unknown policy"
    if at(resource, "spec", "successPolicy") not in (None, "", "AllWorkers"):
        yield "spec.successPolicy", "unknown policy"


def _experiment(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    spec = resource["spec"]
    template = spec["trialTemplate"]
    trial = {"metadata": {"name": "trial"}, **template["trialSpec"]}
    for path, message in schema_faults(trial):
        yield f"spec.trialTemplate.trialSpec.{path}", message
    parameters = {each["name"]: each["feasibleSpace"] for each in spec["parameters"]}
    if len(parameters) < len(spec["parameters"]):
        yield "spec.parameters", "a name stands twice"
    for each in spec["parameters"]:
        space = each["feasibleSpace"]
        if each["parameterType"] in ("categorical", "discrete"):
            if "list" not in space:
                yield f"spec.parameters.{each['name']}", "expected a list"
        elif not {"min", "max"} <= space.keys() or not float(space["min"]) < float(space["max"]):
            yield f"spec.parameters.{each['name']}", f"expected min below max, got {space}"
    declared = {each["name"]: each["reference"] for each in template["trialParameters"]}
    if sorted(declared.values()) != sorted(parameters):
        yield (
            "spec.trialTemplate.trialParameters",
            f"expected those of spec.parameters, got {sorted(declared.values())}",
        )
    used = set(re.findall(r"\$\{trialParameters\.([^}]+)\}", json.dumps(trial)))
    if used != declared.keys():
        yield "spec.trialTemplate.trialSpec", f"expected {sorted(declared)} used, got {sorted(used)}"
    names = [at(item, "name") for item in at(trial, "spec", "template", "spec", "containers") or ()]
    if template["primaryContainerName"] not in names:
        yield "spec.trialTemplate.primaryContainerName", f"expected one of {names}"
    if spec.get("parallelTrialCount", 1) > spec.get("maxTrialCount", 1):
        yield "spec.parallelTrialCount", "more at a time than in all"
    for pattern in at(spec, "metricsCollectorSpec", "source", "filter", "metricsFormat") or ():
        if re.compile(pattern).groups < 2:
            yield "spec.metricsCollectorSpec", f"expected a group for the name and one for the value in {pattern}"
    labels = {at(item, "metadata", "name"): at(item, "metadata", "labels") for item in landscape.of_kind("Namespace")}
    own = labels.get(at(resource, "metadata", "namespace")) or {}
    if own.get("katib.kubeflow.org/metrics-collector-injection") != "enabled":
        yield "metadata.namespace", "Katib collects metrics in namespaces that say so alone"


def _rules(resource: Json, landscape: Landscape) -> Iterator[Finding]:
    groups = at(resource, "spec", "groups") or []
    names = [at(group, "name") for group in groups]
    if len(set(names)) < len(names):
        yield "spec.groups", f"a name stands twice: {names}"
    for rule in (rule for group in groups for rule in at(group, "rules") or ()):
        if "alert" in rule:
            if at(rule, "labels", "severity") not in ("critical", "warning", "info"):
                yield "spec.groups", f"{rule['alert']}: unknown severity {at(rule, 'labels', 'severity')}"
            missing = {"summary", "description", "runbook"} - (at(rule, "annotations") or {}).keys()
            if missing:
                yield "spec.groups", f"{rule['alert']}: annotations missing: {sorted(missing)}"
        elif "record" not in rule:
            yield "spec.groups", "a rule that neither alerts nor records"
        for key in ("for", "keep_firing_for"):
            if rule.get(key) is not None and not re.fullmatch(r"\d+(ms|s|m|h|d)", str(rule[key])):
                yield "spec.groups", f"not a duration: {key}: {rule[key]}"
        for metric in re.findall(r"\bpathcast_[a-z_]+", str(rule.get("expr"))):
            if metric not in known_metrics():
                yield "spec.groups", f"{rule.get('alert')}: no service reports {metric}"


def known_metrics() -> set[str]:
    """What Prometheus finds on a service's page, by the names under which it stores them."""
    from pathcast.monitoring.metrics import ServiceMetrics

    metrics = ServiceMetrics("check")
    names: set[str] = set()
    for family in metrics.registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        names |= {f"{family.name}{suffix}" for suffix in suffixes}
    return names


CUSTOM_RESOURCES: dict[str, tuple[Check, ...]] = {
    "ClusterTrainingRuntime": (_training_runtime,),
    "Experiment": (_experiment,),
    "InferenceService": (_inference_service,),
    "Kafka": (_kafka,),
    "KafkaNodePool": (_kafka_part, _node_pool),
    "KafkaTopic": (_kafka_part, _topic),
    "KafkaUser": (_kafka_part, _user),
    "PodMonitor": (_monitor,),
    "PrometheusRule": (_rules,),
    "ScaledObject": (_scaled_object,),
    "ServiceMonitor": (_monitor,),
    "ServingRuntime": (_serving_runtime,),
    "TFJob": (_tf_job,),
    "TrainJob": (_train_job,),
}
