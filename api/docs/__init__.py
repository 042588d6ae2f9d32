"""The readable form of the OpenAPI document, drawn by the server: no script, nothing from outside."""
