"""The deterministic simulation: a whole bot against a model of GitHub, in one thread, on a virtual clock.

One seed is one history. Everything that could differ between two plays of a seed (time, order, ids, chance) comes from
the seed; nothing here opens a socket, starts a thread or waits. It is a tool for developers and operators; no other
part of the product imports it but the command line.
"""
