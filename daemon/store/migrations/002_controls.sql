-- What people set for the running daemon: pauses, parameters, gates. One row for each thing that is set; who set
-- what before stands in the history, under the subject 'control'.
CREATE TABLE control (
  control_id VARCHAR PRIMARY KEY,
  kind       VARCHAR NOT NULL,
  session_id VARCHAR,
  stage      VARCHAR,
  value      JSON NOT NULL,
  asked_by   VARCHAR NOT NULL,
  why        VARCHAR NOT NULL,
  set_at     TIMESTAMP NOT NULL
);

-- What the gates say of each image whose numbers are known; limit and value in the gate's unit.
CREATE TABLE verdict (
  image_id   VARCHAR PRIMARY KEY,
  session_id VARCHAR NOT NULL,
  passes     BOOLEAN,
  gate       VARCHAR NOT NULL,
  reason     VARCHAR NOT NULL
);

-- Parameters of this task alone, as JSON, laid over those of its stage; NULL: none.
ALTER TABLE task ADD COLUMN parameters VARCHAR;
-- An earlier result on disk is not to be believed: a person asked for another one.
ALTER TABLE task ADD COLUMN from_scratch BOOLEAN DEFAULT false;
