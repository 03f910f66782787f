//! Configuration files: typed, validated with key paths, packed and unpacked.
