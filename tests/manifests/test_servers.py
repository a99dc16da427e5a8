import json

import pytest

from pathcast.messaging import topics
from pathcast.messaging.topics import MAX_RECORD_BYTES, dead_letter_topic
from tests.manifests.landscape import external
from tests.manifests.objects import DEPLOYMENTS, Json, at, pods
from tests.manifests.worlds import built


def named(folder: str, kind: str) -> dict[str, Json]:
    return {item["metadata"]["name"]: item for item in built(folder) if item["kind"] == kind}


def test_topics_are_those_of_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = []

    class Admin:
        def __init__(self, **_: object) -> None: ...
        def create_topics(self, new, **_: object) -> dict[str, list]:
            wanted.extend(new)
            return {"topics": []}

        def close(self) -> None: ...

    monkeypatch.setattr(topics, "KafkaAdminClient", Admin)
    topics.ensure_topics("broker:1")
    kafka = named("kafka", "KafkaTopic")
    assert kafka.keys() == {topic.name for topic in wanted}
    for topic in wanted:
        spec = kafka[topic.name]["spec"]
        config = {key: str(value) for key, value in spec["config"].items()}
        assert config == {**topic.topic_configs, "min.insync.replicas": "2"}
        assert spec["replicas"] == 3
    frames, observations = kafka["frames"]["spec"], kafka["observations"]["spec"]
    assert frames["partitions"] == observations["partitions"]
    settings = named("kafka", "Kafka")["pathcast"]["spec"]["kafka"]["config"]
    assert settings["message.max.bytes"] == settings["replica.fetch.max.bytes"] == MAX_RECORD_BYTES


def test_kafka_users_may_do_what_their_service_does_and_nothing_else() -> None:
    frames, observations = "frames", "observations"
    expected = {
        "pathcast-producer": {(frames, "Write")},
        "pathcast-archiver": {(frames, "Read"), (dead_letter_topic(frames), "Write")},
        "pathcast-analyzer": {(frames, "Read"), (observations, "Write"), (dead_letter_topic(frames), "Write")},
        "pathcast-recorder": {(observations, "Read"), (dead_letter_topic(observations), "Write")},
        "pathcast-operator": {
            *((dead_letter_topic(topic), "Read") for topic in (frames, observations)),
            *((topic, "Write") for topic in (frames, observations)),
        },
    }
    users = named("kafka", "KafkaUser")
    assert users.keys() == expected.keys()
    for name, rights in expected.items():
        acls = users[name]["spec"]["authorization"]["acls"]
        given = {
            (rule["resource"]["type"], rule["resource"]["name"], operation)
            for rule in acls
            for operation in rule["operations"]
        }
        wanted = {("topic", topic, right) for topic, right in rights | {(topic, "Describe") for topic, _ in rights}}
        group = {("group", name, "Read")} if name == "pathcast-operator" else set()
        assert given == wanted | group


def test_object_store_users_may_not_touch_each_others_buckets() -> None:
    policies = {
        path.stem: json.loads(path.read_text()) for path in (DEPLOYMENTS / "minio/base/policies").glob("*.json")
    }
    assert sorted(policies) == sorted(external()["Secret"]["minio-users"])

    def may(user: str, action: str) -> set[str]:
        return {
            resource.removeprefix("arn:aws:s3:::")
            for statement in policies[user]["Statement"]
            if f"s3:{action}" in statement["Action"]
            for resource in statement["Resource"]
        }

    assert {user: may(user, "PutObject") for user in policies} == {
        "archiver": {"frames/*"},
        "triton": set(),
        "lifecycle": {"models/*", "mlflow/*", "results/*"},
        "mlflow": {"mlflow/*"},
    }
    assert may("triton", "GetObject") == {"models/triton/*"}
    # It asks for the bucket before it starts, which names no prefix: a condition on one would refuse it.
    assert may("triton", "ListBucket") == {"models"}
    assert not any("Condition" in statement for statement in policies["triton"]["Statement"])
    assert "*" not in {
        action for policy in policies.values() for part in policy["Statement"] for action in part["Action"]
    }


def test_secrets_that_people_make_are_told_in_the_readme() -> None:
    readme = (DEPLOYMENTS / "README.md").read_text()
    for name, keys in external()["Secret"].items():
        if name not in ("cameras", "registry"):
            assert name in readme
            for key in keys:
                assert key in readme, f"{name}: {key}"


def test_both_operators_train_in_the_same_container() -> None:
    (job,) = built("training/jobs/tfjob")
    (worker,) = pods(job)
    (runtime,) = [item for item in built("training") if item["kind"] == "ClusterTrainingRuntime"]
    (node,) = pods(runtime)
    (train_job,) = built("training/jobs/trainjob")
    (first,), (second,) = worker.spec["containers"], node.spec["containers"]
    differing = {"name", "ports", "args"}
    assert {key: first[key] for key in first.keys() - differing} == {
        key: second[key] for key in second.keys() - differing
    }
    assert first["args"] == at(train_job, "spec", "trainer", "args")
    assert [port["containerPort"] for port in first["ports"]] == [port["containerPort"] for port in second["ports"]]
    aside = ("containers", "restartPolicy")
    assert {key: value for key, value in worker.spec.items() if key not in aside} == {
        key: value for key, value in node.spec.items() if key not in aside
    }


def test_a_canary_has_its_own_runtime_on_the_same_repository() -> None:
    applied = built("serving/overlays/canary")
    (service,) = [item for item in applied if item["kind"] == "InferenceService"]
    runtimes = {item["metadata"]["name"]: item for item in applied if item["kind"] == "ServingRuntime"}
    canary = service["spec"]["canary"][0]["predictor"]["model"]["runtime"]
    assert {service["spec"]["predictor"]["model"]["runtime"], canary} == runtimes.keys()
    pods_of = list(pods(service, list(runtimes.values())))
    repositories = {
        entry["value"] for pod in pods_of for entry in pod.containers[0]["env"] if entry["name"] == "MODEL_REPOSITORY"
    }
    assert repositories == {"s3://http://minio:9000/models/triton"}
    assert len({pod.labels["app"] for pod in pods_of}) == 2
    more, base = ({(item["kind"], item["metadata"]["name"]) for item in some} for some in (applied, built("serving")))
    assert (more - base, base - more) == ({("ServingRuntime", canary)}, {("ScaledObject", "triton")})
