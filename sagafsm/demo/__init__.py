"""The demo: a thousand orders against three faulty services, killed midway, audited at the end."""
