//! Queue index, retry rules, destinations and the outcome of delivery attempts.
