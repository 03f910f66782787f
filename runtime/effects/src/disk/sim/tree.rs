//! Files and directories of a simulated disk, each as seen now and as durable.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;

use super::super::FileKind;
use super::{Entries, not_found};

/// All inodes, reached from the root directory.
pub(super) struct Tree {
    nodes: BTreeMap<u64, Node>,
    next: u64,
}

pub(super) struct Node {
    content: Content,
    /// Handles; a node without names lives until the last one closes.
    open: u64,
    /// Names that show it now.
    names: u64,
    /// Names that show it on the durable disk.
    durable_names: u64,
}

enum Content {
    File {
        now: Vec<u8>,
        durable: Vec<u8>,
        pending: Vec<Changes>,
    },
    Directory {
        now: Entries,
        durable: Entries,
        pending: Vec<NameChange>,
    },
}

/// A change of a file.
pub(super) enum Changes {
    /// Bytes at an offset.
    Write(u64, Vec<u8>),
    /// A new length.
    Length(u64),
}

/// A change of a directory, which happens wholly or not at all.
struct NameChange {
    remove: Option<OsString>,
    set: Option<(OsString, u64)>,
}

const ROOT: u64 = 1;
const SECTOR: usize = 512;

impl Node {
    pub(super) fn file() -> Self {
        Self::new(Content::File {
            now: Vec::new(),
            durable: Vec::new(),
            pending: Vec::new(),
        })
    }

    pub(super) fn directory() -> Self {
        Self::new(Content::Directory {
            now: Entries::new(),
            durable: Entries::new(),
            pending: Vec::new(),
        })
    }

    fn new(content: Content) -> Self {
        Self {
            content,
            open: 0,
            names: 0,
            durable_names: 0,
        }
    }
}

