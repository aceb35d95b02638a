-- Times are UTC. States are the words of docs/states.md. No secondary indexes: a scan of a column is
-- faster than keeping them, and every write touches rows by primary key. Primary keys are single columns:
-- rows of a composite key are found only by a scan.

CREATE TABLE session (
  session_id    VARCHAR PRIMARY KEY,
  name          VARCHAR NOT NULL,
  raw_directory VARCHAR NOT NULL,
  home          VARCHAR NOT NULL,
  acquisition   JSON NOT NULL,
  facts         JSON NOT NULL,
  state         VARCHAR NOT NULL,
  created_at    TIMESTAMP NOT NULL,
  closed_at     TIMESTAMP
);

CREATE TABLE image (
  image_id    VARCHAR PRIMARY KEY,
  session_id  VARCHAR NOT NULL,
  name        VARCHAR NOT NULL,
  parent_id   VARCHAR,
  level       INTEGER,
  frame_name  VARCHAR,
  acquisition JSON NOT NULL,
  manifest    JSON NOT NULL
);

CREATE TABLE movie (
  movie_id     VARCHAR PRIMARY KEY,
  session_id   VARCHAR NOT NULL,
  image_id     VARCHAR,
  path         VARCHAR NOT NULL,
  size_bytes   BIGINT NOT NULL,
  mtime_ns     BIGINT NOT NULL,
  revision     INTEGER NOT NULL,
  state        VARCHAR NOT NULL,
  reason       VARCHAR NOT NULL,
  seen_at      TIMESTAMP NOT NULL,
  last_write_at TIMESTAMP NOT NULL,
  complete_at  TIMESTAMP,
  ended_at     TIMESTAMP
);

CREATE TABLE job (
  job_id          VARCHAR PRIMARY KEY,
  session_id      VARCHAR NOT NULL,
  kind            VARCHAR NOT NULL,
  parameters      JSON NOT NULL,
  created_at      TIMESTAMP NOT NULL,
  cancelled_by    VARCHAR,
  cancelled_at    TIMESTAMP,
  completed_by    VARCHAR,
  completed_at    TIMESTAMP
);

CREATE TABLE task (
  task_id         VARCHAR PRIMARY KEY,
  job_id          VARCHAR NOT NULL,
  session_id      VARCHAR NOT NULL,
  image_id        VARCHAR,
  movie_id        VARCHAR,
  stage           VARCHAR NOT NULL,
  position        INTEGER NOT NULL,
  state           VARCHAR NOT NULL,
  attempts        INTEGER NOT NULL,
  reason          VARCHAR NOT NULL,
  error_kind      VARCHAR NOT NULL,
  hint            VARCHAR NOT NULL,
  retryable       BOOLEAN NOT NULL,
  warnings        JSON NOT NULL, -- not a list type: updating one rewrites its whole row
  parameters_hash VARCHAR NOT NULL,
  code_version    VARCHAR NOT NULL,
  created_at      TIMESTAMP NOT NULL,
  started_at      TIMESTAMP,
  ended_at        TIMESTAMP,
  next_attempt_at TIMESTAMP
);

-- outcome: running, a terminal task state, or interrupted (the daemon died in it, or it was put back unblamed).
CREATE TABLE attempt (
  attempt_id      VARCHAR PRIMARY KEY,
  task_id         VARCHAR NOT NULL,
  attempt         INTEGER NOT NULL,
  outcome         VARCHAR NOT NULL,
  started_at      TIMESTAMP NOT NULL,
  ended_at        TIMESTAMP,
  reason          VARCHAR NOT NULL,
  error_kind      VARCHAR NOT NULL,
  hint            VARCHAR NOT NULL,
  retryable       BOOLEAN NOT NULL,
  detail          VARCHAR NOT NULL,
  parameters_hash VARCHAR NOT NULL,
  code_version    VARCHAR NOT NULL
);

-- Every transition of a movie, task or session, in the order in which they became true.
CREATE TABLE history (
  seq        BIGINT NOT NULL,
  subject    VARCHAR NOT NULL,
  subject_id VARCHAR NOT NULL,
  session_id VARCHAR NOT NULL,
  from_state VARCHAR,
  to_state   VARCHAR NOT NULL,
  moved_at   TIMESTAMP NOT NULL,
  reason     VARCHAR NOT NULL,
  cause      VARCHAR NOT NULL,
  asked_by   VARCHAR
);

CREATE TABLE artifact (
  artifact_id     VARCHAR PRIMARY KEY,
  session_id      VARCHAR NOT NULL,
  path            VARCHAR NOT NULL,
  kind            VARCHAR NOT NULL,
  size_bytes      BIGINT NOT NULL,
  sha256          VARCHAR NOT NULL,
  parameters_hash VARCHAR NOT NULL,
  producer        VARCHAR NOT NULL,
  image_id        VARCHAR,
  task_id         VARCHAR,
  written_at      TIMESTAMP NOT NULL
);

-- The outbox. The row with the highest seq is never pruned, so that seq goes on rising after a restart.
CREATE TABLE event (
  seq          BIGINT NOT NULL,
  event_id     VARCHAR NOT NULL,
  subject      VARCHAR NOT NULL,
  stream       VARCHAR,
  body         BLOB NOT NULL,
  occurred_at  TIMESTAMP NOT NULL,
  published_at TIMESTAMP
);

CREATE TABLE notification (
  notification_id VARCHAR PRIMARY KEY,
  session_id      VARCHAR,
  severity        VARCHAR NOT NULL,
  kind            VARCHAR NOT NULL,
  message         VARCHAR NOT NULL,
  hint            VARCHAR NOT NULL,
  raised_at       TIMESTAMP NOT NULL
);

CREATE TABLE decision (
  decision_id VARCHAR PRIMARY KEY,
  session_id VARCHAR NOT NULL,
  key        VARCHAR NOT NULL,
  value      JSON NOT NULL,
  decided_at TIMESTAMP NOT NULL
);
