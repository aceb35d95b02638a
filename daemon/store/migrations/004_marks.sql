-- What people say of single micrographs, over the gates: accepted or rejected by hand. Who said what before stands in
-- the history, under the subject 'image'.
CREATE TABLE mark (
  image_id   VARCHAR PRIMARY KEY,
  session_id VARCHAR NOT NULL,
  passes     BOOLEAN NOT NULL,
  asked_by   VARCHAR NOT NULL,
  why        VARCHAR NOT NULL,
  marked_at  TIMESTAMP NOT NULL
);
