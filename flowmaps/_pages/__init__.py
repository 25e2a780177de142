"""How flowmaps shows what it found: one style for pictures, one for HTML pages.

The modules are imported one by one, ``flowmaps._pages._plots`` only where something is drawn.
"""
