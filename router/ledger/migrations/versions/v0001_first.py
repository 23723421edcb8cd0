"""Budgets, reservations, frozen prices, keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

LIVE = sa.text("state IN ('R', 'D')")
ENDED = sa.text("state IN ('S', 'X')")
CAPTURED = sa.text("state = 'C'")


def upgrade() -> None:
    op.create_table(
        "budget",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("span", sa.String(16), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=False),
        sa.Column("cap", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("posted", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("told", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("anchor", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("key", name="pk_budget"),
        sa.CheckConstraint("held >= 0", name="ck_budget_held"),
        sa.CheckConstraint("posted >= 0", name="ck_budget_posted"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_budget_anchor", "budget", ["anchor", "start"])
    op.create_table(
        "reservation",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("price", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("budgets", sa.Text(), nullable=False),
        sa.Column("state", sa.String(1), nullable=False),
        sa.Column("bound", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger()),
        sa.Column("units", sa.Text(), nullable=False),
        sa.Column("made", sa.Double(), nullable=False),
        sa.Column("due", sa.Double(), nullable=False),
        sa.Column("sent", sa.Double()),
        sa.Column("ended", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_reservation"),
        sa.CheckConstraint("state IN ('R', 'D', 'C', 'S', 'X')", name="ck_reservation_state"),
        sa.CheckConstraint("bound >= 0", name="ck_reservation_bound"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_reservation_live", "reservation", ["due"], sqlite_where=LIVE, postgresql_where=LIVE
    )
    op.create_index(
        "ix_reservation_captured",
        "reservation",
        ["made"],
        sqlite_where=CAPTURED,
        postgresql_where=CAPTURED,
    )
    op.create_index(
        "ix_reservation_ended", "reservation", ["made"], sqlite_where=ENDED, postgresql_where=ENDED
    )
    op.create_table(
        "frozen",
        sa.Column("price", sa.Text(), nullable=False),
        sa.Column("reservation", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("price", name="pk_frozen"),
    )
    op.create_table(
        "caller",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("routes", sa.Text()),
        sa.Column("tasks", sa.Text()),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("made", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double()),
        sa.Column("revoked", sa.Double()),
        sa.Column("rates", sa.Text(), nullable=False),
        sa.Column("budgets", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_caller"),
    )
    op.create_index("ix_caller_name", "caller", ["name"])
    made = op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )
    op.bulk_insert(made, [{"name": "version", "value": 1}])


def downgrade() -> None:
    for table in ("meta", "caller", "frozen", "reservation", "budget"):
        op.drop_table(table)
