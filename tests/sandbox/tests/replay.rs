//! Every kept input of every fuzz target goes through its body again.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests read their own data"
)]

use std::path::Path;

use angarium_sandbox::targets::TARGETS;

#[test]
fn the_kept_inputs_of_all_fuzz_targets_break_no_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in TARGETS {
        let folder = std::fs::read_dir(corpus.join(name)).expect("a corpus for each target");
        let mut files: Vec<_> = folder
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no inputs");
        for file in &files {
            let data = std::fs::read(file).expect("a readable file");
            if let Err(panic) = std::panic::catch_unwind(|| target(&data)) {
                println!("input: {}", file.display());
                std::panic::resume_unwind(panic);
            }
        }
        println!("{name}: {} inputs", files.len());
    }
}

#[test]
fn every_target_has_its_program() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut found: Vec<String> = std::fs::read_dir(programs)
        .expect("the programs")
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    found.sort();
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, names);
}
