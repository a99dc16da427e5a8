-- Storage by time: TimescaleDB hypertables segmented by camera, or native partitions, one a day.
-- Raw rows turn columnar after 7 days (the window in which streams are replayed) and go after 30.

CREATE TABLE time_series (
    name        text PRIMARY KEY,
    time_column text NOT NULL
);
INSERT INTO time_series (name, time_column) VALUES
    ('frames', 'captured_at'),
    ('observations', 'captured_at'),
    ('detections', 'captured_at'),
    ('tracks', 'captured_at'),
    ('forecasts', 'made_at'),
    ('forecast_scores', 'made_at');

/*timescaledb:
SELECT create_hypertable(name::regclass, by_range(time_column, INTERVAL '1 day')) FROM time_series ORDER BY name;

ALTER TABLE frames SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'camera_id', timescaledb.orderby = 'captured_at');
ALTER TABLE observations SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'camera_id', timescaledb.orderby = 'captured_at');
ALTER TABLE detections SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'camera_id', timescaledb.orderby = 'captured_at, detection_index');
ALTER TABLE tracks SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'camera_id', timescaledb.orderby = 'captured_at, track_id');
ALTER TABLE forecasts SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'camera_id', timescaledb.orderby = 'made_at, track_id, model, model_version');
ALTER TABLE forecast_scores SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'camera_id', timescaledb.orderby = 'made_at, track_id, model, model_version');

CALL add_columnstore_policy('frames', after => INTERVAL '7 days');
CALL add_columnstore_policy('observations', after => INTERVAL '7 days');
CALL add_columnstore_policy('detections', after => INTERVAL '7 days');
CALL add_columnstore_policy('tracks', after => INTERVAL '7 days');
CALL add_columnstore_policy('forecasts', after => INTERVAL '7 days');
CALL add_columnstore_policy('forecast_scores', after => INTERVAL '7 days');

SELECT add_retention_policy(name::regclass, drop_after => INTERVAL '30 days') FROM time_series ORDER BY name;

-- Chunks appear by themselves; the function exists so that writers need not know where they write.
CREATE FUNCTION ensure_partitions(moments timestamptz[]) RETURNS integer
LANGUAGE sql AS 'SELECT 0';

CREATE FUNCTION drop_raw_before(moment timestamptz) RETURNS integer
LANGUAGE sql AS $$
    SELECT count(chunk)::integer
    FROM time_series, LATERAL drop_chunks(name::regclass, older_than => date_trunc('day', moment, 'UTC')) AS chunk
$$;
*/

/*postgresql:
CREATE TABLE frames_default PARTITION OF frames DEFAULT;
CREATE TABLE observations_default PARTITION OF observations DEFAULT;
CREATE TABLE detections_default PARTITION OF detections DEFAULT;
CREATE TABLE tracks_default PARTITION OF tracks DEFAULT;
CREATE TABLE forecasts_default PARTITION OF forecasts DEFAULT;
CREATE TABLE forecast_scores_default PARTITION OF forecast_scores DEFAULT;

CREATE INDEX ON frames USING brin (captured_at);
CREATE INDEX ON observations USING brin (captured_at);
CREATE INDEX ON detections USING brin (captured_at);
CREATE INDEX ON tracks USING brin (captured_at);
CREATE INDEX ON forecasts USING brin (made_at);
CREATE INDEX ON forecast_scores USING brin (made_at);

-- The partitions that the UTC days of the given moments need and that are not there.
CREATE FUNCTION missing_partitions(moments timestamptz[])
RETURNS TABLE (partition_name text, parent text, time_column text, day timestamptz)
LANGUAGE sql AS $$
    SELECT wanted.*
    FROM (SELECT DISTINCT series.name || '_' || to_char(moment AT TIME ZONE 'UTC', 'YYYYMMDD') AS partition_name,
                 series.name, series.time_column, date_trunc('day', moment, 'UTC')
          FROM time_series AS series, unnest(moments) AS moment) AS wanted
    WHERE NOT EXISTS (
        SELECT FROM pg_class
        WHERE relname = wanted.partition_name AND relnamespace = current_schema()::regnamespace)
    ORDER BY 1
$$;

-- Makes the partitions of the UTC days that hold the given moments and returns how many are new. Rows of
-- such a day that went to the default partition move. The new table is attached, not created in place,
-- because that lets other writers of the table go on. Runs with its owner's rights: a writer may not
-- create tables.
CREATE FUNCTION ensure_partitions(moments timestamptz[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    missing record;
    made integer := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM missing_partitions(moments)) THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('pathcast partitions'));
    -- Asked again: while this transaction waited, another may have made them.
    FOR missing IN SELECT * FROM missing_partitions(moments) LOOP
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', missing.partition_name, missing.parent);
        EXECUTE format(
            'WITH moved AS (DELETE FROM %I WHERE %I >= %L AND %I < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
            missing.parent || '_default', missing.time_column, missing.day, missing.time_column,
            missing.day + INTERVAL '24 hours', missing.partition_name);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       missing.parent, missing.partition_name, missing.day, missing.day + INTERVAL '24 hours');
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
*/
