-- What dashboards and drift checks read, by minute: continuous aggregates on TimescaleDB (they answer for
-- minutes not yet materialised from the raw rows) and outlive the raw rows; views on plain PostgreSQL.

CREATE /*timescaledb: MATERIALIZED*/ VIEW detection_counts_minute
/*timescaledb: WITH (timescaledb.continuous, timescaledb.materialized_only = false)*/ AS
SELECT camera_id,
       /*timescaledb: time_bucket('1 minute', captured_at)*/
       /*postgresql: date_bin('1 minute', captured_at, TIMESTAMPTZ '2000-01-01 00:00:00+00')*/ AS minute,
       class_id,
       model,
       model_version,
       count(*) AS detections,
       avg(score) AS mean_score,
       avg((x2 - x1) * (y2 - y1)) AS mean_area_px
FROM detections
GROUP BY 1, 2, 3, 4, 5
/*timescaledb: WITH NO DATA*/;

CREATE /*timescaledb: MATERIALIZED*/ VIEW object_counts_minute
/*timescaledb: WITH (timescaledb.continuous, timescaledb.materialized_only = false)*/ AS
SELECT camera_id,
       /*timescaledb: time_bucket('1 minute', captured_at)*/
       /*postgresql: date_bin('1 minute', captured_at, TIMESTAMPTZ '2000-01-01 00:00:00+00')*/ AS minute,
       class_id,
       count(*) AS track_rows,
       count(DISTINCT track_id) AS tracks
FROM tracks
GROUP BY 1, 2, 3
/*timescaledb: WITH NO DATA*/;

-- Speed at the moment of each forecast: the last observed displacement per 0.4 s step, in units a second.
CREATE /*timescaledb: MATERIALIZED*/ VIEW object_speeds_minute
/*timescaledb: WITH (timescaledb.continuous, timescaledb.materialized_only = false)*/ AS
SELECT camera_id,
       /*timescaledb: time_bucket('1 minute', made_at)*/
       /*postgresql: date_bin('1 minute', made_at, TIMESTAMPTZ '2000-01-01 00:00:00+00')*/ AS minute,
       class_id,
       units,
       count(*) AS samples,
       avg(sqrt(velocity[1]::double precision ^ 2 + velocity[2]::double precision ^ 2) / 0.4) AS mean_speed_per_s
FROM forecasts
GROUP BY 1, 2, 3, 4
/*timescaledb: WITH NO DATA*/;

-- Means are over the forecasts whose track lived through all steps; `scored` is their number and the
-- weight when minutes are combined.
CREATE /*timescaledb: MATERIALIZED*/ VIEW forecast_errors_minute
/*timescaledb: WITH (timescaledb.continuous, timescaledb.materialized_only = false)*/ AS
SELECT camera_id,
       /*timescaledb: time_bucket('1 minute', made_at)*/
       /*postgresql: date_bin('1 minute', made_at, TIMESTAMPTZ '2000-01-01 00:00:00+00')*/ AS minute,
       class_id,
       model,
       model_version,
       units,
       count(*) FILTER (WHERE status = 'scored') AS scored,
       count(*) FILTER (WHERE status <> 'scored') AS track_ended,
       avg(ade) FILTER (WHERE status = 'scored') AS mean_ade,
       avg(fde) FILTER (WHERE status = 'scored') AS mean_fde,
       avg(best_ade) FILTER (WHERE status = 'scored') AS mean_best_ade,
       avg(best_fde) FILTER (WHERE status = 'scored') AS mean_best_fde,
       avg(constant_velocity_ade) FILTER (WHERE status = 'scored') AS mean_constant_velocity_ade,
       avg(constant_velocity_fde) FILTER (WHERE status = 'scored') AS mean_constant_velocity_fde
FROM forecast_scores
GROUP BY 1, 2, 3, 4, 5, 6
/*timescaledb: WITH NO DATA*/;

/*timescaledb:
-- The refresh looks back over the replay window, and never as far as the raw retention: a refresh over
-- dropped rows would drop their minutes too.
SELECT add_continuous_aggregate_policy('detection_counts_minute', start_offset => INTERVAL '8 days', end_offset => INTERVAL '2 minutes', schedule_interval => INTERVAL '1 minute');
SELECT add_continuous_aggregate_policy('object_counts_minute', start_offset => INTERVAL '8 days', end_offset => INTERVAL '2 minutes', schedule_interval => INTERVAL '1 minute');
SELECT add_continuous_aggregate_policy('object_speeds_minute', start_offset => INTERVAL '8 days', end_offset => INTERVAL '2 minutes', schedule_interval => INTERVAL '1 minute');
SELECT add_continuous_aggregate_policy('forecast_errors_minute', start_offset => INTERVAL '8 days', end_offset => INTERVAL '2 minutes', schedule_interval => INTERVAL '1 minute');

SELECT add_retention_policy('detection_counts_minute', drop_after => INTERVAL '400 days');
SELECT add_retention_policy('object_counts_minute', drop_after => INTERVAL '400 days');
SELECT add_retention_policy('object_speeds_minute', drop_after => INTERVAL '400 days');
SELECT add_retention_policy('forecast_errors_minute', drop_after => INTERVAL '400 days');
*/
