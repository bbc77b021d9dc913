"""The message box: messages, groups, leases and dead letters as tables of a SQL database.

A row that exists is not done; done is deleted. No cursor over ids is ever trusted.
"""
