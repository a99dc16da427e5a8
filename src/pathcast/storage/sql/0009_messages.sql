-- What people are to be told of trainings and champions, in order; a row goes when every channel has taken it.
CREATE TABLE owed_messages (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    family  text NOT NULL,
    title   text NOT NULL,
    body    text NOT NULL,
    facts   jsonb NOT NULL,
    owed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX owed_messages_family ON owed_messages (family, id);

-- Databases whose roles were made before this step.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pathcast_reader') THEN
        GRANT SELECT ON owed_messages TO pathcast_reader;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pathcast_writer') THEN
        GRANT INSERT, DELETE ON owed_messages TO pathcast_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pathcast_watcher') THEN
        GRANT INSERT, DELETE ON owed_messages TO pathcast_watcher;
    END IF;
END
$$;
