-- Whoever drops raw rows, by schedule or by hand, keeps the hours of forecasts and their scores first. (On
-- TimescaleDB they are continuous aggregates, which outlive the rows.)

/*postgresql:
-- Drops the oldest partition of a day before the UTC day of the moment and returns its name, NULL where none is.
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

CREATE OR REPLACE FUNCTION drop_expired_raw(moment timestamptz) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '5s' AS $$
    SELECT drop_oldest_partition(least(moment, now()) - make_interval(days => raw_days)) FROM retention
$$;

CREATE OR REPLACE FUNCTION drop_raw_before(moment timestamptz) RETURNS integer
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

SELECT 1;
