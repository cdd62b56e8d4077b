"""Figures for operators. The admin, the status command and metrics read them here.

`kinds` reads counts and histograms of finished operations, `backlog` reads the queues, and
`workers` reads the living workers with the operations that they run. `publishing.broker.answers`
and `database.answers` say whether both can be reached.
"""