impl Tree {
    pub(super) fn new() -> Self {
        let mut root = Node::directory();
        root.names = 1;
        root.durable_names = 1;
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
        }
    }

    pub(super) fn find(&self, names: &[&OsStr]) -> Option<u64> {
        let mut inode = ROOT;
        for name in names {
            let Content::Directory { now, .. } = &self.nodes.get(&inode)?.content else {
                return None;
            };
            inode = *now.get(*name)?;
        }
        Some(inode)
    }

    /// Returns the directory that holds, or would hold, the last of `names`.
    pub(super) fn parent(&self, names: &[&OsStr]) -> io::Result<(u64, OsString)> {
        let Some((last, parents)) = names.split_last() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let inode = self.find(parents).ok_or_else(not_found)?;
        self.entries(inode)?;
        Ok((inode, last.to_os_string()))
    }

    pub(super) fn entries(&self, inode: u64) -> io::Result<&Entries> {
        match self.nodes.get(&inode).map(|node| &node.content) {
            Some(Content::Directory { now, .. }) => Ok(now),
            Some(Content::File { .. }) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(not_found()),
        }
    }

    pub(super) fn is_file(&self, inode: u64) -> bool {
        self.kind(inode) == FileKind::File
    }

    pub(super) fn kind(&self, inode: u64) -> FileKind {
        match self.nodes.get(&inode).map(|node| &node.content) {
            Some(Content::File { .. }) => FileKind::File,
            Some(Content::Directory { .. }) => FileKind::Directory,
            None => FileKind::Other,
        }
    }

    pub(super) fn length(&self, inode: u64) -> u64 {
        match self.nodes.get(&inode).map(|node| &node.content) {
            Some(Content::File { now, .. }) => now.len() as u64,
            _ => 0,
        }
    }

    /// Bytes of files that have a name or are open. (What only the durable disk still names is given
    /// back: a file system that runs out of room syncs its names.)
    pub(super) fn bytes_used(&self) -> u64 {
        self.used().map(|(&inode, _)| self.length(inode)).sum()
    }

    pub(super) fn inodes_used(&self) -> u64 {
        self.used().count() as u64
    }

    fn used(&self) -> impl Iterator<Item = (&u64, &Node)> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.names + node.open > 0)
    }

    pub(super) fn read(&self, inode: u64, buffer: &mut [u8], offset: u64) -> usize {
        let Some(Content::File { now, .. }) = self.nodes.get(&inode).map(|node| &node.content)
        else {
            return 0;
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(now.len());
        let rest = now.get(start..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(from);
        }
        length
    }

    pub(super) fn change(&mut self, inode: u64, change: Changes) {
        if let Some(Content::File { now, pending, .. }) =
            self.nodes.get_mut(&inode).map(|node| &mut node.content)
        {
            change.apply(now);
            pending.push(change);
        }
    }

    pub(super) fn add(&mut self, node: Node) -> u64 {
        let inode = self.next;
        self.next += 1;
        self.nodes.insert(inode, node);
        inode
    }

    /// Gives `inode` a name that must be free.
    pub(super) fn new_name(&mut self, names: &[&OsStr], inode: u64) -> io::Result<()> {
        let (directory, name) = self.parent(names)?;
        if self.entries(directory)?.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.set_name(directory, name, inode);
        Ok(())
    }

    pub(super) fn set_name(&mut self, directory: u64, name: OsString, inode: u64) {
        self.change_names(
            directory,
            NameChange {
                remove: None,
                set: Some((name, inode)),
            },
        );
    }

    pub(super) fn remove_name(&mut self, directory: u64, name: OsString) {
        self.change_names(
            directory,
            NameChange {
                remove: Some(name),
                set: None,
            },
        );
    }

    pub(super) fn rename(&mut self, from: u64, old: OsString, to: u64, new: OsString, inode: u64) {
        if from == to {
            self.change_names(
                from,
                NameChange {
                    remove: Some(old),
                    set: Some((new, inode)),
                },
            );
        } else {
            self.set_name(to, new, inode);
            self.remove_name(from, old);
        }
    }

    fn change_names(&mut self, directory: u64, change: NameChange) {
        let Some(Content::Directory { now, pending, .. }) =
            self.nodes.get_mut(&directory).map(|node| &mut node.content)
        else {
            return;
        };
        let before = change.touched(now);
        change.apply(now);
        let added = change.set.as_ref().map(|&(_, inode)| inode);
        pending.push(change);
        if let Some(node) = added.and_then(|inode| self.nodes.get_mut(&inode)) {
            node.names += 1;
        }
        for inode in before {
            if let Some(node) = self.nodes.get_mut(&inode) {
                node.names = node.names.saturating_sub(1);
            }
            self.forget_if_unreachable(inode);
        }
    }

    pub(super) fn opened(&mut self, inode: u64) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.open += 1;
        }
    }

    pub(super) fn closed(&mut self, inode: u64) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.open = node.open.saturating_sub(1);
        }
        self.forget_if_unreachable(inode);
    }

    fn forget_if_unreachable(&mut self, inode: u64) {
        if self
            .nodes
            .get(&inode)
            .is_some_and(|node| node.open + node.names + node.durable_names == 0)
        {
            self.nodes.remove(&inode);
        }
    }

    /// Makes what is seen now durable.
    pub(super) fn sync(&mut self, inode: u64) {
        match self.nodes.get_mut(&inode).map(|node| &mut node.content) {
            Some(Content::File {
                durable, pending, ..
            }) => {
                for change in pending.drain(..) {
                    change.apply(durable);
                }
            }
            Some(Content::Directory {
                now,
                durable,
                pending,
            }) => {
                pending.clear();
                let new = now.clone();
                let old = std::mem::replace(durable, new.clone());
                self.recount(&old, &new);
            }
            None => {}
        }
    }

    /// A part of the changes becomes durable; all of them still wait for a sync.
    pub(super) fn sync_partly(&mut self, inode: u64, random: &mut SplitMix) {
        let style = Style::draw(random);
        match self.nodes.get_mut(&inode).map(|node| &mut node.content) {
            Some(Content::File {
                durable, pending, ..
            }) => {
                for change in &*pending {
                    change.apply_partly(durable, style, random);
                }
            }
            Some(Content::Directory {
                durable, pending, ..
            }) => {
                let old = durable.clone();
                for change in pending.iter().filter(|_| style.keeps(random)) {
                    change.apply(durable);
                }
                let new = durable.clone();
                self.recount(&old, &new);
            }
            None => {}
        }
    }

    /// A sync that fails: a part of the changes becomes durable, and those of a file are forgotten
    /// though readers may go on seeing them. (Names stay to be synced: a file system keeps them in its
    /// journal or stops working.)
    pub(super) fn fail_sync(&mut self, inode: u64, random: &mut SplitMix) {
        self.sync_partly(inode, random);
        let node = self.nodes.get_mut(&inode).map(|node| &mut node.content);
        if let Some(Content::File {
            now,
            durable,
            pending,
        }) = node
        {
            pending.clear();
            // Some file systems throw the dirty pages away, others keep showing them.
            if random.below(2) == 0 {
                now.clone_from(durable);
            }
        }
    }

    fn recount(&mut self, old: &Entries, new: &Entries) {
        for inode in new.values() {
            if let Some(node) = self.nodes.get_mut(inode) {
                node.durable_names += 1;
            }
        }
        for &inode in old.values() {
            if let Some(node) = self.nodes.get_mut(&inode) {
                node.durable_names = node.durable_names.saturating_sub(1);
            }
            self.forget_if_unreachable(inode);
        }
    }

    /// What is there after all processes were killed.
    pub(super) fn survivor_of_kill(&self) -> Self {
        self.survivor(|content| match content {
            Content::File { now, .. } => Survivor::File(now.clone()),
            Content::Directory { now, .. } => Survivor::Directory(now.clone()),
        })
    }

    /// What is there after the power was lost.
    pub(super) fn survivor_of_power_loss(&self, random: &mut SplitMix) -> Self {
        self.survivor(|content| {
            let style = Style::draw(random);
            match content {
                Content::File {
                    durable, pending, ..
                } => {
                    let mut kept = durable.clone();
                    for change in pending {
                        change.apply_partly(&mut kept, style, random);
                    }
                    Survivor::File(kept)
                }
                Content::Directory {
                    durable, pending, ..
                } => {
                    let mut kept = durable.clone();
                    for change in pending {
                        if style.keeps(random) {
                            change.apply(&mut kept);
                        }
                    }
                    Survivor::Directory(kept)
                }
            }
        })
    }

    /// Builds the disk that `survivor` leaves, without what can no longer be reached.
    fn survivor(&self, mut survivor: impl FnMut(&Content) -> Survivor) -> Self {
        let mut contents: BTreeMap<u64, Survivor> = self
            .nodes
            .iter()
            .map(|(&inode, node)| (inode, survivor(&node.content)))
            .collect();
        for content in contents.values_mut() {
            if let Survivor::Directory(entries) = content {
                entries.retain(|_, inode| self.nodes.contains_key(inode));
            }
        }
        let mut names: BTreeMap<u64, u64> = BTreeMap::from([(ROOT, 1)]);
        let mut waiting = vec![ROOT];
        while let Some(inode) = waiting.pop() {
            if let Some(Survivor::Directory(entries)) = contents.get(&inode) {
                for &child in entries.values() {
                    let count = names.entry(child).or_insert(0);
                    *count += 1;
                    if *count == 1 {
                        waiting.push(child);
                    }
                }
            }
        }
        let nodes = contents
            .into_iter()
            .filter_map(|(inode, content)| {
                let count = *names.get(&inode)?;
                let content = match content {
                    Survivor::File(bytes) => Content::File {
                        now: bytes.clone(),
                        durable: bytes,
                        pending: Vec::new(),
                    },
                    Survivor::Directory(entries) => Content::Directory {
                        now: entries.clone(),
                        durable: entries,
                        pending: Vec::new(),
                    },
                };
                Some((
                    inode,
                    Node {
                        content,
                        open: 0,
                        names: count,
                        durable_names: count,
                    },
                ))
            })
            .collect();
        Self {
            nodes,
            next: self.next,
        }
    }
}

