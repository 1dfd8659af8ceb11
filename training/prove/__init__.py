"""Proofs that training does what it says, on problems whose right answer is known: `hone prove …`.

commands      the typer app
report        what a proof found, its marks, and how they are shown
plotting      pictures of a proof
world         8 prompts and every answer to them: all expectations are sums
language      the Markov chain that the base is pretrained on, and pretraining it
tables        the world's sampler and scorer, in the places of vLLM and the reward model
mutants       planted bugs that a proof must notice
runs          the real trainer in that world
exact         experiment A: PPO against the analytic optimum
labelers      experiment B: labelers whose opinions are known
people        their world: prompts, tastes, rankings, demonstrations
sampling      answers of its policy, a batch at once
overoptimisation  PPO on a reward model while the truth is watched; what the gate says
tax           experiment C: what is forgotten, by gamma and by beta
model         experiment D: the real model through real vLLM
answers       its held-out prompts, answered by reference and candidate: gold, scores, KL
best_of_n     what choosing among n answers gives
canary        the canary's sequential test: false alarms and power
crowd         the simulated people before it
public        experiment E: three rounds, rolled back, refused, promoted
acts          who labels how in each, and how it is to end
label_page    its labelers, at /label
voters        its end users, who compare a canary with production
recording     what happened when
own_stack     a stack for one experiment

may import: feedback, serving, training
"""
