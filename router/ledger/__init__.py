"""The store of money behind `layers/spend`: reservations and budgets, shared by replicas.

    budget      which row an amount belongs to        protocol    how money moves: all guards
    record      what is asked and answered            store       a batch as one transaction
    ledger      the facade of the loop                writer      the thread that owns the store
    keys        callers that are kept in the store    books       what an operator looks at

docs/ledger.md tells users; docs/decisions/0008-ledger.md why it is so.
"""
