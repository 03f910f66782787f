//! Name resolution whose answers come late, out of order, or not at all.

use std::cell::Cell;
use std::rc::Rc;

use angarium_effects::dns::{Query, TableDns};
use angarium_effects::{Clock, Dns, DnsAnswer, DnsError, LocalFuture, RecordType, VirtualClock};

use crate::dice::Dice;

/// A table with delays and failures. Clones are the same one.
#[derive(Clone)]
pub struct SimDns {
    table: TableDns,
    clock: VirtualClock,
    dice: Dice,
    /// Questions, of 1000, that fail.
    trouble: Rc<Cell<u64>>,
}

impl SimDns {
    pub fn new(table: TableDns, clock: &VirtualClock, dice: Dice) -> SimDns {
        SimDns {
            table,
            clock: clock.clone(),
            dice,
            trouble: Rc::default(),
        }
    }

    pub fn set_trouble(&self, of_1000: u64) {
        self.trouble.set(of_1000);
    }
}

impl Dns for SimDns {
    fn query(
        &self,
        name: &str,
        kind: RecordType,
        query: &Query,
    ) -> LocalFuture<'static, Result<DnsAnswer, DnsError>> {
        let fails = self.dice.chance(self.trouble.get());
        let delay = match fails {
            true => self.dice.seconds(0, 20),
            false => self.dice.millis(0, 150),
        };
        let answer = self.table.query(name, kind, query);
        let sleep = self.clock.sleep(delay);
        Box::pin(async move {
            sleep.await;
            match fails {
                true => Err(DnsError::TryAgain),
                false => answer.await,
            }
        })
    }
}
