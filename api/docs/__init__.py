"""The OpenAPI document as a page: drawn by the server, no script, nothing from outside."""
