"""HTTP: pages and the API (comes with the signup issue)."""
