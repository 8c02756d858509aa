"""The guide's two tables: names, types, defaults and indexes as PostgreSQL's catalogue has them."""

import pytest
from django.core.management import call_command
from django.db import connection

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="reads PostgreSQL's catalogue"),
]

# column: (type, is nullable, default)
ERP_CONNECTION = {
    "id": ("uuid", "NO", "gen_random_uuid()"),
    "org_id": ("uuid", "NO", None),
    "connector_type": ("text", "NO", None),
    "config_encrypted": ("text", "NO", None),
    "active": ("boolean", "NO", "true"),
    "last_test_at": ("timestamp with time zone", "YES", None),
    "last_test_success": ("boolean", "YES", None),
    "created_at": ("timestamp with time zone", "NO", "now()"),
    "updated_at": ("timestamp with time zone", "NO", "now()"),
}
ERP_EXPORT = {
    "id": ("uuid", "NO", "gen_random_uuid()"),
    "org_id": ("uuid", "NO", None),
    "erp_connection_id": ("uuid", "NO", None),
    "draft_order_id": ("uuid", "NO", None),
    "export_format_version": ("text", "NO", "'orderflow_export_json_v1'::text"),
    "export_storage_key": ("text", "NO", None),
    "dropzone_path": ("text", "YES", None),
    "status": ("character varying(20)", "NO", "'PENDING'::character varying"),
    "erp_order_id": ("text", "YES", None),
    "error_json": ("jsonb", "YES", None),
    "created_at": ("timestamp with time zone", "NO", "now()"),
    "updated_at": ("timestamp with time zone", "NO", "now()"),
}
INDEXES = {
    "idx_erp_connection_org_type": "CREATE UNIQUE INDEX idx_erp_connection_org_type ON "
    "public.erp_connection USING btree (org_id, connector_type)",
    "idx_erp_connection_org_active": "CREATE INDEX idx_erp_connection_org_active ON "
    "public.erp_connection USING btree (org_id, active)",
    "idx_erp_export_draft": "CREATE INDEX idx_erp_export_draft ON "
    "public.erp_export USING btree (org_id, draft_order_id, created_at DESC)",
}
REFERENCES = {
    ("erp_connection", "org_id", "org"),
    ("erp_export", "org_id", "org"),
    ("erp_export", "erp_connection_id", "erp_connection"),
    ("erp_export", "draft_order_id", "draft_order"),
}


def rows(sql: str, *args: object) -> list[tuple[str, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return cursor.fetchall()


@pytest.mark.parametrize(
    ("table", "expected"), [("erp_connection", ERP_CONNECTION), ("erp_export", ERP_EXPORT)]
)
def test_the_columns_are_the_guides(table: str, expected: dict[str, object]) -> None:
    found = {
        name: (kind, nullable, default)
        for name, kind, nullable, default in rows(
            """
            SELECT a.attname, format_type(a.atttypid, a.atttypmod),
                   CASE WHEN a.attnotnull THEN 'NO' ELSE 'YES' END,
                   pg_get_expr(d.adbin, d.adrelid)
            FROM pg_attribute a
            LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
            """,
            table,
        )
        if name in expected
    }
    assert found == expected


def test_the_indexes_are_the_guides() -> None:
    found = dict(
        rows("SELECT indexname, indexdef FROM pg_indexes WHERE indexname = ANY(%s)", list(INDEXES))
    )
    assert found == INDEXES


def test_the_references_are_the_guides() -> None:
    found = rows(
        """
        SELECT c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text
        FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey)
        WHERE c.contype = 'f' AND c.conrelid IN ('erp_connection'::regclass,
                                                 'erp_export'::regclass)
        """
    )
    assert REFERENCES <= set(found)


def test_rows_written_by_plain_sql_get_the_defaults() -> None:
    ((org,),) = rows("INSERT INTO org (name, slug) VALUES ('Acme', 'acme') RETURNING id")
    ((active, status, reason),) = rows(
        """
        INSERT INTO erp_connection (org_id, connector_type, config_encrypted)
        VALUES (%s, 'DROPZONE_JSON_V1', 'x')
        RETURNING active, last_test_success, pause_code
        """,
        org,
    )
    assert (active, status, reason) == (True, None, "NEVER_TESTED")


@pytest.mark.django_db(transaction=True)
def test_migrations_can_be_taken_back() -> None:
    from django_q.models import Schedule

    call_command("migrate", "exports", "zero", verbosity=0)
    call_command("migrate", "connectors", "zero", verbosity=0)
    call_command("migrate", "orders", "zero", verbosity=0)
    call_command("migrate", verbosity=0)
    # The schedules are made once, however often the migrations run.
    call_command("migrate", verbosity=0)
    assert Schedule.objects.filter(name="archive").count() == 1
