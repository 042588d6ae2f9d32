"""The front: a gevent Flask application that serves what the engine stored and publishes."""
