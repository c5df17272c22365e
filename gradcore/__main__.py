"""`python -m gradcore` is the command `gradcore`."""

from gradcore.cli import main

if __name__ == "__main__":
    main()
