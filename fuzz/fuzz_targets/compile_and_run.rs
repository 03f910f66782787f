//! See `angarium_sandbox::targets::compile_and_run`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| angarium_sandbox::targets::compile_and_run(data));
