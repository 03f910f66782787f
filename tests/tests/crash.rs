//! A crash loses nothing that was answered with 250. More rounds:
//! `cargo run -p angarium-tests --example crash -- --rounds 1000`.

use angarium_tests::crash;

#[test]
fn nothing_answered_is_lost_in_fifty_rounds_of_sigkill() {
    let outcome = crash::rounds(50, 0x5eed, |_| {});
    println!("{outcome}");
    assert!(
        outcome.answered > 500,
        "the sessions hardly sent anything: {outcome}"
    );
    assert!(
        outcome.damaged.is_empty(),
        "{outcome}\n{:?}",
        outcome.damaged
    );
    assert!(outcome.lost.is_empty(), "{outcome}\n{:?}", outcome.lost);
}
