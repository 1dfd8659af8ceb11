"""In and out: datasets from the log, judgements of others into it.

rows      a judgement as rows of the four parts of a dataset
standing  the judgements that count, with the answers they are about
parquet   rows as files
card      README.md of an export
export    the folder, written whole or not at all
records   the records of a file, one at a time: JSONL, JSON, Parquet
said      a judgement from elsewhere, and the events that it becomes
messages  conversations as other tools write them
plain     our own rows, TRL's, NeMo-RL's, plain JSONL
transcripts  Anthropic's HH-RLHF
fine_tuning  OpenAI's files for SFT and DPO
label_studio  Label Studio's JSON: Ranker, Pairwise
imports   a file or folder into the log: all of it, or nothing

may import: feedback
"""
