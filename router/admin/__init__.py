"""What an operator does with the store: keys, and questions about money.

    store   which store the configuration names    wanted   a new key, from words or JSON
    ring    its keys, read when they change        callers  those, as the router uses them
    shown   what may be told of keys and books     calls    what the journal answers
    leases  rates of keys over several replicas

Only the last is on the way of a call, and only of a key that has rates.
"""
