-- Makes orderflow_web, the database role of the web server. PostgreSQL stops its statements after
-- 30 s, so that no page occupies the database for longer. The limit is a setting of the role, so it
-- also works behind PgBouncer. The role reads and writes rows. The tables belong to orderflow, the
-- role of the worker and of `manage.py migrate`, which has no such limit.
--
-- Run it with psql, as a superuser, in the service's database, before or after the first migration:
--
--     psql --file=deploy/postgres/web-role.sql orderflow
--
-- It can be run again and then sets the limit and the password again. For other names of the roles
-- add `--set=web=NAME --set=owner=NAME`. The password is read from the file that WEB_PASSWORD_FILE
-- names. If that is not set, set a password with psql's \password.

\set ON_ERROR_STOP on
\if :{?web}
\else
  \set web orderflow_web
\endif
\if :{?owner}
\else
  \set owner orderflow
\endif

SELECT format('CREATE ROLE %I LOGIN', :'web')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'web') \gexec

\getenv password_file WEB_PASSWORD_FILE
\if :{?password_file}
  \set password `cat "$WEB_PASSWORD_FILE"`
  ALTER ROLE :"web" PASSWORD :'password';
\endif

ALTER ROLE :"web" SET statement_timeout = '30s';
ALTER ROLE :"owner" SET statement_timeout = 0;

-- Each role has to see when the transactions of the other began, because lists of changes show a
-- change only after all transactions that began before it have ended.
GRANT pg_read_all_stats TO :"web", :"owner";

GRANT USAGE ON SCHEMA public TO :"web";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :"web";
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO :"web";
-- The same for tables and sequences of later migrations.
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"web";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public
  GRANT USAGE ON SEQUENCES TO :"web";
