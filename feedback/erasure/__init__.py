"""All that an end user said, and that others said about it in words, is removed for good.

requests     erasures that were asked for, and what came of them
people       the main flow: from the tombstone to Redis' own files
redis_files  Redis writes its files anew, without what it has forgotten
carrying     carries out what was asked for

may import: feedback
"""
