"""The farm over HTTP: an API for programs, and pages for people. Needs the extra `service`."""
