-- The progress row of the follow $1.
SELECT p.system_identifier, p.timeline, p.database, p.slot, p.own_slot, p.lsn, p.commit_time, p.epoch, p.updated_at
  FROM follower.progress AS p
 WHERE p.name = $1;
