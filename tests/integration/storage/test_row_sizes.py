"""What a row takes on disk with its index: the capacity plan in docs/operations.md stands on these."""

import re
from pathlib import Path

import pytest

from pathcast.storage.migrate import migrate

PLAN = (Path(__file__).resolve().parents[3] / "docs" / "operations.md").read_text()
ROWS = 20_000
TOLERANCE = 0.1
# 50 cameras of 10 frames/s with six people each, and full-precision numbers, which do not compress.
_FRAME = "'camera-' || lpad((i % 50)::text, 3, '0'), timestamptz '2026-03-01' + (i / 50) * interval '0.1 s'"
_OBJECT = (
    "'camera-' || lpad((i % 50)::text, 3, '0'), timestamptz '2026-03-01' + (i / 300) * interval '0.1 s', i / 50 % 6"
)
_BOX = "random()::real, random()::real, random()::real, random()::real, random()::real"
LOOKS = 64
_HEAD = f"{_FRAME}, i, 1280, 720, 'detector', '3', 6, 6, 2, 2, random() * 255, random() * 20"
VALUES = {
    "frames": f"{_FRAME}, i, 1280, 720, 'camera-001/2026/03/01/12/' || md5((i / 400)::text) || '.pack', i, 100000, "
    "sha256(i::text::bytea)",
    "observations": _HEAD,
    "observations with looks": _HEAD + f", (SELECT array_agg(random()::real) FROM generate_series(1, {LOOKS} + i * 0))",  # noqa: S608
    "detections": f"{_OBJECT}, 0, {_BOX}, 'detector', '3'",
    "tracks": f"{_OBJECT}, 0, {_BOX}, random(), random(), 'm', i / 50 % 6",
    "forecasts": f"{_OBJECT}, 0, 'forecaster', '12', i, ARRAY[random(), random()]::real[], "  # noqa: S608
    "ARRAY[random(), random()]::real[], 20, (SELECT array_agg(random()::real) FROM generate_series(1, 480 + i * 0)), "
    "(SELECT array_agg(random()::real) FROM generate_series(1, 20 + i * 0)), 'm'",
    "forecast_scores": f"{_OBJECT}, 0, 'forecaster', '12', i, 'scored', 12, random(), random(), random(), random(), "
    "random(), random(), 'm'",
}


def _planned() -> dict[str, int]:
    rows = re.findall(r"(?m)^\| ([a-z ]+) \| [^|]+ \| ([\d,]+) \| [\d.]+ \| [\d,]+ \|$", PLAN)
    planned = {name.replace(" ", "_"): int(size.replace(",", "")) for name, size in rows}
    (more,) = re.findall(rf"appearance vectors of {LOOKS} numbers \| (\d+)", PLAN)
    return planned | {"observations with looks": planned["observations"] + int(more)}


@pytest.mark.parametrize("case", VALUES)
def test_a_row_takes_what_the_plan_says(empty_postgres, case: str) -> None:
    table = case.partition(" ")[0]
    with empty_postgres.connect() as connection:
        migrate(connection)
        connection.execute("SELECT ensure_partitions(ARRAY[timestamptz '2026-03-01'])")
        connection.execute(f"INSERT INTO {table} SELECT {VALUES[case]} FROM generate_series(0, {ROWS - 1}) AS i")  # noqa: S608
        (size,) = connection.execute(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = %s::regclass", (table,)
        ).fetchone()
    measured = float(size) / ROWS
    print(f"\n{case}: {measured:.0f} bytes a row")
    assert measured == pytest.approx(_planned()[case], rel=TOLERANCE)
