"""`hone bench reward|ppo|rollouts`: what training costs, beside a peer or a floor of the same run.

commands   the command line
reward     the K-wise reward model beside TRL's RewardTrainer
learning   one reward model that learns, in a process of its own
ppo        PPO iterations: seconds and memory by phase, beside the floor and four plain models
growth     time over answers, prompt, batch and K, with its exponent
iteration  such iterations, in a process of their own
rollouts   answers through the engine's HTTP, beside vLLM alone
offline    vLLM alone, a process of its own
workload   prompts, answers and texts of random tokens
candidates  the models that are measured: a folder's, or random weights of a known shape
shapes     of known models
baseline   the straightforward iteration: four models, padded, float32, full logits
floor      the operations that an iteration needs, and the rate of matrix products
meter      seconds and memory by phase

may import: feedback, moderation, serving
"""