enum Survivor {
    File(Vec<u8>),
    Directory(Entries),
}

impl Changes {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, new) => overlay(bytes, *offset, new),
            Self::Length(length) => bytes.resize(usize::try_from(*length).unwrap_or(usize::MAX), 0),
        }
    }

    /// Applies some of the sectors that the change touches.
    fn apply_partly(&self, bytes: &mut Vec<u8>, style: Style, random: &mut SplitMix) {
        match self {
            Self::Write(offset, new) => {
                let mut start = 0;
                while start < new.len() {
                    let at = offset.saturating_add(start as u64);
                    let to_boundary = SECTOR - usize::try_from(at % SECTOR as u64).unwrap_or(0);
                    let end = (start + to_boundary).min(new.len());
                    let piece = new.get(start..end).unwrap_or_default();
                    if style.keeps(random) {
                        overlay(bytes, at, piece);
                    } else if style.garbage && at >= bytes.len() as u64 {
                        // The length reached the disk before the bytes: the old content of the block shows.
                        let garbage: Vec<u8> = piece.iter().map(|_| random.byte()).collect();
                        overlay(bytes, at, &garbage);
                    }
                    start = end;
                }
            }
            Self::Length(_) => {
                if style.keeps(random) {
                    self.apply(bytes);
                }
            }
        }
    }
}

fn overlay(bytes: &mut Vec<u8>, offset: u64, new: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(new.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(range) = bytes.get_mut(start..end) {
        range.copy_from_slice(new);
    }
}

impl NameChange {
    fn apply(&self, entries: &mut Entries) {
        if let Some(name) = &self.remove {
            entries.remove(name);
        }
        if let Some((name, inode)) = &self.set {
            entries.insert(name.clone(), *inode);
        }
    }

    /// Returns the inodes that lose a name.
    fn touched(&self, entries: &Entries) -> Vec<u64> {
        let removed = self.remove.as_ref().and_then(|name| entries.get(name));
        let replaced = self.set.as_ref().and_then(|(name, _)| entries.get(name));
        removed.into_iter().chain(replaced).copied().collect()
    }
}

/// How much of what was not synced survives, drawn once for each file so that the extremes are common.
#[derive(Clone, Copy)]
struct Style {
    /// Of 8 changes, how many are kept.
    kept_of_8: u64,
    garbage: bool,
}

impl Style {
    fn draw(random: &mut SplitMix) -> Self {
        let kept_of_8 = match random.below(4) {
            0 => 0,
            1 => 8,
            2 => 4,
            _ => 1 + random.below(7),
        };
        Self {
            kept_of_8,
            garbage: random.below(4) == 0,
        }
    }

    fn keeps(self, random: &mut SplitMix) -> bool {
        random.below(8) < self.kept_of_8
    }
}

/// The generator of Steele, Lea and Flood (SplitMix64): small, and the same everywhere.
pub(super) struct SplitMix {
    state: u64,
}

impl SplitMix {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Draws a number below `limit`, 0 if `limit` is 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }
}
