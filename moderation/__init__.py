"""May this text pass? OpenAI's moderation API over a small classifier that runs on one core.

categories   OpenAI's thirteen categories, and the eight that we score
policy       which scores flag or block a text (pure)
settings     where the server is, its backend, bounds and thresholds (HONE_MODERATION_…)
client       the gateway's way to the server
cache        verdicts of texts that were judged a moment ago
wire         OpenAI's request and answer
metrics      the server's Prometheus counters
app          the server

normaliser   one plain spelling for what can be written in many (pure)
lexicon      word lists: how often a text names each notion (pure)
onnx_file    ONNX files read and written, without the onnx package
graph        the encoder as a graph that multiplies int8
encoder      windows of a text to vectors, by onnxruntime
features     what the network sees of a window
network      a small network over those, and its fit
tfidf        hashed words and pairs, and a logistic regression on them
composed     sexual/minors and violence/graphic, of a score and a word list
classifier   text to scores, by the fitted heads.npz
scoring      JSON lines in, JSON lines with scores out

versions     which version serves, kept in Redis
manifest     what a version on disk is made of
artifact     a version on disk, with its digests and probes
follow       keeps a server on the version that is wanted

dataset      labelled texts: read, split, embedded once
synthetic    training texts from our own templates.toml
inferred     labels that a source left unknown and that its nature tells
counterfactuals  copies of training texts that name another group
composites   longer training texts, put together from shorter ones
train        fits heads.npz
adapt        heads that go on learning from what people said
figures      areas with intervals, and the threshold that keeps a rate
evaluate     judges a classifier on labelled texts
obfuscation  disguises that evaluate tries
peers        other packages' scorers, for the same figures
transfer     judges the fit on sources it has not seen
speed        latency, throughput and memory on one core
commands     hone moderation score | train | evaluate | transfer | bench

Sub-package, with a map of its own:

backends/    what judges a text: our classifier, transformers, vLLM, a guard LLM, OpenAI

mappings/ holds what other models' labels mean. `categories`, `policy`, `settings`, `wire`, `client` and `commands`
load no numpy and no onnxruntime.

may import: feedback
"""
