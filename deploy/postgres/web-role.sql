-- Makes orderflow_web, the database role of the web server: PostgreSQL stops its statements after
-- 30 s, so that no page holds the database for longer. A setting of the role holds behind PgBouncer
-- too. The role reads and writes rows; the tables belong to orderflow, the role of the worker and
-- of `manage.py migrate`, which has no such limit.
--
-- For psql, as a superuser, in the service's database, before or after the first migration:
--
--     psql --file=deploy/postgres/web-role.sql orderflow
--
-- May be run again: it sets the limit and the password anew. `--set=web=NAME --set=owner=NAME` for other names. The role gets
-- the password in the file that WEB_PASSWORD_FILE names, if that is set; else give it one with
-- psql's \password.

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

-- Each has to see when the other's transactions began: lists of changes wait for them.
GRANT pg_read_all_stats TO :"web", :"owner";

GRANT USAGE ON SCHEMA public TO :"web";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :"web";
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO :"web";
-- What later migrations make.
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"web";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public
  GRANT USAGE ON SEQUENCES TO :"web";
