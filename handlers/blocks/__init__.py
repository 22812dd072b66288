"""What people see in Slack, as plain dicts. Everything here is pure: values in, Block Kit and text out."""
