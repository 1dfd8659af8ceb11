"""What judges a text: our own classifier, or a stronger model that an operator has.

backend        what every backend can do, and what it says of a text
chosen         the backend that HONE_MODERATION_BACKEND names
onnx           our classifier, in this process
labels         the labels of a sequence classifier, and the categories they mean
hf             any sequence classifier of transformers, in this process
vllm_classify  a sequence classifier that vLLM serves: POST /classify
guard          a guard LLM behind an OpenAI-compatible chat API, by its log-probabilities
verdicts       a guard's answer, read (pure)
openai_api     OpenAI's own moderation
mapping        mapping files: which labels or hazard codes mean which category
pieces         a long text in pieces that fit a model
batching       texts of several requests in one batch
remote         one JSON request to a backend's server; whatever goes wrong is Unavailable

Nothing here loads torch or transformers but `hf`, when it is chosen.

may import: feedback, moderation
"""
