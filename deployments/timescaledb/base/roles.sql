-- Databases and logins, run as the superuser; running it again sets the passwords anew and changes nothing else.
-- The rights on tables are given by the owner's migration (pathcast/storage/sql/roles.sql) to the three group roles.
\set ON_ERROR_STOP on
\getenv owner_password OWNER_PASSWORD
\getenv archiver_password ARCHIVER_PASSWORD
\getenv analyzer_password ANALYZER_PASSWORD
\getenv recorder_password RECORDER_PASSWORD
\getenv lifecycle_password LIFECYCLE_PASSWORD
\getenv monitor_password MONITOR_PASSWORD
\getenv dashboards_password DASHBOARDS_PASSWORD
\getenv mlflow_password MLFLOW_PASSWORD

CREATE TEMPORARY TABLE logins (name text, password text, group_role text);
INSERT INTO logins VALUES
    ('pathcast_owner', :'owner_password', NULL),
    ('pathcast_archiver', :'archiver_password', 'pathcast_writer'),
    ('pathcast_analyzer', :'analyzer_password', 'pathcast_writer'),
    ('pathcast_recorder', :'recorder_password', 'pathcast_writer'),
    ('pathcast_lifecycle', :'lifecycle_password', 'pathcast_writer'),
    ('pathcast_monitor', :'monitor_password', 'pathcast_watcher'),
    ('pathcast_dashboards', :'dashboards_password', 'pathcast_reader'),
    ('mlflow', :'mlflow_password', NULL);

SELECT format('CREATE ROLE %I NOLOGIN', wanted)
FROM unnest(ARRAY['pathcast_reader', 'pathcast_writer', 'pathcast_watcher']) AS wanted
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) \gexec

SELECT format('CREATE ROLE %I LOGIN', name) FROM logins
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

-- Passwords stay out of the server's log.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\o /dev/null
SELECT format('ALTER ROLE %I PASSWORD %L', name, password) FROM logins \gexec
\o
RESET log_statement;
RESET log_min_error_statement;

SELECT format('GRANT %I TO %I', group_role, name) FROM logins WHERE group_role IS NOT NULL \gexec
GRANT pathcast_reader, pathcast_writer, pathcast_watcher TO pathcast_owner WITH ADMIN OPTION;

SELECT format('CREATE DATABASE %I OWNER %I', name, owner)
FROM (VALUES ('pathcast', 'pathcast_owner'), ('mlflow', 'mlflow')) AS wanted (name, owner)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = wanted.name) \gexec

REVOKE ALL ON DATABASE pathcast, mlflow FROM PUBLIC;
GRANT CONNECT ON DATABASE pathcast TO pathcast_reader;

\connect pathcast
SELECT 'CREATE EXTENSION IF NOT EXISTS timescaledb'
WHERE EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb') \gexec
