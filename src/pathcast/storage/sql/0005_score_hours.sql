-- How forecasts turned out, by hour, in sums that add up over any hours, cameras and classes. Kept for good:
-- a row for each hour, camera, class and model version. A forecast whose track ended is counted, with its
-- error over the steps that came: ended_steps are these steps, ended_error their summed displacements.

CREATE /*timescaledb: MATERIALIZED*/ VIEW /*timescaledb: forecast_errors_hour*/ /*postgresql: forecast_errors_raw_hour*/
/*timescaledb: WITH (timescaledb.continuous, timescaledb.materialized_only = false)*/ AS
SELECT camera_id,
       /*timescaledb: time_bucket('1 hour', made_at)*/
       /*postgresql: date_bin('1 hour', made_at, TIMESTAMPTZ '2000-01-01 00:00:00+00')*/ AS hour,
       class_id,
       model,
       model_version,
       units,
       count(*) FILTER (WHERE status = 'scored') AS scored,
       coalesce(sum(ade) FILTER (WHERE status = 'scored'), 0) AS ade,
       coalesce(sum(fde) FILTER (WHERE status = 'scored'), 0) AS fde,
       coalesce(sum(best_ade) FILTER (WHERE status = 'scored'), 0) AS best_ade,
       coalesce(sum(best_fde) FILTER (WHERE status = 'scored'), 0) AS best_fde,
       coalesce(sum(constant_velocity_ade) FILTER (WHERE status = 'scored'), 0) AS constant_velocity_ade,
       coalesce(sum(constant_velocity_fde) FILTER (WHERE status = 'scored'), 0) AS constant_velocity_fde,
       count(*) FILTER (WHERE status <> 'scored') AS track_ended,
       coalesce(sum(steps) FILTER (WHERE status <> 'scored'), 0) AS ended_steps,
       coalesce(sum(ade * steps) FILTER (WHERE status <> 'scored'), 0) AS ended_error,
       coalesce(sum(constant_velocity_ade * steps) FILTER (WHERE status <> 'scored'), 0)
           AS ended_constant_velocity_error
FROM forecast_scores
GROUP BY 1, 2, 3, 4, 5, 6
/*timescaledb: WITH NO DATA*/;

-- What of these was made: the difference to scored + track_ended is still open, or was lost with the analyzer's state.
CREATE /*timescaledb: MATERIALIZED*/ VIEW /*timescaledb: forecasts_made_hour*/ /*postgresql: forecasts_made_raw_hour*/
/*timescaledb: WITH (timescaledb.continuous, timescaledb.materialized_only = false)*/ AS
SELECT camera_id,
       /*timescaledb: time_bucket('1 hour', made_at)*/
       /*postgresql: date_bin('1 hour', made_at, TIMESTAMPTZ '2000-01-01 00:00:00+00')*/ AS hour,
       class_id,
       model,
       model_version,
       units,
       count(*) AS made
FROM forecasts
GROUP BY 1, 2, 3, 4, 5, 6
/*timescaledb: WITH NO DATA*/;

/*timescaledb:
SELECT add_continuous_aggregate_policy('forecast_errors_hour', start_offset => INTERVAL '8 days', end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '10 minutes');
SELECT add_continuous_aggregate_policy('forecasts_made_hour', start_offset => INTERVAL '8 days', end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '10 minutes');

-- The retention policies do it.
CREATE FUNCTION drop_expired_raw(moment timestamptz) RETURNS text
LANGUAGE sql AS 'SELECT NULL::text';
*/

