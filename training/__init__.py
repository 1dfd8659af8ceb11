"""Make the next version.

settings      where training runs and when a round starts (HONE_TRAINING_…)
config        recipes: what a round trains; recipes/*.toml
schedule      when does a round start? pure
rounds        a round's state, plan and lease
worker        takes the lease, runs each step as a child process
tasks         Celery: tick, run_round
publish       a candidate that passed the gate becomes a version and goes live
cli           hone rounds, worker, beat, demo
demo          hone demo: simulated people, a round, a swap, the figures
demo_people   the simulated end users and labelers, and what they like
demo_prompts  what they ask
demo_traffic  requests during the swap
demo_report   statistics, picture, tables

may import: feedback, moderation, serving
"""
