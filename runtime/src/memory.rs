//! The memory budget of the execution that runs on this thread.
//!
//! A fiber lives and dies on one worker thread and only one runs at a time, so the account of the running
//! execution is a thread-local. Whatever owns heap memory for a script (string buffers, arrays, maps)
//! reports growth with [`charge`] and release with [`credit`]; the VM calls [`swap`] when it enters and leaves an
//! execution and asks [`exceeded`] at back edges, calls and after every built-in.
//!
//! The account is an estimate of live bytes, kept by whoever allocates: no global allocator hook. A native that
//! is about to build something large asks [`would_exceed`] first, so that the budget bounds real memory too.

use std::cell::Cell;

/// Live bytes and the limit of one execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Bytes charged and not credited yet.
    pub used: usize,
    /// Most bytes that `used` may reach; 0 means no limit.
    pub limit: usize,
    /// The part of `used` that the execution has put where it outlives it.
    pub stored: usize,
}

thread_local! {
    static CURRENT: Cell<Account> = const { Cell::new(Account { used: 0, limit: 0, stored: 0 }) };
}

thread_local! {
    static FUEL_LEFT: Cell<i64> = const { Cell::new(i64::MAX) };
}

/// Tells natives how much fuel the running execution has left besides what it was granted.
pub(crate) fn set_fuel_left(units: i64) {
    FUEL_LEFT.set(units);
}

/// See [`set_fuel_left`].
pub(crate) fn fuel_left() -> i64 {
    FUEL_LEFT.get()
}

thread_local! {
    static OWED: Cell<i64> = const { Cell::new(0) };
}

/// Charges fuel where no [`crate::native::Cx`] is at hand: the running execution pays at its next look at the budgets.
pub fn owe(units: usize) {
    OWED.set(OWED.get().saturating_add_unsigned(units as u64));
}

/// What is owed, which is thereby paid.
pub(crate) fn take_owed() -> i64 {
    OWED.take()
}

/// Installs `account` as the running execution's and returns the one that was installed before.
pub fn swap(account: Account) -> Account {
    CURRENT.with(|current| current.replace(account))
}

/// Reports that `bytes` more are held.
#[inline]
pub fn charge(bytes: usize) {
    CURRENT.with(|current| {
        let mut account = current.get();
        account.used = account.used.saturating_add(bytes);
        current.set(account);
    });
}

/// Reports that `bytes` are no longer held.
///
/// A value may outlive the execution that made it (`$context`); the account never goes below zero.
#[inline]
pub fn credit(bytes: usize) {
    // A value may be dropped while the thread's locals are being torn down: then there is no account to credit.
    let _ = CURRENT.try_with(|current| {
        let mut account = current.get();
        account.used = account.used.saturating_sub(bytes);
        current.set(account);
    });
}

/// Reports that the running execution has replaced `before` bytes in shared memory by `after`. What it removes counts for
/// it only as far as it has stored as much.
pub fn stored(before: usize, after: usize) {
    CURRENT.with(|current| {
        let mut account = current.get();
        if after >= before {
            account.stored = account.stored.saturating_add(after - before);
            account.used = account.used.saturating_add(after - before);
        } else {
            let less = (before - after).min(account.stored);
            account.stored -= less;
            account.used = account.used.saturating_sub(less);
        }
        current.set(account);
    });
}

/// Whether the running execution holds more than its limit.
#[inline]
#[must_use]
pub fn exceeded() -> bool {
    would_exceed(0)
}

/// Whether `bytes` more would take the running execution over its limit.
#[inline]
#[must_use]
pub fn would_exceed(bytes: usize) -> bool {
    let account = CURRENT.with(Cell::get);
    account.limit != 0 && account.used.saturating_add(bytes) > account.limit
}

/// Bytes that are charged as long as this lives: for small things of a fixed size.
#[derive(Debug, Default)]
pub struct Charge(usize);

impl Charge {
    /// Charges `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Charge {
        charge(bytes);
        Charge(bytes)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        credit(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_beyond_the_limit_is_seen_and_release_ends_it() {
        let before = swap(Account {
            limit: 100,
            ..Account::default()
        });
        charge(80);
        assert!(!exceeded());
        assert!(would_exceed(21));
        charge(30);
        assert!(exceeded());
        credit(30);
        assert!(!exceeded());
        credit(1000);
        assert_eq!(swap(before).used, 0);
    }
}
