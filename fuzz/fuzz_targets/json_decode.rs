//! See `angarium_sandbox::targets::json_decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| angarium_sandbox::targets::json_decode(data));
