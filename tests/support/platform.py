"""A local platform seen from outside."""

import base64
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress

import psutil
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from minio import Minio
from support.waiting import LIMIT_S

from pathcast.core.settings import PlatformSettings
from pathcast.local import processes
from pathcast.local.platform import Platform
from pathcast.local.state import PlatformState

SERVERS = ("object_store", "database", "kafka", "tracking", "triton")


def instance(platform: Platform) -> str:
    state = PlatformState.load(platform.state_dir)
    assert state is not None
    return state.instance


def pids(platform: Platform) -> dict[str, int | None]:
    return {part.name: part.pid for part in platform.status()}


def processes_of(platform: Platform) -> list[psutil.Process]:
    """Every process of the platform, also those that overwrote their marks."""
    state = PlatformState.load(platform.state_dir)
    assert state is not None
    found = [member for part in state.parts.values() for member in processes.family(part.identity)]
    found += processes.marked(f"{state.instance}/")
    found += [
        identity
        for process in psutil.process_iter()
        if str(platform.state_dir) in _folder(process) and (identity := processes.ProcessIdentity.of(process.pid))
    ]
    alive = []
    for pid in sorted({identity.pid for identity in found}):
        with suppress(psutil.NoSuchProcess):  # it ended between the two looks
            alive.append(psutil.Process(pid))
    return alive


def _folder(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


def s3(settings: PlatformSettings) -> Minio:
    return Minio(
        settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=False,
    )


def produce(settings: PlatformSettings, topic: str, values: list[bytes]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    if topic not in admin.list_topics():
        admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=settings.kafka_bootstrap, acks="all")
    for sent in [producer.send(topic, value, partition=0) for value in values]:
        sent.get(timeout=30)
    producer.close()


def consume(settings: PlatformSettings, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), 0)
    values: list[bytes] = []
    deadline = time.monotonic() + LIMIT_S
    while len(values) < count and time.monotonic() < deadline:
        values += [record.value for batch in consumer.poll(timeout_ms=500).values() for record in batch]
    consumer.close()
    return values


def request(url: str, user_and_password: str | None = None) -> int:
    asked = urllib.request.Request(url)  # noqa: S310
    if user_and_password is not None:
        asked.add_header("Authorization", "Basic " + base64.b64encode(user_and_password.encode()).decode())
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def ask_tracking(settings: PlatformSettings, program: str) -> str:
    """Run a program that uses MLflow in a process of its own, as training does, and give its output."""
    uri = settings.mlflow_tracking_uri.get_secret_value()
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    code = f"import mlflow\nclient = mlflow.MlflowClient()\n{program}"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()
