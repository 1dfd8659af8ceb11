"""/openapi.json: what goes in and comes out of every route.

document   each operation with its answer, errors and query parameters
requests   the fields of requests on the data path, as serving.request_fields takes them
responses  what comes back
admin      the same for the operator's routes
canary     the same for the canary's routes
lineage    the same for the lineage of an answer, a judgement, a version

may import: feedback, serving
"""
