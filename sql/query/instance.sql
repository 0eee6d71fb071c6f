-- What tells one running server from every other, its own copies included. No parameters.
SELECT format('%s started %s', (SELECT system_identifier FROM pg_control_system()), pg_postmaster_start_time()) AS instance;
