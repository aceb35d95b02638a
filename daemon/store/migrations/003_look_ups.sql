-- Tasks are looked up by movie, and attempts by task, several times in the life of each movie. By a scan that costs
-- more with every movie that was ever seen; by these indexes it does not, and as neither column ever changes, updates
-- leave them alone. Before another column of these tables changes its type, or goes, drop the index, then make it again.
CREATE INDEX task_by_movie ON task (movie_id);
CREATE INDEX attempt_by_task ON attempt (task_id);
