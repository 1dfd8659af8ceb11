"""Where an answer comes from, and what a judgement went into: one chain, walked both ways.

graph        what leads to what, and how far one gets: pure
links        snapshots, rounds and versions as such a graph
held         which snapshots hold an id; a sample of what one holds; whether its files are as written
versions     a version's folder against the registry
round_facts  what a round's folder tells
deployments  who made which version live, and how long it was
chain        versions, rounds and snapshots of one system as they are now
said         answers, judgements and people in the log
trail        from an id to all that it comes from, or went into
text         the same for a person to read
routes       /admin/lineage
base_model   where the base is from, and its licence
card         a version's model card: pure
card_facts   what it says, read from folders

may import: moderation, feedback
"""
