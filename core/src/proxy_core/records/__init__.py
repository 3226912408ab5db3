"""What is kept of requests, and how it is cleaned first."""
