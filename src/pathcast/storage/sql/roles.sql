-- Rights for three group roles, run by the owner of the schema after the first migration (it needs CREATEROLE);
-- later migrations grant what they add. Give pathcast_writer to the streaming services and the lifecycle,
-- pathcast_reader to dashboards, pathcast_watcher to the drift monitor. None may change the schema; the writer may not delete or change rows of the
-- time series, except those past their retention.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pathcast_reader') THEN
        CREATE ROLE pathcast_reader NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pathcast_writer') THEN
        CREATE ROLE pathcast_writer NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pathcast_watcher') THEN
        CREATE ROLE pathcast_watcher NOLOGIN;
    END IF;
END
$$;

GRANT pathcast_reader TO pathcast_writer, pathcast_watcher;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO pathcast_reader;
-- A consumer's state is nobody else's business.
REVOKE SELECT ON checkpoints FROM pathcast_reader;

GRANT INSERT ON frames, observations, detections, tracks, forecasts, forecast_scores, model_versions, training_tracks
    TO pathcast_writer;
GRANT SELECT, INSERT, UPDATE ON cameras, stream_offsets, checkpoints TO pathcast_writer;
GRANT INSERT, UPDATE, DELETE ON drift_findings, drift_alarms, retraining_runs TO pathcast_writer, pathcast_watcher;
GRANT INSERT, DELETE ON owed_messages TO pathcast_writer, pathcast_watcher;
REVOKE EXECUTE ON FUNCTION drop_raw_before(timestamptz), ensure_partitions(timestamptz[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partitions(timestamptz[]), drop_expired_raw(timestamptz) TO pathcast_writer;
