"""`python -m serving engine`, `python -m serving gateway`: as `hone`, without the trainer's commands."""

from serving.cli import main

if __name__ == "__main__":
    main()
