"""A frozen dataset of everything said up to one moment: SFT, reward model, PPO prompts, what is held out.

rules       what a snapshot leaves out, caps and masks; written into its manifest
people      whose word counts, how much, and on which sets never
splits      which side a person is on, in every snapshot there will ever be
caps        how many judgements of one person stay
duplicates  prompts that begin alike, or are nearly the same
pii         personal data found in a text and masked
presidio    its pattern recognizers, without the models they come with
addresses   postal addresses and links with user data, which Presidio has no recognizer for
staging     the events of one snapshot on disk, so that memory stays flat
judged      the first pass: judgements, as the reward model and SFT need them
answers     the second pass: the completions that were judged
pool        the second pass: prompts for PPO, a bounded sample
filters     which judgements stay, and why the others do not
rows        what is written: a ranking, a prompt, a demonstration
files       written whole or not at all; SHA-256 of each
parts       the files, one for each part
manifest    what a snapshot holds and what was left out, counted
builder     the main flow
moderation  texts with what people say moderation should have said of them, by itself

may import: feedback
"""
