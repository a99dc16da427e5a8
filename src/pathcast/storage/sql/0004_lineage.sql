-- From a forecast to everything it came from: one row for each track row that it was made from (its eight
-- observed steps span 2.8 s up to made_at; the rows that enclose the span take part in the interpolation),
-- with the detection and archived frame of that row, the model version that forecast, and the data that
-- version learned from. Parts that are gone or not there yet are NULL.
-- The bound of 2 s around the span limits the search to what interpolation may bridge.

CREATE VIEW forecast_lineage AS
SELECT forecast.camera_id,
       forecast.made_at,
       forecast.track_id,
       forecast.model,
       forecast.model_version,
       version.sha256 AS model_sha256,
       version.registered_at AS model_registered_at,
       version.data_card AS training_data_card,
       (SELECT jsonb_agg(jsonb_build_object('camera_id', training.camera_id, 'since', training.since,
                                            'until', training.until, 'track_count', training.track_count)
                         ORDER BY training.camera_id, training.since)
        FROM training_tracks AS training
        WHERE training.model = forecast.model AND training.version = forecast.model_version) AS training_tracks,
       track.captured_at,
       track.x1 AS track_x1,
       track.y1 AS track_y1,
       track.x2 AS track_x2,
       track.y2 AS track_y2,
       track.x AS track_x,
       track.y AS track_y,
       track.units,
       detection.detection_index,
       detection.score AS detection_score,
       detection.x1 AS detection_x1,
       detection.y1 AS detection_y1,
       detection.x2 AS detection_x2,
       detection.y2 AS detection_y2,
       detection.model AS detector,
       detection.model_version AS detector_version,
       detector.sha256 AS detector_sha256,
       frame.sequence AS frame_sequence,
       frame.pack_key,
       frame.pack_offset,
       frame.byte_length,
       frame.sha256 AS frame_sha256
FROM forecasts AS forecast
LEFT JOIN model_versions AS version
       ON version.model = forecast.model AND version.version = forecast.model_version
LEFT JOIN LATERAL (
    SELECT candidate.*,
           max(candidate.captured_at) FILTER (WHERE candidate.captured_at <= forecast.made_at - INTERVAL '2.8 s')
               OVER () AS last_before,
           min(candidate.captured_at) FILTER (WHERE candidate.captured_at >= forecast.made_at) OVER () AS first_after
    FROM tracks AS candidate
    WHERE candidate.camera_id = forecast.camera_id
      AND candidate.track_id = forecast.track_id
      AND candidate.captured_at BETWEEN forecast.made_at - INTERVAL '4.8 s' AND forecast.made_at + INTERVAL '2 s'
) AS track
       ON track.captured_at BETWEEN coalesce(track.last_before, '-infinity') AND coalesce(track.first_after, 'infinity')
LEFT JOIN detections AS detection
       ON detection.camera_id = track.camera_id
      AND detection.captured_at = track.captured_at
      AND detection.detection_index = track.detection_index
LEFT JOIN model_versions AS detector
       ON detector.model = detection.model AND detector.version = detection.model_version
LEFT JOIN frames AS frame
       ON frame.camera_id = track.camera_id AND frame.captured_at = track.captured_at;
