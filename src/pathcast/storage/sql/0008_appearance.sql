-- The mean appearance vector of a frame's tracked objects; NULL where the detector gives no vectors or nothing is tracked.
ALTER TABLE observations ADD COLUMN appearance real[];
