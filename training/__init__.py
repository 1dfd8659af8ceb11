"""Make the next version.

settings      where training runs and when a round starts (HONE_TRAINING_…)
config        recipes: what a round trains; recipes/*.toml
schedule      when does a round start? pure
rounds        a round's state and plan
news          what people said that no round has learnt from yet
budget        how much it may cost: pure
forecast      when it will be done, by how long steps took before: pure
spending      what the step under way costs, and how far it is
retention     removes what rounds of long ago need no more
lease         one worker at a time has it
worker        takes the lease, runs each step as a child process
round_spans   a round as a trace, where traces are sent
tasks         Celery: tick, run_round
presence      a worker says in Redis that it lives
job           what a step works on, and whether it still may
step          python -m training.step: one step of a round in its own process
preferences   a preference dataset on disk as a snapshot
data          a snapshot and pretraining text as token groups
texts         token ids of texts that a snapshot holds without them
batches       prompts with their answers laid out for forward passes
models        policy, reference, value and reward: what training needs of them
shared        the four as adapters on one frozen base
attention     attention for bf16 on a CPU, where torch's is slow
separate      the four with full weights, sharded where there are several processes
parallel      several processes take parts of a batch and make one step
logprobs      log-probabilities without full logits
phases        the parts of a step, for whoever measures them
losses        eq. 1, PPO, value, KL reward, GAE: pure
sft           imitates demonstrations
selection     which of its epochs answers best
model_folder  a whole model out of what a step trained
reward        the K-wise reward model
reward_report  how well it judges: accuracy by people, calibration
reward_export  as one checkpoint that transformers and vLLM load
reward_folds  cross-validation: people left out in turn
uncertainty   what the reward model is least sure of is labeled first
rollouts      answers sampled by the engines over HTTP
dispatch      which engine answers which request, and when
transfer      full weights sent to the engines from memory
samplers      where PPO's episodes come from, under ever new names
experience    sampled answers with scores, values and advantages
learner       PPO-ptx's update: two gradients, one optimizer step
trainer       the loop: sample, score, check, update
kl_control    how strong the KL penalty is, by iteration: pure
shown         answers for a person to read while it trains
alarms        what stops it, each with its cure
ppo           a round's PPO step: its models, engines, data and candidate
independent   a second reward model, of the judgements held out, for the gate
contest       candidate and incumbent answer the same prompts
manner        how a policy answers: refusals, repetition, entropy: pure
wins          how often the candidate's answers score above the incumbent's: pure
divergence    how far the candidate has gone, by its own answers
public        public tasks, candidate against incumbent
votes         what people said of these very weights, where they served
exhibits      what the gate's figures are from, for who wants to look: pure
evidence      measures a candidate against the incumbent
gate          may it be published? pure
files         small files on disk, whole or not at all
checkpoint    state on disk, whole or not at all
shortage      what the machine ran out of, and what to do about it: pure
curves        metrics.jsonl of a round
event_files   the same for TensorBoard, where it is installed
publish       a candidate that passed the gate becomes a version and goes live
standalone    one step of a round by itself, on a dataset on disk
own_engine    an engine for as long as a command runs
train_commands  hone train sft, rm, ppo
train_progress  what a person sees of it
cli           hone rounds, prove, train, worker, beat, demo
demo          hone demo: simulated people, a round, a swap, the figures
demo_people   the simulated end users and labelers, and what they like
demo_prompts  what they ask
demo_traffic  streams during the swap
demo_report   statistics, picture, tables

Sub-packages, each with a map of its own:

bench/        `hone bench …` of the trainer: what training costs
evaluation/   `hone evaluate`: policies side by side, as the paper evaluates them
moderation/   a round of moderation's classifier
prove/        `hone prove …`: problems whose right answer is known

may import: feedback, moderation, serving
"""
