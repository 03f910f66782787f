//! See `angarium_sandbox::targets::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| angarium_sandbox::targets::message(data));