/*postgresql:
-- The hours whose raw rows are gone.
CREATE TABLE forecast_errors_kept_hour (
    LIKE forecast_errors_raw_hour,
    PRIMARY KEY (camera_id, hour, class_id, model, model_version, units)
);
CREATE TABLE forecasts_made_kept_hour (
    LIKE forecasts_made_raw_hour,
    PRIMARY KEY (camera_id, hour, class_id, model, model_version, units)
);

-- Rows that came late to a day that was dropped add to what was kept of it.
CREATE VIEW forecast_errors_hour AS
SELECT camera_id, hour, class_id, model, model_version, units,
       sum(scored)::bigint AS scored,
       sum(ade) AS ade,
       sum(fde) AS fde,
       sum(best_ade) AS best_ade,
       sum(best_fde) AS best_fde,
       sum(constant_velocity_ade) AS constant_velocity_ade,
       sum(constant_velocity_fde) AS constant_velocity_fde,
       sum(track_ended)::bigint AS track_ended,
       sum(ended_steps)::bigint AS ended_steps,
       sum(ended_error) AS ended_error,
       sum(ended_constant_velocity_error) AS ended_constant_velocity_error
FROM (SELECT * FROM forecast_errors_raw_hour UNION ALL SELECT * FROM forecast_errors_kept_hour) AS parts
GROUP BY 1, 2, 3, 4, 5, 6;

CREATE VIEW forecasts_made_hour AS
SELECT camera_id, hour, class_id, model, model_version, units, sum(made)::bigint AS made
FROM (SELECT * FROM forecasts_made_raw_hour UNION ALL SELECT * FROM forecasts_made_kept_hour) AS parts
GROUP BY 1, 2, 3, 4, 5, 6;

-- How long raw rows stay; the schema's owner may change it. Replays reach back 7 days.
CREATE TABLE retention (
    raw_days integer NOT NULL CHECK (raw_days >= 8),
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);
INSERT INTO retention (raw_days) VALUES (30);

-- Drops the oldest partition of a day before the UTC day of the moment and returns its name, NULL where none is. Whoever
-- drops raw rows, by schedule or by hand, does it here, and keeps the hours of forecasts and their scores first. (On
-- TimescaleDB they are continuous aggregates, which outlive the rows.)
CREATE FUNCTION drop_oldest_partition(moment timestamptz) RETURNS text
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    expired record;
    day timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('pathcast partitions'));
    SELECT series.name, child.relname
    INTO expired
    FROM time_series AS series
    JOIN pg_inherits ON pg_inherits.inhparent = series.name::regclass
    JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
    WHERE child.relname ~ ('^' || series.name || '_[0-9]{8}$')
      AND right(child.relname, 8) < to_char(moment AT TIME ZONE 'UTC', 'YYYYMMDD')
    ORDER BY right(child.relname, 8), child.relname
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    day := to_date(right(expired.relname, 8), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC';
    IF expired.name = 'forecast_scores' THEN
        INSERT INTO forecast_errors_kept_hour AS kept
        SELECT * FROM forecast_errors_raw_hour WHERE hour >= day AND hour < day + INTERVAL '24 hours'
        ON CONFLICT (camera_id, hour, class_id, model, model_version, units) DO UPDATE SET
            scored = kept.scored + excluded.scored,
            ade = kept.ade + excluded.ade,
            fde = kept.fde + excluded.fde,
            best_ade = kept.best_ade + excluded.best_ade,
            best_fde = kept.best_fde + excluded.best_fde,
            constant_velocity_ade = kept.constant_velocity_ade + excluded.constant_velocity_ade,
            constant_velocity_fde = kept.constant_velocity_fde + excluded.constant_velocity_fde,
            track_ended = kept.track_ended + excluded.track_ended,
            ended_steps = kept.ended_steps + excluded.ended_steps,
            ended_error = kept.ended_error + excluded.ended_error,
            ended_constant_velocity_error =
                kept.ended_constant_velocity_error + excluded.ended_constant_velocity_error;
    ELSIF expired.name = 'forecasts' THEN
        INSERT INTO forecasts_made_kept_hour AS kept
        SELECT * FROM forecasts_made_raw_hour WHERE hour >= day AND hour < day + INTERVAL '24 hours'
        ON CONFLICT (camera_id, hour, class_id, model, model_version, units) DO UPDATE SET
            made = kept.made + excluded.made;
    END IF;
    EXECUTE format('DROP TABLE %I', expired.relname);
    RETURN expired.relname;
END
$$;
REVOKE EXECUTE ON FUNCTION drop_oldest_partition(timestamptz) FROM PUBLIC;

-- Drops the oldest partition whose day is past the retention at the moment, and returns its name, NULL where none
-- is. One partition a call, so that a caller's transaction holds the lock of one table and no writer can deadlock with
-- it. The moment cannot be in the future, so whoever may call this can only drop what has expired. Runs with its
-- owner's rights: a writer may not drop tables.
CREATE FUNCTION drop_expired_raw(moment timestamptz) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '5s' AS $$
    SELECT drop_oldest_partition(least(moment, now()) - make_interval(days => raw_days)) FROM retention
$$;
REVOKE EXECUTE ON FUNCTION drop_expired_raw(timestamptz) FROM PUBLIC;

-- Drops the partitions of all days before the moment's UTC day and returns how many.
CREATE FUNCTION drop_raw_before(moment timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    dropped integer := 0;
BEGIN
    WHILE drop_oldest_partition(moment) IS NOT NULL LOOP
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
*/

-- Databases whose roles were made before this step.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pathcast_reader') THEN
        GRANT SELECT ON forecast_errors_hour, forecasts_made_hour TO pathcast_reader;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pathcast_writer') THEN
        GRANT EXECUTE ON FUNCTION drop_expired_raw(timestamptz) TO pathcast_writer;
    END IF;
END
$$;
