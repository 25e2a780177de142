"""``python -m flowmaps``: the ``flowmaps`` command."""

from flowmaps.cli import main

if __name__ == "__main__":
    main()
