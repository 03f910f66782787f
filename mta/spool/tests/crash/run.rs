//! One schedule: work, trouble, start again, compare.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use angarium_effects::clock::Monotonic;
use angarium_effects::disk::{Disk, Fault, Loss, SimDisk};
use angarium_spool::{
    BodyRef, Commit, CommitError, Config, INLINE_MAX, ItemId, OnCorrupt, Recovered, Spool, Stepper,
};

use crate::model::{Content, Model, Version};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The machine stops at some call.
    Stops,
    /// Calls fail; the machine goes on.
    Faults,
    /// Both.
    FaultsAndStops,
}

/// A schedule.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub trouble: Trouble,
    pub loss: Loss,
    pub fsync: bool,
    pub ignore_syncs: bool,
    pub ignore_directory_syncs: bool,
    /// How often the machine stops and starts.
    pub rounds: u64,
    /// Overrides the call at which it stops.
    pub stop_after: Option<u64>,
}

impl Plan {
    pub fn new(seed: u64, trouble: Trouble, loss: Loss) -> Self {
        let (fsync, ignore_syncs, ignore_directory_syncs) = (true, false, false);
        Self {
            seed,
            trouble,
            loss,
            fsync,
            ignore_syncs,
            ignore_directory_syncs,
            rounds: 3,
            stop_after: None,
        }
    }
}

/// Runs a schedule and returns how many calls of the disk its first round made.
pub fn run(plan: &Plan) -> Result<u64, String> {
    let mut random = Random(plan.seed ^ 0x5DEE_CE66);
    let mut disk = SimDisk::new(plan.seed);
    disk.create_dir("/var".as_ref()).map_err(text)?;
    disk.sync_dir("/".as_ref()).map_err(text)?;
    let mut model = Model::default();
    let mut calls = 0;
    let mut numbers = 0;
    for round in 0..plan.rounds {
        disk.lie(plan.ignore_syncs, plan.ignore_directory_syncs);
        let before = disk.counters().calls;
        if plan.trouble != Trouble::Faults {
            disk.crash_after(plan.stop_after.unwrap_or_else(|| random.below(250)));
        }
        let mut work = Work {
            plan,
            random: random.fork(),
            disk: disk.clone(),
            model,
            numbers,
            now: Monotonic::default(),
            bodies: BTreeMap::new(),
        };
        work.round()?;
        if round == 0 {
            calls = disk.counters().calls - before;
        }
        model = work.model;
        numbers = work.numbers;
        disk = disk.crash(plan.loss);
    }
    // The last start must succeed, and see what the model says.
    let mut work = Work {
        plan,
        random,
        disk: disk.clone(),
        model,
        numbers,
        now: Monotonic::default(),
        bodies: BTreeMap::new(),
    };
    let (spool, recovered, _) = Spool::open_stepped(Arc::new(disk), work.config()).map_err(text)?;
    work.compare(&spool, recovered)?;
    Ok(calls)
}

struct Work<'a> {
    plan: &'a Plan,
    random: Random,
    disk: SimDisk,
    model: Model,
    numbers: u64,
    now: Monotonic,
    /// The bodies of the items that the model knows to be live.
    bodies: BTreeMap<ItemId, Vec<BodyRef>>,
}

/// A commit that was asked for.
struct Asked {
    commit: Commit,
    changes: Vec<(ItemId, Version, Vec<BodyRef>)>,
    removals: Vec<ItemId>,
}

