-- The mean appearance vector of a frame's detections, each counted by its score; NULL where the detector gives none.
ALTER TABLE observations ADD COLUMN appearance real[];
