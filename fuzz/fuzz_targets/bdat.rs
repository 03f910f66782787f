//! See `angarium_sandbox::targets::bdat`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| angarium_sandbox::targets::bdat(data));
