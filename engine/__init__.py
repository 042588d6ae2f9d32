"""Platering's engine: frames from cameras to sightings in Redis.

The way of a frame, one module a step::

    sources/ -> decoder -> ring -> worker -> recognizers/ -> reads -> publisher
    -> tracker -> spool -> sinks/ -> Redis -> api

``supervisor`` starts and watches the processes; ``cli`` is the command ``platering``.
"""

from importlib.metadata import version

__version__ = version("platering")
