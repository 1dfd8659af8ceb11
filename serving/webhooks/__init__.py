"""Webhooks after the Standard Webhooks specification: events out of the log, signed, tried again.

store     endpoints, and what waits to be delivered to each
events    which webhook events a record of the log amounts to; pure
delivery  posts and signs them; one process at a time, in a thread of the control worker
routes    the routes /admin/webhooks
commands  `hone webhooks …`

may import: feedback, serving
"""
