"""The local stack's console: what is going on in it, and the API's reference with requests to try."""
