"""What a user wrote, in whatever form, becomes one request."""