impl Work<'_> {
    fn config(&mut self) -> Config {
        let mut config = Config::new("/var/spool/queue", "/var/spool/tmp");
        config.fsync = self.plan.fsync;
        config.minfree_bytes = 0;
        config.minfree_inodes = 0;
        config.corrupt = OnCorrupt::Abort;
        config.segment_size = 12_000 + self.random.below(12_000);
        config.batch_size = 1 + self.random.below(8_000);
        config.prepare_segments = self.random.below(2) == 0;
        config.seed = self.random.next();
        config
    }

    fn stopped(&self) -> bool {
        self.disk.has_crashed()
    }

    fn round(&mut self) -> Result<(), String> {
        let config = self.config();
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (spool, recovered, mut stepper) = match Spool::open_stepped(disk, config) {
            Ok(opened) => opened,
            Err(_) if self.stopped() => return Ok(()),
            Err(error) => return Err(format!("cannot open: {error}")),
        };
        match self.compare(&spool, recovered) {
            Err(_) if self.stopped() => return Ok(()),
            other => other?,
        }
        if self.plan.trouble != Trouble::Stops {
            for _ in 0..1 + self.random.below(4) {
                let fault = [
                    Fault::Io,
                    Fault::Io,
                    Fault::NoSpace,
                    Fault::ShortWrite,
                    Fault::NoDescriptors,
                ];
                let fault = fault[self.random.below(5) as usize];
                self.disk.fail_after(self.random.below(150), fault);
            }
        }
        if self.plan.trouble != Trouble::Stops && self.random.below(3) == 0 {
            self.disk
                .set_capacity(40_000 + self.random.below(200_000), 30);
        }
        let mut asked = Vec::new();
        for _ in 0..40 {
            for _ in 0..self.random.below(5) {
                asked.extend(self.operation(&spool));
            }
            if self.random.below(4) > 0 {
                self.work(&mut stepper, &mut asked)?;
            }
            if self.stopped() {
                return Ok(());
            }
        }
        self.disk.clear_faults();
        self.disk.set_capacity(u64::MAX, u64::MAX);
        self.settle(&spool, &mut stepper, &mut asked)
    }

    /// Lets the spool do some of its work, and takes the answers.
    fn work(&mut self, stepper: &mut Stepper, asked: &mut Vec<Asked>) -> Result<(), String> {
        stepper.write(self.now);
        for _ in 0..self.random.below(4) {
            stepper.background(self.now);
        }
        self.now = self.now + Duration::from_millis(self.random.below(700));
        self.answers(asked)
    }

    fn answers(&mut self, asked: &mut Vec<Asked>) -> Result<(), String> {
        let mut waiting = Vec::new();
        for entry in asked.drain(..) {
            match entry.commit.result() {
                None => waiting.push(entry),
                // The item that shared its body was completed before a large body was stored.
                Some(Err(CommitError::UnknownBody(_))) => {}
                Some(Err(error)) if self.plan.trouble == Trouble::Stops && !self.stopped() => {
                    return Err(format!("a commit failed without a fault: {error}"));
                }
                Some(Err(_)) => {}
                Some(Ok(())) => {
                    for (id, version, bodies) in entry.changes {
                        self.model.acknowledge(id, &version);
                        self.bodies.insert(id, bodies);
                    }
                    for id in entry.removals {
                        self.model.acknowledge_removal(id);
                    }
                }
            }
        }
        *asked = waiting;
        Ok(())
    }

    /// After the trouble the spool must work again by itself, and all that is left must be right.
    fn settle(
        &mut self,
        spool: &Spool,
        stepper: &mut Stepper,
        asked: &mut Vec<Asked>,
    ) -> Result<(), String> {
        for _ in 0..3 {
            self.now = self.now + Duration::from_secs(20);
            stepper.run(self.now);
            self.answers(asked)?;
        }
        if self.stopped() {
            return Ok(());
        }
        if !asked.is_empty() {
            return Err(format!("{} commits were never answered", asked.len()));
        }
        let leaving = self.model.leaving();
        let done = spool.sync();
        let mut last: Vec<Asked> = self.add(spool).into_iter().collect();
        stepper.run(self.now);
        if self.stopped() {
            return Ok(());
        }
        match done.result() {
            Some(Ok(())) => leaving
                .into_iter()
                .for_each(|id| self.model.acknowledge_removal(id)),
            other => {
                return Err(format!(
                    "the sync did not succeed after the trouble: {other:?}"
                ));
            }
        }
        match last.first().and_then(|asked| asked.commit.result()) {
            Some(Ok(())) => self.answers(&mut last)?,
            other => {
                return Err(format!(
                    "a commit did not succeed after the trouble: {other:?}"
                ));
            }
        }
        for (id, version) in self
            .model
            .live()
            .map(|(id, version)| (id, version.clone()))
            .collect::<Vec<_>>()
        {
            let bodies = self.bodies.get(&id).cloned().unwrap_or_default();
            let contents = contents(spool, &bodies);
            match contents {
                Err(_) if self.stopped() => return Ok(()),
                contents
                    if contents != Ok(version.bodies.iter().map(|body| body.bytes()).collect()) =>
                {
                    return Err(format!("the bodies of {id} are wrong in the running spool"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn compare(&mut self, spool: &Spool, recovered: Recovered) -> Result<(), String> {
        let mut found = BTreeMap::new();
        self.bodies.clear();
        for item in recovered {
            let item = item.map_err(text)?;
            let mut bodies = Vec::new();
            for bytes in contents(spool, &item.bodies)? {
                let content = content_of(&item.blob, bodies.len(), bytes.len());
                if content.bytes() != bytes {
                    return Err(format!("a body of {} is wrong", item.id));
                }
                bodies.push(content);
            }
            self.bodies.insert(item.id, item.bodies);
            found.insert(
                item.id,
                Version {
                    blob: item.blob,
                    bodies,
                },
            );
        }
        self.model.check(&found)
    }

    fn operation(&mut self, spool: &Spool) -> Option<Asked> {
        match self.random.below(10) {
            0..4 => self.add(spool),
            4..6 => self.change(spool),
            6..9 => {
                let id = self.some_item()?;
                self.model.ask_removal(id);
                spool.complete(id);
                None
            }
            _ => self.bounce(spool),
        }
    }

    fn add(&mut self, spool: &Spool) -> Option<Asked> {
        let mut transaction = spool.transaction();
        let number = self.number();
        let mut own = Vec::new();
        for _ in 0..self.random.below(3) {
            own.push(self.body(spool, &mut transaction)?);
        }
        // Sometimes an item shares a body that is in the spool already.
        if self.random.below(4) == 0 {
            own.extend(self.some_item().and_then(|id| self.shared(id)));
        }
        let mut changes = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let id = ItemId {
                transaction: [number as u8; 16],
                queue: self.number(),
            };
            let bodies: Vec<_> = own
                .iter()
                .filter(|_| self.random.below(4) > 0)
                .copied()
                .collect();
            changes.push(self.put(id, &bodies, number, |id, refs, blob| {
                transaction.add_item(id, refs, blob)
            }));
        }
        Some(Asked {
            commit: spool.commit(transaction),
            changes,
            removals: Vec::new(),
        })
    }

    fn change(&mut self, spool: &Spool) -> Option<Asked> {
        let id = self.some_item()?;
        let mut transaction = spool.transaction();
        let mut bodies = self.present(id);
        let change = if self.random.below(2) == 0 {
            self.put(id, &bodies, 0, |id, _, blob| {
                transaction.update_item(id, blob)
            })
        } else {
            bodies.truncate(1);
            bodies.push(self.body(spool, &mut transaction)?);
            self.put(id, &bodies, 0, |id, refs, blob| {
                transaction.replace_item(id, refs, blob)
            })
        };
        Some(Asked {
            commit: spool.commit(transaction),
            changes: vec![change],
            removals: Vec::new(),
        })
    }

    /// An item goes and another takes its place, together.
    fn bounce(&mut self, spool: &Spool) -> Option<Asked> {
        let old = self.some_item()?;
        let mut transaction = spool.transaction();
        let bodies = [self.body(spool, &mut transaction)?];
        let number = self.number();
        let id = ItemId {
            transaction: [0xFF; 16],
            queue: number,
        };
        let change = self.put(id, &bodies, number, |id, refs, blob| {
            transaction.add_item(id, refs, blob)
        });
        transaction.complete_item(old);
        self.model.ask_removal_with_others(old);
        Some(Asked {
            commit: spool.commit(transaction),
            changes: vec![change],
            removals: vec![old],
        })
    }

    /// Puts an item into a transaction and into the model. The bytes tell the contents of the bodies.
    fn put(
        &mut self,
        id: ItemId,
        bodies: &[(BodyRef, Content)],
        transaction: u64,
        write: impl FnOnce(ItemId, &[BodyRef], Vec<u8>),
    ) -> (ItemId, Version, Vec<BodyRef>) {
        let mut blob = self.number().to_le_bytes().to_vec();
        blob.extend(
            bodies
                .iter()
                .flat_map(|(_, content)| content.number.to_le_bytes()),
        );
        let padding = self.random.below(200) as usize;
        blob.resize(blob.len() + padding, 0xEE);
        let refs: Vec<BodyRef> = bodies.iter().map(|(body, _)| *body).collect();
        let version = Version {
            blob: blob.clone(),
            bodies: bodies.iter().map(|(_, content)| *content).collect(),
        };
        self.model.ask(id, version.clone(), transaction);
        write(id, &refs, blob);
        (id, version, refs)
    }

    fn body(
        &mut self,
        spool: &Spool,
        transaction: &mut angarium_spool::Transaction,
    ) -> Option<(BodyRef, Content)> {
        let length = match self.random.below(60) {
            0 => INLINE_MAX + 1 + self.random.below(1000) as usize,
            1..4 => 3000 + self.random.below(3000) as usize,
            _ => self.random.below(700) as usize,
        };
        let content = Content {
            number: self.number(),
            length,
        };
        // Without a descriptor or room for the temporary file there is no message, and no harm.
        let body = spool.body(&content.bytes()).ok()?;
        Some((transaction.add_body(&body), content))
    }

    fn some_item(&mut self) -> Option<ItemId> {
        let live: Vec<ItemId> = self.model.live().map(|(id, _)| id).collect();
        let some = self.random.below(live.len() as u64) as usize;
        live.get(some).copied()
    }

    /// The bodies of an item with their contents.
    fn present(&self, id: ItemId) -> Vec<(BodyRef, Content)> {
        let refs = self.bodies.get(&id).cloned().unwrap_or_default();
        let version = self
            .model
            .live()
            .find(|(live, _)| *live == id)
            .map(|(_, version)| version.clone());
        refs.into_iter()
            .zip(version.map(|version| version.bodies).unwrap_or_default())
            .collect()
    }

    fn shared(&self, id: ItemId) -> Option<(BodyRef, Content)> {
        self.present(id).first().copied()
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

/// Reads the contents of bodies, by the sequential way that checks them.
fn contents(spool: &Spool, bodies: &[BodyRef]) -> Result<Vec<Vec<u8>>, String> {
    let mut contents = Vec::new();
    for body in bodies {
        let mut bytes = Vec::new();
        spool
            .read(*body)
            .map_err(text)?
            .read_to_end(&mut bytes)
            .map_err(text)?;
        contents.push(bytes);
    }
    Ok(contents)
}

/// What the item's bytes say of its body number `index`.
fn content_of(blob: &[u8], index: usize, length: usize) -> Content {
    let number = blob
        .get(8 + 8 * index..)
        .and_then(|rest| rest.first_chunk::<8>());
    Content {
        number: number.map_or(0, |number| u64::from_le_bytes(*number)),
        length,
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    fn fork(&mut self) -> Self {
        Self(self.next())
    }
}
