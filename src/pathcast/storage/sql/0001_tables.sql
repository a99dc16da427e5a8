-- The tables every service writes. Rows have natural keys, so a record that is processed twice changes
-- nothing; there are no foreign keys, because rows arrive out of order and from several services.
-- A comment /*timescaledb: …*/ or /*postgresql: …*/ is code on the database that it names.

CREATE TABLE cameras (
    camera_id   text PRIMARY KEY,
    calibration jsonb,
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- Where each consumer goes on: moved in the same transaction as the rows that it accounts for.
CREATE TABLE stream_offsets (
    service     text NOT NULL,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (service, topic, partition)
);

-- A consumer's state after all records before next_offset.
CREATE TABLE checkpoints (
    service     text NOT NULL,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL,
    state       bytea NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (service, topic, partition)
);

-- Archived frames: bytes [pack_offset, pack_offset + byte_length) of the object pack_key are the JPEG.
CREATE TABLE frames (
    camera_id   text NOT NULL,
    captured_at timestamptz NOT NULL,
    sequence    bigint NOT NULL,
    width       integer NOT NULL,
    height      integer NOT NULL,
    pack_key    text NOT NULL,
    pack_offset bigint NOT NULL,
    byte_length integer NOT NULL,
    sha256      bytea NOT NULL,
    PRIMARY KEY (camera_id, captured_at)
) /*postgresql: PARTITION BY RANGE (captured_at)*/;

-- One row for each analysed frame, also where nothing was seen, so that a gap shows.
CREATE TABLE observations (
    camera_id        text NOT NULL,
    captured_at      timestamptz NOT NULL,
    sequence         bigint NOT NULL,
    width            integer NOT NULL,
    height           integer NOT NULL,
    detector         text NOT NULL,
    detector_version text NOT NULL,
    detection_count  smallint NOT NULL,
    track_count      smallint NOT NULL,
    forecast_count   smallint NOT NULL,
    score_count      smallint NOT NULL,
    PRIMARY KEY (camera_id, captured_at)
) /*postgresql: PARTITION BY RANGE (captured_at)*/;

-- Boxes are pixels of the original frame: left, top, right, bottom.
CREATE TABLE detections (
    camera_id       text NOT NULL,
    captured_at     timestamptz NOT NULL,
    detection_index smallint NOT NULL,
    class_id        smallint NOT NULL,
    score           real NOT NULL,
    x1              real NOT NULL,
    y1              real NOT NULL,
    x2              real NOT NULL,
    y2              real NOT NULL,
    model           text NOT NULL,
    model_version   text NOT NULL,
    PRIMARY KEY (camera_id, captured_at, detection_index)
) /*postgresql: PARTITION BY RANGE (captured_at)*/;

-- x and y are the foot point in units ('m' or 'frame_heights'); detection_index is NULL where the tracker
-- carried on without a detection.
CREATE TABLE tracks (
    camera_id       text NOT NULL,
    captured_at     timestamptz NOT NULL,
    track_id        bigint NOT NULL,
    class_id        smallint NOT NULL,
    score           real NOT NULL,
    x1              real NOT NULL,
    y1              real NOT NULL,
    x2              real NOT NULL,
    y2              real NOT NULL,
    x               double precision NOT NULL,
    y               double precision NOT NULL,
    units           text NOT NULL,
    detection_index smallint,
    PRIMARY KEY (camera_id, captured_at, track_id)
) /*postgresql: PARTITION BY RANGE (captured_at)*/;

-- paths holds modes x 12 x (x, y), flattened in that order; velocity is a displacement per 0.4 s step.
CREATE TABLE forecasts (
    camera_id     text NOT NULL,
    made_at       timestamptz NOT NULL,
    track_id      bigint NOT NULL,
    class_id      smallint NOT NULL,
    model         text NOT NULL,
    model_version text NOT NULL,
    made_at_step  bigint NOT NULL,
    origin        real[] NOT NULL,
    velocity      real[] NOT NULL,
    modes         smallint NOT NULL,
    paths         real[] NOT NULL,
    log_probs     real[] NOT NULL,
    units         text NOT NULL,
    PRIMARY KEY (camera_id, made_at, track_id, model, model_version)
) /*postgresql: PARTITION BY RANGE (made_at)*/;

-- Errors are in units, over the steps that came; NULL where none came.
CREATE TABLE forecast_scores (
    camera_id             text NOT NULL,
    made_at               timestamptz NOT NULL,
    track_id              bigint NOT NULL,
    class_id              smallint NOT NULL,
    model                 text NOT NULL,
    model_version         text NOT NULL,
    made_at_step          bigint NOT NULL,
    status                text NOT NULL,
    steps                 smallint NOT NULL,
    ade                   double precision,
    fde                   double precision,
    best_ade              double precision,
    best_fde              double precision,
    constant_velocity_ade double precision,
    constant_velocity_fde double precision,
    units                 text NOT NULL,
    PRIMARY KEY (camera_id, made_at, track_id, model, model_version)
) /*postgresql: PARTITION BY RANGE (made_at)*/;

-- Every model version that may make rows, with what it learned from. data_card describes data from
-- outside; training_tracks names the stored tracks.
CREATE TABLE model_versions (
    model         text NOT NULL,
    version       text NOT NULL,
    sha256        text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    data_card     jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (model, version)
);

-- A version learned from the tracks of camera_id in [since, until).
CREATE TABLE training_tracks (
    model       text NOT NULL,
    version     text NOT NULL,
    camera_id   text NOT NULL,
    since       timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    track_count integer NOT NULL,
    PRIMARY KEY (model, version, camera_id, since)
);
