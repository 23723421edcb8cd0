"""What replicas have taken of a key's minute."""

import sqlalchemy as sa
from alembic import op

import router.ledger.rates  # noqa: F401 - so that the tables in code are those of this step

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "rate",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("second", sa.BigInteger(), nullable=False),
        sa.Column("taken", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "kind", "second", name="pk_rate"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("rate")
