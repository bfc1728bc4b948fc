"""The HTTP service: `app.create_app` builds it in front of a running engine."""
