-- What a classifier said of a detection, where the camera asks for one: the model, its version, the likeliest of its
-- own classes and the probability of that. NULL where nobody was asked.
ALTER TABLE detections ADD COLUMN classifier text;
ALTER TABLE detections ADD COLUMN classifier_version text;
ALTER TABLE detections ADD COLUMN kind_id smallint;
ALTER TABLE detections ADD COLUMN kind_probability real;

-- Class of the detector, by name, number or '*' → the model that is asked.
ALTER TABLE cameras ADD COLUMN classify jsonb NOT NULL DEFAULT '{}';
