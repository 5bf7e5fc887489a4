"""python -m memagent: the same as the command magent."""

from memagent.cli import main

if __name__ == "__main__":
    main()
