-- Which topic an offset counts in: one that is made anew under the same name has another id. Null: not known.
ALTER TABLE stream_offsets ADD COLUMN topic_id uuid;
ALTER TABLE checkpoints ADD COLUMN topic_id uuid;
