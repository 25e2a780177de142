"""``python -m flowmaps.cli``: the ``flowmaps`` command."""

from flowmaps.cli._app import main

if __name__ == "__main__":
    main()
