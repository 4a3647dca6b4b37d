"""The admin server: metrics, health, status and the API, apart from all traffic."""
