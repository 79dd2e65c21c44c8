"""`python -m tenor.cli`."""

from tenor.cli.app import main

if __name__ == "__main__":
    main()
