-- How far the copy of the follow $1 is: of all its tables, and of those that the copy in hand brings (the last one that began). Columns that
-- an older follower's table does not have yet, before the first start of this one, count as NULL.
WITH tables AS (
  SELECT t.state, t.rows, t.bytes, coalesce((to_jsonb(t) ->> 'behind')::boolean, false) AS behind,
         (to_jsonb(t) ->> 'file_bytes')::bigint AS file_bytes, (to_jsonb(t) ->> 'begun_at')::timestamptz AS begun_at
    FROM follower.copied_table t
   WHERE t.follow = $1
)
SELECT count(*) AS tables,
       count(*) FILTER (WHERE t.state = 'copied') AS copied,
       count(*) FILTER (WHERE t.state = 'copied' AND t.behind) AS behind,
       coalesce(sum(t.rows) FILTER (WHERE t.state = 'copied'), 0) AS copied_rows,
       coalesce(sum(t.bytes) FILTER (WHERE t.state = 'copied'), 0) AS copied_bytes,
       count(*) FILTER (WHERE t.begun_at = last.begun_at) AS in_hand,
       count(*) FILTER (WHERE t.begun_at = last.begun_at AND t.state = 'copied') AS in_hand_copied,
       coalesce(sum(t.bytes) FILTER (WHERE t.begun_at = last.begun_at AND t.state = 'copied'), 0) AS in_hand_copied_bytes,
       coalesce(sum(t.file_bytes) FILTER (WHERE t.begun_at = last.begun_at), 0) AS in_hand_file_bytes,
       coalesce(sum(t.file_bytes) FILTER (WHERE t.begun_at = last.begun_at AND t.state = 'copied'), 0) AS in_hand_copied_file_bytes,
       coalesce(extract(epoch FROM clock_timestamp() - max(last.begun_at)), 0) AS seconds
  FROM tables t
 CROSS JOIN (SELECT max(l.begun_at) AS begun_at FROM tables l) last;
