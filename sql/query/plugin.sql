-- What stands against an output plugin upstream, in one row. No parameters.
SELECT current_setting('server_encoding') AS encoding,
       -- Only recent minor releases have it.
       (SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries') AS libraries,
       -- Followed columns whose NaN wal2json writes as null, where null is a value, too: as JSON.
       (SELECT coalesce(json_agg(json_build_array(n.nspname, c.relname, a.attname)
                                 ORDER BY n.nspname, c.relname, a.attnum), '[]')
          FROM pg_attribute AS a
          JOIN pg_class AS c ON c.oid = a.attrelid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE a.atttypid IN ('real'::regtype, 'double precision'::regtype, 'numeric'::regtype)
           AND a.attnum > 0
           AND NOT a.attisdropped
           AND NOT a.attnotnull
           AND c.relkind = 'r'
           AND c.relpersistence = 'p'
           AND n.nspname NOT IN ('follower', 'information_schema')
           AND n.nspname !~ '^pg_') AS nullable;
