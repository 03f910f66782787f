//! TLS towards clients and towards other servers: rustls with the ring provider.
