//! SMTP server and client as state machines without input or output.
