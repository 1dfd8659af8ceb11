"""The log that Redis no longer holds: sealed segments of its streams, as Parquet.

A folder per kind of event holds numbered segments, and for each a manifest, which is written last and
only once: two archivers cannot both write segment 7, whatever their leases say.

store      files on this machine or in an object store: written once, listed, removed
manifests  which segments there are: committed, rewritten, and what is garbage
segments   one segment: Parquet in, Parquet out
reader     the archive as reads see it: a range, an entry, an event by its id
marks      what Redis knows of the archive: how far it goes, and which ids are in it
lookup     an event wherever it is, for the gateway: in a thread, and loaded when first needed
lease      one archiver at a time, with a token that grows
plan       what is to leave Redis now? pure
held       what Redis holds, and whether it is time for the archiver
archiver   a run: seal, write, commit, and only then let Redis forget
purge      what was erased leaves its segment
figures    how much of the log is where
process    python -m feedback.archive.process: one run, in a process that ends with its memory

may import: feedback
"""
