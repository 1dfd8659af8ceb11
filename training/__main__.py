"""`python -m training`: the `hone` command where no console script is installed."""

from training.cli import main

if __name__ == "__main__":
    main()
