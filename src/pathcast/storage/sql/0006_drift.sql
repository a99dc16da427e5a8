-- What frames look like, and what the drift checks found.

-- Mean luminance (0 to 255) and the standard deviation of its second horizontal difference (grey levels); NULL in
-- rows from before they were measured.
ALTER TABLE observations ADD COLUMN brightness real;
ALTER TABLE observations ADD COLUMN sharpness real;

CREATE /*timescaledb: MATERIALIZED*/ VIEW frame_looks_minute
/*timescaledb: WITH (timescaledb.continuous, timescaledb.materialized_only = false)*/ AS
SELECT camera_id,
       /*timescaledb: time_bucket('1 minute', captured_at)*/
       /*postgresql: date_bin('1 minute', captured_at, TIMESTAMPTZ '2000-01-01 00:00:00+00')*/ AS minute,
       count(brightness) AS frames,
       avg(brightness) AS mean_brightness,
       avg(sharpness) AS mean_sharpness
FROM observations
GROUP BY 1, 2
/*timescaledb: WITH NO DATA*/;

/*timescaledb:
SELECT add_continuous_aggregate_policy('frame_looks_minute', start_offset => INTERVAL '8 days', end_offset => INTERVAL '2 minutes', schedule_interval => INTERVAL '1 minute');
SELECT add_retention_policy('frame_looks_minute', drop_after => INTERVAL '400 days');
*/

-- One row for each signal of a family at a camera in a window. `accepted`: a person took this window's world as
-- normal, so it may serve as reference.
CREATE TABLE drift_findings (
    family            text NOT NULL,
    camera_id         text NOT NULL,
    signal            text NOT NULL,
    window_start      timestamptz NOT NULL,
    window_end        timestamptz NOT NULL,
    model_version     text NOT NULL,
    verdict           text NOT NULL CHECK (verdict IN ('normal', 'alarm', 'unknown')),
    reason            text NOT NULL,
    reference         double precision,
    value             double precision,
    distance          double precision,
    threshold         double precision,
    samples           integer NOT NULL,
    reference_windows integer NOT NULL,
    accepted          boolean NOT NULL DEFAULT false,
    checked_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (family, camera_id, signal, window_end, window_start)
);

-- From the first window that was bad to the first that was good again. A message is owed until its time is set.
CREATE TABLE drift_alarms (
    family       text NOT NULL,
    camera_id    text NOT NULL,
    since        timestamptz NOT NULL,
    last_seen    timestamptz NOT NULL,
    reason       text NOT NULL,
    recovered_at timestamptz,
    announced_at timestamptz,
    cleared_at   timestamptz,
    PRIMARY KEY (family, camera_id, since)
);
CREATE UNIQUE INDEX drift_alarms_open ON drift_alarms (family, camera_id) WHERE recovered_at IS NULL;

-- Trainings that drift has started: one for a family and window, whoever asks how often.
CREATE TABLE retraining_runs (
    family       text NOT NULL,
    window_end   timestamptz NOT NULL,
    triggered_by text NOT NULL,
    reason       text NOT NULL,
    place        text NOT NULL,
    run          text,
    status       text NOT NULL CHECK (status IN ('starting', 'started', 'succeeded', 'failed')),
    started_at   timestamptz NOT NULL DEFAULT now(),
    ended_at     timestamptz,
    PRIMARY KEY (family, window_end)
);

-- Databases whose roles were made before this step.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pathcast_reader') THEN
        GRANT SELECT ON frame_looks_minute, drift_findings, drift_alarms, retraining_runs TO pathcast_reader;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pathcast_writer') THEN
        GRANT INSERT, UPDATE, DELETE ON drift_findings, drift_alarms, retraining_runs TO pathcast_writer;
    END IF;
END
$$;
